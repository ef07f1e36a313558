"""What callers, agents and records live through when a part dies: each test with a PBX of its own.

Invariants: nobody is dropped, places are kept, each call stands in the database exactly once.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio

from ccsvc.testing.phone import Answer, NeverAnswer, PhoneCall, PhoneLine
from ccsvc.testing.stack import Stack
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import Lane, lanes_settings, seconds, talked_s


@asynccontextmanager
async def lane_of_its_own(line: PhoneLine, *, watchdog: bool = False) -> AsyncIterator[Lane]:
    """A lane on a stack that nobody else uses: long rings, so that a fault falls into them."""
    async with Stack(lanes_settings(1, menu_attempts=10, ring_timeout_s=40, wrap_up_s=0), watchdog=watchdog) as stack:
        lane = Lane(stack, line, 10)
        try:
            yield lane
            assert await eventually(lambda: no_channels(stack), "no channel left")
        finally:
            for phone in lane.phones.values():
                await phone.close()


@pytest_asyncio.fixture
async def own(line: PhoneLine) -> AsyncIterator[Lane]:
    async with lane_of_its_own(line) as lane:
        yield lane


@pytest_asyncio.fixture
async def guarded(line: PhoneLine) -> AsyncIterator[Lane]:
    """With the watchdog between us and the daemon."""
    async with lane_of_its_own(line, watchdog=True) as lane:
        yield lane


async def no_channels(stack: Stack) -> bool:
    return await stack.channels() == 0


async def assert_told_once(lane: Lane, callers: int) -> None:
    """Every caller has one closed call, every stay and every segment is closed, and the sums agree."""

    async def all_closed() -> bool:
        open_rows = await lane.stack.rows("SELECT 1 FROM ccsvc.call WHERE ended_at IS NULL")
        return not open_rows

    await eventually(all_closed, "every call closed", deadline_s=20)
    calls = await lane.stack.rows("SELECT caller, count(*) AS n FROM ccsvc.call GROUP BY caller")
    assert {row["caller"]: row["n"] for row in calls} == {lane.caller_number(k): 1 for k in range(1, callers + 1)}
    entries = await lane.stack.rows("SELECT call_id, exit FROM ccsvc.queue_entry")
    assert all(row["exit"] for row in entries), entries
    negative = "SELECT * FROM ccsvc.segment WHERE talk_s < 0 OR hold_s < 0 OR ended_at IS NULL"
    assert await lane.stack.rows(negative) == []
    for queue in (lane.queue, lane.second_queue):
        assert (await lane.queue_now(queue))["unexplained"] == 0


async def established(lane: Lane, k: int, number: str) -> PhoneCall:
    call = await (await lane.caller(k)).dial(number)
    await call.wait_established(5)
    return call


async def phase(lane: Lane, k: int) -> str:
    tail = lane.caller_number(k)[-2:]
    calls = (await lane.stack.daemon.get("/api/v1/calls"))["calls"]
    return next((c["phase"] for c in calls if c["caller"].endswith(tail)), "")


async def until_phase(lane: Lane, k: int, wanted: str) -> None:
    async def there() -> bool:
        return await phase(lane, k) == wanted

    await eventually(there, f"caller {k} {wanted}")


async def press_until(lane: Lane, k: int, call: PhoneCall, key: str, wanted: str) -> None:
    """Press as a person does: again, when the menu says its sentence again."""

    async def there() -> bool:
        if await phase(lane, k) == wanted:
            return True
        await call.press(key)
        return False

    await eventually(there, f"caller {k} {wanted} after pressing {key}", every_s=1.0, deadline_s=30)


async def test_a_killed_daemon_drops_nobody_and_places_are_kept(own: Lane) -> None:
    talking_agent = await own.agent(1, Answer(after_s=0.1))
    talking = await established(own, 1, own.to_queue)
    await until_phase(own, 1, "talking")
    ringing_agent = await own.agent(2, NeverAnswer())
    ringing = await established(own, 2, own.to_queue)
    await until_phase(own, 2, "ringing")
    waiting = await established(own, 3, own.to_queue)
    await until_phase(own, 3, "waiting")
    in_menu = await established(own, 4, own.to_menu)
    await until_phase(own, 4, "ivr")

    await own.stack.daemon.kill()
    await own.stack.daemon.start()

    calls = (talking, ringing, waiting, in_menu)
    assert all(call.ended_at is None for call in calls)
    await until_phase(own, 1, "talking")
    await until_phase(own, 3, "waiting")
    await until_phase(own, 4, "ivr")
    await press_until(own, 4, in_menu, "1", "waiting")

    at_ringing = ringing_agent.calls[-1]
    await at_ringing.answer()
    await ringing.wait_hears(ringing_agent.tone_hz)
    await until_phase(own, 2, "talking")

    before = len(talking_agent.calls)
    await talking.hang_up()
    await eventually(lambda: len(talking_agent.calls) > before, "the freed agent rings")
    await waiting.wait_hears(talking_agent.tone_hz)
    assert await phase(own, 4) == "waiting", "who came first is served first"

    for call in calls:
        await call.hang_up()
    await assert_told_once(own, 4)
    rows = {k: await own.call_of(k) for k in (1, 2, 3, 4)}
    assert [rows[k]["outcome"] for k in (1, 2, 3)] == ["answered"] * 3
    assert rows[4]["outcome"] in ("abandoned", "short_abandoned")
    waited_s = seconds(waiting.established_at, talking_agent.calls[-1].established_at)
    assert abs(rows[3]["wait_s"] - waited_s) < 0.5
    assert (await own.agent_now(1))["status"] == "ready"


async def test_a_conversation_that_ends_while_no_daemon_runs_is_told_from_the_journal(own: Lane) -> None:
    agent = await own.agent(1, Answer(after_s=0.1))
    call = await established(own, 1, own.to_queue)
    await call.wait_hears(agent.tone_hz)
    await until_phase(own, 1, "talking")
    await own.stack.daemon.kill()
    at_agent = agent.calls[-1]
    await at_agent.hang_up()
    await call.wait_ended(10)
    await own.stack.daemon.start()
    row = await own.call_of(1)
    assert row["outcome"] == "answered"
    assert row["ended_by"] == "agent"
    assert abs(row["talk_s"] - talked_s(at_agent)) < 0.3
    await own.until_agent(1, lambda a: (a["status"], a["activity"]) == ("ready", "idle"))
    await assert_told_once(own, 1)


async def test_without_a_daemon_callers_reach_agents_through_the_safety_net(own: Lane) -> None:
    agent = await own.agent(1, Answer(after_s=0.1))
    await own.stack.daemon.kill()
    call = await established(own, 1, own.to_queue)
    await call.wait_hears(agent.tone_hz, 20)
    await call.hang_up()


async def test_a_waiting_caller_whose_daemon_never_returns_is_queued_by_the_pbx(own: Lane) -> None:
    agent = await own.agent(1, Answer(after_s=0.1))
    await own.feature(agent, "*12", "1")
    call = await established(own, 1, own.to_queue)
    await until_phase(own, 1, "waiting")
    await own.stack.daemon.kill()
    await own.stack.pbx.cli(f"queue unpause member PJSIP/a{own.n}1 queue {own.queue}")
    await call.wait_hears(agent.tone_hz, 20)
    await call.hang_up()


async def test_the_watchdog_frees_the_callers_of_a_hung_daemon(guarded: Lane) -> None:
    agent = await guarded.agent(1, Answer(after_s=0.1))
    await guarded.feature(agent, "*12", "1")
    call = await established(guarded, 1, guarded.to_queue)
    await until_phase(guarded, 1, "waiting")
    frozen = await daemon_pid(guarded.stack)
    os.kill(frozen, signal.SIGSTOP)
    await eventually(lambda: another_daemon(guarded.stack, frozen), "another daemon", deadline_s=30)
    await until_phase(guarded, 1, "waiting")
    await guarded.feature(agent, "*13")
    await call.wait_hears(agent.tone_hz, 15)
    await call.hang_up()
    await assert_told_once(guarded, 1)


async def daemon_pid(stack: Stack) -> int:
    """The daemon under the watchdog: its only child; 0 if there is none just now."""
    process = await asyncio.create_subprocess_exec(
        "pgrep", "-P", str(stack.daemon.pid), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return int(output.split()[0]) if output.split() else 0


async def another_daemon(stack: Stack, former: int) -> bool:
    return await daemon_pid(stack) not in (0, former) and await stack.daemon.is_ready()


OUTAGE_S = 20


async def test_a_database_that_is_away_for_twenty_seconds_loses_nothing(own: Lane) -> None:
    agent = await own.agent(1, Answer(after_s=0.1))
    await own.stack.postgres.stop("immediate")
    stopped_at, calls = time.monotonic(), 0
    while time.monotonic() - stopped_at < OUTAGE_S:
        call = await established(own, 1, own.to_queue)
        await call.wait_hears(agent.tone_hz)
        await call.hang_up()
        await own.until_agent(1, lambda a: (a["activity"], a["device_state"]) == ("idle", "idle"))
        calls += 1
    metrics = await own.stack.daemon.metrics()
    assert metrics["ccsvc_spool_rows"] > calls
    await own.stack.postgres.start()

    async def all_told() -> bool:
        query = "SELECT 1 FROM ccsvc.call_detail WHERE outcome = 'answered' AND recording_count = 1"
        return len(await own.stack.rows(query)) == calls

    await eventually(all_told, f"{calls} calls in the database", deadline_s=30)
    assert len(await own.stack.rows("SELECT 1 FROM ccsvc.call")) == calls
    assert len(await own.stack.rows("SELECT 1 FROM ccsvc.queue_entry WHERE exit = 'answered'")) == calls
    assert (await own.queue_now())["unexplained"] == 0
