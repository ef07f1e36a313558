"""Calls through several queues and menus, agents who leave, recordings that follow; METRICS' examples 1 and 2."""

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, SessionId
from ccsvc.domain.records import (
    AgentStateRow,
    CallRow,
    IvrStepRow,
    RecordingRow,
    SegmentRow,
)
from ccsvc.domain.stats import indicators
from ccsvc.settings import AgentSettings, QueueSettings, RecordingSettings
from tests.unit.centre_driver import Simulation, desk, offers, outcome, overflowing
from tests.unit.centre_parts import Caller, Ring, settings

# -- several queues ------------------------------------------------------------------------------------------


def test_worked_example_2_an_overflow_is_two_stays_of_one_call() -> None:
    simulation = overflowing(60.0)
    simulation.call()
    simulation.run(300)
    assert simulation.entries() == [("sales", "timed_out", 60.0), ("support", "answered", 25.0)]
    call = simulation.only(CallRow)
    assert (call.wait_s, call.outcome, call.queues) == (85.0, "answered", ("sales", "support"))
    cohort = next(iter(simulation.stats.queues["sales"].minutes.values()))
    assert indicators(cohort, "answered_of_all").abandonment_ratio == 0


def test_a_short_wait_in_the_second_queue_is_not_short_after_a_long_one_in_the_first() -> None:
    simulation = overflowing(60.0)
    simulation.call(patience_s=64)
    simulation.run(300)
    assert simulation.entries() == [("sales", "timed_out", 60.0), ("support", "abandoned", 4.0)]
    assert outcome(simulation)[0] == "abandoned"
    assert simulation.stats.queues["support"].short_abandoned == 0


@pytest.mark.parametrize("cleared", [True, False], ids=["state cleared", "state still on the channel"])
def test_worked_example_1_a_blind_transfer_is_one_call_with_two_segments(cleared: bool) -> None:
    simulation = desk(("1", "d1"), ("3", "d3"), ring_timeout_s=30.0)
    simulation.state_cleared_by_dialplan = cleared
    simulation.phone("d1").usually = Ring(after_s=12, talk_s=60, transfer_to="200")
    simulation.phone("d3").usually = Ring(after_s=18, talk_s=120, hung_up_by="customer")
    simulation.call()
    simulation.run(400)
    assert simulation.entries() == [("sales", "answered", 12.0), ("support", "answered", 18.0)]
    first, second = simulation.final(SegmentRow)
    assert (first.agent_id, (first.talk_s or 0) + (first.wrap_up_s or 0)) == ("1", 90.0)
    assert (second.agent_id, (second.talk_s or 0) + (second.wrap_up_s or 0)) == ("3", 150.0)
    call = simulation.only(CallRow)
    assert (call.outcome, call.wait_s, call.ended_by) == ("answered", 12.0, "customer")
    assert (call.transfers_attempted, call.transfers_completed) == (1, 1)
    assert simulation.stats.calls == {"inbound/answered": 1}


def test_after_a_transfer_an_unanswered_ring_is_not_taken_for_another_transfer() -> None:
    simulation = desk(("1", "d1"), ("3", "d3"), ("4", "d4"))
    simulation.phone("d1").usually = Ring(talk_s=10, transfer_to="200")
    simulation.phone("d3").usually = Ring("no_answer", after_s=99)
    simulation.call()
    simulation.run(300)
    assert offers(simulation) == [("1", "accepted"), ("3", "no_answer"), ("4", "accepted")]
    assert simulation.only(CallRow).transfers_completed == 1


def test_a_transferred_caller_whose_session_breaks_keeps_the_new_place() -> None:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=10, transfer_to="200")
    simulation.force("3", "paused")
    caller = simulation.call()
    simulation.run(20)
    simulation.break_session(caller)
    simulation.run(5)
    assert [w.call_id for w in simulation.queue("support").waiting] == [f"pbx1/{caller.channel}"]
    simulation.force("3", "ready")
    simulation.run(300)
    assert [exit_ for _, exit_, _ in simulation.entries()] == ["answered", "answered"]


def test_a_waiting_caller_who_is_sent_elsewhere_has_been_transferred() -> None:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(10)
    caller.did = "200"
    caller.variables["CCSVC_STATE"] = ""
    simulation.break_session(caller)
    simulation.run(100)
    assert [(queue, exit_) for queue, exit_, _ in simulation.entries()] == [
        ("sales", "transferred"),
        ("support", "answered"),
    ]


# -- the menu ------------------------------------------------------------------------------------------------


def test_a_menu_leads_to_its_queue_and_the_way_is_remembered() -> None:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.call("300", keys="72")
    simulation.run(200)
    call = simulation.only(CallRow)
    assert call.ivr_path == ("welcome.main", "welcome.more")
    assert (call.language, call.queues, call.outcome) == ("fa", ("support",), "answered")
    assert [(s.n, s.node, s.pressed, s.result) for s in simulation.final(IvrStepRow)] == [
        (1, "main", "7", "invalid"),
        (2, "main", "2", "key"),
        (3, "more", "", "next"),
    ]


def test_a_caller_who_hangs_up_in_the_menu_served_themselves_and_the_node_says_so() -> None:
    simulation = desk()
    simulation.call("300", patience_s=3)
    simulation.run(60)
    assert outcome(simulation) == ("self_served", "customer")
    assert [(s.node, s.result) for s in simulation.final(IvrStepRow)] == [("main", "hung_up")]


