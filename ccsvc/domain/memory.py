"""Which rows must be remembered so that a next daemon can carry on: a fold over everything that is written.

Promises: rows of a call are kept until the call has closed *and* nothing of them is open any more (its wrap-up,
its recording); every other row only while it is open. Bounded by the number of live calls and agents.
"""

from collections.abc import Iterable

from ccsvc.domain.records import CallRow, Row, is_open, key_of

Key = tuple[object, ...]


class OpenRows:
    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[Key, Row] = {}
        self._live: dict[str, set[Key]] = {}
        """Keys of the rows of each call that is still open."""
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        key, call = key_of(row), getattr(row, "call_id", None)
        if isinstance(row, CallRow):
            self._add_call(key, row)
        elif call in self._live:
            self._rows[key] = row
            self._live[call].add(key)
        elif is_open(row):
            self._rows[key] = row
        else:
            self._rows.pop(key, None)

    def _add_call(self, key: Key, row: CallRow) -> None:
        if row.ended_at is None:
            self._rows[key] = row
            self._live.setdefault(row.call_id, {key})
            return
        for old in self._live.pop(row.call_id, set()):
            if old == key or not is_open(self._rows[old]):
                self._rows.pop(old, None)

    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)
