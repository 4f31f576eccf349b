"""An HTTP/2 client that sends what no client should; `tests/tests/h2_abuse.rs` says what must come of it.

    python3 h2_abuse.py HOST PORT CASE...

Prints a JSON object: for each case what the server answered on which stream, and whether it closed the connection.
Needs `hyperframe` and `hpack`, which come with `h2` (PyPI).
"""

import json
import socket
import sys
import time

from hpack import Encoder, Decoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame,
    RstStreamFrame, SettingsFrame, WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Longer than any answer takes; the server's own limits are set far below.
PATIENCE = 10.0


class Client:
    def __init__(self, address, settings=None):
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.buffer = b""
        self.statuses, self.resets, self.ended = {}, {}, set()
        self.goaway, self.closed, self.acknowledged = None, False, 0
        self.send(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def frames(self, *frames):
        self.send(b"".join(frame.serialize() for frame in frames))

    def headers(self, stream, fields, flags=("END_STREAM", "END_HEADERS")):
        # Not the encoder's own `encode`: it would refuse some of what is sent here.
        block = self.encoder.encode(fields, huffman=False)
        return HeadersFrame(stream, block, flags=flags)

    def get(self, stream, path="/", method="GET", extra=(), flags=("END_STREAM", "END_HEADERS")):
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        self.frames(self.headers(stream, fields + list(extra), flags))

    def read(self, until=lambda client: False, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not self.closed and not until(self) and time.monotonic() < deadline:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                return
            except OSError:
                data = b""
            if not data:
                self.closed = True
            self.buffer += data
            while len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self.buffer[9:9 + length]))
                self.buffer = self.buffer[9 + length:]
                self.take(frame)

    def take(self, frame):
        if isinstance(frame, HeadersFrame):
            for name, value in self.decoder.decode(frame.data):
                if name == ":status":
                    self.statuses[frame.stream_id] = int(value)
        elif isinstance(frame, RstStreamFrame):
            self.resets[frame.stream_id] = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame.error_code
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.frames(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame):
            self.acknowledged += 1
        if "END_STREAM" in frame.flags:
            self.ended.add(frame.stream_id)

    def settle(self, stream=1):
        """Until this stream has its answer, or there will be none."""
        self.read(lambda c: stream in c.ended or stream in c.resets or c.goaway is not None)

    def outcome(self):
        return {
            "statuses": sorted(self.statuses.values()),
            "resets": len(self.resets),
            "goaway": self.goaway,
            "closed": self.closed,
        }


# Floods: each goes on until the server ends the connection, or long past what it may allow.

FLOOD = 20_000


def flood(client, frames):
    """Sends these frames again and again, a few hundred at a time."""
    sent = 0
    while not client.closed and sent < FLOOD:
        batch = [frame for _ in range(200) for frame in frames(sent)]
        client.frames(*batch)
        sent += 200
        client.read(patience=0.001)
    client.read(patience=PATIENCE if client.closed else 1.0)


def rapid_reset(address):
    client = Client(address)
    stream = 1
    while not client.closed and stream < 2 * FLOOD:
        for _ in range(50):
            client.get(stream)
            client.frames(RstStreamFrame(stream, error_code=8))
            stream += 2
        client.read(patience=0.001)
    return client


def patient_reset(address):
    """Takes each request back when the server has surely seen it."""
    client = Client(address)
    for stream in range(1, 601, 2):
        client.get(stream, path="/slow")
        client.frames(PingFrame(0, opaque_data=stream.to_bytes(8, "big")))
        client.read(lambda c: c.acknowledged * 2 > stream)
        client.frames(RstStreamFrame(stream, error_code=8))
        if client.closed:
            break
    client.read(patience=1.0)
    return client


def pings(address):
    client = Client(address)
    flood(client, lambda _: [PingFrame(0, opaque_data=b"12345678")])
    return client


def settings(address):
    client = Client(address)
    flood(client, lambda _: [SettingsFrame(0, settings={4: 65_535})])
    return client


def priorities(address):
    client = Client(address)
    client.get(1)
    flood(client, lambda n: [PriorityFrame(1 + 2 * n, depends_on=0, stream_weight=1)])
    return client


