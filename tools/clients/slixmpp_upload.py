"""A real XMPP client of the tests: logs in, asks for upload slots, uploads with slixmpp's own uploader.

Reads one JSON job from standard input, prints one JSON line per file. Called by the black-box tests.
"""

import asyncio
import hashlib
import io
import json
import sys
from mimetypes import guess_type

import slixmpp


def content(name: str, size: int) -> bytes:
    """Bytes that differ for every name and never repeat a block, so that a swapped part is noticed."""
    seed = name.encode()
    blocks = (hashlib.sha256(seed + n.to_bytes(8, "big")).digest() * 128 for n in range(size // 4096 + 1))
    return b"".join(blocks)[:size]


class Client(slixmpp.ClientXMPP):
    def __init__(self, job: dict) -> None:
        super().__init__(job["jid"], job["password"])
        self.job = job
        self.done: asyncio.Future = asyncio.get_event_loop().create_future()
        self.enable_plaintext = True
        self.enable_direct_tls = False
        self.enable_starttls = False
        self["feature_mechanisms"].unencrypted_plain = True
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0363")
        self.add_event_handler("session_start", self.work)
        self.add_event_handler("failed_all_auth", lambda _: self.fail("login refused"))
        self.add_event_handler("connection_failed", lambda reason: self.fail(f"no connection: {reason}"))

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))

    async def work(self, _event: object) -> None:
        try:
            for file in self.job["files"]:
                print(json.dumps(await self.one(file["name"], file["size"])), flush=True)
        except Exception as error:  # whatever it is, the caller waits for an end
            self.fail(repr(error))
        else:
            if not self.done.done():
                self.done.set_result(None)

    async def one(self, name: str, size: int) -> dict:
        uploader = self["xep_0363"]
        body = content(name, size)
        media_type = guess_type(name)[0] or uploader.default_content_type
        outcome = {"name": name, "size": size, "type": media_type, "sha256": hashlib.sha256(body).hexdigest()}
        service = slixmpp.JID(self.job["service"])
        try:
            if self.job["action"] == "slot":
                answer = await uploader.request_slot(service, name, size, media_type, timeout=20)
                slot = answer["http_upload_slot"]
                outcome["put"] = slot["put"]["url"]
                outcome["get"] = slot["get"]["url"]
                outcome["headers"] = [[header["name"], header["value"]] for header in slot["put"]["headers"]]
            else:
                uploader.upload_service = service
                outcome["get"] = await uploader.upload_file(name, size, media_type, input_file=io.BytesIO(body), timeout=20)
        except slixmpp.exceptions.IqError as error:
            outcome["error"] = f"{error.condition}: {error.text}"
        except Exception as error:  # a failed upload is an outcome, the next file has its turn
            outcome["error"] = f"{type(error).__name__}: {error}"
        return outcome


async def main() -> None:
    job = json.load(sys.stdin)
    client = Client(job)
    client.connect("127.0.0.1", job["port"])
    await client.done
    client.disconnect()
    await client.disconnected


asyncio.run(main())
