"""The formulas of METRICS, from the rows alone."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, OfferId, QueueName, entry_id, segment_id
from ccsvc.domain.records import CallRow, OfferRow, QueueEntryRow, QueueRefusalRow, Row, SegmentRow
from ccsvc.domain.stats import (
    MINUTES_KEPT,
    WAIT_BOUNDS_S,
    Cohort,
    StatsState,
    histogram,
    indicators,
    minute_of,
    observe,
    service_level,
)
from ccsvc.domain.vocabulary import QueueExit
from tests.unit.centre_parts import T0, after

SALES = QueueName("sales")
VARIANTS = ("answered_of_offered_less_short", "answered_of_answered", "answered_of_all", "served_of_all")


def entry(n: int, entered_at: datetime = T0, queue: QueueName = SALES) -> QueueEntryRow:
    call = CallId(f"pbx1/{n}")
    return QueueEntryRow(entry_id(call, 1), call, "pbx1", queue, entered_at, 0, 20.0, 5.0)


def left(row: QueueEntryRow, exit_: QueueExit, wait_s: float) -> QueueEntryRow:
    return replace(
        row,
        left_at=row.entered_at + timedelta(seconds=wait_s),
        exit=exit_,
        wait_s=wait_s,
        in_target=wait_s <= row.target_s,
        short=exit_ == "abandoned" and wait_s <= row.short_abandon_s,
    )


def segment(row: QueueEntryRow, talk_s: float, hold_s: float, wrap_up_s: float) -> SegmentRow:
    return SegmentRow(
        segment_id=segment_id(row.call_id, 1),
        call_id=row.call_id,
        entry_id=row.entry_id,
        pbx="pbx1",
        queue=row.queue,
        agent_id=AgentId("1"),
        device=DeviceName("d1"),
        channel=ChannelId("1.1"),
        started_at=row.entered_at + timedelta(seconds=90),
        ended_at=row.entered_at + timedelta(seconds=95),
        talk_s=talk_s,
        hold_s=hold_s,
        wrap_up_ended_at=row.entered_at + timedelta(seconds=99),
        wrap_up_s=wrap_up_s,
    )


def counted(*rows: Row) -> StatsState:
    state = StatsState()
    for row in rows:
        observe(state, row)
    return state


def stays(*exits: tuple[QueueExit, float]) -> StatsState:
    """Entries that entered at once and left as given: (exit, wait)."""
    rows: list[Row] = []
    for n, (exit_, wait_s) in enumerate(exits):
        rows += [entry(n), left(entry(n), exit_, wait_s)]
    return counted(*rows)


def cohort(state: StatsState) -> Cohort:
    return state.queue("sales").since(T0)


MIXED: tuple[tuple[QueueExit, float], ...] = (
    ("answered", 10.0),
    ("answered", 20.0),
    ("answered", 30.0),
    ("abandoned", 5.0),
    ("abandoned", 12.0),
)


def test_the_speed_of_answer_is_the_mean_wait_of_the_answered() -> None:
    assert indicators(cohort(stays(*MIXED)), VARIANTS[0]).asa_s == pytest.approx(20.0)


def test_the_short_ones_are_abandoned_but_not_in_the_abandonment_rate() -> None:
    found = cohort(stays(*MIXED))
    assert (found.offered, found.abandoned, found.short_abandoned) == (5, 2, 1)
    assert indicators(found, VARIANTS[0]).abandonment_ratio == pytest.approx(1 / 4)


@pytest.mark.parametrize(("variant", "level"), list(zip(VARIANTS, (2 / 4, 2 / 3, 2 / 5, 4 / 5), strict=True)))
def test_each_service_level_has_its_own_formula(variant: str, level: float) -> None:
    assert service_level(cohort(stays(*MIXED)), variant) == pytest.approx(level)


def test_the_target_itself_is_within_it() -> None:
    assert service_level(cohort(stays(("answered", 20.0))), "answered_of_answered") == 1.0
    assert service_level(cohort(stays(("answered", 20.000001))), "answered_of_answered") == 0.0


def test_an_unknown_variant_is_an_error() -> None:
    with pytest.raises(ValueError, match="best_of_all"):
        service_level(Cohort(), "best_of_all")


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_no_denominator_is_undefined(variant: str) -> None:
    found = indicators(Cohort(), variant)
    assert (found.asa_s, found.aht_s, found.abandonment_ratio, found.service_level_ratio) == (None, None, None, None)


def test_only_short_abandons_leave_the_rates_undefined() -> None:
    found = cohort(stays(("abandoned", 1.0), ("abandoned", 5.0)))
    assert indicators(found, VARIANTS[0]).abandonment_ratio is None
    assert indicators(found, VARIANTS[0]).service_level_ratio is None
    assert indicators(found, "answered_of_all").service_level_ratio == 0.0


@pytest.mark.parametrize("exit_", ["timed_out", "left_empty", "withdrawn", "transferred", "system_lost"])
def test_other_exits_are_in_neither_rate_but_in_the_balance(exit_: QueueExit) -> None:
    state = stays((exit_, 30.0), ("answered", 1.0))
    found = cohort(state)
    assert (found.offered, found.answered, found.abandoned) == (2, 1, 0)
    assert service_level(found, VARIANTS[0]) == 1.0
    assert state.queue("sales").exits == {exit_: 1, "answered": 1}


def test_the_handle_time_is_talk_and_hold_and_wrap_up_of_a_segment() -> None:
    row = entry(1)
    state = counted(row, left(row, "answered", 3.0), segment(row, 60.0, 10.0, 20.0))
    assert indicators(cohort(state), VARIANTS[0]).aht_s == pytest.approx(90.0)
    stats = state.queue("sales")
    assert [h.total_s for h in (stats.talk, stats.hold, stats.wrap_up, stats.handle)] == [60.0, 10.0, 20.0, 90.0]


def test_a_segment_counts_once_when_its_wrap_up_has_ended() -> None:
    row = entry(1)
    whole = segment(row, 60.0, 0.0, 0.0)
    open_ = replace(whole, ended_at=None, talk_s=None, hold_s=None, wrap_up_ended_at=None, wrap_up_s=None)
    wrapping = replace(whole, wrap_up_ended_at=None, wrap_up_s=None)
    assert cohort(counted(row, left(row, "answered", 3.0), open_, wrapping, whole)).segments == 1


def test_everything_about_an_entry_is_booked_into_the_minute_in_which_it_entered() -> None:
    row = entry(1, after(59.0))
    state = counted(row, left(row, "answered", 40.0), segment(row, 300.0, 0.0, 30.0))
    minutes = state.queue("sales").minutes
    assert list(minutes) == [minute_of(after(59.0))]
    booked = minutes[minute_of(after(59.0))]
    assert (booked.offered, booked.answered, booked.segments, booked.handle_s) == (1, 1, 1, 330.0)


def test_a_window_begins_with_the_minute_of_its_instant() -> None:
    state = counted(*(entry(n, after(30.0 + 60 * n)) for n in range(4)))
    assert state.queue("sales").since(after(95.0)).offered == 3


def test_minutes_that_are_too_old_are_forgotten() -> None:
    state = StatsState()
    for hour in range(30):
        observe(state, entry(hour, T0 + timedelta(hours=hour)))
    minutes = state.queue("sales").minutes
    assert len(minutes) == 27
    assert max(minutes) - min(minutes) <= MINUTES_KEPT
    assert state.queue("sales").entered == 30


def test_who_was_never_let_in_is_counted_apart() -> None:
    state = counted(QueueRefusalRow(CallId("c"), "pbx1", SALES, T0, "full"))
    assert state.queue("sales").refused == {"full": 1}
    assert state.queue("sales").entered == 0


def test_an_offer_counts_when_it_has_ended() -> None:
    row = entry(1)
    offer = OfferRow(
        OfferId("o"), row.entry_id, row.call_id, "pbx1", SALES, AgentId("1"), DeviceName("d1"), offered_at=T0
    )
    state = counted(offer, replace(offer, ended_at=after(3), result="caller_gone"))
    assert state.queue("sales").offers == {"caller_gone": 1}


def test_a_call_counts_when_it_has_ended() -> None:
    call = CallRow(CallId("c"), "pbx1", ChannelId("1.1"), "inbound", T0, "1", "", "100", "en")
    state = counted(call, replace(call, ended_at=after(3), outcome="answered"))
    assert state.calls == {"inbound/answered": 1}


def test_a_bound_of_a_histogram_is_inclusive() -> None:
    waits = histogram(WAIT_BOUNDS_S)
    for seconds in (0.0, 1.0, 1.1, 3600.0, 3600.1):
        waits.add(seconds)
    assert waits.counts[0] == 2
    assert waits.counts[1] == 1
    assert waits.counts[-2:] == [1, 1]
    assert sum(waits.counts) == 5


EXITS = st.sampled_from(("answered", "abandoned", "timed_out", "left_empty", "withdrawn", "system_lost"))


@given(st.lists(st.tuples(EXITS, st.floats(0, 100))), st.integers(0, 5))
def test_entered_is_exits_and_waiting_and_no_rate_leaves_its_bounds(
    exits: list[tuple[QueueExit, float]], waiting: int
) -> None:
    state = stays(*exits)
    for n in range(waiting):
        observe(state, entry(1000 + n))
    stats = state.queue("sales")
    assert stats.entered == stats.left + waiting
    for variant in VARIANTS:
        found = indicators(cohort(state), variant)
        for ratio in (found.abandonment_ratio, found.service_level_ratio):
            assert ratio is None or 0.0 <= ratio <= 1.0


def test_nothing_is_kept_of_an_entry_that_nobody_will_ask_for_again() -> None:
    row = entry(2)
    assert stays(("abandoned", 9.0)).entry_minutes == {}
    assert counted(row, left(row, "answered", 1.0), segment(row, 1.0, 0.0, 0.0)).entry_minutes == {}


def test_an_entry_whose_segment_never_comes_is_forgotten_after_a_day() -> None:
    late = entry(2, T0 + timedelta(minutes=MINUTES_KEPT + 1))
    assert list(counted(entry(1), left(entry(1), "answered", 1.0), late).entry_minutes) == [late.entry_id]
