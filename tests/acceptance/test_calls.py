"""Callers and agents on real SIP phones, a real Asterisk, a real PostgreSQL; ground truth is what the phones saw."""

import asyncio
from pathlib import Path
from typing import Any

from ccsvc.testing.phone import Answer, NeverAnswer, Phone, PhoneCall, Reject
from ccsvc.testing.tones import read_wav, tones_by_second
from ccsvc.testing.waiting import eventually
from ccsvc.testing.witness import Witness
from tests.acceptance.lanes import Lane, seconds, talked_s

TOLERANCE_S = 0.3
"""Between what a phone saw and what the centre wrote."""


async def talk(caller: PhoneCall, agent: PhoneCall, caller_phone: Phone, agent_phone: Phone) -> None:
    """Both hear each other's tone."""
    await caller.wait_hears(agent_phone.tone_hz, 5)
    await agent.wait_hears(caller_phone.tone_hz, 5)


def heard_s(call: PhoneCall, hz: int) -> float:
    """For how many seconds, in halves, this tone was heard in the call."""
    return sum(hz in window for window in call.heard.timeline([hz], window_s=0.5)) / 2


async def test_a_caller_reaches_an_agent_and_both_are_heard_and_recorded(lane: Lane) -> None:
    agent, caller = await lane.agent(1), await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    at_agent = await agent.wait_for_call(5)
    await at_agent.wait_established(5)
    await talk(call, at_agent, caller, agent)
    assert await asyncio.to_thread(bridged, lane, caller, agent), "a second manager client sees them in one bridge"
    assert not call.hears(caller.tone_hz)
    assert not at_agent.hears(agent.tone_hz)
    await eventually(lambda: heard_s(at_agent, caller.tone_hz) >= 1, "a second of conversation")
    await at_agent.hang_up()
    await call.wait_ended(5)

    row = await lane.call_of(1)
    assert row["outcome"] == "answered"
    assert row["ended_by"] == "agent"
    assert row["first_agent_id"] == lane.agent_number(1)
    assert abs(row["talk_s"] - talked_s(at_agent)) < TOLERANCE_S
    assert row["segment_count"] == 1
    await assert_recorded(lane, row["call_id"], {caller.tone_hz, agent.tone_hz})
    await assert_cdr(lane, row["call_id"])
    await assert_conserved(lane)


def bridged(lane: Lane, *phones: Phone) -> bool:
    """Whether these phones are in one bridge, in the eyes of pyst2."""
    pbx = lane.stack.settings.pbx
    with Witness(pbx.host, pbx.ami_port, "witness", "witness") as witness:
        channels = witness.channels()
    found = [c["BridgeId"] for p in phones for c in channels if c["Channel"].startswith(f"PJSIP/{p.user}-")]
    return len(found) == len(phones) and len(set(found)) == 1 and bool(found[0])


async def assert_recorded(lane: Lane, call_id: str, tones: set[int]) -> None:
    async def measured() -> list[dict[str, object]]:
        query = "SELECT * FROM ccsvc.recording WHERE call_id = $1 AND verdict IS NOT NULL"
        return await lane.stack.rows(query, call_id)

    row = (await eventually(measured, "the recording's verdict"))[0]
    assert row["verdict"] == "ok"
    samples = read_wav(Path(lane.stack.settings.recording.dir) / str(row["path"]))
    heard = tones_by_second(samples, sorted(tones))
    assert tones in heard, f"no second of the recording has both tones: {heard}"


async def assert_cdr(lane: Lane, call_id: str) -> None:
    rows = await lane.stack.rows("SELECT * FROM ccsvc.cdr WHERE call_id = $1 ORDER BY role", call_id)
    assert [row["role"] for row in rows] == ["agent", "customer"]
    assert {row["dial_result"] for row in rows} == {"ANSWERED"}


async def assert_conserved(lane: Lane) -> None:
    """entered = exits + waiting, in the live view, on /metrics and in SQL alike."""
    now = await lane.queue_now()
    assert now["unexplained"] == 0
    metrics = await lane.stack.daemon.metrics()
    entered = metrics[f'ccsvc_queue_entered_total{{queue="{lane.queue}"}}']
    assert entered == now["entered"]
    assert metrics[f'ccsvc_unexplained_entries{{queue="{lane.queue}"}}'] == 0

    async def in_sql() -> bool:
        query = "SELECT count(*) AS n, count(exit) AS left FROM ccsvc.queue_entry WHERE queue = $1"
        row = (await lane.stack.rows(query, lane.queue))[0]
        return bool(row["n"] == entered and row["left"] == sum(now["exits"].values()))

    await eventually(in_sql, "SQL says the same as the live view")


