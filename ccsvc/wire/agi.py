"""The gateway interface's (AGI's) bytes: one header block, then commands one way and replies the other.

Promises:

- Events come out whole and in order, however the bytes were cut up on their way.
- A reply is matched to a command by position alone, so it is only recognised while one is awaited: `encode` marks
  that. Usage blocks (520) and values of several lines belong to their reply and don't shift the next one.
- `HANGUP` is recognised between replies, not inside a value.
- A header block that says something twice, or goes on after its end, is refused: Asterisk writes a caller's number
  unescaped, and the user part of a SIP address may hold `%0A`.
- Control characters in a header's value become U+FFFD; text is UTF-8, and what isn't becomes U+FFFD.
- Garbage and excess raise `AgiProtocolError`, and nothing else is ever raised by reading.
- `encode_command` writes exactly one command, whose arguments arrive as they were given, or raises `AgiUnsendable`.

Does not know: what a command does. It can't repair one weakness of the protocol: a variable whose value holds `)` and
a line break ends its reply too early. What follows comes out as `AgiStray`; but read values that callers may have
written through `${URIENCODE(...)}`.

Tried on Asterisk 22: in a quoted argument backslash and quote are escaped by a backslash, every other character
stands for itself; `EXEC` passes on its first argument only (commas inside it separate the application's); neither
`EXEC` nor `SET VARIABLE` expands `${}`, `GET FULL VARIABLE` does. A line over 8191 bytes is run as two commands. A
second command sent before the first's reply may lie unread until a third one comes. After a NUL no answer comes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl

from ccsvc.errors import AgiProtocolError, AgiUnsendable

COMMAND_LIMIT_BYTES = 8190
ARGUMENT_LIMIT_COUNT = 120
HEADER_BLOCK_LIMIT_BYTES = 16 << 10
REPLY_LIMIT_BYTES = 64 << 10

_VERB = re.compile(r"[A-Z]+(?: [A-Z]+){0,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_KEY = re.compile(r"agi_[a-z0-9_]+")
_MORE = r"(?: [a-z0-9]+=[^\s)]*)*"  # what may follow the parentheses; no ")" in it keeps matching linear
_REPLY = re.compile(rf"200 result=(?P<result>\S*)(?: \((?P<data>.*)\))?(?P<more>{_MORE})\s*", re.DOTALL)
_OPENS_VALUE = re.compile(r"200 result=\S* \(")
_CLOSES_VALUE = re.compile(rf"\){_MORE}\s*$")
_ENDPOS = re.compile(r" endpos=(-?[0-9]{1,18})")
_STATUS = re.compile(r"(?P<code>[0-9]{3})(?P<mark>[ -]).*")


@dataclass(frozen=True, slots=True)
class AgiRequest:
    """What Asterisk says when it opens a session. `fields` holds every header, with its `agi_` in front."""

    fields: Mapping[str, str]

    @property
    def path(self) -> str:
        """What was asked for: `call` in `agi://host/call?x=1`."""
        return self.fields.get("agi_network_script", "").partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The part after the question mark, percent-decoded; of a repeated name the last one."""
        text = self.fields.get("agi_network_script", "").partition("?")[2]
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=None))

    @property
    def args(self) -> tuple[str, ...]:
        """The arguments that the dialplan gave after the address."""
        numbered: list[str] = []
        while (key := f"agi_arg_{len(numbered) + 1}") in self.fields:
            numbered.append(self.fields[key])
        return tuple(numbered)

    @property
    def channel(self) -> str:
        return self.fields.get("agi_channel", "")

    @property
    def uniqueid(self) -> str:
        return self.fields.get("agi_uniqueid", "")


@dataclass(frozen=True, slots=True)
class AgiReply:
    """The answer to one command: `200 result=1 (data) endpos=8000`.

    `code` 200 means that the command was run, whatever came of it; with 510, 511 and 520 `result` is empty and `data`
    is Asterisk's text. `endpos` counts samples (of STREAM FILE; other commands count otherwise). `data` is None if
    there were no parentheses.
    """

    code: int
    result: str = ""
    data: str | None = None
    endpos: int | None = None


@dataclass(frozen=True, slots=True)
class AgiHangupLine:
    """Asterisk has taken the channel away: hung up, transferred or redirected. Close the socket."""


@dataclass(frozen=True, slots=True)
class AgiStray:
    """A line that answers nothing. Worth a log line: somebody's value had a line break in it."""

    text: str


AgiEvent = AgiRequest | AgiReply | AgiHangupLine | AgiStray


