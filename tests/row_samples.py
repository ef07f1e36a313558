"""Rows for tests: one builder per thing, with what matters to a test as arguments; and any row at all."""

import typing
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Any, Literal

from hypothesis import strategies as st

from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, EntryId, OfferId, QueueName, SegmentId
from ccsvc.domain.records import (
    ROW_TYPES,
    AgentStateRow,
    CallRow,
    OfferRow,
    QueueEntryRow,
    Row,
    SegmentRow,
)
from ccsvc.domain.vocabulary import AgentActivity, AgentStatus, CallOutcome, OfferResult, QueueExit

T0 = datetime(2024, 3, 4, 9, 0, 0, tzinfo=UTC)
"""The start of a quarter of an hour."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def call_row(name: str, outcome: CallOutcome | None = None, **more: Any) -> CallRow:
    values: dict[str, Any] = {
        "call_id": CallId(f"pbx1/{name}"),
        "pbx": "pbx1",
        "channel": ChannelId(name),
        "direction": "inbound",
        "started_at": T0,
        "caller": "+989121234567",
        "caller_name": "Somebody",
        "did": "2000",
        "language": "fa",
        "outcome": outcome,
        "ended_at": at(100) if outcome else None,
    }
    return CallRow(**{**values, **more})


def entry_row(
    call: str,
    queue: str = "sales",
    exit_: QueueExit | None = None,
    *,
    n: int = 1,
    since: float = 0,
    wait_s: float = 0,
) -> QueueEntryRow:
    """T is 20 s, S is 5 s."""
    done = exit_ is not None
    return QueueEntryRow(
        entry_id=EntryId(f"pbx1/{call}/q{n}"),
        call_id=CallId(f"pbx1/{call}"),
        pbx="pbx1",
        queue=QueueName(queue),
        entered_at=at(since),
        priority=0,
        target_s=20.0,
        short_abandon_s=5.0,
        left_at=at(since + wait_s) if done else None,
        exit=exit_,
        wait_s=wait_s if done else None,
        in_target=wait_s <= 20 if done else None,
        short=exit_ == "abandoned" and wait_s <= 5 if done else None,
    )


def offer_row(call: str, agent: str, result: OfferResult | None, since: float, until: float, n: int = 1) -> OfferRow:
    return OfferRow(
        offer_id=OfferId(f"pbx1/{call}/q{n}/o1"),
        entry_id=EntryId(f"pbx1/{call}/q{n}"),
        call_id=CallId(f"pbx1/{call}"),
        pbx="pbx1",
        queue=QueueName("sales"),
        agent_id=AgentId(agent),
        device=DeviceName("desk1"),
        offered_at=at(since),
        ended_at=at(until) if result else None,
        result=result,
    )


def segment_row(
    call: str,
    agent: str,
    *,
    since: float,
    talk_s: float,
    hold_s: float = 0.0,
    wrap_up_s: float | None = 30.0,
    queue: str | None = "sales",
    n: int = 1,
    entry: bool = True,
) -> SegmentRow:
    end = since + talk_s + hold_s
    return SegmentRow(
        segment_id=SegmentId(f"pbx1/{call}/s{n}"),
        call_id=CallId(f"pbx1/{call}"),
        entry_id=EntryId(f"pbx1/{call}/q{n}") if entry else None,
        pbx="pbx1",
        queue=QueueName(queue) if queue else None,
        agent_id=AgentId(agent),
        device=DeviceName("desk1"),
        channel=ChannelId(f"{call}.{n}"),
        started_at=at(since),
        ended_at=at(end),
        talk_s=talk_s,
        hold_s=hold_s,
        wrap_up_ended_at=None if wrap_up_s is None else at(end + wrap_up_s),
        wrap_up_s=wrap_up_s,
    )


def states(
    agent: str, steps: Sequence[tuple[float, AgentStatus, AgentActivity, str]], end: float
) -> list[AgentStateRow]:
    """One row per step `(since, status, activity, reason)`, each lasting until the next, the last until `end`."""
    ends = [step[0] for step in steps[1:]] + [end]
    return [
        AgentStateRow(AgentId(agent), "pbx1", at(since), 0, status, activity, reason, None, at(until))
        for (since, status, activity, reason), until in zip(steps, ends, strict=True)
    ]


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
"""Everything that a Python string can hold: NUL, lone surrogates, line separators."""

ANY_INSTANT = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def any_value(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a row's field of this type may have."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (UnionType, typing.Union):
        return st.one_of([any_value(arg) for arg in args])
    if origin is tuple:
        return st.lists(any_value(args[0]), max_size=3).map(tuple)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        str: ANY_TEXT,
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        datetime: ANY_INSTANT,
    }
    return plain[getattr(hint, "__supertype__", hint)]


def any_row(kind: type[Row] | None = None) -> st.SearchStrategy[Row]:
    """Any row, or any of one type."""
    if kind is None:
        return st.one_of([any_row(one) for one in ROW_TYPES])
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{f.name: any_value(hints[f.name]) for f in fields(kind)})
