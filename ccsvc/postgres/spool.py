"""The daemon's memory on its own disk: appended to before anything else, drained to the database later.

A spool is a folder of numbered files. Each begins with the whole state (what is open, the counters), so that a new
life of the daemon needs only the newest file, and a file whose rows the database has can go.

Promises:
- when `append` returns, a killed process has not lost the rows (the kernel has them; `syncer` is for a power cut);
- nothing is ever overwritten to make room: at the limit `append` raises `SpoolFull` and keeps what is there;
- `stats`, `open_rows` and `last_at` are what the rows on disk add up to, at any time;
- damaged bytes are counted, kept in a `.bad` file and passed over, never fatal, and nothing is made up for them;
- one daemon at a time uses a folder.

One thread calls everything but `read`, which may run in another one. Knows nothing of the database: `acknowledge`
says how far that has come.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from ccsvc.app.ports import Recovered
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState
from ccsvc.errors import SpoolBroken, SpoolFull
from ccsvc.postgres.files import Folder, Position
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.frames import frame
from ccsvc.postgres.reader import Chunk, locate, read_chunk
from ccsvc.postgres.recovery import recall
from ccsvc.postgres.rowtext import HeadMark, encode_head, storable
from ccsvc.postgres.syncer import Syncer
from ccsvc.postgres.tail import Tail

_log = structlog.get_logger(__name__)

FILE_BYTES = 16 << 20
"""Bytes of rows after which a new file begins."""

FILES_AT_LIMIT = 4
"""A full spool holds at least so many files: it must be able to free itself file by file."""


class FileSpool:
    """`ccsvc.app.ports.Spool` on disk. `limit_mb` bounds the rows' bytes; the heads of the files come on top."""

    def __init__(
        self, path: Path, *, limit_mb: float = 1024, fsync_interval_s: float = 0.2, file_bytes: int = FILE_BYTES
    ) -> None:
        self._folder = Folder(path)
        self._syncer = Syncer(fsync_interval_s, self._folder.sync)
        self._limit_bytes = int(limit_mb * (1 << 20))
        self._file_bytes = min(file_bytes, self._limit_bytes // FILES_AT_LIMIT)
        self._fold = Fold()
        self._tail: Tail | None = None
        self._end = (0, 0)
        self._sizes: dict[int, tuple[int, int]] = {}
        self._older_bytes = 0
        self._position = Position()
        self._listeners: list[Callable[[], None]] = []
        self.total_rows = 0
        """Appended since the spool began, in all lives."""
        self.refused_rows = 0
        """Not kept in this life, for want of room or because the disk failed."""
        self.lost_records = 0
        """Found damaged in this life, while recovering or while draining."""

    # -- one life ----------------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Lock the folder and read what the lives before left. Raises `SpoolTaken`, `SpoolBroken`."""
        self._folder.take()
        try:
            memory = recall(self._folder)
        except OSError as error:
            self._folder.release()
            raise SpoolBroken(str(self._folder.path), f"can't be read: {error}") from error
        self._fold, self._position, self._sizes = memory.fold, memory.position, memory.sizes
        self.total_rows, self.lost_records = memory.total_rows, memory.lost
        stats = memory.fold.stats if memory.sizes else None
        return Recovered(self.open_rows, stats, memory.fold.last_at, memory.lost, tuple(memory.notes))

    def start(self, open_rows: Sequence[Row], stats: StatsState) -> None:
        """Begin a new file whose head holds the whole present state, durable when this returns.

        Call it once, after `recover`. Raises `SpoolBroken`.
        """
        if not self._folder.taken:
            raise RuntimeError("a spool must recover before it starts: it would not know where its files end")
        self._fold = Fold.of(open_rows, stats, self._fold.last_at)
        self._begin_file()
        self._syncer.sync_now()
        self._remove_drained()

    def close(self) -> None:
        """Make everything durable and let the folder go. Nothing may be appended afterwards."""
        self._tail = None
        self._syncer.close()
        self._folder.release()

    # -- appending ---------------------------------------------------------------------------------------

    def append(self, rows: Sequence[Row]) -> None:
        """Keep the rows, all or none of them. Raises `SpoolFull`, `SpoolBroken`; neither changes what is kept."""
        if self._tail is None:
            raise RuntimeError("a spool takes rows between start and close")
        kept = [storable(row) for row in rows]
        data = b"".join([frame(payload) for _, payload in kept])
        try:
            self._make_sure_of_room(self._tail, len(data))
            self._tail.append(data)
        except (SpoolFull, SpoolBroken):
            self.refused_rows += len(rows)
            raise
        for row, _ in kept:
            self._fold.add(row)
        self._appended(self._tail, len(kept))

    def _make_sure_of_room(self, tail: Tail, size: int) -> None:
        if self._older_bytes + tail.row_bytes + size > self._limit_bytes:
            raise SpoolFull(
                f"the spool at {self._folder.path} is at its limit: {self.pending_rows} rows wait for the "
                f"database; bring that back, or raise [state] spool_limit_mb"
            )

    def _appended(self, tail: Tail, count: int) -> None:
        self.total_rows += count
        self._end = (self._end[0], tail.size)
        self._syncer.touch()
        if tail.row_bytes >= self._file_bytes:
            self._rotate()
        for wake in self._listeners:
            wake()

    def _rotate(self) -> None:
        """The rows are kept already: if there is no room for a new file, this one goes on growing."""
        try:
            self._begin_file()
        except SpoolBroken as error:
            _log.warning("spool can't begin a new file", error=str(error))

    def _begin_file(self) -> None:
        number = max(self._end[0], self._position.file, *self._sizes, 0) + 1
        head = frame(encode_head(HeadMark(uuid.uuid4().hex, self.total_rows), self._fold))
        tail = Tail(self._folder.file(number), head)
        if self._tail is not None:
            self._sizes[self._end[0]] = (self._tail.size, self._tail.head_bytes)
        self._tail, self._end = tail, (number, tail.size)
        self._syncer.begin(number, tail.fd)
        self._count_older_bytes()

    # -- draining ----------------------------------------------------------------------------------------

    def subscribe(self, wake: Callable[[], None]) -> None:
        """`wake` is called after every append, on the thread that appended."""
        self._listeners.append(wake)

    def locate(self, wanted: Position) -> Position:
        """Where to read on, for a reader that came to `wanted`: earlier if that file is not here any more."""
        return locate(self._folder, wanted)

    def read(self, position: Position, limit: int) -> Chunk:
        """At most `limit` rows behind `position`, in the order of `append`; no rows: there are none yet."""
        chunk = read_chunk(self._folder, position, self._end, limit)
        self.lost_records += chunk.lost
        return chunk

    def acknowledge(self, position: Position) -> None:
        """The database has everything before `position`. Files that are not needed any more go."""
        self._position = position
        try:
            self._folder.save_position(position)
        except OSError as error:  # harmless: the database knows it too, and rows may be written twice
            _log.warning("spool can't note its position", error=str(error))
        self._remove_drained()

    def _remove_drained(self) -> None:
        for number in [n for n in self._sizes if self._is_drained(n) and n < self._syncer.durable_file]:
            self._folder.file(number).unlink(missing_ok=True)
            del self._sizes[number]
        self._count_older_bytes()

    def _is_drained(self, number: int) -> bool:
        size, head_bytes = self._sizes[number]
        if number == self._position.file:
            return self._position.offset >= size
        return number < self._position.file or size <= head_bytes

    def _count_older_bytes(self) -> None:
        self._older_bytes = sum(size - head for size, head in self._sizes.values())

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def stats(self) -> StatsState:
        """The counters, carried on from all lives before."""
        return self._fold.stats

    @property
    def open_rows(self) -> tuple[Row, ...]:
        return self._fold.open_rows

    @property
    def last_at(self) -> datetime | None:
        """The latest instant that any row has spoken of."""
        return self._fold.last_at

    @property
    def position(self) -> Position:
        return self._position

    @property
    def pending_rows(self) -> int:
        """Rows not yet acknowledged by the database."""
        return max(0, self.total_rows - self._position.rows)

    @property
    def sync_error_count(self) -> int:
        return self._syncer.error_count
