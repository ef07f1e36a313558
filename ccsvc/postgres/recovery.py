"""What a spool's folder remembers of the lives before: read once, at the start of the daemon.

Promises: the state is that of the newest file whose head can be read, plus every readable row after it. Damage is set
aside and counted; if heads are damaged an older file is the beginning, and a note says so.
"""

import sys
from dataclasses import dataclass, field

from ccsvc.postgres.files import Folder, Position
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.frames import Record
from ccsvc.postgres.reader import locate, read_first, read_mark, scan_rows
from ccsvc.postgres.rowtext import HeadMark, decode_head


@dataclass(slots=True)
class Memory:
    """`sizes`: the bytes of each file, and how many of them are its head."""

    position: Position
    fold: Fold = field(default_factory=Fold)
    total_rows: int = 0
    lost: int = 0
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def recall(folder: Folder) -> Memory:
    """Raises OSError if the folder can't be read, or damage in it can't be set aside."""
    numbers = folder.numbers()
    memory = Memory(locate(folder, folder.load_position()))
    first = _begin(folder, memory, numbers)
    for number in numbers[first:]:
        _add(folder, memory, number)
    memory.sizes = {number: _sizes(folder, number) for number in numbers}
    return memory


def _sizes(folder: Folder, number: int) -> tuple[int, int]:
    mark = read_mark(folder, number)
    return folder.file(number).stat().st_size, 0 if mark is None else mark[1]


def _begin(folder: Folder, memory: Memory, numbers: list[int]) -> int:
    """Take the state from the newest readable head; the index of its file, 0 if there is none."""
    for index in reversed(range(len(numbers))):
        head = _head(read_first(folder, numbers[index]))
        if head is not None:
            memory.total_rows, memory.fold = head[0].rows_before, head[1]
            return index
        name = folder.file(numbers[index]).name
        memory.notes.append(f"{name}: its head can't be read, so the state was made again from the files before it")
    return 0


def _head(first: Record | None) -> tuple[HeadMark, Fold] | None:
    if first is None:
        return None
    try:
        return decode_head(first.payload)
    except ValueError:
        return None


def _add(folder: Folder, memory: Memory, number: int) -> None:
    scanned = scan_rows(folder.read(number), Position(file=number), whole=True, limit=sys.maxsize)
    for _, row in scanned.rows:
        memory.fold.add(row)
    memory.total_rows += len(scanned.rows)
    if scanned.damages:
        folder.set_aside(number, scanned.damages)
        memory.lost += len(scanned.damages)
        name = folder.file(number).name
        memory.notes.append(f"{name}: {len(scanned.damages)} damaged records, kept in {name}.bad")
