"""Asterisk's side of one FastAGI session, by script: what a caller's channel does, without a channel.

Promises: speaks as Asterisk 22 does (header block, one reply a command, `HANGUP`, 511 on a dead channel), or exactly
the bytes that a test wants, and ends the connection at any byte, politely or with RST. What was commanded is kept in
`commands`. Not an Asterisk: a command does nothing.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence

Answer = str | Callable[[str], str]
"""A reply without its line break, or what makes one from the command."""

USAGE = (
    "520-Invalid command syntax.  Proper usage follows:\nSets a variable to the current channel.\n520 End of usage."
)
UNKNOWN = "510 Invalid or unknown command"
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


def header_block(
    script: str = "call", fields: Mapping[str, str] | None = None, args: Sequence[str] = (), uniqueid: str = "1000.1"
) -> bytes:
    """What Asterisk says first. `fields` (with their `agi_`) replace and add; None of them is checked."""
    block = {
        "agi_network": "yes",
        "agi_network_script": script,
        "agi_request": f"agi://127.0.0.1/{script}",
        "agi_channel": f"PJSIP/c1-{uniqueid}",
        "agi_language": "en",
        "agi_type": "PJSIP",
        "agi_uniqueid": uniqueid,
        "agi_version": "22.10.1",
        "agi_callerid": "2001",
        "agi_calleridname": "unknown",
        "agi_callingpres": "0",
        "agi_dnid": "100",
        "agi_rdnis": "unknown",
        "agi_context": "default",
        "agi_extension": "100",
        "agi_priority": "1",
        "agi_enhanced": "0.0",
        "agi_accountcode": "",
        "agi_threadid": "1",
        **(fields or {}),
        **{f"agi_arg_{n}": value for n, value in enumerate(args, 1)},
    }
    return "".join([f"{key}: {value}\n" for key, value in block.items()] + ["\n"]).encode()


class FakeAgi:
    """`async with FakeAgi(host, port) as caller:`, then `await caller.open("call")` and play the rest."""

    def __init__(self, host: str, port: int) -> None:
        self.commands: list[str] = []
        """Every command that was read, as it stood on the wire."""
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "FakeAgi":
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def open(
        self,
        script: str = "call",
        fields: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        uniqueid: str = "1000.1",
    ) -> None:
        """Send the header block."""
        await self.send(header_block(script, fields, args, uniqueid))

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._out.write(data)
        await self._out.drain()

    async def read_command(self) -> str:
        """The next command, without its line break; "" when the daemon has closed the connection."""
        line = (await self._in.readline()).decode().removesuffix("\n")
        if line:
            self.commands.append(line)
        return line

    async def reply(self, text: str = "200 result=0") -> None:
        await self.send(f"{text}\n".encode())

    async def play(self, answers: Mapping[str, Answer], otherwise: Answer = "200 result=0") -> None:
        """Answer commands until the daemon closes: by the longest key that a command starts with."""
        while command := await self.read_command():
            known = sorted((key for key in answers if command.startswith(key)), key=len)
            answer = answers[known[-1]] if known else otherwise
            await self.reply(answer if isinstance(answer, str) else answer(command))

    async def hang_up(self) -> None:
        """Say `HANGUP`, as Asterisk does when the caller is gone or taken elsewhere."""
        await self.send(b"HANGUP\n")

    async def wait_closed(self) -> bytes:
        """Wait until the daemon closes, politely or not; what it said until then."""
        try:
            return await self._in.read()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        """Break the connection with RST."""
        sock = self._out.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._out.transport.abort()

    async def close(self) -> None:
        """Close the connection, as Asterisk does when it stops."""
        if self._writer is not None:
            self._writer.close()
            await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    @property
    def _in(self) -> asyncio.StreamReader:
        assert self._reader is not None, "connect first"
        return self._reader

    @property
    def _out(self) -> asyncio.StreamWriter:
        assert self._writer is not None, "connect first"
        return self._writer
