"""Shipped stand-ins for the ports of `ccsvc.app.ports`: the same contract, without disk, network or time.

`tests/unit/test_spool_contract.py` holds each of them against the real thing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ccsvc.app.ports import Recovered
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState
from ccsvc.errors import SpoolFull
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.rowtext import HeadMark, decode_head, encode_head, storable


@dataclass(slots=True)
class MemoryDisk:
    """What outlives a `MemorySpool`, as files outlive a daemon: give it to the next one."""

    head: bytes = b""
    since_head: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    drained: int = 0


class MemorySpool:
    """`ccsvc.app.ports.Spool` in memory. `limit_rows` bounds what waits for the database."""

    def __init__(self, disk: MemoryDisk | None = None, *, limit_rows: int = 1_000_000) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self._limit_rows = limit_rows
        self._fold = Fold()
        self._state = "new"
        self._listeners: list[Callable[[], None]] = []
        self.refused_rows = 0
        self.lost_records = 0

    def recover(self) -> Recovered:
        known = bool(self.disk.head)
        if known:
            _, self._fold = decode_head(self.disk.head)
        for row in self.disk.since_head:
            self._fold.add(row)
        self._state = "recovered"
        return Recovered(self.open_rows, self._fold.stats if known else None, self._fold.last_at)

    def start(self, open_rows: Sequence[Row], stats: StatsState) -> None:
        if self._state != "recovered":
            raise RuntimeError("a spool must recover before it starts: it would not know where its files end")
        self._fold = Fold.of(open_rows, stats, self._fold.last_at)
        self.disk.head, self.disk.since_head = encode_head(HeadMark("memory", len(self.rows)), self._fold), []
        self._state = "started"

    def close(self) -> None:
        self._state = "closed"

    def append(self, rows: Sequence[Row]) -> None:
        if self._state != "started":
            raise RuntimeError("a spool takes rows between start and close")
        if self.pending_rows + len(rows) > self._limit_rows:
            self.refused_rows += len(rows)
            raise SpoolFull(f"the spool in memory is at its limit of {self._limit_rows} rows")
        for row in [storable(row)[0] for row in rows]:
            self.disk.rows.append(row)
            self.disk.since_head.append(row)
            self._fold.add(row)
        for wake in self._listeners:
            wake()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """`wake` is called after every append."""
        self._listeners.append(wake)

    def drain(self, limit: int = 1_000_000) -> list[Row]:
        """As if a database had taken the next rows."""
        first = self.disk.drained
        self.disk.drained = min(len(self.rows), first + limit)
        return self.rows[first : self.disk.drained]

    @property
    def rows(self) -> list[Row]:
        """Everything that was ever appended, in order."""
        return self.disk.rows

    @property
    def stats(self) -> StatsState:
        return self._fold.stats

    @property
    def open_rows(self) -> tuple[Row, ...]:
        return self._fold.open_rows

    @property
    def last_at(self) -> datetime | None:
        return self._fold.last_at

    @property
    def total_rows(self) -> int:
        return len(self.rows)

    @property
    def pending_rows(self) -> int:
        return len(self.rows) - self.disk.drained
