"""An HTTP/3 client that we did not write, PyPI's `aioquic`; `tests/tests/http3_peer.rs` says what must come of each case.

    python3 h3_peer.py HOST PORT NAME AUTHORITY CASE...

NAME is the server's, AUTHORITY the file of who issued its certificate. Prints a JSON object: for each case, on a connection of
its own, what the server answered and how stream and connection ended.
"""

import hashlib
import http.client
import json
import re
import socket
import ssl
import sys
import time

from aioquic.buffer import Buffer, encode_uint_var
from aioquic.h3.connection import FrameType, H3Connection, Setting, StreamType, encode_frame, encode_settings
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    HandshakeCompleted, PingAcknowledged, StopSendingReceived, StreamDataReceived, StreamReset,
)

# Longer than any answer takes; the server's own limits are set far below.
PATIENCE = 10.0
CANCELLED = 0x10C


class Client:
    def __init__(self, server):
        (self.host, self.port), self.name, authority = server
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=self.name)
        configuration.load_verify_locations(authority)
        self.heads, self.interim, self.bodies, self.trailers = {}, {}, {}, {}
        self.ended, self.resets, self.stops = set(), {}, {}
        self.one_way, self.shaken, self.pongs, self.closed = {}, False, 0, None
        self.http = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((self.host, self.port))
        self.quic = QuicConnection(configuration=configuration)
        self.quic.connect((self.host, self.port), time.monotonic())
        self.read(lambda c: c.shaken)
        self.http = H3Connection(self.quic)
        self.send()

    def send(self):
        """What is to be sent by now."""
        for data, _ in self.quic.datagrams_to_send(time.monotonic()):
            try:
                self.socket.send(data)
            except OSError:
                # It is told apart from a lost packet by what comes back.
                pass

    def read(self, until=lambda client: False, patience=PATIENCE):
        deadline = time.monotonic() + patience
        self.pump()
        while self.closed is None and not until(self) and time.monotonic() < deadline:
            timer = self.quic.get_timer()
            end = deadline if timer is None else min(deadline, timer)
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(65536)
                self.quic.receive_datagram(data, (self.host, self.port), time.monotonic())
            except OSError:
                if timer is not None and time.monotonic() >= timer:
                    self.quic.handle_timer(time.monotonic())
            self.pump()

    def pump(self):
        while (event := self.quic.next_event()) is not None:
            self.take(event)
        # The library tells of the end only after the time in which late packets may come.
        if self.closed is None and self.quic._close_event is not None:
            self.closed = self.quic._close_event.error_code
        self.send()

    def take(self, event):
        if isinstance(event, HandshakeCompleted):
            self.shaken = True
        elif isinstance(event, PingAcknowledged):
            self.pongs += 1
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, StreamDataReceived):
            if event.stream_id % 4 == 3:
                self.one_way.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream and event.stream_id % 4 == 0:
                self.ended.add(event.stream_id)
        if self.http is not None:
            for part in self.http.handle_event(event):
                self.take_part(part)

    def take_part(self, part):
        if isinstance(part, DataReceived):
            self.bodies.setdefault(part.stream_id, bytearray()).extend(part.data)
        elif isinstance(part, HeadersReceived):
            fields = {name.decode(): value.decode() for name, value in part.headers}
            status = fields.get(":status")
            if status is None:
                self.trailers[part.stream_id] = fields
            elif status.startswith("1"):
                self.interim.setdefault(part.stream_id, []).append(fields)
            else:
                self.heads[part.stream_id] = fields

    def goaway(self):
        """What the server's last GOAWAY says (RFC 9114, 7.2.6)."""
        control = [bytes(data) for data in self.one_way.values() if data[0] == StreamType.CONTROL]
        found, rest = None, Buffer(data=b"".join(control)[1:])
        while not rest.eof():
            kind, length = rest.pull_uint_var(), rest.pull_uint_var()
            payload = rest.pull_bytes(length)
            if kind == FrameType.GOAWAY:
                found = Buffer(data=payload).pull_uint_var()
        return found

    # Requests.

    def stream(self):
        return self.quic.get_next_available_stream_id()

    def ask(self, fields, body=None, trailers=None, literally=False):
        """A request of these fields. Its stream."""
        stream = self.stream()
        block = literal(fields) if literally else self.http._encode_headers(stream, encoded(fields))
        parts = [encode_frame(FrameType.HEADERS, block)]
        if body is not None:
            parts.append(encode_frame(FrameType.DATA, body))
        if trailers is not None:
            parts.append(encode_frame(FrameType.HEADERS, self.http._encode_headers(stream, encoded(trailers))))
        self.raw(stream, b"".join(parts))
        return stream

    def raw(self, stream, data, end=True):
        # The library looks at answers only on streams that it knows.
        with self.http._get_or_create_stream(stream):
            pass
        self.quic.send_stream_data(stream, data, end)
        self.send()

    def get(self, path="/", **more):
        return self.ask(pseudo(self.name, path=path), **more)

    def has_ended(self, stream):
        return stream in self.ended or stream in self.resets

    def settle(self, *streams):
        """Until these streams have their answers, or there will be none."""
        self.read(lambda c: all(c.has_ended(stream) for stream in streams))

    def forget(self, stream):
        """What came of an answer that broke off."""
        self.bodies.pop(stream, None)
        self.heads.pop(stream, None)

    def ping(self):
        """Until the server has seen all that was sent."""
        before = self.pongs
        self.quic.send_ping(before + 1)
        self.read(lambda c: c.pongs > before)

    def outcome(self):
        return {
            "statuses": [int(head[":status"]) for _, head in sorted(self.heads.items())],
            "heads": [head for _, head in sorted(self.heads.items())],
            "interim": [heads for _, heads in sorted(self.interim.items())],
            "bodies": [describe(body) for _, body in sorted(self.bodies.items())],
            "trailers": [trailers for _, trailers in sorted(self.trailers.items())],
            "resets": sorted(self.resets.values()),
            "stops": sorted(self.stops.values()),
            "goaway": self.goaway(),
            "closed": self.closed,
        }