def test_a_session_that_breaks_in_the_menu_comes_back_to_the_same_node() -> None:
    simulation = desk(("3", "d3"))
    caller = simulation.call("300", keys="7")
    simulation.run(1)
    simulation.break_session(caller)
    simulation.run(1)
    assert caller.session is not None
    assert simulation.view().calls[0].where == "main"
    assert simulation.view().calls[0].phase == "ivr"
    simulation.hang_up(caller)
    call = simulation.only(CallRow)
    assert call.ivr_path == ("welcome.main",)
    assert call.transfers_attempted == 0


# -- agents who leave ----------------------------------------------------------------------------------------


def test_an_agent_who_logs_out_while_rung_and_answers_is_the_one_who_answered() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.call()
    simulation.run(2)
    simulation.force("1", "logged_out")
    simulation.run(200)
    assert offers(simulation) == [("1", "accepted")]
    segment = simulation.only(SegmentRow)
    assert (segment.agent_id, segment.talk_s, segment.wrap_up_s) == ("1", 60.0, 0.0)
    assert simulation.agent("1").activity == "idle"


def test_an_agent_who_logs_out_in_a_conversation_ends_it_in_peace() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.call()
    simulation.run(20)
    simulation.force("1", "logged_out")
    assert simulation.agent("1").activity == "talking"
    simulation.run(200)
    assert outcome(simulation) == ("answered", "agent")
    assert simulation.only(SegmentRow).talk_s == 60.0
    assert all(row.ended_at is not None for row in simulation.final(AgentStateRow) if row.agent_id == "1")


def test_another_agent_may_sit_down_where_one_is_still_talking() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(20)
    simulation.force("1", "logged_out")
    simulation.log_in(("2", "d1"))
    simulation.see_switch()
    simulation.run(200)
    assert [s.agent_id for s in simulation.final(SegmentRow)] == ["1"]


def test_an_agent_who_is_paused_while_rung_may_still_answer() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(2)
    simulation.force("1", "paused", "lunch")
    simulation.run(100)
    assert offers(simulation) == [("1", "accepted")]
    assert simulation.agent("1").status == "paused"


def test_an_agents_own_channel_may_become_a_customers() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.run(10)
    dial = caller.dial
    assert dial is not None
    arrival = next(event for event in simulation.tape if isinstance(event, ev.CallArrived))
    simulation.post(
        ev.CallArrived(simulation.at, SessionId(9_999), dial.leg, dial.leg, "PJSIP/d1-x", "200", "1", "", "", "", "")
    )
    simulation.post(ev.ChannelEnded(simulation.at, ChannelId(dial.leg), dial.leg, 16))
    simulation.hang_up(caller)
    assert simulation.view().calls == ()
    assert arrival.channel == caller.channel


# -- recordings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(65.0, "ok"), (58.0, "ok"), (57.9, "short"), (0.0, "short"), (None, "missing")]
)
def test_a_recording_is_held_against_the_talk(seconds: float | None, verdict: str) -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.measures[simulation.sent(cmd.RecordCall)[0].path] = seconds
    simulation.run(200)
    recording = simulation.only(RecordingRow)
    assert (recording.verdict, recording.duration_s, recording.talk_s) == (verdict, seconds, 60.0)
    assert recording.talk_offset_s == 5.0


def test_a_recording_without_a_talk_has_nothing_to_hold() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.run(2)
    simulation.hang_up(caller)
    simulation.run(10)
    assert simulation.only(RecordingRow).verdict == "no_talk"


def test_a_recording_whose_end_is_not_told_is_measured_all_the_same() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.run(10)
    caller.recorded = ""
    simulation.run(200)
    assert simulation.only(RecordingRow).verdict == "ok"


def test_one_recording_follows_the_caller_through_a_transfer() -> None:
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(transfer_to="200")
    simulation.call()
    simulation.run(400)
    assert len(simulation.sent(cmd.RecordCall)) == 1
    assert simulation.only(RecordingRow).talk_s == 120.0


def test_a_talk_before_the_recording_began_is_not_asked_of_it() -> None:
    queues = (QueueSettings(name="sales", record=False), QueueSettings(name="support"))
    simulation = Simulation(settings(queue=queues, recording=RecordingSettings(tolerance_s=0.0)))
    simulation.log_in(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=100, transfer_to="200")
    simulation.call()
    simulation.run(400)
    assert simulation.only(RecordingRow).talk_s == 60.0


def test_a_path_of_a_recording_holds_nothing_that_a_caller_gave() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    assert simulation.sent(cmd.RecordCall)[0].path.startswith("2026/01/05/pbx1-17-")


# -- costs ---------------------------------------------------------------------------------------------------


def test_a_centre_with_many_waiting_asks_few_agents_per_event() -> None:
    """The commands of one event don't grow with those who wait."""
    agents = tuple(AgentSettings(number=str(n), name="a", pin="1234", queues=("sales",)) for n in range(1, 7))
    simulation = Simulation(
        settings(agent=agents, queue=(QueueSettings(name="sales"), QueueSettings(name="support")))
    )
    simulation.pins = {str(n): "1234" for n in range(1, 7)}
    simulation.log_in(*((str(n), f"d{n}") for n in range(1, 6)))
    callers: list[Caller] = [simulation.call() for _ in range(60)]
    before = len(simulation.commands)
    simulation.hang_up(callers[-1])
    assert len(simulation.commands) - before < 12
