"""The engine room with a scripted core: order, limits, and that nothing which fails stops the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ccsvc.app.jobs import Jobs
from ccsvc.app.runner import BATCH, Runner
from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName, SessionId
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState
from ccsvc.domain.view import CentreView
from ccsvc.errors import AmiTimeout, SpoolFull
from ccsvc.testing.fakes import FakeRecordings, FakeSecrets, FakeSessions, FakeSwitch, MemorySpool, captured_log
from ccsvc.testing.waiting import eventually
from tests.row_samples import call_row

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
MUSIC = cmd.PlayMusic(SessionId(1), "default")
Decision = Callable[[ev.Event], Sequence[cmd.Command]]


def happened(n: int = 0) -> ev.HoldStarted:
    return ev.HoldStarted(NOW, ChannelId(str(n)))


def fails_at(n: int) -> Decision:
    """Music for everybody but that one."""

    def decide(event: ev.Event) -> list[cmd.Command]:
        if event == happened(n):
            raise KeyError("unforeseen")
        return [MUSIC]

    return decide


class ScriptedCore:
    """Decides what the test says, and notes what it was told."""

    def __init__(self) -> None:
        self.handled: list[ev.Event] = []
        self.decide: Decision = lambda _: []

    def handle(self, event: ev.Event) -> list[cmd.Command]:
        self.handled.append(event)
        return list(self.decide(event))

    def view(self, at: datetime, stats: StatsState) -> CentreView:
        return CentreView(at=at, pbx="p", connected=True, queues=(), agents=(), calls=())


class NotingSpool(MemorySpool):
    """Notes when it was written, in the same list as the sessions; fails on request."""

    def __init__(self, notes: list[object]) -> None:
        super().__init__()
        self.notes = notes
        self.error: Exception | None = None
        self.recover()
        self.start([], StatsState())

    def append(self, rows: Sequence[Row]) -> None:
        if self.error is not None:
            raise self.error
        super().append(rows)
        self.notes.append(len(rows))


class NotingSessions(FakeSessions):
    def __init__(self, notes: list[object]) -> None:
        super().__init__()
        self.notes = notes

    def submit(self, command: cmd.Command) -> None:
        super().submit(command)
        self.notes.append(command)


@dataclass
class Room:
    """A runner and everything around it."""

    inbox_limit: int = 100
    notes: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = NOW
        self.core, self.switch = ScriptedCore(), FakeSwitch()
        self.spool, self.sessions = NotingSpool(self.notes), NotingSessions(self.notes)
        self.recordings, self.secrets = FakeRecordings({"a.wav": (2.5, 100)}), FakeSecrets({("agent", "1"): "1234"})
        self.log, self.lines = captured_log()
        self.runner = Runner(
            self.core,
            spool=self.spool,
            sessions=self.sessions,
            switch=self.switch,
            recordings=self.recordings,
            secrets=self.secrets,
            clock=lambda: self.now,
            jobs=Jobs(self.log),
            log=self.log,
            inbox_limit=self.inbox_limit,
        )

    def said(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]

    async def until(self, event: ev.Event) -> None:
        await eventually(lambda: event in self.core.handled, f"{event} handled", every_s=0)


@asynccontextmanager
async def running(room: Room) -> AsyncIterator[Room]:
    task = asyncio.create_task(room.runner.run(), name="runner")
    try:
        yield room
    finally:
        task.cancel()
        await asyncio.wait({task})
        await room.runner.close(1)


async def test_events_are_handled_in_the_order_in_which_they_were_posted() -> None:
    posted = [happened(n) for n in range(3 * BATCH)]
    async with running(Room(inbox_limit=len(posted))) as room:
        assert all(room.runner.post(event) for event in posted)
        await room.until(posted[-1])
        assert room.core.handled == posted
        assert (room.runner.counters.handled, room.runner.backlog) == (len(posted), 0)


async def test_others_have_their_turn_within_a_flood() -> None:
    async with running(Room(inbox_limit=10 * BATCH)) as room:
        for n in range(10 * BATCH):
            room.runner.post(happened(n))
        await asyncio.sleep(0)
        assert 0 < len(room.core.handled) <= BATCH


async def test_the_rows_of_an_event_are_kept_before_anything_else_of_it_happens() -> None:
    first, second = cmd.Write(call_row("a")), cmd.Write(call_row("b"))
    room = Room()
    room.runner.execute([MUSIC, first, replace(MUSIC, music="b"), second])
    assert room.notes == [2, MUSIC, replace(MUSIC, music="b")]
    assert room.spool.rows == [first.row, second.row]


async def test_an_event_that_can_not_be_handled_is_said_and_the_next_one_is_handled() -> None:
    async with running(Room()) as room:
        room.core.decide = fails_at(1)
        for n in (1, 2):
            room.runner.post(happened(n))
        await room.until(happened(2))
    assert room.sessions.submitted == [MUSIC]
    assert room.runner.counters.failed == 1
    assert room.runner.counters.last_error == "'unforeseen'"
    (line,) = room.said("event could not be handled")
    assert (line["of"], line["log_level"]) == ("HoldStarted", "error")
    assert isinstance(line["exc_info"], KeyError)


async def test_an_event_with_a_time_that_makes_no_sense_does_not_stop_the_consumer() -> None:
    async with running(Room()) as room:
        room.runner.post(ev.HoldStarted(datetime(2026, 1, 1), ChannelId("naive")))  # noqa: DTZ001  that is the point
        room.runner.post(happened(2))
        await room.until(happened(2))
        assert room.runner.counters.failed == 1


async def test_a_command_that_fails_does_not_keep_the_others_from_being_carried_out() -> None:
    room = Room()
    clash = cmd.Report("said twice", None, (("event", "a field of the log's own name"),))
    room.runner.execute([clash, MUSIC])
    assert room.sessions.submitted == [MUSIC]
    assert room.runner.counters.failed == 1
    assert room.said("command could not be carried out")[0]["of"] == "Report"


async def test_rows_that_can_not_be_kept_are_counted_and_calls_go_on() -> None:
    room = Room()
    room.spool.error = SpoolFull("no room")
    for _ in range(3):
        room.runner.execute([cmd.Write(call_row("a")), MUSIC])
    assert room.sessions.submitted == [MUSIC] * 3
    assert room.runner.counters.rows_lost == 3
    assert room.runner.counters.last_error == "no room"
    assert len(room.said("rows could not be kept")) == 1, "a full disk is said once"
    room.spool.error = None
    room.runner.execute([cmd.Write(call_row("a"))])
    assert room.said("rows are kept again")[0]["lost_so_far"] == 3


async def test_a_spool_that_fails_in_an_unforeseen_way_does_not_end_calls_either() -> None:
    room = Room()
    room.spool.error = RuntimeError("a fault of ours")
    room.runner.execute([cmd.Write(call_row("a")), MUSIC])
    assert room.sessions.submitted == [MUSIC]
    assert room.runner.counters.rows_lost == 1


async def test_a_full_inbox_refuses_counts_says_so_once_and_has_the_switch_looked_at() -> None:
    room = Room(inbox_limit=2)
    assert [room.runner.post(happened(n)) for n in range(5)] == [True, True, False, False, False]
    assert room.runner.counters.refused == 3
    assert len(room.said("the inbox is full: events are lost")) == 1
    await eventually(lambda: room.switch.asked("look"), "a look at the switch")
    assert room.switch.asked("look") == [()]
    async with running(room):
        await room.until(happened(1))
        assert room.core.handled == [happened(0), happened(1)]


async def test_a_timer_comes_back_as_an_event_with_what_it_was_for() -> None:
    async with running(Room()) as room:
        room.runner.execute([cmd.StartTimer(ev.Timer("wrap_up", "s1"), 0.01)])
        room.now = NOW + timedelta(seconds=9)
        await room.until(ev.TimerFired(room.now, ev.Timer("wrap_up", "s1")))


async def test_a_timer_that_finds_no_room_is_not_lost() -> None:
    room = Room(inbox_limit=1)
    room.runner.post(happened())
    room.runner.execute([cmd.StartTimer(ev.Timer("retry", "q1"), 0)])
    await eventually(lambda: room.runner.counters.refused, "the timer refused")
    async with running(room):
        await room.until(ev.TimerFired(NOW, ev.Timer("retry", "q1")))


async def test_the_lag_is_the_age_of_the_event_and_never_negative() -> None:
    room = Room()
    room.now = NOW + timedelta(seconds=2)
    room.runner.replay(happened())
    assert room.runner.counters.lag_s == 2
    room.now = NOW - timedelta(seconds=2)
    room.runner.replay(happened())
    assert room.runner.counters.lag_s == 0


async def test_a_fact_of_the_past_is_written_but_asks_nothing_of_anybody_any_more() -> None:
    room = Room()
    kept: list[cmd.Command] = [cmd.Write(call_row("a")), cmd.Report("told")]
    room.core.decide = lambda _: [*kept, MUSIC, cmd.HangUp(ChannelId("1")), cmd.MeasureRecording("r", "a.wav")]
    room.runner.replay(happened())
    assert len(room.spool.rows) == 1
    assert room.said("told")
    assert room.sessions.submitted == []
    await room.runner.close(1)
    assert room.switch.done == []


async def test_a_fact_of_the_past_that_can_not_be_handled_does_not_keep_the_daemon_from_starting() -> None:
    room = Room()
    room.core.decide = fails_at(0)
    room.runner.replay(happened())
    assert room.runner.counters.failed == 1


async def test_a_pin_is_checked_and_the_answer_posted() -> None:
    async with running(Room()) as room:
        for token, pin in ((1, "1234"), (2, "4321")):
            room.runner.execute([cmd.CheckPin(SessionId(7), token, "agent", "1", pin)])
        await room.until(ev.PinChecked(NOW, SessionId(7), 1, ok=True))
        await room.until(ev.PinChecked(NOW, SessionId(7), 2, ok=False))


async def test_a_check_that_fails_is_a_wrong_pin_so_that_nobody_waits_for_ever() -> None:
    async with running(Room()) as room:
        room.secrets.error = RuntimeError("no hasher")
        room.runner.execute([cmd.CheckPin(SessionId(7), 1, "agent", "1", "1234")])
        await room.until(ev.PinChecked(NOW, SessionId(7), 1, ok=False))
        await eventually(lambda: room.said("job failed"), "the failure said")
        assert "1234" not in str(room.lines)


async def test_a_recording_is_measured_and_one_that_is_not_there_is_told_as_such() -> None:
    async with running(Room()) as room:
        room.runner.execute([cmd.MeasureRecording("r1", "a.wav"), cmd.MeasureRecording("r2", "none.wav")])
        await room.until(ev.RecordingMeasured(NOW, "r2", None, None))
        assert room.core.handled[0] == ev.RecordingMeasured(NOW, "r1", 2.5, 100)
        room.recordings.error = OSError("the disk")
        room.runner.execute([cmd.MeasureRecording("r3", "a.wav")])
        await room.until(ev.RecordingMeasured(NOW, "r3", None, None))


async def test_a_recording_that_the_shutdown_overtakes_is_not_told_to_be_missing() -> None:
    room = Room()
    room.runner.execute([cmd.MeasureRecording("r1", "a.wav")])
    await room.runner.close(1)
    room.runner.execute([cmd.MeasureRecording("r2", "a.wav")])
    assert room.runner.backlog == 0


async def test_the_switch_is_told_in_order_and_a_refusal_does_not_stop_what_follows() -> None:
    room = Room()
    nets = [cmd.SetSafetyNet(AgentId(str(n)), DeviceName("d"), (QueueName("q"),), n % 2 == 1) for n in range(5)]
    room.runner.execute([*nets[:3], cmd.HangUp(ChannelId("c"))])
    await eventually(lambda: len(room.switch.done) == 4, "all told")
    room.switch.error = AmiTimeout("QueueAdd", 5)
    room.runner.execute([nets[3]])
    await eventually(lambda: room.said("job failed"), "the refusal said")
    room.switch.error = None
    room.runner.execute([nets[4]])
    await eventually(lambda: len(room.switch.done) == 5, "the next one told")
    told = room.switch.asked("set_safety_net")
    assert told == [(n.agent, n.device, n.queues, n.paused) for n in (*nets[:3], nets[4])]
    assert room.switch.asked("hang_up") == [("c",)]
    await room.runner.close(1)


async def test_closing_handles_what_waits_and_lets_no_timer_come_after_it() -> None:
    room = Room()
    room.runner.post(happened(1))
    room.runner.execute([cmd.StartTimer(ev.Timer("wrap_up", "s1"), 0)])
    await room.runner.close(1)
    assert room.core.handled == [happened(1)]
    await asyncio.sleep(0)
    assert room.runner.backlog == 0


async def test_closing_takes_no_longer_than_it_may_and_says_what_it_left() -> None:
    room = Room()
    for n in range(3):
        room.runner.post(happened(n))
    await room.runner.close(0)
    assert room.said("events were not handled before the end")[0]["events"] == 3


async def test_the_view_is_of_now() -> None:
    room = Room()
    room.now = NOW + timedelta(hours=1)
    assert room.runner.view().at == room.now