def empty_data(address):
    client = Client(address)
    client.get(1, method="POST", flags=("END_HEADERS",))
    flood(client, lambda _: [DataFrame(1, b"")])
    return client


def window_updates(address):
    client = Client(address)
    flood(client, lambda _: [WindowUpdateFrame(0, window_increment=1)])
    return client


def unknown_frames(address):
    client = Client(address)
    for _ in range(FLOOD // 200):
        client.send(b"\0\0\0\xee\0\0\0\0\0" * 200)
        client.read(patience=0.001)
    client.read(patience=1.0)
    return client


def continuations(address):
    client = Client(address)
    client.frames(client.headers(1, [(":method", "GET")], flags=()))
    flood(client, lambda _: [ContinuationFrame(1, b"")])
    return client


def large_continuations(address):
    client = Client(address)
    client.frames(client.headers(1, [(":method", "GET")], flags=()))
    block = Encoder().encode([("x", "y" * 8000)], huffman=False)
    flood(client, lambda _: [ContinuationFrame(1, block)])
    return client


def many_continuations(address):
    """Requests whose heads come in many small pieces, each within what one head may be."""
    client = Client(address)
    for stream in range(1, 2 * FLOOD, 2):
        block = client.encoder.encode(pseudo(), huffman=False)
        client.frames(
            HeadersFrame(stream, block[:1], flags=["END_STREAM"]),
            ContinuationFrame(stream, block[1:2]),
            ContinuationFrame(stream, block[2:3]),
            ContinuationFrame(stream, block[3:], flags=["END_HEADERS"]),
        )
        client.read(lambda c: len(c.statuses) * 2 > stream)
        if client.closed or stream > 1_000:
            break
    client.read(patience=1.0)
    return client


def too_many_streams(address):
    client = Client(address)
    for stream in range(1, 401, 2):
        client.get(stream, path="/slow")
    client.read(lambda c: len(c.resets) >= 100 or c.goaway is not None, patience=3.0)
    return client


def stalled_window(address):
    """Asks for answers and never lets one through."""
    client = Client(address, settings={4: 0})
    for stream in range(1, 21, 2):
        client.get(stream, path="/large")
    client.read()
    return client


# Requests, good and bad.

def request(fields, end=("END_STREAM", "END_HEADERS"), data=None):
    def run(address):
        client = Client(address)
        client.frames(client.headers(1, fields, end))
        if data is not None:
            client.frames(DataFrame(1, data, flags=["END_STREAM"]))
        client.settle()
        return client
    return run


def pseudo(**changed):
    fields = {"method": "GET", "scheme": "http", "authority": "a", "path": "/"}
    fields.update(changed)
    return [(":" + name, value) for name, value in fields.items() if value is not None]


def with_field(name, value):
    return request(pseudo() + [(name, value)])


def with_body(length, data):
    return request(pseudo(method="POST") + length, ("END_HEADERS",), data)


def frame(build):
    def run(address):
        client = Client(address)
        build(client)
        client.read(lambda c: c.goaway is not None or c.resets)
        return client
    return run


CASES = {
    "rapid-reset": rapid_reset,
    "patient-reset": patient_reset,
    "pings": pings,
    "settings": settings,
    "priorities": priorities,
    "empty-data": empty_data,
    "window-updates": window_updates,
    "unknown-frames": unknown_frames,
    "continuations": continuations,
    "many-continuations": many_continuations,
    "large-continuations": large_continuations,
    "too-many-streams": too_many_streams,
    "stalled-window": stalled_window,
    "good": request(pseudo()),
    "good-body": with_body([("content-length", "5")], b"hello"),
    "good-te": with_field("te", "trailers"),
    "large-header": with_field("x", "y" * 20_000),
    "many-headers": request(pseudo() + [("x", "y")] * 200),
    "long-path": request(pseudo(path="/" + "a" * 9_000)),
    "value-crlf": with_field("x", "y\r\nhost: b"),
    "value-lf": with_field("x", "y\nz"),
    "value-cr": with_field("x", "y\rz"),
    "value-null": with_field("x", "y\0z"),
    "name-crlf": with_field("x\r\nhost: b\r\ny", "z"),
    "name-colon": with_field("x:y", "z"),
    "name-space": with_field("x y", "z"),
    "name-upper": with_field("X-Y", "z"),
    "name-empty": with_field("", "z"),
    "transfer-encoding": with_field("transfer-encoding", "chunked"),
    "connection": with_field("connection", "x-y"),
    "keep-alive": with_field("keep-alive", "timeout=5"),
    "proxy-connection": with_field("proxy-connection", "keep-alive"),
    "upgrade": with_field("upgrade", "websocket"),
    "te-gzip": with_field("te", "gzip"),
    "path-empty": request(pseudo(path="")),
    "path-missing": request(pseudo(path=None)),
    "path-relative": request(pseudo(path="a")),
    "path-space": request(pseudo(path="/a HTTP/1.1")),
    "path-crlf": request(pseudo(path="/a HTTP/1.1\r\nhost: b\r\n\r\n")),
    "path-absolute": request(pseudo(path="http://b/")),
    "path-bytes": request(pseudo(path="/caf\u00e9")),
    "path-star": request(pseudo(path="*")),
    "method-space": request(pseudo(method="GET /b HTTP/1.1")),
    "method-crlf": request(pseudo(method="GET\r\n")),
    "method-missing": request(pseudo(method=None)),
    "method-connect": request([(":method", "CONNECT"), (":authority", "b:443")]),
    "method-trace": request(pseudo(method="TRACE")),
    "scheme-missing": request(pseudo(scheme=None)),
    "scheme-ftp": request(pseudo(scheme="ftp")),
    "scheme-crlf": request(pseudo(scheme="http\r\n")),
    "authority-user": request(pseudo(authority="u@a")),
    "authority-crlf": request(pseudo(authority="a\r\nx: y")),
    "authority-path": request(pseudo(authority="a/b")),
    "authority-missing": request(pseudo(authority=None)),
    "authority-against-host": with_field("host", "b"),
    "two-hosts": request(pseudo() + [("host", "a"), ("host", "a")]),
    "pseudo-twice": request(pseudo() + [(":path", "/b")]),
    "pseudo-unknown": request(pseudo() + [(":x", "y")]),
    "pseudo-late": request([(":method", "GET"), (":scheme", "http"), ("x", "y"), (":authority", "a"), (":path", "/")]),
    "pseudo-of-responses": request(pseudo() + [(":status", "200")]),
    "length-twice": with_body([("content-length", "5"), ("content-length", "6")], b"hello"),
    "length-sign": with_body([("content-length", "+5")], b"hello"),
    "length-short": with_body([("content-length", "4")], b"hello"),
    "length-long": with_body([("content-length", "6")], b"hello"),
    "expect-other": with_field("expect", "200-ok"),
    "stream-zero": frame(lambda c: c.frames(DataFrame(1, b"x"))),
    "stream-even": frame(lambda c: c.get(2)),
    "frame-too-large": frame(lambda c: c.send(b"\x01\0\0\0\0\0\0\0\x01")),
    "window-zero": frame(lambda c: c.send(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0")),
    "window-overflow": frame(lambda c: c.frames(*[WindowUpdateFrame(0, window_increment=2**31 - 1)] * 2)),
    "settings-bad": frame(lambda c: c.frames(SettingsFrame(0, settings={4: 2**32 - 1}))),
    "headers-split-by-other": frame(
        lambda c: c.frames(c.headers(1, pseudo(), ("END_STREAM",)), PingFrame(0, opaque_data=b"12345678"))
    ),
    "bad-hpack": frame(lambda c: c.frames(HeadersFrame(1, b"\xff\xff\xff\xff\xff", flags=["END_STREAM", "END_HEADERS"]))),
}


def main():
    host, port, *names = sys.argv[1:]
    outcomes = {}
    for name in names or CASES:
        client = CASES[name]((host, int(port)))
        outcomes[name] = client.outcome()
        client.socket.close()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
