"""A caller that sends exactly the bytes that a test wants: for names that no decent phone would send.

Promises: one call over UDP from an address of its own (a trunk's), answered calls are acknowledged and hung up; no
sound. It knows just enough SIP for that, and nothing of what the bytes mean.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

_SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)


class RawCall(asyncio.DatagramProtocol):
    """One call. `answers` holds every status line received."""

    def __init__(self, number: str, from_header: bytes, pbx: tuple[str, int], host: str) -> None:
        self._number, self._from, self._pbx, self._host = number, from_header, pbx, host
        self._tag, self._call = secrets.token_hex(4), secrets.token_hex(8)
        self._to = f"<sip:{number}@{pbx[0]}>"
        self._transport: asyncio.DatagramTransport
        self.answers: list[str] = []
        self.established = asyncio.Event()
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _addr: tuple[str, int]) -> None:
        text = data.decode("utf-8", "replace")
        first = text.split("\r\n", 1)[0]
        if first.startswith("BYE "):
            self._answer(text)
            self.ended.set()
        elif first.startswith("SIP/2.0"):
            self.answers.append(first)
            self._take(text, first)

    def invite(self) -> None:
        self._send("INVITE", 1, _SDP.format(host=self._host))

    async def hang_up(self, deadline_s: float = 5.0) -> None:
        self._send("BYE", 2)
        await asyncio.wait_for(self.ended.wait(), deadline_s)

    def _take(self, text: str, first: str) -> None:
        status = int(first.split(" ")[1])
        is_invite = re.search(r"^CSeq: *\d+ INVITE", text, re.MULTILINE | re.IGNORECASE)
        if is_invite and status >= 200:
            to = re.search(r"^To: *(.*?)\r?$", text, re.MULTILINE | re.IGNORECASE)
            self._to = to[1] if to else self._to
            self._send("ACK", 1)
            (self.established if status == 200 else self.ended).set()
        elif not is_invite and status == 200:
            self.ended.set()

    def _answer(self, request: str) -> None:
        kept = re.findall(r"^(?:Via|From|To|Call-ID|CSeq):.*?\r?$", request, re.MULTILINE | re.IGNORECASE)
        lines = ["SIP/2.0 200 OK", *(line.rstrip("\r") for line in kept), "Content-Length: 0", "", ""]
        self._transport.sendto("\r\n".join(lines).encode(), self._pbx)

    def _send(self, method: str, sequence: int, body: str = "") -> None:
        port = self._transport.get_extra_info("sockname")[1]
        head = (
            f"{method} sip:{self._number}@{self._pbx[0]}:{self._pbx[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self._host}:{port};branch=z9hG4bK{secrets.token_hex(6)}\r\n"
            f"Max-Forwards: 70\r\nTo: {self._to}\r\nCall-ID: {self._call}\r\nCSeq: {sequence} {method}\r\n"
            f"Contact: <sip:raw@{self._host}:{port}>\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(body)}\r\nFrom: "
        ).encode()
        self._transport.sendto(head + self._from + f";tag={self._tag}\r\n\r\n{body}".encode(), self._pbx)


@asynccontextmanager
async def raw_call(number: str, from_header: bytes, pbx: tuple[str, int], host: str) -> AsyncIterator[RawCall]:
    """Dial `number` with this From header (without its tag) from `host`, an address that a trunk is known by."""
    loop = asyncio.get_running_loop()
    transport, call = await loop.create_datagram_endpoint(
        lambda: RawCall(number, from_header, pbx, host), local_addr=(host, 0)
    )
    try:
        call.invite()
        yield call
    finally:
        transport.close()
