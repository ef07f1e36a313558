"""Which rows must be remembered so that a next daemon can carry on: a fold over everything that is written.

Promises: rows of a call are kept until the call has closed *and* nothing of them is open any more (its wrap-up,
its recording), so that its numbering and its sums go on; every other row only while it is open, an agent's state
and a supervisor's listening too. Bounded by the number of live calls and agents.
"""

from collections.abc import Iterable

from ccsvc.domain.records import AgentStateRow, CallRow, Row, SupervisionRow, is_open, key_of

Key = tuple[object, ...]


class OpenRows:
    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[Key, Row] = {}
        self._live: dict[str, set[Key]] = {}
        """Keys of the rows of each call that is still open."""
        for row in rows:
            self.add(row)

    def get(self, row: Row) -> Row | None:
        """What is remembered of the same thing."""
        return self._rows.get(key_of(row))

    def add(self, row: Row) -> None:
        key, call = key_of(row), _call_of(row)
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


def _call_of(row: Row) -> str | None:
    """The call that the row is needed for as long as that one lasts."""
    if isinstance(row, AgentStateRow | SupervisionRow):
        return None
    return getattr(row, "call_id", None)
