"""The PBX's own journal of channel events (CEL, JSON lines): what happened while nobody listened.

Promises: what can be read becomes the same events as the live stream; a line that is cut, is no JSON, lacks what it
needs, or is of an impossible time is counted and passed over; a half-written last line is left alone. The beginning
is found by bisection, so days of backlog cost nothing. The file before the last rotation (`.1`) is read first, if it
is there. Bound: lines over `LINE_LIMIT` bytes are passed over.

Does not know which events were handled already: replaying one twice changes nothing in the core.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from ccsvc.asterisk.translate import device_of
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId

LINE_LIMIT = 64 << 10
NEAR_ENOUGH = 64 << 10
"""Bytes before the wanted instant that are simply read."""
DISORDER_S = 60.0
"""Lines may stand out of order by so much: a clock that was set back, two channels at the same time."""


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
    """`unreadable` counts the lines that were passed over, `problems` says what could not be read at all."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.unreadable = 0
        self.problems: list[str] = []

    def since(self, start: datetime, until: datetime) -> Iterator[ev.Event]:
        """The events from `start` to `until` (now: what is later can't be), oldest first; none without a journal."""
        for file in (self._file.with_name(f"{self._file.name}.1"), self._file):
            try:
                yield from self._read(file, start.timestamp(), until.timestamp())
            except FileNotFoundError:
                continue  # never rotated, or nobody has called yet
            except OSError as error:
                self.problems.append(f"{file}: {error.strerror or error}")

    def _read(self, path: Path, start_s: float, until_s: float) -> Iterator[ev.Event]:
        with path.open("rb") as file:
            file.seek(_find(file, start_s - DISORDER_S))
            for raw in iter(lambda: file.readline(LINE_LIMIT), b""):
                if not raw.endswith(b"\n") and not _skip_line(file):
                    return
                line = self._parse(raw)
                if line is not None and line.eventtime >= start_s:
                    yield from self._tell(line, until_s)

    def _parse(self, raw: bytes) -> CelLine | None:
        line = _decode(raw)
        self.unreadable += line is None
        return line

    def _tell(self, line: CelLine, until_s: float) -> Iterator[ev.Event]:
        make = _MAKERS.get(line.eventtype)
        if make is None:
            return
        told = make(line, _extra(line)) if line.eventtime <= until_s and line.uniqueid else "unfit"
        if told == "unfit":
            self.unreadable += 1
        elif told is not None:
            yield told


_LINE = msgspec.json.Decoder(CelLine)
_EXTRA = msgspec.json.Decoder(CelExtra)


def _find(file: BinaryIO, wanted_s: float) -> int:
    """An offset at a line's beginning, not after the first line at or after the instant."""
    low, high = 0, file.seek(0, 2)
    while high - low > NEAR_ENOUGH:
        middle = (low + high) // 2
        file.seek(middle)
        _skip_line(file)
        line = _decode(file.readline(LINE_LIMIT))
        if line is not None and line.eventtime < wanted_s:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        _skip_line(file)
    return file.tell()


def _skip_line(file: BinaryIO) -> bool:
    """Read on to the next line; False if the file ends before."""
    while part := file.readline(LINE_LIMIT):
        if part.endswith(b"\n"):
            return True
    return False


def _decode(raw: bytes) -> CelLine | None:
    try:
        return _LINE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _extra(line: CelLine) -> CelExtra:
    try:
        return _EXTRA.decode(line.eventextra) if line.eventextra else CelExtra()
    except msgspec.DecodeError:
        return CelExtra()


_Told = ev.Event | Literal["unfit"] | None
"""What a line tells: an event, nothing, or that it lacks what its event needs."""


def _started(line: CelLine, _: CelExtra) -> _Told:
    return ev.ChannelStarted(_at(line), _channel(line), line.linkedid, line.channame, device_of(line.channame))


def _entered(line: CelLine, extra: CelExtra) -> _Told:
    bridge = extra.bridge_id
    return ev.BridgeEntered(_at(line), _channel(line), line.linkedid, bridge) if bridge else "unfit"


def _left(line: CelLine, extra: CelExtra) -> _Told:
    bridge = extra.bridge_id
    return ev.BridgeLeft(_at(line), _channel(line), bridge) if bridge else "unfit"


def _hung_up(line: CelLine, extra: CelExtra) -> _Told:
    """Only its own far end's hang-up is told live as well."""
    return ev.HangupRequested(_at(line), _channel(line)) if extra.hangupsource == line.channame else None


def _ended(line: CelLine, extra: CelExtra) -> _Told:
    return ev.ChannelEnded(_at(line), _channel(line), line.linkedid, extra.hangupcause)


def _at(line: CelLine) -> datetime:
    return datetime.fromtimestamp(line.eventtime, UTC)


def _channel(line: CelLine) -> ChannelId:
    return ChannelId(line.uniqueid)


_MAKERS: dict[str, Callable[[CelLine, CelExtra], _Told]] = {
    "CHAN_START": _started,
    "BRIDGE_ENTER": _entered,
    "BRIDGE_EXIT": _left,
    "HANGUP": _hung_up,
    "CHAN_END": _ended,
}
