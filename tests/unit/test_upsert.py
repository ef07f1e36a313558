"""Which state of a row goes into the database."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccsvc.domain.records import ROW_TYPES, CallRow, QueueEntryRow, Row, is_open
from ccsvc.postgres.upsert import CLOSED_BY, UPSERTS, latest
from tests.row_samples import any_row, at, call_row, entry_row


@settings(max_examples=300)
@given(any_row())
def test_the_closing_column_says_what_is_open_says(row: Row) -> None:
    column = CLOSED_BY.get(type(row))
    assert is_open(row) == (column is not None and getattr(row, column) is None)


@pytest.mark.parametrize("kind", ROW_TYPES)
def test_every_row_type_has_its_statement(kind: type[Row]) -> None:
    assert f'INSERT INTO ccsvc."{kind.table}"' in UPSERTS[kind]
    keys = ", ".join(f'"{name}"' for name in kind.key)
    assert f"ON CONFLICT ({keys})" in UPSERTS[kind]


def test_the_last_state_of_each_thing_wins() -> None:
    first, second = call_row("1"), call_row("1", queues=("sales",))
    assert latest([first, call_row("2"), second]) == {CallRow: [second, call_row("2")]}


def test_what_is_closed_is_not_opened_again() -> None:
    closed, again = call_row("1", "answered"), call_row("1")
    assert latest([closed, again]) == {CallRow: [closed]}


def test_what_is_closed_may_be_corrected() -> None:
    closed = call_row("1", "unknown")
    better = replace(closed, outcome="answered", ended_at=at(50))
    assert latest([closed, better]) == {CallRow: [better]}


def test_tables_come_in_the_order_of_the_row_types() -> None:
    assert list(latest([entry_row("1"), call_row("1")])) == [CallRow, QueueEntryRow]


@given(st.lists(any_row(), max_size=20))
def test_no_key_comes_twice(rows: list[Row]) -> None:
    for kind, kept in latest([*rows, *rows]).items():
        keys = [tuple(getattr(row, name) for name in kind.key) for row in kept]
        assert len(keys) == len(set(keys))