class AgiParser:
    """One session's bytes. `encode` gives the bytes of a command and makes the parser await its reply.

    After an `AgiProtocolError` it stays refused: the session is of no more use.
    """

    def __init__(self) -> None:
        self.awaiting_reply = False
        self._in_headers = True
        self._buffer = bytearray()
        self._scanned = 0
        self._headers: dict[str, str] = {}
        self._block: list[str] = []
        self._block_bytes = 0
        self._fault: str | None = None

    def encode(self, verb: str, *args: str) -> bytes:
        """The bytes of a command, as `encode_command` gives them; its reply is awaited from now on."""
        line = encode_command(verb, *args)
        if self._in_headers or self.awaiting_reply:
            raise AgiUnsendable(verb, "it is not our turn: headers or a reply are still to come")
        self.awaiting_reply = True
        return line

    def feed(self, data: bytes) -> list[AgiEvent]:
        """Take the next bytes; return the events that they complete."""
        if self._fault is not None:
            raise AgiProtocolError(self._fault)
        self._buffer += data
        events: list[AgiEvent] = []
        while (end := self._buffer.find(b"\n", self._scanned)) >= 0:
            line = self._buffer[:end].decode("utf-8", "replace")
            del self._buffer[: end + 1]
            self._scanned = 0
            event = self._take_header(line, end + 1) if self._in_headers else self._take_line(line, end + 1)
            if event is not None:
                events.append(event)
        self._scanned = len(self._buffer)
        self._check_limit(len(self._buffer))
        return events

    def _check_limit(self, more_bytes: int) -> None:
        limit = HEADER_BLOCK_LIMIT_BYTES if self._in_headers else REPLY_LIMIT_BYTES
        if self._block_bytes + more_bytes > limit:
            what = "a header block" if self._in_headers else "a reply"
            self._refuse(f"{what} of more than {limit} bytes")

    def _take_header(self, line: str, size_bytes: int) -> AgiRequest | None:
        self._check_limit(size_bytes)
        self._block_bytes += size_bytes
        if not line:
            return self._end_headers()
        key, _, value = line.partition(":")
        if not _HEADER_KEY.fullmatch(key) or key in self._headers:
            self._refuse(f"a header block with the line {line[:60]!a}, where no such line can be")
        self._headers[key] = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value.removeprefix(" "))
        return None

    def _end_headers(self) -> AgiRequest:
        if "agi_uniqueid" not in self._headers:
            self._refuse("a header block without agi_uniqueid: is this Asterisk?")
        self._in_headers, self._block_bytes = False, 0
        return AgiRequest(MappingProxyType(self._headers))

    def _take_line(self, line: str, size_bytes: int) -> AgiEvent | None:
        if self._block:
            self._check_limit(size_bytes)
            return self._go_on(line, size_bytes)
        if line == "HANGUP":
            return AgiHangupLine()
        if line.startswith("agi_"):
            self._refuse(f"the header {line[:60]!a} after the end of the header block")
        status = _STATUS.fullmatch(line) if self.awaiting_reply else None
        if status is None:
            return AgiStray(line)
        return self._start_reply(line, status, size_bytes)

    def _start_reply(self, line: str, status: re.Match[str], size_bytes: int) -> AgiEvent | None:
        code = int(status["code"])
        if code == 100:
            return None  # "Trying": the reply is still to come
        if code == 200:
            unfinished = _OPENS_VALUE.match(line) and not _CLOSES_VALUE.search(line)
        else:
            unfinished = status["mark"] == "-"
        if unfinished:
            self._block, self._block_bytes = [line], size_bytes
            return None
        return self._reply(line)

    def _go_on(self, line: str, size_bytes: int) -> AgiReply | None:
        self._block.append(line)
        self._block_bytes += size_bytes
        first = self._block[0]
        is_last = _CLOSES_VALUE.search(line) if first.startswith("200") else line.startswith(f"{first[:3]} ")
        if not is_last:
            return None
        text = "\n".join(self._block)
        self._block, self._block_bytes = [], 0
        return self._reply(text)

    def _reply(self, text: str) -> AgiReply:
        self.awaiting_reply = False
        return parse_reply(text)

    def _refuse(self, fault: str) -> None:
        self._fault = f"not AGI as Asterisk speaks it: {fault}"
        self._buffer.clear()
        self._block.clear()
        raise AgiProtocolError(self._fault)


def parse_reply(text: str) -> AgiReply:
    """A whole reply, of one line or several, without its last line break."""
    ok = _REPLY.fullmatch(text)
    if ok is None:
        return AgiReply(int(text[:3]), data=text[4:])
    endpos = _ENDPOS.search(ok["more"])
    return AgiReply(200, ok["result"], ok["data"], int(endpos[1]) if endpos else None)


def encode_command(verb: str, *args: str) -> bytes:
    """The bytes of one command, every argument quoted. For EXEC: the application, then all its arguments as one.

    Raises `AgiUnsendable` for a verb that is none, a control character (C0 or DEL), a lone surrogate, more than 120
    arguments, or a line of more than 8190 bytes.
    """
    if not _VERB.fullmatch(verb):
        raise AgiUnsendable(ascii(verb[:60]), "this can't be a command")
    if len(args) > ARGUMENT_LIMIT_COUNT:
        raise AgiUnsendable(verb, f"{len(args)} arguments, the limit is {ARGUMENT_LIMIT_COUNT}")
    try:
        line = " ".join([verb, *[_quoted(verb, arg) for arg in args]]).encode()
    except UnicodeEncodeError as error:
        raise AgiUnsendable(verb, "an argument is not valid text") from error
    if len(line) >= COMMAND_LIMIT_BYTES:
        raise AgiUnsendable(verb, f"{len(line)} bytes, a line may have {COMMAND_LIMIT_BYTES} with its end")
    return line + b"\n"


def _quoted(verb: str, arg: str) -> str:
    if _CONTROL.search(arg):
        raise AgiUnsendable(verb, "an argument holds a control character")
    escaped = arg.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
