"""What agents and supervisors do by feature code, on real phones."""

from ccsvc.testing.phone import Answer
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import PIN, Lane, until_spoken_to


async def audits(lane: Lane, actor: str) -> list[tuple[str, bool, str]]:
    query = "SELECT verb, allowed, reason FROM ccsvc.audit WHERE actor = $1 ORDER BY at, seq"
    return [(r["verb"], r["allowed"], r["reason"]) for r in await lane.stack.rows(query, actor)]


async def test_log_in_pause_ready_and_log_out(lane: Lane) -> None:
    phone = await lane.agent(1)
    await lane.feature(phone, "*12", "2")
    await lane.until_agent(1, lambda a: (a["status"], a["reason"]) == ("paused", "lunch"))
    await lane.feature(phone, "*13")
    await lane.until_agent(1, lambda a: a["status"] == "ready")
    await lane.feature(phone, "*11")
    await lane.until_agent(1, lambda a: a["status"] == "logged_out")
    sessions = await eventually(lambda: ended_sessions(lane), "the session's row")
    assert sessions[0]["end_reason"] == "logged_out"
    pauses = await lane.stack.rows("SELECT * FROM ccsvc.agent_pause WHERE agent_id = $1", lane.agent_number(1))
    assert [p["reason"] for p in pauses] == ["lunch"]


async def ended_sessions(lane: Lane) -> list[dict[str, object]]:
    query = "SELECT * FROM ccsvc.agent_session WHERE agent_id = $1 AND ended_at IS NOT NULL"
    return await lane.stack.rows(query, lane.agent_number(1))


async def test_a_wrong_pin_is_refused_and_audited(lane: Lane) -> None:
    phone = await lane.agent_phone(1)
    await lane.feature(phone, "*10", f"{lane.agent_number(1)}#", "0000#")
    assert (await lane.agent_now(1))["status"] == "logged_out"
    actor = f"agent:{lane.agent_number(1)}"
    await eventually(lambda: audits(lane, actor), "the audit")
    assert await audits(lane, actor) == [("login", False, "wrong_pin")]


async def test_a_supervisor_hears_both_and_is_heard_by_neither(lane: Lane) -> None:
    agent, caller, supervisor = await lane.agent(1), await lane.caller(1), await lane.supervisor()
    call = await caller.dial(lane.to_queue)
    at_agent = await agent.wait_for_call(5)
    await at_agent.wait_established(5)
    await call.wait_hears(agent.tone_hz)
    listening = await supervisor.dial(f"*20{lane.agent_number(1)}")
    await until_spoken_to(listening)
    await listening.press(f"{PIN}#")
    await listening.wait_hears(agent.tone_hz, 15)
    await listening.wait_hears(caller.tone_hz, 5)
    assert not call.hears(supervisor.tone_hz)
    assert not at_agent.hears(supervisor.tone_hz)
    await call.wait_hears(agent.tone_hz)
    await listening.hang_up()
    await call.hang_up()
    number = f"9{lane.n}1"
    rows = await eventually(
        lambda: lane.stack.rows(
            "SELECT * FROM ccsvc.supervision_detail WHERE supervisor_id = $1 AND ended_at IS NOT NULL", number
        ),
        "the supervision's row",
    )
    assert (rows[0]["mode"], rows[0]["agent_id"]) == ("listen", lane.agent_number(1))
    assert rows[0]["call_id"] == (await lane.call_of(1))["call_id"]
    assert await audits(lane, f"supervisor:{number}") == [("listen", True, "")]


async def test_a_supervisors_wrong_pin_is_refused_and_audited(lane: Lane) -> None:
    supervisor = await lane.supervisor()
    await lane.feature(supervisor, f"*20{lane.agent_number(1)}", "9999#")
    actor = f"supervisor:9{lane.n}1"
    await eventually(lambda: audits(lane, actor), "the audit")
    assert await audits(lane, actor) == [("listen", False, "wrong_pin")]


async def test_who_is_no_supervisor_may_not_listen(lane: Lane) -> None:
    await lane.agent(1)
    caller = await lane.caller(1)
    await lane.feature(caller, f"*20{lane.agent_number(1)}")
    actor = f"device:c{lane.n}1"
    await eventually(lambda: audits(lane, actor), "the audit")
    assert await audits(lane, actor) == [("listen", False, "not_a_supervisor")]


async def test_an_agent_logs_in_at_another_phone_and_is_called_there(lane: Lane) -> None:
    await lane.agent(1)
    other = await lane.agent_phone(2)
    other.answering = Answer(after_s=0.1)
    await lane.feature(other, "*10", f"{lane.agent_number(1)}#", f"{PIN}#")
    await lane.until_agent(1, lambda a: a["device"] == f"a{lane.n}2" and a["device_state"] == "idle")
    caller = await lane.caller(1)
    call = await caller.dial(lane.to_queue)
    at_agent = await other.wait_for_call(5)
    await at_agent.wait_established(5)
    await call.hang_up()
    assert (await lane.call_of(1))["first_agent_id"] == lane.agent_number(1)
