"""The daemon is killed after every single event of several calls, and comes back to what the switch really carries.

What is in the end remembered must be what an unbroken life would have remembered.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain.centre import Centre
from ccsvc.domain.records import (
    AgentSessionRow,
    AgentStateRow,
    CallRow,
    CdrRow,
    IvrStepRow,
    OfferRow,
    QueueEntryRow,
    QueueRefusalRow,
    RecordingRow,
    Row,
    SegmentRow,
    SupervisionRow,
    is_open,
)
from ccsvc.settings import QueueSettings
from tests.unit.centre_driver import Simulation, desk, overflowing
from tests.unit.centre_parts import T0, Ring, settings

Scenario = Callable[[], Simulation]
"""Builds the centre with its agents logged in, and arranges what will happen; nothing has happened yet."""


def answered() -> Simulation:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.later(1, simulation.call)
    return simulation


def passed_on() -> Simulation:
    simulation = desk(("1", "d1"), ("2", "d2"), ("4", "d4"))
    simulation.phone("d1").rings.append(Ring("no_answer", after_s=99))
    simulation.phone("d2").rings.append(Ring("busy", after_s=2))
    simulation.later(1, simulation.call)
    return simulation


def through_the_menu() -> Simulation:
    simulation = desk(("3", "d3"))
    simulation.later(1, lambda: simulation.call("300", keys="72"))
    return simulation


def overflowed() -> Simulation:
    simulation = overflowing(60.0)
    simulation.later(1, simulation.call)
    return simulation


def transferred() -> Simulation:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").rings.append(Ring(talk_s=20, transfer_to="200"))
    simulation.later(1, simulation.call)
    return simulation


def abandoned() -> Simulation:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.later(1, lambda: simulation.call(patience_s=17))
    simulation.later(2, lambda: simulation.call(patience_s=10))
    return simulation


def waited_for_wrap_up() -> Simulation:
    simulation = desk(("1", "d1"))
    for second in (1, 2, 3):
        simulation.later(second, simulation.call)
    return simulation


def said_hello() -> Simulation:
    """Conversations of a second, one after the other, with both ends of them."""
    simulation = desk(("1", "d1"), ("2", "d2"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(after_s=1, talk_s=1, transfer_to="200")
    simulation.phone("d2").usually = Ring(after_s=1, talk_s=1, hung_up_by="customer")
    simulation.phone("d3").usually = Ring(after_s=1, talk_s=1)
    simulation.later(1, simulation.call)
    simulation.later(2, simulation.call)
    return simulation


def timed_out() -> Simulation:
    simulation = desk(("1", "d1"), max_wait_s=30.0)
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.later(1, simulation.call)
    return simulation


SCENARIOS: list[Scenario] = [
    answered,
    passed_on,
    through_the_menu,
    overflowed,
    transferred,
    abandoned,
    waited_for_wrap_up,
    timed_out,
    said_hello,
]


def told(simulation: Simulation) -> dict[str, list[tuple[object, ...]]]:
    """What is remembered in the end, to the tenth of a second, without who hung up: that is in the lost news only.

    So are the legs that rang in vain: only those that talked are compared.
    """
    return {
        "call": _columns(
            simulation.final(CallRow),
            *("call_id", "ivr_path", "queues", "language", "outcome", "answered_at", "ended_at", "wait_s", "talk_s"),
            *("hold_s", "first_agent_id", "segment_count", "transfers_attempted", "transfers_completed"),
        ),
        "entry": _columns(
            simulation.final(QueueEntryRow), "entry_id", "queue", "exit", "wait_s", "short", "in_target", "agent_id"
        ),
        "offer": _columns(simulation.final(OfferRow), "offer_id", "agent_id", "result", "offered_at", "ended_at"),
        "segment": _columns(
            simulation.final(SegmentRow),
            "segment_id",
            "agent_id",
            "entry_id",
            "queue",
            "talk_s",
            "hold_s",
            "wrap_up_s",
        ),
        "step": _columns(simulation.final(IvrStepRow), "n", "node", "pressed", "result"),
        "refusal": _columns(simulation.final(QueueRefusalRow), "queue", "reason"),
        "recording": _columns(simulation.final(RecordingRow), "recording_id", "verdict", "talk_s", "talk_offset_s"),
        "cdr": sorted(
            _columns(
                [c for c in simulation.final(CdrRow) if c.dial_result == "ANSWERED"],
                "role",
                "dst",
                "duration",
                "billsec",
            )
        ),
        "session": _columns(simulation.final(AgentSessionRow), "agent_id", "device", "ended_at"),
    }


def _columns(rows: Sequence[Row], *names: str) -> list[tuple[object, ...]]:
    return [tuple(_rounded(getattr(row, name)) for name in names) for row in rows]


def _rounded(value: object) -> object:
    if isinstance(value, datetime):
        return round((value - T0) / timedelta(seconds=1), 1)
    return round(value, 1) if isinstance(value, float) else value


@cache
def unbroken(scenario: Scenario) -> tuple[int, int, dict[str, list[tuple[object, ...]]]]:
    """The first and the last event that belongs to the calls, and what an unbroken life remembers."""
    simulation = scenario()
    first = len(simulation.tape)
    simulation.run_out()
    return first + 1, len(simulation.tape), told(simulation)


def broken(scenario: Scenario, event: int, *, commands_lost: bool, journal_overlap_s: float = 0.0) -> Simulation:
    simulation = scenario()
    simulation.journal_overlap_s = journal_overlap_s
    simulation.kill_after, simulation.kill_loses_commands = event, commands_lost
    simulation.run_out()
    simulation.see_switch()
    simulation.run_out()
    return simulation


def assert_all_is_told(simulation: Simulation) -> None:
    """No call is live, every thing is closed, everybody who entered is accounted for, and no day has an overlap."""
    assert simulation.view().calls == ()
    assert [row for row in simulation.memory.rows() if not isinstance(row, AgentSessionRow | AgentStateRow)] == []
    assert all(queue.unexplained == 0 and not queue.waiting for queue in simulation.view().queues)
    assert simulation.overlaps() == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_killed_daemon_remembers_what_an_unbroken_one_would(scenario: Scenario) -> None:
    first, last, expected = unbroken(scenario)
    for event in range(first, last + 1):
        simulation = broken(scenario, event, commands_lost=False)
        found = told(simulation)
        assert found == expected, f"killed after event {event}, {simulation.tape[event - 1]}"
        assert_all_is_told(simulation)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_the_journal_tells_a_second_time_changes_nothing(scenario: Scenario) -> None:
    first, last, expected = unbroken(scenario)
    for event in range(first, last + 1, 2):
        found = told(broken(scenario, event, commands_lost=False, journal_overlap_s=30.0))
        assert found == expected, f"killed after event {event}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_daemon_killed_before_it_acted_loses_nobody(scenario: Scenario) -> None:
    """Only the rows of the last event are kept: nothing that it asked for was done."""
    first, last, expected = unbroken(scenario)
    for event in range(first, last + 1):
        simulation = broken(scenario, event, commands_lost=True)
        assert [c for c in simulation.callers if c.alive] == [], f"killed after event {event}"
        assert_all_is_told(simulation)
        assert {call.call_id for call in simulation.final(CallRow)} == {call[0] for call in expected["call"]}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("down_s", [0.1, 7.0, 45.0])
def test_a_daemon_that_is_away_for_a_while_loses_nobody(scenario: Scenario, down_s: float) -> None:
    first, last, _ = unbroken(scenario)
    for event in range(first, last + 1, 5):
        simulation = scenario()
        simulation.kill_after, simulation.down_s = event, down_s
        simulation.run_out()
        simulation.see_switch()
        simulation.run_out()
        assert [c for c in simulation.callers if c.alive] == [], f"killed after event {event}"
        assert_all_is_told(simulation)
        seen = {call.call_id for call in simulation.final(CallRow)}
        assert len(seen) <= len(simulation.callers)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_order_of_the_rows_does_not_matter(scenario: Scenario) -> None:
    _, last, _ = unbroken(scenario)
    for event in range(10, last, 7):
        simulation = scenario()
        while len(simulation.tape) < event and simulation.busy:
            simulation.step()
        rows = list(simulation.memory.rows())
        pictures = []
        for seed in range(3):
            random.Random(seed).shuffle(rows)
            centre = Centre(simulation.settings)
            commands = centre.restore(rows, simulation.at)
            timers = sorted(
                (c.timer.kind, c.timer.subject, c.after_s) for c in commands if isinstance(c, cmd.StartTimer)
            )
            view = centre.view(simulation.at, simulation.stats)
            pictures.append((sorted(map(str, view.calls)), view.agents, view.queues, timers))
        assert pictures[0] == pictures[1] == pictures[2]


def middle_of_a_call() -> tuple[Simulation, list[Row]]:
    """Agent 1 wraps up, agent 3 is rung for the transferred caller."""
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=20, transfer_to="200")
    simulation.call()
    simulation.run(27)
    return simulation, list(simulation.memory.rows())


def test_attendance_survives_a_restart() -> None:
    simulation, _ = middle_of_a_call()
    simulation.force("1", "paused", "lunch")
    before = simulation.view().agents
    simulation.restart()
    simulation.run(0.1)
    found = simulation.view().agents
    assert [(a.status, a.activity, a.reason, a.device, a.since) for a in found] == [
        (a.status, a.activity, a.reason, a.device, a.since) for a in before
    ]


def test_a_wrap_up_ends_when_it_would_have_ended() -> None:
    simulation, _ = middle_of_a_call()
    simulation.run(10)
    simulation.restart()
    simulation.run(100)
    assert simulation.final(SegmentRow)[0].wrap_up_s == pytest.approx(30.0)


def test_an_agent_who_did_not_answer_is_not_rung_again_at_once_by_the_next_daemon() -> None:
    simulation = desk(("1", "d1"), retry_s=20.0)
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.call()
    simulation.run(16)
    simulation.restart()
    simulation.run(18)
    assert len(simulation.final(OfferRow)) == 1
    simulation.run(2)
    assert len(simulation.final(OfferRow)) == 2


def test_rows_of_agents_and_queues_that_are_gone_are_closed() -> None:
    simulation, rows = middle_of_a_call()
    smaller = settings(queue=(QueueSettings(name="sales"),), agent=(), supervisor=())
    commands = Centre(smaller).restore(rows, simulation.at)
    closed = [c.row for c in commands if isinstance(c, cmd.Write)]
    assert {type(row) for row in closed} == {
        QueueEntryRow,
        AgentSessionRow,
        AgentStateRow,
        OfferRow,
        SegmentRow,
    }
    assert [row for row in closed if is_open(row)] == []


def test_an_entry_without_its_call_is_closed() -> None:
    _, rows = middle_of_a_call()
    commands = Centre(settings()).restore([row for row in rows if not isinstance(row, CallRow)])
    entry = next(c.row for c in commands if isinstance(c, cmd.Write) and isinstance(c.row, QueueEntryRow))
    assert (entry.exit, entry.repaired) == ("withdrawn", True)


def test_a_torn_end_of_the_memory_leaves_no_agent_stuck() -> None:
    """Any one row may be missing: the agents' days go on, and nobody rings or talks for ever."""
    _, rows = middle_of_a_call()
    for missing in range(len(rows)):
        simulation, _ = middle_of_a_call()
        simulation.restart(rows[:missing] + rows[missing + 1 :])
        simulation.run_out()
        assert {agent.activity for agent in simulation.view().agents} == {"idle"}, rows[missing]
        assert simulation.view().calls == ()


