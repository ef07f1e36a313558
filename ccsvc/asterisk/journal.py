"""The PBX's own journal of channel events (CEL, JSON lines): what happened while nobody listened.

Promises: what can be read becomes the same events as the live stream; a line that is cut, is no JSON, or lacks what
it needs is counted and passed over; a half-written last line is left alone. The beginning is found by bisection, so
days of backlog cost nothing. Bound: lines over `LINE_LIMIT` bytes are passed over.

Does not know which events were handled already: replaying one twice changes nothing in the core.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from ccsvc.asterisk.translate import device_of
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId

LINE_LIMIT = 64 << 10
NEAR_ENOUGH = 64 << 10
"""Bytes before the wanted instant that are simply read."""


class CelLine(msgspec.Struct, frozen=True):
    """The fields of one line that matter here. `eventextra` is JSON in a string."""

    eventtime: float
    eventtype: str
    uniqueid: str
    linkedid: str
    channame: str
    eventextra: str = ""


class CelExtra(msgspec.Struct, frozen=True):
    bridge_id: str = ""
    hangupcause: int = 0
    hangupsource: str = ""


class Journal:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.unreadable = 0
        """Lines that were passed over."""

    def since(self, start: datetime) -> Iterator[ev.Event]:
        """The events from `start` on, oldest first; none if there is no journal."""
        try:
            opened = self._file.open("rb")
        except FileNotFoundError:
            return
        with opened as file:
            file.seek(_find(file, start.timestamp()))
            for raw in iter(lambda: file.readline(LINE_LIMIT), b""):
                line = self._parse(raw)
                if line is not None and line.eventtime >= start.timestamp():
                    yield from _events(line)

    def _parse(self, raw: bytes) -> CelLine | None:
        if not raw.endswith(b"\n"):
            return None
        try:
            return _LINE.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return None


_LINE = msgspec.json.Decoder(CelLine)
_EXTRA = msgspec.json.Decoder(CelExtra)


def _find(file: BinaryIO, wanted: float) -> int:
    """An offset at a line's beginning, not after the first line at or after the instant."""
    low, high = 0, file.seek(0, 2)
    while high - low > NEAR_ENOUGH:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline(LINE_LIMIT)
        at = _time_of(file.readline(LINE_LIMIT))
        if at is not None and at < wanted:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline(LINE_LIMIT)
    return file.tell()


def _time_of(raw: bytes) -> float | None:
    try:
        return _LINE.decode(raw).eventtime
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _events(line: CelLine) -> Iterator[ev.Event]:
    make = _MAKERS.get(line.eventtype)
    if make is None:
        return
    try:
        extra = _EXTRA.decode(line.eventextra) if line.eventextra else CelExtra()
    except msgspec.DecodeError:
        extra = CelExtra()
    yield from make(line, extra, datetime.fromtimestamp(line.eventtime, UTC), ChannelId(line.uniqueid))


def _started(line: CelLine, _: CelExtra, at: datetime, channel: ChannelId) -> Iterator[ev.Event]:
    yield ev.ChannelStarted(at, channel, line.linkedid, line.channame, device_of(line.channame))


def _entered(line: CelLine, extra: CelExtra, at: datetime, channel: ChannelId) -> Iterator[ev.Event]:
    yield ev.BridgeEntered(at, channel, line.linkedid, extra.bridge_id)


def _left(_: CelLine, extra: CelExtra, at: datetime, channel: ChannelId) -> Iterator[ev.Event]:
    yield ev.BridgeLeft(at, channel, extra.bridge_id)


def _hung_up(line: CelLine, extra: CelExtra, at: datetime, channel: ChannelId) -> Iterator[ev.Event]:
    if extra.hangupsource == line.channame:
        yield ev.HangupRequested(at, channel)


def _ended(line: CelLine, extra: CelExtra, at: datetime, channel: ChannelId) -> Iterator[ev.Event]:
    yield ev.ChannelEnded(at, channel, line.linkedid, extra.hangupcause)


_MAKERS: dict[str, Callable[[CelLine, CelExtra, datetime, ChannelId], Iterator[ev.Event]]] = {
    "CHAN_START": _started,
    "BRIDGE_ENTER": _entered,
    "BRIDGE_EXIT": _left,
    "HANGUP": _hung_up,
    "CHAN_END": _ended,
}
