-- BLAKE3 of the bytes, where uploads are hashed while they arrive.

ALTER TABLE blob ADD COLUMN digest BLOB CHECK (digest IS NULL OR length(digest) = 32);