def encoded(fields):
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def literal(fields):
    """A field section of names and values as they are (RFC 9204, 4.5.6): the library refuses to encode some of them."""
    parts = [b"\0\0"]
    for name, value in encoded(fields):
        parts += [prefixed(0x20, 3, len(name)), name, prefixed(0, 7, len(value)), value]
    return b"".join(parts)


def prefixed(first, bits, number):
    """A number that begins in the last bits of a byte (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    number, rest = number - most, []
    while number >= 128:
        rest.append(number % 128 | 128)
        number //= 128
    return bytes([first | most, *rest, number])


def describe(body):
    return {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def pseudo(name, **changed):
    fields = {"method": "GET", "scheme": "https", "authority": name, "path": "/"}
    fields.update(changed)
    return [(":" + name, value) for name, value in fields.items() if value is not None]


# Good requests.

def large_body():
    return bytes(number % 251 for number in range(300_000))


def get(client):
    client.settle(client.get())


def post(client):
    client.settle(client.ask(pseudo(client.name, method="POST", path="/echo"), large_body()))


def large(client):
    client.settle(client.get("/large"))


def trailers(client):
    fields = pseudo(client.name, method="POST", path="/trailers")
    fields += [("te", "trailers"), ("trailer", "x-sum")]
    client.settle(client.ask(fields, b"data", trailers=[("x-sum", "7")]))


def many(client):
    client.settle(*[client.get() for _ in range(300)])


def grease(client):
    """Frames, settings and streams that mean nothing (RFC 9114, 7.2.8)."""
    stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
    client.quic.send_stream_data(stream, encode_uint_var(0x21) + b"nothing", True)
    client.quic.send_stream_data(client.http._local_control_stream_id, encode_frame(0x21, b"nothing"))
    client.settle(client.get())


def interim(client):
    client.settle(client.get("/interim"))


def goaway(client):
    """Asks, and waits for the answer and for what the server says when it ends."""
    client.get("/slow")
    client.read()


def alternative(client):
    """Asks over TCP whether there is HTTP/3, and then asks there. The client that is given is not used."""
    context = ssl.create_default_context(cafile=SERVER[2])
    tcp = http.client.HTTPSConnection(*SERVER[0], context=context, timeout=PATIENCE)
    tcp.sock = context.wrap_socket(socket.create_connection(SERVER[0], timeout=PATIENCE), server_hostname=SERVER[1])
    tcp.request("GET", "/", headers={"host": SERVER[1]})
    answer = tcp.getresponse().getheader("alt-svc", "")
    port = int(re.fullmatch(r'h3=":(\d+)"; ma=\d+', answer).group(1))
    other = Client(((SERVER[0][0], port), *SERVER[1:]))
    other.settle(other.get())
    return other


# Requests that end before they have come to their end.

def reset_in_body(client):
    """Takes a request back in the middle of its body; the next one on the connection is served."""
    fields = pseudo(client.name, method="POST", path="/echo") + [("content-length", "100000")]
    stream = client.stream()
    block = client.http._encode_headers(stream, encoded(fields))
    client.raw(stream, encode_frame(FrameType.HEADERS, block), end=False)
    client.raw(stream, encode_frame(FrameType.DATA, b"x" * 50_000), end=False)
    client.ping()
    client.quic.reset_stream(stream, CANCELLED)
    client.read(lambda c: stream in c.resets)
    client.forget(stream)
    client.settle(client.get())


def stop_in_answer(client):
    """Wants no more of an answer in its middle; the next one on the connection is served."""
    stream = client.get("/endless")
    client.read(lambda c: len(c.bodies.get(stream, b"")) > 100_000)
    client.quic.stop_stream(stream, CANCELLED)
    client.read(lambda c: stream in c.resets)
    client.forget(stream)
    client.settle(client.get())


def cut_frame(client):
    """The stream ends within a frame (RFC 9114, 7.1)."""
    stream = client.stream()
    fields = pseudo(client.name, method="POST", path="/echo")
    block = client.http._encode_headers(stream, encoded(fields))
    client.raw(stream, encode_frame(FrameType.HEADERS, block) + encode_frame(FrameType.DATA, b"x" * 100)[:50])
    client.settle(stream)


def slow_head(client):
    """A head whose last byte never comes."""
    stream = client.stream()
    block = client.http._encode_headers(stream, encoded(pseudo(client.name)))
    client.raw(stream, encode_frame(FrameType.HEADERS, block)[:-1], end=False)
    client.read(lambda c: stream in c.resets or stream in c.stops)


# Malformed requests (RFC 9114, 4.1.2, 4.2 and 4.3).

def request(change, body=None):
    def run(client):
        client.settle(client.ask(change(client.name), body, literally=True))
    return run


def changed(**fields):
    return request(lambda name: pseudo(name, **fields))


def with_field(*field):
    return request(lambda name: pseudo(name) + [field])


def with_length(*lengths, body=b"hello"):
    return request(lambda name: pseudo(name, method="POST") + [("content-length", length) for length in lengths], body)


def frames(*parts):
    """These frames on a stream for a request."""
    def run(client):
        stream = client.stream()
        client.raw(stream, b"".join(part(client, stream) if callable(part) else part for part in parts))
        client.settle(stream)
    return run


def good_head(client, stream):
    return encode_frame(FrameType.HEADERS, client.http._encode_headers(stream, encoded(pseudo(client.name))))


# What no client may do on a connection (RFC 9114, 6.2 and 7.2).

def on_control(data, end=False):
    def run(client):
        client.quic.send_stream_data(client.http._local_control_stream_id, data, end)
        client.read()
    return run


def on_new(data):
    """On a stream of one direction of its own."""
    def run(client):
        stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
        client.quic.send_stream_data(stream, data)
        client.read()
    return run


def on_encoder(client):
    client.quic.send_stream_data(client.http._local_encoder_stream_id, b"\xff" * 20)
    client.read()


# Floods: each goes on until the server ends the connection, or long past what it may allow.

def rapid_reset(client):
    for _ in range(100):
        streams = [client.get() for _ in range(20)]
        for stream in streams:
            client.quic.reset_stream(stream, CANCELLED)
            client.quic.stop_stream(stream, CANCELLED)
        client.read(patience=0.01)
        if client.closed is not None:
            break
    client.read(patience=1.0)


def patient_reset(client):
    """Takes each request back when the server has surely seen it."""
    for _ in range(300):
        stream = client.get("/slow")
        client.ping()
        client.quic.stop_stream(stream, CANCELLED)
        client.ping()
        if client.closed is not None:
            break
    client.read(patience=1.0)


def too_many_streams(client):
    """More requests than may be served at once, none of which is answered."""
    for _ in range(400):
        client.get("/slow")
    client.read(patience=1.5)


def too_many_unknown(client):
    """Streams of one direction that mean nothing, and never end."""
    for _ in range(2_000):
        stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
        client.quic.send_stream_data(stream, encode_uint_var(0x21) + b"nothing")
    client.read(patience=1.0)
    client.settle(client.get())


def unknown_frames(client):
    """Frames that mean nothing in the place of a head, for as long as the server lets that go on."""
    stream = client.stream()
    while client.closed is None and stream not in client.resets and stream not in client.stops:
        client.raw(stream, encode_frame(0x21, b"") * 1_000, end=False)
        client.read(patience=0.02)
        if len(client.quic._streams[stream].sender._buffer) > 1 << 20:
            client.read(lambda c: stream in c.resets or stream in c.stops)
            break


def stalled(client):
    """Asks for much, and is deaf for a while."""
    for _ in range(10):
        client.get("/large")
    time.sleep(3)
    client.read(lambda c: False)


SERVER = None

CASES = {
    "get": get,
    "post": post,
    "large": large,
    "trailers": trailers,
    "many": many,
    "grease": grease,
    "interim": interim,
    "goaway": goaway,
    "alternative": alternative,
    "reset-in-body": reset_in_body,
    "stop-in-answer": stop_in_answer,
    "cut-frame": cut_frame,
    "slow-head": slow_head,
    "method-missing": changed(method=None),
    "method-empty": changed(method=""),
    "method-space": changed(method="GET /b HTTP/1.1"),
    "method-connect": request(lambda name: [(":method", "CONNECT"), (":authority", "b:443")]),
    "method-trace": changed(method="TRACE"),
    "scheme-missing": changed(scheme=None),
    "scheme-crlf": changed(scheme="https\r\n"),
    "path-missing": changed(path=None),
    "path-empty": changed(path=""),
    "path-relative": changed(path="a"),
    "path-space": changed(path="/a HTTP/1.1"),
    "path-crlf": changed(path="/a HTTP/1.1\r\nhost: b\r\n\r\n"),
    "path-absolute": changed(path="http://b/"),
    "authority-missing": changed(authority=None),
    "authority-user": changed(authority="u@a"),
    "authority-crlf": changed(authority="a\r\nx: y"),
    "authority-against-host": with_field("host", "b"),
    "two-hosts": request(lambda name: pseudo(name) + [("host", name), ("host", name)]),
    "pseudo-twice": with_field(":path", "/b"),
    "pseudo-unknown": with_field(":x", "y"),
    "pseudo-of-responses": with_field(":status", "200"),
    "pseudo-late": request(lambda name: [("x", "y")] + pseudo(name)),
    "name-upper": with_field("X-Y", "z"),
    "name-empty": with_field("", "z"),
    "name-space": with_field("x y", "z"),
    "name-colon": with_field("x:y", "z"),
    "name-crlf": with_field("x\r\nhost: b\r\ny", "z"),
    "value-crlf": with_field("x", "y\r\nhost: b"),
    "value-lf": with_field("x", "y\nz"),
    "value-null": with_field("x", "y\0z"),
    "connection": with_field("connection", "x-y"),
    "keep-alive": with_field("keep-alive", "timeout=5"),
    "proxy-connection": with_field("proxy-connection", "keep-alive"),
    "transfer-encoding": with_field("transfer-encoding", "chunked"),
    "upgrade": with_field("upgrade", "websocket"),
    "te-gzip": with_field("te", "gzip"),
    "expect-other": with_field("expect", "200-ok"),
    "length-sign": with_length("+5"),
    "length-twice": with_length("5", "6"),
    "length-short": with_length("4"),
    "length-long": with_length("6"),
    "data-first": frames(encode_frame(FrameType.DATA, b"x")),
    "no-head": frames(b""),
    "settings-in-request": frames(good_head, encode_frame(FrameType.SETTINGS, b"")),
    "goaway-in-request": frames(good_head, encode_frame(FrameType.GOAWAY, b"\0")),
    "bad-qpack": frames(encode_frame(FrameType.HEADERS, b"\xff" * 20)),
    "dynamic-qpack": frames(encode_frame(FrameType.HEADERS, b"\x02\x00\x80")),
    "large-head": with_field("x", "y" * 20_000),
    "many-fields": request(lambda name: pseudo(name) + [("x", "y")] * 200),
    "long-path": changed(path="/" + "a" * 9_000),
    "data-on-control": on_control(encode_frame(FrameType.DATA, b"x")),
    "head-on-control": on_control(encode_frame(FrameType.HEADERS, b"x")),
    "second-settings": on_control(encode_frame(FrameType.SETTINGS, b"")),
    "control-closed": on_control(b"", end=True),
    "huge-on-control": on_control(encode_uint_var(FrameType.GOAWAY) + encode_uint_var(1 << 30)),
    "second-control": on_new(b"\0" + encode_frame(FrameType.SETTINGS, encode_settings({Setting.QPACK_BLOCKED_STREAMS: 0}))),
    "second-encoder": on_new(b"\2"),
    "push-of-client": on_new(b"\1\0"),
    "bad-encoder": on_encoder,
    "rapid-reset": rapid_reset,
    "patient-reset": patient_reset,
    "too-many-streams": too_many_streams,
    "too-many-unknown": too_many_unknown,
    "unknown-frames": unknown_frames,
    "stalled": stalled,
}


def main():
    global SERVER
    host, port, name, authority, *cases = sys.argv[1:]
    SERVER = ((host, int(port)), name, authority)
    outcomes = {}
    for case in cases:
        client = Client(SERVER)
        client = CASES[case](client) or client
        outcomes[case] = client.outcome()
        client.quic.close()
        client.send()
        client.socket.close()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