def test_a_supervisors_listening_ends_with_the_daemon() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(10)
    simulation.feature("d6", "listen", "1", digits=("7777",))
    simulation.run(1)
    simulation.restart()
    assert simulation.only(SupervisionRow).ended_at == simulation.at


def test_nothing_remembered_is_an_empty_centre() -> None:
    centre = Centre(settings())
    assert centre.restore([]) == []


def test_a_closed_call_is_not_brought_back() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(200)
    centre = Centre(simulation.settings)
    centre.restore(list(simulation.final(CallRow)), simulation.at)
    assert centre.view(simulation.at, simulation.stats).calls == ()


def test_a_place_is_found_even_if_the_rows_are_lost() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(30)
    lost = Simulation(simulation.settings)
    lost.run(30)
    lost.log_in(("1", "d1"))
    lost.callers.append(caller)
    caller.session = None
    lost.come_back(caller)
    lost.run(100)
    entry = lost.only(QueueEntryRow)
    assert (entry.exit, entry.repaired) == ("answered", True)
    assert entry.wait_s == pytest.approx(35.0, abs=0.1)
    assert entry.entered_at == simulation.only(QueueEntryRow).entered_at


@pytest.mark.parametrize("down_s", [0.5, 4.0, 30.0])
@pytest.mark.parametrize("talk_s", [1.0, 20.0])
def test_a_conversation_that_began_while_the_daemon_was_away_is_found_in_the_journal(
    down_s: float, talk_s: float
) -> None:
    def lived(kill: bool) -> dict[str, list[tuple[object, ...]]]:
        simulation = desk(("1", "d1"), ("2", "d2"))
        simulation.journal_overlap_s = 2.0
        simulation.phone("d1").usually = Ring(after_s=5, talk_s=talk_s)
        simulation.call()
        simulation.run(4.7)
        if kill:
            simulation.die()
            simulation.run(down_s)
            simulation.restart()
        simulation.run_out()
        simulation.see_switch()
        simulation.run_out()
        assert_all_is_told(simulation)
        return told(simulation)

    found, expected = lived(kill=True), lived(kill=False)
    assert [found[name] for name in ("call", "entry", "offer")] == [
        expected[name] for name in ("call", "entry", "offer")
    ]
    assert [segment[:-1] for segment in found["segment"]] == [segment[:-1] for segment in expected["segment"]]
