"""What the rows written so far add up to: the things still open, the counters, and the last instant seen.

Promises: the same rows in the same order give the same `Fold`, so that it can stand at the head of a spool file and
be carried on after a restart. A thing that is written again while it is still open counts once.

Does not know a thing that was closed before: a closed row that is written again counts again (`domain.stats.observe`
asks for each thing once when it opens and once when it closes).
"""

import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime

from ccsvc.domain.records import ROW_TYPES, Row, is_open, key_of
from ccsvc.domain.stats import StatsState, observe


def _instants(kind: type[Row]) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(f.name for f in fields(kind) if hints[f.name] in (datetime, datetime | None))


_INSTANTS = {kind: _instants(kind) for kind in ROW_TYPES}


@dataclass(slots=True)
class Fold:
    stats: StatsState = field(default_factory=StatsState)
    open_rows: dict[tuple[object, ...], Row] = field(default_factory=dict)
    last_at: datetime | None = None

    @classmethod
    def of(cls, open_rows: Iterable[Row], stats: StatsState, last_at: datetime | None) -> "Fold":
        return cls(stats, {key_of(row): row for row in open_rows}, last_at)

    def add(self, row: Row) -> None:
        key = key_of(row)
        if is_open(row):
            if key not in self.open_rows:
                observe(self.stats, row)
            self.open_rows[key] = row
        else:
            observe(self.stats, row)
            self.open_rows.pop(key, None)
        self._see(row)

    def _see(self, row: Row) -> None:
        for name in _INSTANTS[type(row)]:
            at = getattr(row, name)
            if at is not None and (self.last_at is None or at > self.last_at):
                self.last_at = at
