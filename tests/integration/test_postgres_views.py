"""The views against METRICS: its worked examples, its conservation law, and the same numbers as the daemon's own."""

import random
from dataclasses import replace
from typing import Any

import pytest

from ccsvc.domain.ids import AgentId, CallId, SupervisorId
from ccsvc.domain.records import (
    CdrRow,
    IvrStepRow,
    QueueRefusalRow,
    RecordingRow,
    Row,
    SupervisionRow,
)
from ccsvc.domain.stats import Cohort, QueueStats, indicators
from ccsvc.domain.vocabulary import OFFER_RESULTS, QUEUE_EXITS
from ccsvc.postgres.definitions import remember_definitions
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.upsert import UPSERTS, as_json, latest
from ccsvc.settings import QueueSettings
from tests.row_samples import at, call_row, entry_row, offer_row, segment_row, states

VARIANTS = ("answered_of_offered_less_short", "answered_of_answered", "answered_of_all", "served_of_all")


async def put(db: Any, *rows: Row) -> None:
    for kind, kept in latest(rows).items():
        await db.execute(UPSERTS[kind], as_json(kept))


async def queue(db: Any, name: str, bucket: float = 0) -> dict[str, Any]:
    sql = "SELECT * FROM ccsvc.queue_interval WHERE queue = $1 AND bucket_start = $2"
    return dict(await db.fetchrow(sql, name, at(bucket)))


async def agent(db: Any, name: str, bucket: float = 0) -> dict[str, Any]:
    sql = "SELECT * FROM ccsvc.agent_interval WHERE agent_id = $1 AND bucket_start = $2"
    return dict(await db.fetchrow(sql, name, at(bucket)))


async def define(db: Any, variant: str, since: float = 0) -> None:
    settings = QueueSettings(name="sales", service_level=variant)  # type: ignore[arg-type]
    await remember_definitions(db, "pbx1", [settings], at(since))


