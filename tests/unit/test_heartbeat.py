"""The pulse: given while work is done, kept back while it is not, and never held up by a slow PBX."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from ccsvc.app.heartbeat import LOOK_EVERY_BEATS, STUCK_BACKLOG, Heartbeat
from ccsvc.app.jobs import Jobs
from ccsvc.app.runner import Runner
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId
from ccsvc.errors import AmiTimeout
from ccsvc.testing.fakes import (
    FakeRecordings,
    FakeSecrets,
    FakeSessions,
    FakeSwitch,
    MemorySpool,
    captured_log,
)
from ccsvc.testing.waiting import eventually
from tests.unit.test_runner import ScriptedCore

NOW = datetime(2026, 1, 5, 8, 0, 0, 750_000, tzinfo=UTC)
EPOCH_S = 1767600000


class SlowSwitch(FakeSwitch):
    """A look takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def look(self) -> None:
        await super().look()
        await self.answers.wait()


@dataclass
class Patient:
    switch: FakeSwitch

    def __post_init__(self) -> None:
        self.log, self.lines = captured_log()
        self.pulses = 0
        self.runner = Runner(
            ScriptedCore(),
            spool=MemorySpool(),
            sessions=FakeSessions(),
            switch=self.switch,
            recordings=FakeRecordings(),
            secrets=FakeSecrets(),
            clock=lambda: NOW,
            jobs=Jobs(self.log),
            log=self.log,
        )
        self.heart = Heartbeat(
            self.runner, self.switch, interval_s=0.001, pulse=self.pulse, clock=lambda: NOW, log=self.log
        )

    def pulse(self) -> None:
        self.pulses += 1

    def leave_waiting(self, count: int) -> None:
        for _ in range(count):
            self.runner.post(ev.HoldStarted(NOW, ChannelId("c")))


@pytest.fixture
def patient() -> Patient:
    return Patient(FakeSwitch())


async def test_a_beat_pulses_and_stamps_whole_seconds(patient: Patient) -> None:
    await patient.heart.beat()
    assert patient.pulses == 1
    assert patient.switch.asked("stamp_alive") == [(EPOCH_S,)]


async def test_without_a_pbx_it_pulses_and_does_not_stamp(patient: Patient) -> None:
    patient.switch.connected = False
    for _ in range(2 * LOOK_EVERY_BEATS):
        await patient.heart.beat()
    assert patient.pulses == 2 * LOOK_EVERY_BEATS
    assert patient.switch.done == []


async def test_a_backlog_beyond_all_measure_stops_both(patient: Patient) -> None:
    patient.leave_waiting(STUCK_BACKLOG)
    await patient.heart.beat()
    assert (patient.pulses, patient.switch.done) == (0, [])
    assert patient.lines[-1]["backlog"] == STUCK_BACKLOG


async def test_a_backlog_that_nobody_works_off_stops_both(patient: Patient) -> None:
    patient.leave_waiting(1)
    await patient.heart.beat()
    assert patient.pulses == 1, "it may have come just now"
    for _ in range(3):
        await patient.heart.beat()
    assert patient.pulses == 1
    assert len(patient.switch.asked("stamp_alive")) == 1


async def test_a_backlog_that_is_worked_off_stops_nothing(patient: Patient) -> None:
    patient.leave_waiting(1000)
    consumer = asyncio.create_task(patient.runner.run(), name="consumer")
    for _ in range(3):
        await asyncio.sleep(0)
        await patient.heart.beat()
    assert 0 < patient.runner.backlog < 1000
    assert patient.pulses == 3
    consumer.cancel()
    await asyncio.wait({consumer})


async def test_it_comes_back_when_the_backlog_is_gone(patient: Patient) -> None:
    patient.leave_waiting(1)
    for _ in range(2):
        await patient.heart.beat()
    await patient.runner.close(1)
    await patient.heart.beat()
    assert patient.pulses == 2


async def test_every_fifth_beat_the_switch_is_looked_at(patient: Patient) -> None:
    for n in range(1, 3 * LOOK_EVERY_BEATS + 1):
        await patient.heart.beat()
        await eventually(lambda n=n: len(patient.switch.asked("look")) == n // LOOK_EVERY_BEATS, f"looks at beat {n}")  # type: ignore[misc]


async def test_a_look_that_takes_long_holds_up_no_beat_and_is_not_begun_twice() -> None:
    switch = SlowSwitch()
    patient = Patient(switch)
    for _ in range(4 * LOOK_EVERY_BEATS):
        await patient.heart.beat()
        await asyncio.sleep(0)
    assert patient.pulses == 4 * LOOK_EVERY_BEATS
    assert len(switch.asked("look")) == 1
    switch.answers.set()
    await patient.runner.close(1)


async def test_a_stamp_that_does_not_arrive_is_said_and_the_next_beat_comes(patient: Patient) -> None:
    patient.switch.error = AmiTimeout("Setvar", 2)
    await patient.heart.beat()
    assert (patient.lines[0]["event"], patient.lines[0]["code"]) == (
        "heartbeat did not reach the PBX",
        "ami_timeout",
    )
    patient.switch.error = None
    await patient.heart.beat()
    assert patient.pulses == 2
    assert len(patient.switch.asked("stamp_alive")) == 1


async def test_it_beats_until_it_is_cancelled(patient: Patient) -> None:
    task = asyncio.create_task(patient.heart.run(), name="heart")
    await eventually(lambda: patient.pulses > 3, "some beats")
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
