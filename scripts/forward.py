"""Forwards TCP ports of one address to the same ports of 127.0.0.1, until it is ended.

    forward.py ADDRESS PORT ...

Containers reach the host at the address of Docker's bridge, and the local cloud listens on 127.0.0.1 alone. Prints one
line once every port is open.
"""

import asyncio
import contextlib
import socket
import sys


async def copy(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def connection(port):
    async def forward(reader, writer):
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        for each in (writer, back_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer))
        writer.close()
        back_writer.close()

    return forward


async def main(address, *ports):
    servers = [await asyncio.start_server(connection(int(port)), address, int(port)) for port in ports]
    print("forwarding", *ports, flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
