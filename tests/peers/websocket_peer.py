"""A server and a client of WebSockets that we did not write, for the tests: PyPI's `websockets`.

    websocket_peer.py serve                 echoes; prints its port; ends with its standard input
    websocket_peer.py talk URL              prints what it saw as one JSON object
"""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def until_input_ends():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def echo(socket):
    async for message in socket:
        if message == "bye":
            await socket.close(4001, "as you wish")
        else:
            await socket.send(message)


async def run_server():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat"], max_size=8 << 20, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await until_input_ends()


async def talk(url):
    seen = {}
    try:
        options = {"subprotocols": ["chat"], "max_size": 8 << 20, "compression": None, "open_timeout": 20}
        async with connect(url, **options) as socket:
            seen["subprotocol"] = socket.subprotocol
            await socket.send("hello")
            seen["text"] = await socket.recv()
            large = bytes(range(256)) * (4 << 12)
            await socket.send(large)
            seen["large"] = await socket.recv() == large
            # Many at once: each side writes while the other does.
            count = 500
            receiving = asyncio.ensure_future(receive(socket, count))
            for number in range(count):
                await socket.send(f"{number}:" + "x" * 1000)
            seen["in_order"] = await receiving
            await (await socket.ping())
            seen["pong"] = True
            await socket.send("bye")
            try:
                await socket.recv()
            except websockets.ConnectionClosed as closed:
                seen["close"] = [closed.rcvd.code, closed.rcvd.reason]
    except websockets.InvalidStatus as refused:
        seen["status"] = refused.response.status_code
    print(json.dumps(seen))


async def receive(socket, count):
    return all([(await socket.recv()).startswith(f"{number}:") for number in range(count)])


if sys.argv[1] == "serve":
    asyncio.run(run_server())
else:
    asyncio.run(talk(sys.argv[2]))
