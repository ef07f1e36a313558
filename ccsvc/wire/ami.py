"""The manager interface's (AMI's) bytes: framing, reading and writing of messages.

Promises:

- Messages come out whole and in order, however the bytes were cut up on their way.
- Framing is done on bytes: a message ends at CR LF CR LF, a header at CR LF, and at nothing else. A lone LF, U+0085
  or U+2028 in a caller's name stays inside the value it came in.
- Each message is decoded by itself as UTF-8. What is valid arrives unchanged; a byte that isn't becomes U+FFFD. Not
  `surrogateescape`: a lone surrogate would pass here and break the log, the database and the API later.
- Repeated headers are all kept.
- Garbage and excess raise `AmiProtocolError`, and nothing else is ever raised by reading.
- `encode_action` writes exactly one action, or raises `AmiUnsendable`.

Does not know: what any message means, nor whether it is what Asterisk meant to send. Asterisk writes callers' numbers
unescaped, and the user part of a SIP address may hold `%0D%0A`: `AmiMessage.repeated` shows a header that was slipped
in; a whole event slipped in can't be told from a true one here: only an `eventfilter` in manager.conf that refuses
events with an empty line inside keeps it away.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ccsvc.errors import AmiProtocolError, AmiUnsendable

BANNER_LIMIT_BYTES = 256
MESSAGE_LIMIT_BYTES = 1 << 20
LINE_LIMIT_BYTES = 1024
"""Asterisk refuses a longer line (1022 bytes and CR LF were accepted, one more was not)."""
HEADER_LIMIT_COUNT = 128
"""Asterisk refuses an action with more headers."""

_BANNER_START = b"Asterisk Call Manager/"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED_KEYS = frozenset({"action", "actionid"})


@dataclass(frozen=True, slots=True)
class AmiMessage:
    """One event or response: its lines `Key: value` as they came, without their ends.

    Keys are looked up in exactly the spelling that Asterisk uses.
    """

    lines: tuple[str, ...]
    _first: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        first = {}
        for line in reversed(self.lines):
            key, _, value = line.partition(": ")
            first[key] = value
        object.__setattr__(self, "_first", first)

    @classmethod
    def of(cls, headers: Mapping[str, str | Sequence[str]]) -> Self:
        """The message that has these headers; a sequence repeats its header."""
        pairs = [(key, (value,) if isinstance(value, str) else value) for key, value in headers.items()]
        return cls(tuple(f"{key}: {each}" for key, values in pairs for each in values))

    def get(self, key: str, default: str = "") -> str:
        """The value of the first header of that name."""
        return self._first.get(key, default)

    def all(self, key: str) -> tuple[str, ...]:
        """The values of every header of that name, in order."""
        return tuple(value for name, value in self.headers if name == key)

    def __contains__(self, key: str) -> bool:
        return key in self._first

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Every header in order. A line without a colon is a key without a value."""
        parts = [line.partition(": ") for line in self.lines]
        return tuple((key, value) for key, _, value in parts)

    @property
    def event(self) -> str:
        """The event's name, or "" for a response."""
        return self._first.get("Event", "")

    @property
    def response(self) -> str:
        """`Success`, `Error`, … or "" for an event."""
        return self._first.get("Response", "")

    @property
    def action_id(self) -> str:
        """The ActionID that it answers, or ""."""
        return self._first.get("ActionID", "")

    @property
    def repeated(self) -> frozenset[str]:
        """The names of headers that are there more than once."""
        if len(self._first) == len(self.lines):
            return frozenset()
        return frozenset(key for key, count in Counter(key for key, _ in self.headers).items() if count > 1)


