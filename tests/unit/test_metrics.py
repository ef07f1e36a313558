"""What Prometheus is told: METRICS' worked examples, the conservation law, and what is undefined."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, EntryId, OfferId, QueueName, SegmentId
from ccsvc.domain.records import CallRow, OfferRow, QueueEntryRow, QueueRefusalRow, Row, SegmentRow
from ccsvc.domain.stats import StatsState, observe
from ccsvc.domain.view import CallView, CentreView, QueueView, WaitingView
from ccsvc.domain.vocabulary import (
    AGENT_GAUGE_STATES,
    CALL_OUTCOMES,
    OFFER_RESULTS,
    QUEUE_EXITS,
    REFUSAL_REASONS,
    CallOutcome,
    OfferResult,
    QueueExit,
)
from ccsvc.settings import QueueSettings
from ccsvc.telemetry.metrics import MAX_FORMER_QUEUES, Health, render

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CALL = CallId("pbx1/1763812800.1")
CALLER = "+989121234567"
QUEUES = (QueueSettings(name="sales"), QueueSettings(name="support"))


# -- rows as the core writes them: once when a thing opens, once when it closes --------------------------------


def entry(queue: str, n: int, wait_s: float, exit_: QueueExit, at: datetime = NOON) -> list[Row]:
    opened = QueueEntryRow(
        entry_id=EntryId(f"{CALL}/q{n}"),
        call_id=CALL,
        pbx="pbx1",
        queue=QueueName(queue),
        entered_at=at,
        priority=0,
        target_s=20.0,
        short_abandon_s=5.0,
    )
    closed = replace(
        opened,
        left_at=at + timedelta(seconds=wait_s),
        exit=exit_,
        wait_s=wait_s,
        in_target=wait_s <= 20.0,
        short=exit_ == "abandoned" and wait_s <= 5.0,
    )
    return [opened, closed]


def offer(queue: str, n: int, agent: str, result: OfferResult) -> list[Row]:
    entry_id = EntryId(f"{CALL}/q{n}")
    opened = OfferRow(
        OfferId(f"{entry_id}/o1"), entry_id, CALL, "pbx1", QueueName(queue), AgentId(agent), DeviceName("d1"), NOON
    )
    return [opened, replace(opened, ended_at=NOON, result=result)]


def segment(queue: str, n: int, agent: str, talk_s: float, wrap_up_s: float) -> list[Row]:
    opened = SegmentRow(
        segment_id=SegmentId(f"{CALL}/s{n}"),
        call_id=CALL,
        entry_id=EntryId(f"{CALL}/q{n}"),
        pbx="pbx1",
        queue=QueueName(queue),
        agent_id=AgentId(agent),
        device=DeviceName("d1"),
        channel=ChannelId("1.2"),
        started_at=NOON,
    )
    talked = replace(opened, talk_s=talk_s, hold_s=0.0)
    return [opened, talked, replace(talked, wrap_up_s=wrap_up_s)]


def call(outcome: CallOutcome) -> list[Row]:
    opened = CallRow(CALL, "pbx1", ChannelId("1.1"), "inbound", NOON, CALLER, "Canary Name", "2001", "fa")
    return [opened, replace(opened, ended_at=NOON, outcome=outcome)]


def counted(rows: Sequence[Row]) -> StatsState:
    stats = StatsState()
    for row in rows:
        observe(stats, row)
    return stats


def picture(waiting: int = 0, *, queue: str = "sales") -> CentreView:
    line = tuple(WaitingView(f"{CALL}{n}", CALLER, "Canary Name", NOON, n, None) for n in range(waiting))
    seen = QueueView(queue, line, 42.0 if line else 0.0, {"idle": 2, "paused": 1}, 0, {}, 0)
    calls = tuple(
        CallView(w.call_id, w.caller, "Canary Name", "2001", "fa", NOON, "waiting", queue, None) for w in line
    )
    return CentreView(NOON, "pbx1", True, (seen,), (), calls)


class Shown:
    """A rendering, read back by name and labels."""

    def __init__(
        self,
        rows: Sequence[Row] | StatsState = (),
        view: CentreView | None = None,
        queues: Sequence[QueueSettings] = QUEUES,
        now: datetime = NOON + timedelta(minutes=5),
        health: Health | None = None,
        zone: ZoneInfo | None = None,
    ) -> None:
        stats = rows if isinstance(rows, StatsState) else counted(rows)
        self.text = render(stats, view or picture(), health or Health(), queues, now, zone or UTC).decode()
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"ccsvc_{name}", frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        wanted = frozenset(labels.items())
        return sum(value for (n, have), value in self.samples.items() if n == f"ccsvc_{name}" and wanted <= have)


def indicators(shown: Shown, queue: str, window: str = "15m") -> tuple[float, ...]:
    names = ("asa_seconds", "aht_seconds", "abandonment_ratio", "service_level_ratio")
    return tuple(shown(name, queue=queue, window=window) for name in names)


# -- METRICS' worked examples ----------------------------------------------------------------------------------


def test_example_1_a_transferred_call_is_one_call_and_two_segments() -> None:
    rows = [
        *entry("sales", 1, 12.0, "answered"),
        *offer("sales", 1, "101", "accepted"),
        *segment("sales", 1, "101", 60.0, 30.0),
        *entry("support", 2, 18.0, "answered"),
        *offer("support", 2, "102", "accepted"),
        *segment("support", 2, "102", 120.0, 30.0),
        *call("answered"),
    ]
    shown = Shown(rows)
    assert shown("calls_total", direction="inbound", outcome="answered") == shown.total("calls_total") == 1
    for queue, wait_s, handle_s in (("sales", 12.0, 90.0), ("support", 18.0, 150.0)):
        assert shown("queue_entered_total", queue=queue) == 1
        assert shown("queue_exits_total", queue=queue, exit="answered") == 1
        assert shown("queue_answered_in_target_total", queue=queue) == 1
        assert shown("queue_wait_seconds_sum", queue=queue, exit="answered") == wait_s
        assert shown("segment_handle_seconds_sum", queue=queue) == handle_s
        assert shown("segment_wrap_up_seconds_sum", queue=queue) == 30.0
        assert shown("offers_total", queue=queue, result="accepted") == 1
        assert indicators(shown, queue) == indicators(shown, queue, "today") == (wait_s, handle_s, 0.0, 1.0)


def test_example_2_an_overflow_is_no_abandon() -> None:
    rows = [*entry("sales", 1, 60.0, "timed_out"), *entry("support", 2, 25.0, "answered"), *call("answered")]
    shown = Shown(rows)
    assert shown("queue_exits_total", queue="sales", exit="timed_out") == 1
    assert shown("queue_exits_total", queue="sales", exit="abandoned") == 0
    assert shown("abandonment_ratio", queue="sales", window="15m") == 0
    assert shown("abandonment_ratio", queue="support", window="15m") == 0
    assert shown("asa_seconds", queue="support", window="15m") == 25
    assert math.isnan(shown("asa_seconds", queue="sales", window="15m"))
    assert shown("queue_wait_seconds_count", queue="sales", exit="timed_out") == 1


@pytest.mark.parametrize(
    ("variant", "level"),
    [
        ("answered_of_answered", math.nan),
        ("answered_of_all", 0.0),
        ("served_of_all", 1.0),
        ("answered_of_offered_less_short", 0.0),
    ],
)
def test_example_3_a_caller_who_hangs_up_while_a_phone_rings(variant: str, level: float) -> None:
    rows = [
        *entry("sales", 1, 18.0, "abandoned"),
        *offer("sales", 1, "101", "caller_gone"),
        *call("abandoned"),
    ]
    shown = Shown(rows, queues=[QueueSettings(name="sales", service_level=variant)])  # type: ignore[arg-type]
    assert shown("queue_exits_total", queue="sales", exit="abandoned") == 1
    assert shown("queue_wait_seconds_sum", queue="sales", exit="abandoned") == 18
    assert shown("queue_short_abandoned_total", queue="sales") == 0
    assert shown("offers_total", queue="sales", result="caller_gone") == shown.total("offers_total") == 1
    assert shown("service_level_ratio", queue="sales", window="15m") == pytest.approx(level, nan_ok=True)
    assert shown("calls_total", direction="inbound", outcome="abandoned") == 1


# -- laws --------------------------------------------------------------------------------------------------------


def test_every_known_queue_has_all_its_series_before_the_first_call() -> None:
    shown = Shown(view=CentreView(NOON, "pbx1", True, (), (), ()))
    for queue in ("sales", "support"):
        assert shown("queue_entered_total", queue=queue) == 0
        assert [shown("queue_exits_total", queue=queue, exit=word) for word in QUEUE_EXITS] == [0] * 9
        assert [shown("queue_refused_total", queue=queue, reason=word) for word in REFUSAL_REASONS] == [0] * 3
        assert [shown("offers_total", queue=queue, result=word) for word in OFFER_RESULTS] == [0] * 7
        assert shown("queue_wait_seconds_bucket", queue=queue, exit="answered", le="+Inf") == 0
        assert shown("queue_wait_seconds_bucket", queue=queue, exit="abandoned", le="20.0") == 0
        assert [shown("agents", queue=queue, state=state) for state in AGENT_GAUGE_STATES] == [0] * 6
        assert shown("unexplained_entries", queue=queue) == 0
    assert shown("calls_total", direction="outbound", outcome=CALL_OUTCOMES[0]) == 0
    assert shown("rows_written_total", table="queue_entry") == 0


def test_what_is_undefined_is_nan_and_never_0_or_1() -> None:
    shown = Shown()
    for window in ("15m", "today"):
        assert all(math.isnan(value) for value in indicators(shown, "sales", window))
    assert math.isnan(shown("event_lag_seconds"))


STAYS = st.lists(
    st.tuples(st.sampled_from(["sales", "support"]), st.sampled_from([*QUEUE_EXITS, None]), st.floats(0, 4000)),
    max_size=30,
)


@unhurried(deadline=None)
@given(STAYS)
def test_entered_is_the_sum_of_all_exits_and_waiting_whatever_happened(
    stays: list[tuple[str, QueueExit | None, float]],
) -> None:
    rows: list[Row] = []
    for n, (queue, exit_, wait_s) in enumerate(stays):
        rows += entry(queue, n, wait_s, exit_ or "answered")[: 2 if exit_ else 1]
    waiting = sum(1 for queue, exit_, _ in stays if queue == "sales" and exit_ is None)
    shown = Shown([row for row in rows if isinstance(row, QueueEntryRow) and row.queue == "sales"], picture(waiting))
    left = shown.total("queue_exits_total", queue="sales")
    assert shown("queue_entered_total", queue="sales") == left + shown("queue_waiting", queue="sales")
    assert shown("unexplained_entries", queue="sales") == 0
    assert shown.total("queue_wait_seconds_count", queue="sales") == left
    assert shown.total("queue_wait_seconds_bucket", queue="sales", le="+Inf") == left


def test_an_entry_that_nobody_can_explain_shows() -> None:
    shown = Shown(entry("sales", 1, 5.0, "answered")[:1], picture(0))
    assert shown("unexplained_entries", queue="sales") == 1


def test_buckets_are_cumulative_and_their_bounds_count_in() -> None:
    rows = [row for n, wait_s in enumerate((20.0, 20.1, 4000.0)) for row in entry("sales", n, wait_s, "answered")]
    shown = Shown(rows)
    at = {
        le: shown("queue_wait_seconds_bucket", queue="sales", exit="answered", le=le)
        for le in ("15.0", "20.0", "30.0")
    }
    assert at == {"15.0": 0, "20.0": 1, "30.0": 2}
    assert shown("queue_wait_seconds_bucket", queue="sales", exit="answered", le="+Inf") == 3


def test_the_windows_end_now_and_today_begins_at_the_zones_midnight() -> None:
    rows = entry("sales", 1, 10.0, "answered", at=datetime(2026, 11, 22, 20, 0, tzinfo=UTC))
    later = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
    in_utc, in_tehran = Shown(rows, now=later), Shown(rows, now=later, zone=ZoneInfo("Asia/Tehran"))
    assert math.isnan(in_utc("asa_seconds", queue="sales", window="15m"))
    assert in_utc("asa_seconds", queue="sales", window="today") == 10
    assert math.isnan(in_tehran("asa_seconds", queue="sales", window="today"))


def test_a_refused_caller_is_counted_by_reason_and_never_entered() -> None:
    shown = Shown([QueueRefusalRow(CALL, "pbx1", QueueName("sales"), NOON, "full")])
    assert shown("queue_refused_total", queue="sales", reason="full") == 1
    assert shown("queue_entered_total", queue="sales") == 0


def test_the_present_is_shown_from_the_picture() -> None:
    shown = Shown(view=picture(3))
    assert shown("queue_waiting", queue="sales") == 3
    assert shown("queue_longest_wait_seconds", queue="sales") == 42
    assert [shown("agents", queue="sales", state=state) for state in ("idle", "paused", "talking")] == [2, 1, 0]
    assert shown("calls_active") == 3


def test_a_queue_that_is_no_longer_configured_keeps_its_counters() -> None:
    shown = Shown(entry("former", 1, 5.0, "answered"))
    assert shown("queue_entered_total", queue="former") == 1


def test_the_number_of_series_has_a_bound_whatever_was_counted() -> None:
    stats = StatsState()
    for n in range(MAX_FORMER_QUEUES + 50):
        stats.queue(f"former-{n}").entered = 1
    shown = Shown(stats)
    assert shown.total("queue_entered_total") == MAX_FORMER_QUEUES


def test_the_daemons_own_health_is_shown() -> None:
    health = Health(True, 12.5, 0.004, 7, {"call": 3}, 2, version="9.9")
    shown = Shown(health=health)
    assert shown("ami_connected") == 1
    assert shown("ami_gap_seconds_total") == 12.5
    assert shown("event_lag_seconds") == 0.004
    assert shown("spool_rows") == 7
    assert shown("rows_written_total", table="call") == 3
    assert shown("recordings_failed_total") == 2
    assert 'ccsvc_build_info{python="' in shown.text
    assert 'version="9.9"} 1.0' in shown.text


def test_no_label_holds_anything_of_a_caller() -> None:
    shown = Shown([*entry("sales", 1, 5.0, "answered"), *call("answered")], picture(2))
    assert "912" not in shown.text
    assert "Canary" not in shown.text
    assert str(CALL) not in shown.text
    labels = {label for _, have in shown.samples for label, _ in have}
    assert labels == {"queue", "exit", "reason", "result", "state", "window", "le", "direction", "outcome"} | {
        "table",
        "version",
        "python",
    }


CONTRACT = """
queue_entered_total:counter queue_exits_total:counter queue_refused_total:counter queue_short_abandoned_total:counter
queue_answered_in_target_total:counter queue_wait_seconds:histogram segment_talk_seconds:histogram
segment_hold_seconds:histogram segment_wrap_up_seconds:histogram segment_handle_seconds:histogram queue_waiting:gauge
queue_longest_wait_seconds:gauge agents:gauge asa_seconds:gauge aht_seconds:gauge abandonment_ratio:gauge
service_level_ratio:gauge offers_total:counter calls_total:counter calls_active:gauge unexplained_entries:gauge
ami_connected:gauge ami_gap_seconds_total:counter event_lag_seconds:gauge spool_rows:gauge rows_written_total:counter
recordings_failed_total:counter build_info:gauge
"""


def test_the_names_and_types_are_those_of_the_contract() -> None:
    lines = [line.split() for line in Shown().text.splitlines() if line.startswith("# TYPE")]
    assert {f"{name.removeprefix('ccsvc_')}:{kind}" for _, _, name, kind in lines} == set(CONTRACT.split())
