"""A TCP proxy that cuts, delays, resets or silences what runs through it.

Promises: between client and server every byte arrives unchanged and in order until a fault is asked for; each fault
holds for the connections there are and those to come, until `heal`. Knows no protocol.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Literal

Direction = Literal["to_client", "to_server"]

_CHUNK_BYTES = 1 << 16


class FaultyProxy:
    """`async with FaultyProxy(host, port) as proxy:` and connect to `127.0.0.1` port `proxy.port`."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._flows: set[_Flow] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_after: dict[Direction, int] = {}
        self.delay_s = 0.0
        """Each portion of bytes is kept for so long before it goes on."""
        self.accepted_count = 0

    async def __aenter__(self) -> "FaultyProxy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def active_count(self) -> int:
        return len(self._flows)

    def cut_after(self, byte_count: int, direction: Direction = "to_client") -> None:
        """Close the next connection after so many bytes that way; those bytes still arrive."""
        self._cut_after[direction] = byte_count

    def hold(self) -> None:
        """Let nothing through, in neither direction, and close nothing: the peer is silent, not gone."""
        self._flowing.clear()

    def heal(self) -> None:
        """End `hold`, `delay_s` and cuts to come."""
        self._flowing.set()
        self._cut_after.clear()
        self.delay_s = 0.0

    def reset(self) -> None:
        """Break every connection with RST."""
        for flow in set(self._flows):
            flow.reset()

    def finish(self) -> None:
        """Close every connection the polite way."""
        for flow in set(self._flows):
            flow.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [flow.task for flow in self._flows if flow.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        try:
            server_side = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        flow = _Flow(self, (reader, writer), server_side)
        flow.task = asyncio.current_task()
        self._flows.add(flow)
        try:
            await flow.run()
        finally:
            self._flows.discard(flow)

    async def _pass(self, reader: asyncio.StreamReader, limit: int | None) -> AsyncIterator[bytes]:
        """What is to go on, until the end of the connection or of the limit. An end is held, too."""
        while limit is None or limit > 0:
            data = await reader.read(_CHUNK_BYTES if limit is None else min(limit, _CHUNK_BYTES))
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            if not data:
                return
            yield data
            limit = None if limit is None else limit - len(data)


class _Flow:
    """One client's connection and the one to the server behind it."""

    def __init__(
        self,
        proxy: FaultyProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until one side has ended or the cut has come; then both are closed."""
        ways = [
            asyncio.create_task(self._pump("to_server", self._client[0], self._server[1]), name="proxy-to-server"),
            asyncio.create_task(self._pump("to_client", self._server[0], self._client[1]), name="proxy-to-client"),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.close()

    async def _pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limit = self._proxy._cut_after.pop(direction, None)
        with contextlib.suppress(ConnectionError):  # an end like any other, here
            async for data in self._proxy._pass(reader, limit):
                writer.write(data)
                await writer.drain()

    def close(self) -> None:
        self._client[1].close()
        self._server[1].close()

    def reset(self) -> None:
        for _, writer in (self._client, self._server):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
