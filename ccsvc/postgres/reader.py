"""Reading rows back from a spool's files, from a position on, in order.

Promises: every row between two positions is given once, in the order in which it was appended; what is damaged is set
aside, counted and passed over. A chunk never spans two files and reads no further than it is told.
"""

from dataclasses import dataclass, field

from msgspec.structs import replace

from ccsvc.domain.records import Row
from ccsvc.postgres.files import Folder, Position
from ccsvc.postgres.frames import PREFIX_BYTES, Damage, Record, scan
from ccsvc.postgres.rowtext import HeadMark, decode

WINDOW_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows with their byte offsets in `file`, and the position behind them. `lost`: damaged records passed over."""

    position: Position
    file: int = 0
    rows: tuple[tuple[int, Row], ...] = ()
    lost: int = 0


@dataclass(slots=True)
class Scanned:
    """What one stretch of a file held."""

    offset: int
    row_count: int
    file_id: str
    rows: list[tuple[int, Row]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    def behind(self, position: Position) -> Position:
        return replace(position, offset=self.offset, rows=self.row_count, file_id=self.file_id)


def read_chunk(folder: Folder, position: Position, end: tuple[int, int], limit: int) -> Chunk:
    """At most `limit` rows behind `position`; `end` is (file, size) of the last bytes that may be looked at."""
    lost = 0
    for number in folder.numbers():
        if not position.file <= number <= end[0]:
            continue
        if number > position.file:
            position = replace(position, file=number, file_id="", offset=0)
        stop = end[1] if number == end[0] else folder.file(number).stat().st_size
        scanned = read_file(folder, position, stop, limit)
        lost += len(scanned.damages)
        position = scanned.behind(position)
        if scanned.rows:
            return Chunk(position, number, tuple(scanned.rows), lost)
    return Chunk(position, lost=lost)


def read_file(folder: Folder, position: Position, stop: int, limit: int) -> Scanned:
    """As `read_chunk`, within the position's own file."""
    window = WINDOW_BYTES
    while True:
        upto = min(stop, position.offset + window)
        data = folder.read(position.file, position.offset, upto)
        scanned = scan_rows(data, position, whole=upto == stop, limit=limit)
        if upto == stop or scanned.offset > position.offset:
            break
        window *= 2
    if scanned.damages:
        folder.set_aside(position.file, scanned.damages)
    return scanned


def locate(folder: Folder, wanted: Position) -> Position:
    """`wanted` if that very file is here; else the beginning of the oldest: writing rows twice is harmless."""
    numbers = folder.numbers()
    if wanted.file in numbers:
        mark = read_mark(folder, wanted.file)
        if mark is not None and mark[0].file_id == wanted.file_id:
            return wanted
    if not numbers:
        return replace(wanted, file=0, file_id="", offset=0)
    mark = read_mark(folder, numbers[0])
    rows = mark[0].rows_before if mark is not None else 0
    return replace(wanted, file=numbers[0], file_id="", offset=0, rows=rows)


def read_mark(folder: Folder, number: int) -> tuple[HeadMark, int] | None:
    """What the file's head says of it, and the head's length in bytes; None if there is no head to be read."""
    first = read_first(folder, number)
    if first is None:
        return None
    meaning = _meaning(first)
    return (meaning, first.end) if isinstance(meaning, HeadMark) else None


def read_first(folder: Folder, number: int) -> Record | None:
    """The file's first record, which should be its head; None if there is none or it is damaged."""
    try:
        length = PREFIX_BYTES + int(folder.read(number, 0, 8), 16) + 1
    except ValueError:
        return None
    first = next(scan(folder.read(number, 0, length), whole=True), None)
    return first if isinstance(first, Record) else None


def scan_rows(data: bytes, position: Position, *, whole: bool, limit: int) -> Scanned:
    """`data` begins at `position`. A head sets the row count: it knows how many there were before it, ever."""
    base, found = position.offset, Scanned(position.offset, position.rows, position.file_id)
    for item in scan(data, whole=whole):
        if len(found.rows) == limit:
            return found
        match _meaning(item):
            case None:
                found.damages.append(Damage(base + item.start, base + item.end))
            case HeadMark() as mark:
                found.row_count, found.file_id = mark.rows_before, mark.file_id
            case row:
                found.rows.append((base + item.start, row))
                found.row_count += 1
        found.offset = base + item.end
    if whole:
        found.offset = base + len(data)
    return found


def _meaning(item: Record | Damage) -> Row | HeadMark | None:
    """None: this can't be understood, by its checksum or by its content."""
    if isinstance(item, Damage):
        return None
    try:
        return decode(item.payload)
    except ValueError:
        return None