async def test_a_caller_who_hangs_up_while_waiting_is_abandoned(lane: Lane) -> None:
    agent, caller = await lane.agent(1), await lane.caller(1)
    await lane.feature(agent, "*12", "1")
    call = await caller.dial(lane.to_queue)
    await lane.until_waiting(1)
    await eventually(lambda: not call.is_silent(), "music while waiting")
    await call.hang_up()

    row = await lane.call_of(1)
    assert row["outcome"] in ("abandoned", "short_abandoned")
    assert row["ended_by"] == "customer"
    assert row["answered_at"] is None
    assert abs(row["wait_s"] - talked_s(call)) < TOLERANCE_S
    assert not agent.calls[-1].inbound
    await assert_conserved(lane)


async def test_a_caller_who_hangs_up_while_an_agent_rings_is_nobodys_fault(lane: Lane) -> None:
    agent, caller = await lane.agent(1, NeverAnswer()), await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    ringing = await agent.wait_for_call(5)
    await call.hang_up()
    await ringing.wait_ended(5)

    row = await lane.call_of(1)
    assert row["outcome"] in ("abandoned", "short_abandoned")
    offers = await lane.stack.rows("SELECT result FROM ccsvc.offer WHERE call_id = $1", row["call_id"])
    assert [offer["result"] for offer in offers] == ["caller_gone"]
    await lane.until_agent(1, lambda a: (a["status"], a["activity"]) == ("ready", "idle"))


async def test_an_agent_who_does_not_answer_is_followed_by_the_next_and_the_place_is_kept(lane: Lane) -> None:
    first, second, caller = await lane.agent(1, NeverAnswer()), await lane.agent(2), await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    missed = await first.wait_for_call(5)
    at_second = await second.wait_for_call(10)
    await at_second.wait_established(5)
    await talk(call, at_second, caller, second)
    await call.hang_up()

    row = await lane.call_of(1)
    assert row["outcome"] == "answered"
    assert row["ended_by"] == "customer"
    assert row["wait_s"] > seconds(missed.ringing_at, missed.ended_at)
    query = "SELECT agent_id, result FROM ccsvc.offer WHERE call_id = $1 ORDER BY offered_at"
    offers = await lane.stack.rows(query, row["call_id"])
    assert [(o["agent_id"], o["result"]) for o in offers] == [
        (lane.agent_number(1), "no_answer"),
        (lane.agent_number(2), "accepted"),
    ]
    entries = await lane.stack.rows("SELECT * FROM ccsvc.queue_entry WHERE call_id = $1", row["call_id"])
    assert len(entries) == 1


async def test_an_agent_who_rejects_is_passed_over(lane: Lane) -> None:
    for code, k in ((486, 1), (603, 2)):
        await lane.agent(k, Reject(code=code, after_s=0.1))
    third, caller = await lane.agent(3), await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    at_third = await third.wait_for_call(10)
    await at_third.wait_established(5)
    await call.hang_up()
    row = await lane.call_of(1)
    query = "SELECT result FROM ccsvc.offer WHERE call_id = $1 ORDER BY offered_at"
    offers = [o["result"] for o in await lane.stack.rows(query, row["call_id"])]
    assert offers == ["rejected", "rejected", "accepted"]


async def test_a_busy_agent_who_becomes_free_is_offered_the_waiting_caller(lane: Lane) -> None:
    agent = await lane.agent(1, Answer(after_s=0.1))
    first, second = await lane.caller(1), await lane.caller(2)
    first_call = await first.dial(lane.to_queue)
    at_agent = await agent.wait_for_call(5)
    await at_agent.wait_established(5)
    second_call = await second.dial(lane.to_queue)
    await lane.until_waiting(1)
    await first_call.hang_up()
    await lane.until_agent(1, lambda a: a["activity"] == "wrap_up")
    next_call = await agent.wait_for_call(10)
    await next_call.wait_established(5)
    await talk(second_call, next_call, second, agent)
    await second_call.hang_up()
    row = await lane.call_of(2)
    query = """SELECT s.wrap_up_ended_at, o.offered_at FROM ccsvc.segment s, ccsvc.offer o
               WHERE s.agent_id = $1 AND o.call_id = $2 AND s.call_id <> o.call_id"""

    async def wrapped() -> list[dict[str, Any]]:
        rows = await lane.stack.rows(query, lane.agent_number(1), row["call_id"])
        return rows if rows and rows[0]["wrap_up_ended_at"] else []

    times = (await eventually(wrapped, "the end of the wrap-up"))[0]
    gap_s = (times["offered_at"] - times["wrap_up_ended_at"]).total_seconds()
    assert 0 <= gap_s < 0.05, f"offered {gap_s * 1000:.1f} ms after the agent became free"