def picked(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


# -- METRICS' worked examples --------------------------------------------------------------------------------


def blind_transfer() -> list[Row]:
    """12 s in Sales, 60 s with A, blind transfer, 18 s in Support, 120 s with B. Wrap-up 30 s each."""
    return [
        call_row(
            "1", "answered", queues=("sales", "support"), answered_at=at(12), ended_at=at(210), wait_s=12.0,
            talk_s=180.0, hold_s=0.0, ended_by="customer", first_agent_id=AgentId("A"), segment_count=2,
            transfers_attempted=1, transfers_completed=1,
        ),
        entry_row("1", "sales", "answered", wait_s=12),
        offer_row("1", "A", "accepted", 5, 12),
        segment_row("1", "A", since=12, talk_s=60),
        entry_row("1", "support", "answered", n=2, since=72, wait_s=18),
        offer_row("1", "B", "accepted", 80, 90, n=2),
        segment_row("1", "B", since=90, talk_s=120, queue="support", n=2),
        *states("A", [(0, "ready", "idle", ""), (5, "ready", "ringing", ""), (12, "ready", "talking", ""),
                      (72, "ready", "wrap_up", ""), (102, "ready", "idle", "")], 900),
        *states("B", [(0, "ready", "idle", ""), (80, "ready", "ringing", ""), (90, "ready", "talking", ""),
                      (210, "ready", "wrap_up", ""), (240, "ready", "idle", "")], 900),
    ]  # fmt: skip


async def test_example_1_a_transferred_call_is_one_call_and_nobody_pays_for_another(db: Any) -> None:
    await put(db, *blind_transfer())
    (call,) = await db.fetch("SELECT * FROM ccsvc.call_detail")
    assert picked(call, "outcome", "segment_count", "wait_s", "transfers_completed") == ("answered", 2, 12.0, 1)
    sales, support = await queue(db, "sales"), await queue(db, "support")
    wanted = ("entered", "answered", "wait_answered_s", "asa_s", "aht_s")
    assert picked(sales, *wanted) == (1, 1, 12.0, 12.0, 90.0)
    assert picked(support, *wanted) == (1, 1, 18.0, 18.0, 150.0)
    a, b = await agent(db, "A"), await agent(db, "B")
    assert picked(a, "talk_s", "hold_s", "wrap_up_s", "segments", "accepted") == (60.0, 0.0, 30.0, 1, 1)
    assert picked(b, "talk_s", "hold_s", "wrap_up_s", "segments", "accepted") == (120.0, 0.0, 30.0, 1, 1)


async def test_example_2_an_overflow_is_no_abandon(db: Any) -> None:
    await put(
        db,
        call_row("1", "answered", queues=("q1", "q2"), wait_s=85.0, answered_at=at(85)),
        entry_row("1", "q1", "timed_out", wait_s=60),
        entry_row("1", "q2", "answered", n=2, since=60, wait_s=25),
        segment_row("1", "A", since=85, talk_s=10, queue="q2", n=2),
    )
    first, second = await queue(db, "q1"), await queue(db, "q2")
    assert picked(first, "timed_out", "abandoned", "abandonment_rate", "service_level") == (1, 0, 0.0, None)
    assert picked(second, "answered", "asa_s", "abandonment_rate", "service_level") == (1, 25.0, 0.0, 0.0)
    assert await db.fetchval("SELECT wait_s FROM ccsvc.call_detail") == 85.0


async def test_example_3_a_caller_who_gives_up_is_not_held_against_the_agent(db: Any) -> None:
    await put(
        db,
        call_row("1", "abandoned"),
        entry_row("1", exit_="abandoned", wait_s=18),
        offer_row("1", "A", "caller_gone", 10, 18),
        *states("A", [(0, "ready", "idle", ""), (10, "ready", "ringing", ""), (18, "ready", "idle", "")], 900),
    )
    sales, a = await queue(db, "sales"), await agent(db, "A")
    assert picked(sales, "abandoned", "short_abandoned", "wait_abandoned_s", "abandonment_rate") == (1, 0, 18.0, 1.0)
    assert picked(a, "offers", "caller_gone", "no_answer", "rejected", "ringing_s") == (1, 1, 0, 0, 8.0)
    levels = {}
    for n, variant in enumerate(VARIANTS):
        await define(db, variant, since=n)
        levels[variant] = (await queue(db, "sales"))["service_level"]
    assert levels == dict(zip(VARIANTS, (0.0, None, 0.0, 1.0), strict=True))


# -- queues --------------------------------------------------------------------------------------------------


async def test_a_definition_counts_from_its_day_on_and_changes_no_older_interval(db: Any) -> None:
    await put(
        db, entry_row("1", exit_="abandoned", wait_s=18), entry_row("2", exit_="abandoned", since=900, wait_s=18)
    )
    await define(db, "answered_of_all", since=-60)
    await define(db, "served_of_all", since=900)
    first, second = await queue(db, "sales"), await queue(db, "sales", 900)
    assert picked(first, "service_level", "service_level_variant") == (0.0, "answered_of_all")
    assert picked(second, "service_level", "service_level_variant") == (1.0, "served_of_all")


async def test_a_queue_that_only_refused_has_no_rates(db: Any) -> None:
    refusals = [("1", "full"), ("2", "empty"), ("3", "closed"), ("4", "full")]
    await put(db, *(refusal(call, reason) for call, reason in refusals))
    row = await queue(db, "sales")
    assert picked(row, "entered", "refused_full", "refused_empty", "refused_closed") == (0, 2, 1, 1)
    assert picked(row, "asa_s", "aht_s", "abandonment_rate", "service_level") == (None, None, None, None)


def refusal(call: str, reason: Any) -> QueueRefusalRow:
    entry = entry_row(call)
    return QueueRefusalRow(entry.call_id, entry.pbx, entry.queue, entry.entered_at, reason)


async def test_who_still_waits_is_entered_and_in_no_rate(db: Any) -> None:
    await put(db, entry_row("1"), entry_row("2", exit_="answered", wait_s=20))
    row = await queue(db, "sales")
    assert picked(row, "entered", "waiting", "answered_in_target", "service_level") == (2, 1, 1, 1.0)


def random_day(seed: int) -> list[Row]:
    """Two hours of two queues: entries with every exit and none, segments, refusals."""
    dice, rows = random.Random(seed), list[Row]()
    for n in range(300):
        call, name, since = str(n), dice.choice(("sales", "help")), round(dice.uniform(0, 7200), 3)
        exit_, wait_s = (
            dice.choice((*QUEUE_EXITS, *["answered", "abandoned"] * 5, None)),
            round(dice.expovariate(0.08), 3),
        )
        rows.append(entry_row(call, name, since=since))
        if exit_ is not None:
            rows.append(entry_row(call, name, exit_, since=since, wait_s=wait_s))  # type: ignore[arg-type]
        if exit_ == "answered":
            talk_s, hold_s = dice.uniform(0, 900), dice.uniform(0, 60)
            segment = segment_row(call, "A", since=since + wait_s, talk_s=talk_s, hold_s=hold_s, queue=name)
            rows.append(replace(segment, wrap_up_s=None, wrap_up_ended_at=None))
            rows += [segment] if dice.random() < 0.9 else []
        if dice.random() < 0.1:
            rows.append(refusal(f"r{n}", dice.choice(("full", "empty", "closed"))))
    return rows


@pytest.mark.parametrize("seed", range(5))
async def test_what_entered_is_what_left_and_what_waits_in_every_interval(db: Any, seed: int) -> None:
    await put(db, *random_day(seed))
    exits = " + ".join(QUEUE_EXITS)
    wrong = await db.fetch(f"SELECT * FROM ccsvc.queue_interval WHERE entered <> {exits} + waiting")
    assert wrong == []
    totals = await db.fetchrow("SELECT sum(entered) AS entered, count(*) AS rows FROM ccsvc.queue_interval")
    assert totals["entered"] == 300
    assert totals["rows"] >= 16


@pytest.mark.parametrize("variant", VARIANTS)
async def test_the_view_says_what_the_daemons_own_counters_say(db: Any, variant: Any) -> None:
    rows, fold = random_day(7), Fold()
    for row in rows:
        fold.add(row)
    await put(db, *rows)
    await define(db, variant)
    for bucket in range(0, 7200, 900):
        cohort = cohort_of(fold.stats.queue("sales"), bucket)
        wanted = indicators(cohort, variant)
        found = await queue(db, "sales", bucket)
        assert picked(
            found, "entered", "answered", "abandoned", "short_abandoned", "answered_in_target", "segments"
        ) == (
            cohort.offered,
            cohort.answered,
            cohort.abandoned,
            cohort.short_abandoned,
            cohort.answered_in_target,
            cohort.segments,
        )
        assert picked(found, "asa_s", "aht_s", "abandonment_rate", "service_level") == pytest.approx(
            (wanted.asa_s, wanted.aht_s, wanted.abandonment_ratio, wanted.service_level_ratio)
        )


def cohort_of(stats: QueueStats, bucket: float) -> Cohort:
    """The sum of the 15 minutes from `bucket` on."""
    first, total = int(at(bucket).timestamp() // 60), Cohort()
    for minute, cohort in stats.minutes.items():
        if first <= minute < first + 15:
            total.add(cohort)
    return total


# -- agents --------------------------------------------------------------------------------------------------


async def test_time_is_split_over_the_intervals_in_which_it_passed(db: Any) -> None:
    await put(
        db,
        *states("A", [(0, "ready", "idle", ""), (890, "ready", "talking", ""), (2000, "ready", "wrap_up", "")], 2030),
        segment_row("1", "A", since=890, talk_s=1110),
    )
    rows = [await agent(db, "A", bucket) for bucket in (0, 900, 1800)]
    assert [picked(row, "idle_s", "talk_s", "wrap_up_s", "segments") for row in rows] == [
        (890.0, 10.0, 0.0, 1),
        (0.0, 900.0, 0.0, 0),
        (0.0, 200.0, 30.0, 0),
    ]
    assert [row["logged_in_s"] for row in rows] == [900.0, 900.0, 230.0]
    assert [row["occupancy"] for row in rows] == [pytest.approx(10 / 900), 1.0, 1.0]


async def test_hold_is_no_talk_and_its_sum_is_kept_over_a_border(db: Any) -> None:
    await put(
        db,
        *states("A", [(870, "ready", "talking", "")], 930),
        segment_row("1", "A", since=870, talk_s=40, hold_s=20, wrap_up_s=0.0),
    )
    first, second = await agent(db, "A"), await agent(db, "A", 900)
    assert picked(first, "talk_s", "hold_s") == pytest.approx((20.0, 10.0))
    assert picked(second, "talk_s", "hold_s") == pytest.approx((20.0, 10.0))


async def test_a_pause_during_a_call_is_talk_until_the_call_is_over(db: Any) -> None:
    steps = [(0, "ready", "talking", ""), (60, "paused", "talking", "lunch"), (100, "paused", "idle", "lunch")]
    await put(db, *states("A", [*steps, (400, "ready", "idle", "")], 500))  # type: ignore[list-item]
    row = await agent(db, "A")
    assert picked(row, "talk_s", "paused_s", "idle_s", "logged_in_s") == (100.0, 300.0, 100.0, 500.0)
    (pause,) = await db.fetch("SELECT * FROM ccsvc.agent_pause")
    assert tuple(pause) == ("A", "lunch", at(60), at(400), 340.0)


async def test_two_pauses_are_two_and_another_reason_is_another_pause(db: Any) -> None:
    await put(
        db,
        *states(
            "A", [(0, "paused", "idle", "lunch"), (10, "paused", "idle", "meeting"), (30, "ready", "idle", "")], 40
        ),
        *states("A", [(50, "paused", "idle", "lunch")], 60),
        *states("B", [(0, "paused", "idle", "lunch")], 10),
    )
    found = await db.fetch("SELECT agent_id, reason, seconds FROM ccsvc.agent_pause ORDER BY agent_id, started_at")
    assert [tuple(row) for row in found] == [
        ("A", "lunch", 10),
        ("A", "meeting", 20),
        ("A", "lunch", 10),
        ("B", "lunch", 10),
    ]


async def test_a_pause_that_lasts_has_no_length_yet(db: Any) -> None:
    (row,) = states("A", [(0, "paused", "idle", "lunch")], 10)
    await put(db, replace(row, ended_at=None))
    (pause,) = await db.fetch("SELECT ended_at, seconds FROM ccsvc.agent_pause")
    assert tuple(pause) == (None, None)
    assert await db.fetchval("SELECT sum(paused_s) > 0 FROM ccsvc.agent_interval") is True


async def test_who_is_logged_out_has_no_interval(db: Any) -> None:
    await put(db, *states("A", [(0, "logged_out", "idle", "")], 5000))
    assert await db.fetch("SELECT * FROM ccsvc.agent_interval") == []


async def test_occupancy_of_who_only_paused_is_undefined(db: Any) -> None:
    await put(db, *states("A", [(0, "paused", "idle", "lunch")], 500))
    assert (await agent(db, "A"))["occupancy"] is None


async def test_each_offer_counts_once_under_its_result(db: Any) -> None:
    await put(
        db, *(offer_row(str(n), "A", result, n, n + 1) for n, result in enumerate((*OFFER_RESULTS, "no_answer")))
    )
    row = await agent(db, "A")
    assert row["offers"] == len(OFFER_RESULTS) + 1
    assert {name: row[name] for name in OFFER_RESULTS} == {**dict.fromkeys(OFFER_RESULTS, 1), "no_answer": 2}


async def test_a_span_of_the_agent_view_is_the_same_as_the_view(db: Any) -> None:
    await put(db, *blind_transfer(), *states("C", [(100, "ready", "talking", "")], 4000))
    whole = await db.fetch("SELECT * FROM ccsvc.agent_interval WHERE bucket_start >= $1 AND bucket_start < $2 "
                           "ORDER BY 1, 2", at(900), at(2700))  # fmt: skip
    span = await db.fetch("SELECT * FROM ccsvc.agent_interval_between($1, $2) ORDER BY 1, 2", at(900), at(2700))
    assert whole == span
    assert len(span) == 2


# -- calls ---------------------------------------------------------------------------------------------------


def whole_story() -> list[Row]:
    call = CallId("pbx1/1")
    return [
        call_row("1", "answered", ended_at=at(100), segment_count=1),
        IvrStepRow(call, 1, "pbx1", "main", "welcome", at(2), "1", "key"),
        entry_row("1", exit_="answered", since=3, wait_s=9),
        offer_row("1", "2001", "accepted", 4, 12),
        segment_row("1", "2001", since=12, talk_s=88, wrap_up_s=10.0),
        RecordingRow("rec1", call, "pbx1", "2026/rec1.wav", at(12), 0.0, at(100), 88.0, 1000, 88.0, "ok"),
        SupervisionRow(SupervisorId("9001"), "pbx1", AgentId("2001"), call, "whisper", at(20), at(50)),
        CdrRow("pbx1", call_row("1").channel, "1", call, at(0), "", "", "2000", "PJSIP/t-1", "", 100.0, 88.0,
               "ANSWERED", "customer"),
    ]  # fmt: skip


async def test_the_timeline_tells_a_call_in_order(db: Any) -> None:
    await put(db, *whole_story(), call_row("2"))
    found = await db.fetch("SELECT at, what FROM ccsvc.call_timeline WHERE call_id = 'pbx1/1'")
    assert [(row["what"], (row["at"] - at(0)).total_seconds()) for row in found] == [
        ("call_started", 0),
        ("ivr_step", 2),
        ("queue_entered", 3),
        ("offer_started", 4),
        ("offer_ended", 12),
        ("queue_left", 12),
        ("talk_started", 12),
        ("recording_started", 12),
        ("supervision_started", 20),
        ("supervision_ended", 50),
        ("recording_ended", 100),
        ("talk_ended", 100),
        ("leg_ended", 100),
        ("call_ended", 100),
        ("wrap_up_ended", 110),
    ]


async def test_the_timelines_details_are_json(db: Any) -> None:
    await put(db, *whole_story())
    sql = "SELECT detail ->> 'exit' FROM ccsvc.call_timeline WHERE what = 'queue_left'"
    assert await db.fetchval(sql) == "answered"


async def test_a_calls_recordings_are_counted_with_it(db: Any) -> None:
    await put(db, *whole_story(), call_row("2"))
    found = await db.fetch("SELECT recording_count, recorded_s FROM ccsvc.call_detail ORDER BY call_id")
    assert [tuple(row) for row in found] == [(1, 88.0), (0, 0.0)]


async def test_supervision_is_time_by_mode(db: Any) -> None:
    await put(db, *whole_story())
    (row,) = await db.fetch("SELECT * FROM ccsvc.supervision_detail")
    assert tuple(row)[:7] == ("9001", "2001", "pbx1/1", "whisper", at(20), at(50), 30.0)


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        (
            "call_detail",
            "call_id pbx direction started_at ended_at caller did language ivr_path queues outcome answered_at "
            "wait_s talk_s hold_s ended_by first_agent_id segment_count transfers_attempted transfers_completed "
            "callback_attempts recording_count recorded_s repaired",
        ),
        (
            "queue_interval",
            f"queue bucket_start entered {' '.join(QUEUE_EXITS)} refused_full refused_empty refused_closed "
            "short_abandoned answered_in_target wait_answered_s wait_abandoned_s asa_s aht_s abandonment_rate "
            "service_level",
        ),
        (
            "agent_interval",
            "agent_id bucket_start logged_in_s idle_s ringing_s talk_s hold_s wrap_up_s paused_s segments offers "
            f"{' '.join(OFFER_RESULTS)} occupancy",
        ),
        ("agent_pause", "agent_id reason started_at ended_at seconds"),
        ("supervision_detail", "supervisor_id agent_id call_id mode started_at ended_at seconds"),
        ("call_timeline", "call_id at what detail"),
        ("cdr", "calldate clid src dst channel dstchannel duration billsec dial_result uniqueid linkedid"),
    ],
)
async def test_a_view_has_the_columns_that_were_promised(db: Any, view: str, columns: str) -> None:
    await db.fetch(f"SELECT {', '.join(columns.split())} FROM ccsvc.{view}")
