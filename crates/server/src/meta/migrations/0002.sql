-- What was learnt about clients. Nothing depends on it: rows that are lost are learnt again.

CREATE TABLE profile (
    owner        TEXT    NOT NULL, -- '' is everybody on the network
    network      TEXT    NOT NULL, -- its first address: a /24 of IPv4, a /48 of IPv6
    learnt_at    INTEGER NOT NULL,
    transfers    INTEGER NOT NULL CHECK (transfers >= 0),
    rate         REAL,             -- bytes per second, as the next two; of uploads
    rate_default REAL,             -- of downloads with the host's congestion control
    rate_bbr     REAL,             -- of downloads with BBR
    min_rtt      REAL,             -- seconds, as the next one
    jitter       REAL,
    loss         REAL,             -- a share, as the next one
    breaks       REAL    NOT NULL,
    step         INTEGER,
    link         TEXT    NOT NULL,
    confidence   REAL    NOT NULL,
    PRIMARY KEY (owner, network)
) STRICT, WITHOUT ROWID;

CREATE INDEX profile_learnt_at ON profile (learnt_at);
