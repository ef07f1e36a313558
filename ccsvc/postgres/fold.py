"""What the rows written so far add up to: the things still open, the counters, and the last instant seen.

Promises: the same rows in the same order give the same `Fold`, so that it can stand at the head of a spool file and
be carried on after a restart. A thing that is written again while it is still open counts once.

Does not know a thing that was closed and forgotten: its row, written again, counts again (`domain.stats.observe` asks
for each thing once when it opens and once when it closes).
"""

import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime

from ccsvc.domain.memory import OpenRows
from ccsvc.domain.records import ROW_TYPES, Row, is_open
from ccsvc.domain.stats import StatsState, observe


def _instants(kind: type[Row]) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(f.name for f in fields(kind) if hints[f.name] in (datetime, datetime | None))


_INSTANTS = {kind: _instants(kind) for kind in ROW_TYPES}


@dataclass(slots=True)
class Fold:
    stats: StatsState = field(default_factory=StatsState)
    memory: OpenRows = field(default_factory=OpenRows)
    last_at: datetime | None = None

    @classmethod
    def of(cls, open_rows: Iterable[Row], stats: StatsState, last_at: datetime | None) -> "Fold":
        return cls(stats, OpenRows(open_rows), last_at)

    def add(self, row: Row) -> None:
        before = self.memory.get(row)
        if before is None or is_open(before) != is_open(row):
            observe(self.stats, row)
        self.memory.add(row)
        self._see(row)

    @property
    def open_rows(self) -> tuple[Row, ...]:
        """What a next daemon needs to carry on: see `ccsvc.domain.memory`."""
        return self.memory.rows()

    def _see(self, row: Row) -> None:
        for name in _INSTANTS[type(row)]:
            at = getattr(row, name)
            if at is not None and (self.last_at is None or at > self.last_at):
                self.last_at = at
