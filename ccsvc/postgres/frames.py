"""Records as lines of a file: `<length> <crc32> <payload>` and a newline, both numbers as eight hex digits.

Promises: a record is either whole or recognised as damaged, wherever the file was cut or overwritten; damage ends at
the next newline, so that one bad block does not take the records behind it. That holds because a payload never holds
a newline (it is JSON, which escapes control characters), whatever a caller's name contains. Blank lines are nothing:
damage that was set aside is overwritten with them.

Pure: bytes in, records out. Knows neither files nor what a payload means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

NEWLINE = 10
PREFIX_BYTES = 18


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record; `start` and `end` are byte offsets in what was scanned."""

    start: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record. `end` is behind the newline that ends them, or the end of the file."""

    start: int
    end: int


def frame(payload: bytes) -> bytes:
    """The record's bytes, newline included. The payload must not contain a newline."""
    return b"%08x %08x %b\n" % (len(payload), crc32(payload), payload)


def scan(data: bytes, *, whole: bool) -> Iterator[Record | Damage]:
    """The records of `data` in order. `whole`: nothing will follow, so an unfinished last line is damage."""
    start = 0
    while start < len(data):
        if data[start] == NEWLINE:
            start += 1
            continue
        end = data.find(b"\n", start) + 1
        if end == 0:
            if whole:
                yield Damage(start, len(data))
            return
        yield _judge(data[start:end], start, end)
        start = end


def _judge(line: bytes, start: int, end: int) -> Record | Damage:
    payload = line[PREFIX_BYTES:-1]
    if line[:PREFIX_BYTES] == b"%08x %08x " % (len(payload), crc32(payload)):
        return Record(start, end, payload)
    return Damage(start, end)
