"""HTTP/2 frames that no right client sends, and floods of frames that are right one by one.

Usage: http2_frames.py broken|borne|floods PORT QUERY, where QUERY is the signature of a PUT of 5 bytes to /two/x.txt. Prints
one JSON line per case. Called by the black-box tests.
"""

import json
import socket
import sys
import time

import hyperframe.frame as fr
from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# `borne` is wrong too, but does no harm: the `h2` crate lets it pass.
CASES = {"broken": [], "borne": [], "floods": []}


def case(kind):
    def register(function):
        CASES[kind].append(function)
        return function

    return register


def data(body, stream=1, end=True):
    frame = fr.DataFrame(stream, body)
    if end:
        frame.flags.add("END_STREAM")
    return frame.serialize()


class Wire:
    """One connection: bytes out, frames in."""

    def __init__(self, port, query, preface=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.query = query
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.buffer = b""
        self.closed = False
        if preface:
            self.send(PREFACE + fr.SettingsFrame(0).serialize())

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def headers(self, stream=1, end=False, end_headers=True, first=(), extra=(), drop=(), method="PUT", get="/health"):
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "127.0.0.1"),
            (":path", get if method == "GET" else f"/two/x.txt?{self.query}"),
        ]
        if method == "PUT":
            fields.append(("content-length", "5"))
        fields = list(first) + [field for field in fields if field[0] not in drop] + list(extra)
        frame = fr.HeadersFrame(stream, self.encoder.encode(fields, huffman=False))
        if end:
            frame.flags.add("END_STREAM")
        if end_headers:
            frame.flags.add("END_HEADERS")
        return frame.serialize()

    def outcome(self, patience=15.0):
        """Reads until an error, an end, or a whole answer on any stream."""
        status, refused, until = None, False, time.monotonic() + patience
        while time.monotonic() < until and not refused:
            frame = self.frame(until)
            if frame is None:
                refused = self.closed
                break
            if isinstance(frame, (fr.GoAwayFrame, fr.RstStreamFrame)):
                refused = frame.error_code != 0 or isinstance(frame, fr.GoAwayFrame)
            elif isinstance(frame, fr.HeadersFrame):
                for name, value in self.decoder.decode(frame.data):
                    if name == ":status":
                        status = int(value)
                if status and status >= 400:
                    break
            elif isinstance(frame, fr.PingFrame) and "ACK" in frame.flags:
                # Acknowledgements overtake what is queued on streams: a refusal may follow.
                until = min(until, time.monotonic() + 0.5)
        return status, refused

    def frame(self, until):
        while True:
            if len(self.buffer) >= 9:
                frame, length = fr.Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                    self.buffer = self.buffer[9 + length :]
                    return frame
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                more = b""
            if not more:
                self.closed = True
                return None
            self.buffer += more


@case("broken")
def data_on_an_idle_stream(wire):
    wire.send(data(b"hello"))


@case("broken")
def data_on_stream_zero(wire):
    wire.send(b"\0\0\x05\0\x01\0\0\0\0hello")


@case("broken")
def headers_on_stream_zero(wire):
    block = wire.headers()
    wire.send(block[:5] + b"\0\0\0\0" + block[9:])


@case("broken")
def even_stream(wire):
    wire.send(wire.headers(stream=2, end=True))


@case("broken")
def stream_that_goes_back(wire):
    wire.send(wire.headers(stream=5, end=True, method="GET") + wire.headers(stream=3, end=True, method="GET"))


@case("broken")
def headers_while_others_go_on(wire):
    wire.send(wire.headers(end_headers=False) + wire.headers(stream=3))


@case("broken")
def continuation_of_nothing(wire):
    wire.send(fr.ContinuationFrame(1, b"").serialize())


@case("broken")
def frame_larger_than_agreed(wire):
    wire.send(wire.headers() + b"\x01\0\0\0\x01\0\0\0\x01" + bytes(65536))