async def test_menu_key_barges_in_and_leads_to_the_queue(lane: Lane) -> None:
    agent, caller = await lane.agent(1), await lane.caller(1)
    call = await caller.dial(lane.to_menu)
    await call.wait_established(5)
    await until_node(lane, "main")
    await call.press("1")
    at_agent = await agent.wait_for_call(5)
    await at_agent.wait_established(5)
    await talk(call, at_agent, caller, agent)
    await at_agent.hang_up()
    row = await lane.call_of(1)
    assert [p.partition(".")[2] for p in row["ivr_path"]] == ["hello", "main"]
    assert row["queues"] == [lane.queue]


async def until_node(lane: Lane, node: str) -> None:
    """Wait until the caller of this lane is in that node of the menu."""

    async def there() -> bool:
        calls = (await lane.stack.daemon.get("/api/v1/calls"))["calls"]
        return any(c["did"] == lane.to_menu and c["phase"] == "ivr" and c["where"] == node for c in calls)

    await eventually(there, f"caller in node {node}")


async def test_submenu_language_and_hash_key(lane: Lane) -> None:
    caller = await lane.caller(1)
    call = await caller.dial(lane.to_menu)
    await until_node(lane, "main")
    await call.press("3")
    await eventually(lambda: has_language(lane, "fa"), "the call speaks Persian")
    await call.press("2")
    await until_node(lane, "more")
    await call.press("#")
    await until_node(lane, "main")
    await call.press("0")
    await call.wait_ended(10)
    row = await lane.call_of(1)
    assert row["outcome"] == "self_served"
    assert row["ended_by"] == "system"
    assert row["language"] == "fa"


async def has_language(lane: Lane, language: str) -> bool:
    calls = (await lane.stack.daemon.get("/api/v1/calls"))["calls"]
    return any(c["did"] == lane.to_menu and c["language"] == language for c in calls)


async def test_an_invalid_key_and_no_key_are_told_and_limited(lane: Lane) -> None:
    caller = await lane.caller(1)
    call = await caller.dial(lane.to_menu)
    await until_node(lane, "main")
    await call.press("7")
    await call.wait_ended(30)
    row = await lane.call_of(1)
    steps = await lane.stack.rows(
        "SELECT node, pressed, result FROM ccsvc.ivr_step WHERE call_id = $1 ORDER BY n", row["call_id"]
    )
    assert [(s["node"], s["result"]) for s in steps] == [
        ("hello", "next"),
        ("main", "invalid"),
        ("main", "no_input"),
        ("main", "no_input"),
        ("main", "failed"),
    ]
    assert steps[1]["pressed"] == "7"


async def test_nobody_logged_in_is_said_and_counted_as_refused(lane: Lane) -> None:
    caller = await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    await call.wait_ended(20)
    row = await lane.call_of(1)
    assert row["outcome"] == "refused"
    assert row["language"] == "fa", "the language of the number that was dialled"
    refusals = await lane.stack.rows("SELECT reason FROM ccsvc.queue_refusal WHERE call_id = $1", row["call_id"])
    assert [r["reason"] for r in refusals] == ["empty"]
    metrics = await lane.stack.daemon.metrics()
    assert metrics[f'ccsvc_queue_refused_total{{queue="{lane.queue}",reason="empty"}}'] == 1


async def test_the_last_agent_leaving_sends_waiting_callers_on(lane: Lane) -> None:
    agent, caller = await lane.agent(1), await lane.caller(1)
    await lane.feature(agent, "*12", "2")
    call = await caller.dial(lane.to_queue)
    await lane.until_waiting(1)
    await lane.feature(agent, "*11")
    await call.wait_ended(20)
    row = await lane.call_of(1)
    entries = await lane.stack.rows("SELECT exit FROM ccsvc.queue_entry WHERE call_id = $1", row["call_id"])
    assert [e["exit"] for e in entries] == ["left_empty"]


async def test_the_maximum_wait_ends_the_wait_also_while_an_agent_rings(lane: Lane) -> None:
    agent, caller = await lane.agent(1, NeverAnswer()), await lane.caller(1)
    call = await caller.dial(lane.to_menu)
    await until_node(lane, "main")
    await call.press("2")
    await until_node(lane, "more")
    await call.press("1")
    ringing = await agent.wait_for_call(10)
    await ringing.wait_ended(10)
    await call.wait_ended(20)
    row = await lane.call_of(1)
    entries = await lane.stack.rows(
        "SELECT queue, exit, wait_s FROM ccsvc.queue_entry WHERE call_id = $1", row["call_id"]
    )
    assert [(e["queue"], e["exit"]) for e in entries] == [(lane.second_queue, "timed_out")]
    assert 2.5 < entries[0]["wait_s"] < 4.5
    assert row["outcome"] == "refused"
