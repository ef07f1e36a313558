"""Tapes: what a centre was told in one stretch of time, told again with something wrong.

Each tape is played from every later start, and whole with each single event missing, doubled, or told a little later.
Nothing of that may break the core, leave a call live after the switch is empty, or make a time negative. Tapes that
were recorded elsewhere (a real switch, an incident) join by lying in `tests/tapes/`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from ccsvc.app.tape import read
from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.centre import Centre
from ccsvc.domain.records import CallRow, OfferRow, QueueEntryRow, RecordingRow, Row, SegmentRow, is_open, key_of
from ccsvc.domain.stats import StatsState, observe
from ccsvc.settings import Settings
from tests.unit.centre_driver import Simulation, desk, overflowing
from tests.unit.centre_invariants import Watch, has_gone_home
from tests.unit.centre_parts import Ring, quick_settings

Tape = tuple[Settings, tuple[ev.Event, ...]]
CLOSED_ONCE = (CallRow, QueueEntryRow, OfferRow, SegmentRow)
DURATIONS = ("wait_s", "talk_s", "hold_s", "wrap_up_s", "duration", "billsec", "talk_offset_s")


# -- the tapes -------------------------------------------------------------------------------------------------------


def _answered() -> Simulation:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.phone("d1").rings.append(Ring("no_answer", after_s=99))
    simulation.phone("d2").usually = Ring(hold=(5, 10))
    simulation.call()
    return simulation


def _transferred() -> Simulation:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=20, transfer_to="200")
    simulation.call()
    return simulation


def _through_the_menu() -> Simulation:
    simulation = desk(("3", "d3"))
    simulation.call("300", keys="72")
    simulation.later(2, lambda: simulation.call("300", patience_s=3))
    return simulation


def _overflowed() -> Simulation:
    simulation = overflowing(60.0)
    simulation.call()
    return simulation


def _abandoned() -> Simulation:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.call(patience_s=17)
    simulation.later(1, lambda: simulation.call(patience_s=10))
    return simulation


def _busy_hour() -> Simulation:
    simulation = Simulation(quick_settings())
    simulation.log_in(("1", "d1"), ("4", "d4"))
    simulation.phone("d1").usually = Ring(after_s=2, talk_s=7)
    simulation.phone("d4").usually = Ring(after_s=3, talk_s=12, hung_up_by="customer")
    for n in range(3):
        simulation.later(3.0 * n, lambda: simulation.call("100", patience_s=30))
    simulation.later(9, lambda: simulation.force("1", "logged_out"))
    simulation.later(11, lambda: simulation.feature("d6", "listen", "4", digits=("7777",)))
    simulation.later(20, lambda: simulation.feature("d2", "login", digits=("1", "1234")))
    return simulation


def _cut_off() -> Simulation:
    simulation = desk(("1", "d1"), ("2", "d2"))
    first = simulation.call()
    simulation.later(8, simulation.lose_switch)
    simulation.later(9, simulation.call)
    simulation.later(10, lambda: simulation.see_switch(fresh=True))
    simulation.later(12, lambda: simulation.hang_up(first))
    return simulation


TAPES: dict[str, Callable[[], Simulation]] = {
    "answered": _answered,
    "transferred": _transferred,
    "through the menu": _through_the_menu,
    "overflowed": _overflowed,
    "abandoned": _abandoned,
    "busy hour": _busy_hour,
    "cut off": _cut_off,
}


RECORDED = {f"real {path.stem}": path for path in sorted((Path(__file__).parents[1] / "tapes").glob("*.jsonl"))}
"""From a real switch and real phones: `python -m tests.acceptance.record_tapes`."""


def test_there_are_recorded_tapes() -> None:
    assert len(RECORDED) >= 10


@cache
def tape(name: str) -> Tape:
    if name in RECORDED:
        config, events = read(RECORDED[name].read_bytes().strip().split(b"\n"))
        return config, tuple(events)
    simulation = TAPES[name]()
    simulation.run_out()
    return simulation.settings, tuple(simulation.tape)


# -- the player ------------------------------------------------------------------------------------------------------


class Player:
    """A core that is told a tape; nothing that it asks for is done, but what it wants to remember is looked at."""

    def __init__(self, config: Settings) -> None:
        self.centre = Centre(config)
        self.stats = StatsState()
        self.rows: dict[tuple[object, ...], Row] = {}
        self.timers: list[ev.Timer] = []
        self.watch = Watch()

    def tell(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            commands = self.centre.handle(event)
            for command in commands:
                if isinstance(command, cmd.Write):
                    self._keep(command.row)
                elif isinstance(command, cmd.StartTimer):
                    self.timers.append(command.timer)
            self.watch.see(self.centre, commands, self.stats)

    def end(self, events: Sequence[ev.Event]) -> None:
        """The switch is empty, every timer fires: everything must have come to its end."""
        at = max(event.at for event in events) + timedelta(hours=1)
        self.tell([ev.SwitchSeen(at, (), (), fresh=True)])
        while self.timers:
            at += timedelta(seconds=1)
            self.tell([ev.TimerFired(at, self.timers.pop(0))])
        recordings = [row.recording_id for row in self.rows.values() if isinstance(row, RecordingRow)]
        self.tell([ev.RecordingMeasured(at, one, 1.0, 1) for one in recordings])
        has_gone_home(self.centre, self.stats)
        left_open = [row for row in self.rows.values() if is_open(row) and isinstance(row, CLOSED_ONCE)]
        assert left_open == []

    def _keep(self, row: Row) -> None:
        before = self.rows.get(key_of(row))
        assert before is None or is_open(before) or not isinstance(row, CLOSED_ONCE), f"closed twice: {row}"
        assert all((getattr(row, name, None) or 0.0) >= 0.0 for name in DURATIONS), row
        if before is None or not is_open(row):
            observe(self.stats, row)
        self.rows[key_of(row)] = row


def play(config: Settings, events: Sequence[ev.Event]) -> Player:
    player = Player(config)
    player.tell(events)
    player.end(events)
    return player


@pytest.mark.parametrize("name", TAPES)
def test_a_tape_told_again_tells_the_same(name: str) -> None:
    config, events = tape(name)
    simulation = TAPES[name]()
    simulation.run_out()
    found = [row for row in play(config, events).rows.values() if isinstance(row, CLOSED_ONCE)]
    assert found == [row for row in simulation.final(object) if isinstance(row, CLOSED_ONCE)]


@pytest.mark.parametrize("name", [*TAPES, *RECORDED])
def test_a_tape_may_be_heard_from_any_later_moment_on(name: str) -> None:
    config, events = tape(name)
    for start in range(1, len(events)):
        play(config, events[start:])


@pytest.mark.parametrize("name", [*TAPES, *RECORDED])
def test_a_tape_may_be_cut_off_at_any_moment(name: str) -> None:
    config, events = tape(name)
    for end in range(1, len(events)):
        play(config, events[:end])


@pytest.mark.parametrize("name", [*TAPES, *RECORDED])
@pytest.mark.parametrize("spoilt", ["missing", "doubled", "doubled later", "late"])
def test_one_event_of_a_tape_may_be_wrong(name: str, spoilt: str) -> None:
    config, events = tape(name)
    for told in _spoilt(events, spoilt):
        play(config, told)


def _spoilt(events: tuple[ev.Event, ...], how: str) -> Iterator[tuple[ev.Event, ...]]:
    for n, event in enumerate(events):
        before, behind = events[:n], events[n + 1 :]
        if how == "missing":
            yield (*before, *behind)
        elif how == "doubled":
            yield (*before, event, event, *behind)
        elif how == "doubled later":
            yield (*before, event, *behind[:9], event, *behind[9:])
        else:
            yield (*before, *behind[:3], event, *behind[3:])