@case("broken")
def promise_of_a_client(wire):
    wire.send(wire.headers() + fr.PushPromiseFrame(1, 2, b"", flags=["END_HEADERS"]).serialize())


@case("broken")
def settings_of_an_odd_length(wire):
    wire.send(b"\0\0\x05\x04\0\0\0\0\0hello")


@case("broken")
def settings_on_a_stream(wire):
    wire.send(b"\0\0\0\x04\0\0\0\0\x01")


@case("broken")
def ping_of_an_odd_length(wire):
    wire.send(b"\0\0\x05\x06\0\0\0\0\0hello")


@case("broken")
def window_update_of_zero(wire):
    wire.send(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0")


@case("broken")
def window_beyond_all_numbers(wire):
    wire.send(fr.WindowUpdateFrame(0, 2**31 - 1).serialize() * 2)


@case("broken")
def initial_window_beyond_all_numbers(wire):
    wire.send(b"\0\0\x06\x04\0\0\0\0\0\0\x04\xff\xff\xff\xff")


@case("broken")
def frames_below_the_minimum_size(wire):
    wire.send(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\x01")


@case("broken")
def upper_case_header(wire):
    wire.send(wire.headers(extra=[("X-Upper", "x")]) + data(b"hello"))


@case("broken")
def connection_header(wire):
    wire.send(wire.headers(extra=[("connection", "keep-alive")]) + data(b"hello"))


@case("broken")
def transfer_encoding(wire):
    wire.send(wire.headers(extra=[("transfer-encoding", "chunked")]) + data(b"hello"))


@case("broken")
def unknown_pseudo_header(wire):
    wire.send(wire.headers(extra=[(":odd", "x")]) + data(b"hello"))


@case("broken")
def pseudo_header_after_others(wire):
    wire.send(wire.headers(drop=[":path"], extra=[("x", "y"), (":path", "/two/x.txt")]) + data(b"hello"))


@case("broken")
def two_methods(wire):
    wire.send(wire.headers(extra=[(":method", "PUT")]) + data(b"hello"))


@case("broken")
def no_path(wire):
    wire.send(wire.headers(drop=[":path"]) + data(b"hello"))


@case("broken")
def no_method(wire):
    wire.send(wire.headers(drop=[":method"]) + data(b"hello"))


@case("broken")
def no_scheme(wire):
    wire.send(wire.headers(drop=[":scheme"]) + data(b"hello"))


@case("broken")
def body_shorter_than_announced(wire):
    wire.send(wire.headers() + data(b"hell"))


@case("broken")
def body_longer_than_announced(wire):
    wire.send(wire.headers() + data(b"hello!"))


@case("broken")
def body_after_the_end(wire):
    wire.send(wire.headers(end=True, drop=["content-length"], extra=[("content-length", "0")]) + data(b"hello"))


@case("broken")
def header_table_of_nonsense(wire):
    frame = fr.HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS", "END_STREAM"])
    wire.send(frame.serialize())


@case("broken")
def padding_longer_than_the_frame(wire):
    wire.send(wire.headers() + b"\0\0\x05\0\x09\0\0\0\x01\xffhell")


@case("broken")
def dependency_on_itself(wire):
    wire.send(b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\x01\x10" + wire.headers(drop=[":path"]))


@case("broken")
def a_second_preface(wire):
    wire.send(PREFACE)


@case("broken")
def stream_that_has_ended(wire):
    wire.send(wire.headers(end=True, method="GET") + wire.headers(end=True, method="GET"))


@case("broken")
def headers_after_the_end(wire):
    wire.send(wire.headers(end=True, drop=["content-length"], extra=[("content-length", "0")]))
    wire.send(wire.headers(end=True, drop=["content-length"]))


@case("broken")
def data_after_a_reset(wire):
    wire.send(wire.headers() + fr.RstStreamFrame(1, 8).serialize() + data(b"hello") * 200)


@case("broken")
def reset_of_an_idle_stream(wire):
    wire.send(fr.RstStreamFrame(1, 8).serialize())


@case("broken")
def reset_of_stream_zero(wire):
    wire.send(b"\0\0\x04\x03\0\0\0\0\0\0\0\0\x08")


@case("broken")
def reset_of_an_odd_length(wire):
    wire.send(wire.headers() + b"\0\0\x03\x03\0\0\0\0\x01\0\0\x08")


@case("broken")
def acknowledged_settings_with_content(wire):
    wire.send(b"\0\0\x06\x04\x01\0\0\0\0\0\x03\0\0\0\x64")


@case("broken")
def push_neither_on_nor_off(wire):
    wire.send(b"\0\0\x06\x04\0\0\0\0\0\0\x02\0\0\0\x02")


@case("broken")
def frames_above_the_maximum_size(wire):
    wire.send(b"\0\0\x06\x04\0\0\0\0\0\0\x05\x01\0\0\0")


@case("broken")
def ping_on_a_stream(wire):
    wire.send(b"\0\0\x08\x06\0\0\0\0\x0112345678")


@case("broken")
def goodbye_on_a_stream(wire):
    wire.send(b"\0\0\x08\x07\0\0\0\0\x01\0\0\0\0\0\0\0\0")


@case("broken")
def window_update_of_an_odd_length(wire):
    wire.send(b"\0\0\x03\x08\0\0\0\0\0\0\0\x01")


@case("broken")
def window_update_of_an_idle_stream(wire):
    wire.send(fr.WindowUpdateFrame(1, 1).serialize())


@case("broken")
def window_update_of_zero_on_a_stream(wire):
    wire.send(wire.headers() + b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\0")


@case("broken")
def window_of_a_stream_beyond_all_numbers(wire):
    wire.send(wire.headers() + fr.WindowUpdateFrame(1, 2**31 - 1).serialize() * 2)


@case("broken")
def continuation_on_stream_zero(wire):
    wire.send(wire.headers(end_headers=False) + b"\0\0\0\x09\x04\0\0\0\0")


@case("broken")
def data_before_the_headers_end(wire):
    wire.send(wire.headers(end_headers=False) + data(b"hello"))


@case("broken")
def continuation_after_the_headers_end(wire):
    wire.send(wire.headers() + fr.ContinuationFrame(1, b"", flags=["END_HEADERS"]).serialize())


@case("broken")
def priority_of_an_odd_length(wire):
    wire.send(wire.headers() + b"\0\0\x04\x02\0\0\0\0\x01\0\0\0\0" + data(b"hell"))


@case("broken")
def trailers_that_do_not_end_the_stream(wire):
    wire.send(wire.headers() + wire.headers(drop=[":method", ":scheme", ":authority", ":path", "content-length"]))


@case("broken")
def te_of_more_than_trailers(wire):
    wire.send(wire.headers(extra=[("te", "gzip")]) + data(b"hello"))


@case("broken")
def empty_path(wire):
    wire.send(wire.headers(drop=[":path"], first=[(":path", "")]) + data(b"hello"))


@case("broken")
def pseudo_header_of_an_answer(wire):
    wire.send(wire.headers(extra=[(":status", "200")]) + data(b"hello"))


@case("broken")
def two_schemes(wire):
    wire.send(wire.headers(extra=[(":scheme", "http")]) + data(b"hello"))


@case("broken")
def two_paths(wire):
    wire.send(wire.headers(extra=[(":path", "/two/y.txt")]) + data(b"hello"))


@case("broken")
def two_lengths(wire):
    wire.send(wire.headers(extra=[("content-length", "6")]) + data(b"hello"))


@case("broken")
def length_that_is_no_number(wire):
    wire.send(wire.headers(drop=["content-length"], extra=[("content-length", "+5")]) + data(b"hello"))


@case("broken")
def host_of_another_name(wire):
    wire.send(wire.headers(extra=[("host", "evil.example.org")]) + data(b"hello"))


@case("broken")
def line_break_in_a_header(wire):
    wire.send(wire.headers(extra=[("x", "a\r\nb: c")]) + data(b"hello"))


@case("broken")
def table_size_beyond_what_was_agreed(wire):
    frame = fr.HeadersFrame(1, b"\x3f\xff\xff\x7f", flags=["END_HEADERS", "END_STREAM"])
    wire.send(frame.serialize())


@case("broken")
def index_zero(wire):
    wire.send(fr.HeadersFrame(1, b"\x80", flags=["END_HEADERS", "END_STREAM"]).serialize())


@case("broken")
def end_of_a_huffman_text_in_its_middle(wire):
    frame = fr.HeadersFrame(1, b"\x00\x85\xff\xff\xff\xff\xff\x00", flags=["END_HEADERS", "END_STREAM"])
    wire.send(frame.serialize())


@case("borne")
def trailers_with_a_pseudo_header(wire):
    drop = [":scheme", ":authority", ":path", "content-length"]
    wire.send(wire.headers() + data(b"hello", end=False) + wire.headers(drop=drop, end=True))


@case("borne")
def table_size_update_behind_a_header(wire):
    block = wire.headers(end_headers=False)
    wire.send(block + fr.ContinuationFrame(1, b"\x20", flags=["END_HEADERS"]).serialize() + data(b"hello"))


@case("floods")
def rapid_reset(wire):
    for first in range(1, 40_001, 200):
        streams = range(first, first + 200, 2)
        wire.send(b"".join(wire.headers(stream=s, method="PUT") + fr.RstStreamFrame(s, 8).serialize() for s in streams))


@case("floods")
def continuations_without_end(wire):
    wire.send(wire.headers(end_headers=False))
    piece = fr.ContinuationFrame(1, Encoder().encode([("x" * 50, "y" * 4000)], huffman=False)).serialize()
    for _ in range(2_000):
        wire.send(piece * 10)


@case("floods")
def empty_continuations(wire):
    wire.send(wire.headers(end_headers=False))
    for _ in range(100):
        wire.send(fr.ContinuationFrame(1, b"").serialize() * 1000)


@case("floods")
def settings(wire):
    for _ in range(100):
        wire.send(fr.SettingsFrame(0, settings={3: 100}).serialize() * 1000)


@case("floods")
def pings(wire):
    for _ in range(100):
        wire.send(fr.PingFrame(0, b"12345678").serialize() * 1000)


@case("floods")
def empty_data(wire):
    wire.send(wire.headers(drop=["content-length"]))
    for _ in range(100):
        wire.send(data(b"", end=False) * 1000)


@case("floods")
def priorities(wire):
    for _ in range(100):
        wire.send(b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x10" * 1000)


@case("floods")
def streams_that_never_end(wire):
    wire.send(b"".join(wire.headers(stream=s) for s in range(1, 20_001, 2)))


@case("floods")
def window_updates(wire):
    for _ in range(100):
        wire.send(fr.WindowUpdateFrame(0, 1).serialize() * 1000)


@case("floods")
def one_header_a_million_times(wire):
    # Each byte of the block is a whole indexed header, once the table holds a large one.
    block = wire.headers(end_headers=False, extra=[("x", "y" * 4000)])
    wire.send(block)
    for _ in range(100):
        wire.send(fr.ContinuationFrame(1, b"\xbe" * 16_000).serialize())


@case("floods")
def readers_without_a_window(wire):
    wire.send(fr.SettingsFrame(0, settings={4: 0}).serialize())
    wire.send(b"".join(wire.headers(stream=s, end=True, method="GET", get="/before/large.bin") for s in range(1, 200, 2)))


def main():
    kind, port, query = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # Several that go on at once hold what they hold together.
    open_wires = []
    for function in CASES[kind]:
        wire = Wire(port, query)
        function(wire)
        # An answer to this tells that everything before it was read and borne.
        wire.send(fr.PingFrame(0, b"farewell").serialize())
        status, refused = wire.outcome()
        name = function.__name__.replace("_", " ")
        print(json.dumps({"case": name, "status": status, "refused": refused or wire.closed}), flush=True)
        open_wires.append(wire)


main()