class AmiParser:
    """Turns the bytes of one connection into messages.

    After an `AmiProtocolError` it stays refused: the connection is of no more use. `banner` is the greeting's version
    once it has come. `expect_banner=False` reads a recorded stream that starts with a message.
    """

    def __init__(self, *, expect_banner: bool = True, message_limit_bytes: int = MESSAGE_LIMIT_BYTES) -> None:
        self.banner: str | None = None if expect_banner else ""
        self._limit = message_limit_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._fault: str | None = None

    def feed(self, data: bytes) -> list[AmiMessage]:
        """Take the next bytes; return the messages that they complete."""
        if self._fault is not None:
            raise AmiProtocolError(self._fault)
        self._buffer += data
        if self.banner is None and not self._take_banner():
            return []
        messages = self._take_messages()
        if len(self._buffer) > self._limit:
            self._refuse(f"an AMI message of more than {self._limit} bytes without an end")
        return messages

    def _take_banner(self) -> bool:
        head, end = bytes(self._buffer[: len(_BANNER_START)]), self._buffer.find(b"\r\n", 0, BANNER_LIMIT_BYTES)
        if not _BANNER_START.startswith(head) or (end < 0 and len(self._buffer) >= BANNER_LIMIT_BYTES):
            self._refuse(f"no AMI greeting but {bytes(self._buffer[:40])!r}: is this Asterisk's manager port?")
        if end < 0:
            return False
        self.banner = self._buffer[len(_BANNER_START) : end].decode("utf-8", "replace")
        del self._buffer[: end + 2]
        return True

    def _take_messages(self) -> list[AmiMessage]:
        buffer, start, at = self._buffer, 0, self._scanned
        messages = []
        while (end := buffer.find(b"\r\n\r\n", at)) >= 0:
            message = parse_message(buffer[start:end])
            if message is not None:
                messages.append(message)
            start = at = end + 4
        if start:
            del buffer[:start]
        self._scanned = max(0, len(buffer) - 3)
        return messages

    def _refuse(self, fault: str) -> None:
        self._fault = fault
        self._buffer.clear()
        raise AmiProtocolError(fault)


def parse_message(frame: bytes | bytearray) -> AmiMessage | None:
    """One message from its bytes without the empty line at its end; None if there is nothing in it."""
    text = frame.decode("utf-8", "replace").lstrip("\r\n")
    if not text:
        return None
    return AmiMessage(tuple(text.split("\r\n")))


def encode_action(name: str, fields: Mapping[str, str | Sequence[str]], action_id: str) -> bytes:
    """The bytes of one action. A sequence as a value writes its header once for each element.

    Raises `AmiUnsendable` for a control character (C0 or DEL) anywhere, a key that is none, a lone surrogate, a line
    of more than 1024 bytes with its end, or more than 128 headers.
    """
    if not _KEY.fullmatch(name):
        raise AmiUnsendable(ascii(name[:60]), "this can't be the name of an action")
    lines = [_line(name, "Action", name), _line(name, "ActionID", action_id)]
    for key, value in fields.items():
        if not _KEY.fullmatch(key) or key.lower() in _RESERVED_KEYS:
            raise AmiUnsendable(name, f"{key[:60]!a} can't be the name of a header")
        values = (value,) if isinstance(value, str) else value
        lines += [_line(name, key, each) for each in values]
    if len(lines) > HEADER_LIMIT_COUNT:
        raise AmiUnsendable(name, f"{len(lines)} headers, Asterisk takes {HEADER_LIMIT_COUNT}")
    return b"".join(lines) + b"\r\n"


def _line(action: str, key: str, value: str) -> bytes:
    if _CONTROL.search(value):  # the value itself stays unsaid: it may be a secret
        raise AmiUnsendable(action, f"the value of {key} holds a control character")
    try:
        line = f"{key}: {value}\r\n".encode()
    except UnicodeEncodeError as error:
        raise AmiUnsendable(action, f"the value of {key} is not valid text") from error
    if len(line) > LINE_LIMIT_BYTES:
        raise AmiUnsendable(action, f"{key} takes {len(line)} bytes, a line may have {LINE_LIMIT_BYTES}")
    return line
