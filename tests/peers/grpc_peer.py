"""A server and a client of gRPC that we did not write, for the tests: PyPI's `grpcio`. Messages are bytes.

    grpc_peer.py serve                      prints its port; ends with its standard input
    grpc_peer.py call ADDRESS SCENARIO      prints what it saw as one JSON object
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

LARGE = 3 << 20
OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
cancelled = threading.Event()


def unary(request, context):
    context.set_trailing_metadata((("x-sum", str(len(request))),))
    seen = {key: value for key, value in context.invocation_metadata()}
    context.send_initial_metadata((("x-user-agent", seen.get("user-agent", "")),))
    return request[::-1]


def client_stream(requests, context):
    return b"+".join(requests)


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def bidi(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: \u00fc%")


def slow(request, context):
    context.add_callback(cancelled.set)
    for _ in range(200):
        if not context.is_active():
            return b""
        time.sleep(0.05)
    return b"late"


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(10) else b"no"


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


def kinds(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    answer, state = call.with_call(b"abc", metadata=(("x-asked", "1"),), timeout=30)
    trailers = {key: value for key, value in state.trailing_metadata()}
    head = {key: value for key, value in state.initial_metadata()}
    joined = channel.stream_unary("/test.Echo/ClientStream")(iter([b"a", b"b", b"c"]), timeout=30)
    listed = list(channel.unary_stream("/test.Echo/ServerStream")(b"300", timeout=30))
    # One after the other: each answer must come before the next question is asked.
    answered = threading.Semaphore(1)

    def questions():
        for word in (b"one", b"two", b"three"):
            answered.acquire()
            yield word

    talked = []
    for answer_part in channel.stream_stream("/test.Echo/Bidi")(questions(), timeout=30):
        talked.append(answer_part.decode())
        answered.release()
    return {
        "unary": answer.decode(),
        "trailer": trailers.get("x-sum"),
        "via": head.get("via"),
        "joined": joined.decode(),
        "listed": len(listed),
        "talked": talked,
    }


def large(channel):
    message = bytes(range(256)) * (LARGE // 256)
    return {"same": channel.unary_unary("/test.Echo/Unary")(message, timeout=30) == message[::-1]}


def one(method, timeout, metadata=()):
    def run(channel):
        answer = channel.unary_unary(f"/test.Echo/{method}")(b"abc", timeout=timeout, metadata=metadata)
        return {"answer": answer.decode()}

    return run


def cancel(channel):
    call = channel.unary_unary("/test.Echo/Slow").future(b"abc", timeout=30)
    time.sleep(0.5)
    call.cancel()
    answer = channel.unary_unary("/test.Echo/WasCancelled")(b"", timeout=30)
    return {"cancelled": answer.decode()}


def parallel(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    pending = [call.future(str(number).encode(), timeout=30) for number in range(200)]
    return {"answers": sum(one.result().decode()[::-1] == str(n) for n, one in enumerate(pending))}


SCENARIOS = {
    "kinds": kinds,
    "large": large,
    "fail": one("Fail", 30),
    "slow": one("Slow", 1),
    "slow-without-deadline": one("Slow", None),
    "unary": one("Unary", 30),
    "unimplemented": one("Nothing", 30),
    "cancel": cancel,
    "parallel": parallel,
}


def call(address, scenario):
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        try:
            seen = SCENARIOS[scenario](channel)
        except grpc.RpcError as error:
            trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
            seen = {"code": error.code().name, "details": error.details(), "trailers": trailers}
    print(json.dumps(seen))


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2], sys.argv[3])
