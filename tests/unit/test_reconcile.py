"""What is believed, held against what the switch says."""

from datetime import timedelta

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName
from ccsvc.domain.records import CallRow, CdrRow, OfferRow, QueueEntryRow, SegmentRow
from ccsvc.domain.view import CentreView
from tests.unit.centre_driver import Simulation, desk
from tests.unit.centre_invariants import has_gone_home
from tests.unit.centre_parts import Caller, Ring


def talking() -> tuple[Simulation, Caller]:
    """Agent 1 has talked for five seconds."""
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.run(10)
    return simulation, caller


def without_time(view: CentreView) -> tuple[object, ...]:
    return (view.calls, view.agents, tuple((q.name, q.waiting, q.entered, q.exits) for q in view.queues))


def test_a_customer_who_is_gone_unseen_is_closed_and_marked() -> None:
    simulation, caller = talking()
    simulation.deaf = True
    simulation.hang_up(caller)
    simulation.deaf = False
    assert len(simulation.view().calls) == 1
    simulation.run(5)
    simulation.see_switch(fresh=True)
    simulation.run(60)
    call = simulation.only(CallRow)
    assert (call.outcome, call.repaired) == ("answered", True)
    assert simulation.only(SegmentRow).talk_s == pytest.approx(10.0)
    assert simulation.agent("1").activity == "idle"
    has_gone_home(simulation.centre, simulation.stats)


def test_a_waiting_customer_who_is_gone_unseen_has_abandoned() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(10)
    simulation.deaf = True
    simulation.hang_up(caller)
    simulation.deaf = False
    simulation.run(5)
    simulation.see_switch(fresh=True)
    assert simulation.entries() == [("sales", "abandoned", 15.0)]
    assert simulation.only(QueueEntryRow).repaired


def test_a_conversation_that_began_unseen_is_found_by_its_bridge() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(4)
    simulation.deaf = True
    simulation.run(3)
    simulation.deaf = False
    assert simulation.agent("1").activity == "ringing"
    simulation.see_switch(fresh=True)
    assert simulation.agent("1").activity == "talking"
    assert [o.result for o in simulation.final(OfferRow)] == ["accepted"]
    simulation.run(200)
    assert simulation.entries() == [("sales", "answered", 7.0)]
    assert simulation.only(CallRow).repaired


def test_a_conversation_whose_end_was_missed_is_ended() -> None:
    simulation, caller = talking()
    simulation.deaf = True
    dial = caller.dial
    assert dial is not None
    caller.dial, caller.bridge = None, ""
    simulation.phone("d1").state = "idle"
    simulation.deaf = False
    simulation.see_switch(fresh=True)
    assert simulation.agent("1").activity == "wrap_up"
    assert simulation.only(SegmentRow).talk_s == pytest.approx(5.0)
    assert [c.role for c in simulation.final(CdrRow)] == ["agent"]


def test_a_conversation_that_is_only_remembered_and_is_over_is_ended() -> None:
    """The agent's channel still stands, but not with the customer any more."""
    simulation, caller = talking()
    dial = caller.dial
    assert dial is not None
    caller.bridge = dial.bridge = ""
    simulation.restart()
    simulation.run(0.1)
    assert simulation.agent("1").activity == "wrap_up"
    assert simulation.only(SegmentRow).talk_s == pytest.approx(5.0, abs=0.01)


def test_a_look_that_is_older_than_the_news_changes_nothing() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.run(5)
    looked_at, channels, devices = simulation.at, simulation.live(), simulation.device_states()
    simulation.run(1)
    simulation.call()
    simulation.call()
    simulation.run(10)
    simulation.call()
    before = without_time(simulation.view())
    simulation.post(ev.SwitchSeen(looked_at, channels, devices, fresh=False))
    assert without_time(simulation.view()) == before
    assert len(simulation.sent(cmd.DialAgent)) == 2


def test_a_look_from_the_middle_of_a_call_that_has_ended_brings_nothing_back() -> None:
    simulation, caller = talking()
    looked_at, channels, devices = simulation.at, simulation.live(), simulation.device_states()
    simulation.run(1)
    simulation.hang_up(caller)
    simulation.run(1)
    rows = len(simulation.rows)
    simulation.post(ev.SwitchSeen(looked_at, channels, devices, fresh=False))
    assert len(simulation.rows) == rows
    assert simulation.agent("1").device_state == "idle"
    simulation.run(100)
    has_gone_home(simulation.centre, simulation.stats)


def test_every_look_of_a_quiet_moment_changes_nothing() -> None:
    simulation, _ = talking()
    simulation.call()
    before, rows = without_time(simulation.view()), len(simulation.rows)
    for fresh in (True, False, True):
        simulation.see_switch(fresh=fresh)
    assert without_time(simulation.view()) == before
    assert len(simulation.rows) == rows
    assert not any(call.repaired for call in simulation.final(CallRow))


def test_a_switch_that_started_anew_has_lost_its_calls() -> None:
    simulation = desk(("1", "d1"))
    talks = simulation.call()
    simulation.run(10)
    waits = simulation.call()
    simulation.run(10)
    for caller in (talks, waits):
        caller.alive = False
    simulation.phone("d1").state = "idle"
    simulation.lose_switch()
    simulation.run(20)
    simulation.see_switch(fresh=True, booted_at=simulation.at - timedelta(seconds=15))
    first, second = simulation.final(CallRow)
    assert (first.outcome, first.ended_by) == ("answered", "system")
    assert (second.outcome, second.ended_by) == ("system_lost", "system")
    assert simulation.entries() == [("sales", "answered", 5.0), ("sales", "system_lost", 15.0)]
    assert simulation.only(SegmentRow).talk_s == pytest.approx(20.0)
    assert simulation.agent("1").activity == "wrap_up"
    assert simulation.stats.queues["sales"].exits == {"answered": 1, "system_lost": 1}


def test_attendance_survives_a_restart_of_the_switch() -> None:
    simulation = desk(("1", "d1"))
    simulation.lose_switch()
    simulation.run(20)
    before = len(simulation.sent(cmd.SetSafetyNet))
    simulation.see_switch(fresh=True, booted_at=simulation.at)
    assert simulation.agent("1").status == "ready"
    told = simulation.sent(cmd.SetSafetyNet)[before:]
    assert {(net.agent, net.device) for net in told} == {("1", "d1"), ("2", None), ("3", None), ("4", None)}


def test_a_look_that_is_not_the_first_leaves_the_safety_net_alone() -> None:
    simulation = desk(("1", "d1"))
    before = len(simulation.sent(cmd.SetSafetyNet))
    simulation.see_switch()
    assert len(simulation.sent(cmd.SetSafetyNet)) == before


def test_an_agent_who_rings_for_a_caller_in_the_pbxs_own_queue_is_freed() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    caller = simulation.call()
    simulation.run(2)
    simulation.die()
    caller.dial = None
    simulation.phone("d1").state = "idle"
    caller.in_safety_net = True
    simulation.restart()
    simulation.run(0.1)
    assert simulation.agent("1").activity == "idle"
    assert [o.result for o in simulation.final(OfferRow)] == ["unreachable"]
    assert len(simulation.queue("sales").waiting) == 1


def test_a_caller_whom_the_safety_net_connects_is_answered() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.die()
    caller.dial = None
    caller.in_safety_net = True
    simulation.restart()
    simulation.run(5)
    leg = ChannelId("19.net")
    for event in (
        ev.ChannelStarted(simulation.at, leg, caller.channel, "PJSIP/d1-9", DeviceName("d1")),
        ev.BridgeEntered(simulation.at, leg, caller.channel, "net"),
        ev.BridgeEntered(simulation.at, caller.channel, caller.channel, "net"),
    ):
        simulation.post(event)
    assert simulation.entries() == [("sales", "answered", 5.0)]
    assert simulation.agent("1").activity == "talking"


def test_a_caller_whom_one_look_missed_is_served_when_they_come_back() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(10)
    simulation.post(ev.SwitchSeen(simulation.at, (), simulation.device_states(), fresh=False))
    assert simulation.view().calls == ()
    assert caller.session is not None
    simulation.cdrs_may_repeat = True
    simulation.break_session(caller)
    simulation.force("1", "ready")
    simulation.run(1)
    assert [call.phase for call in simulation.view().calls] == ["ringing"]
    simulation.run(200)
    assert not caller.alive
    assert [exit_ for _, exit_, _ in simulation.entries()] == ["abandoned", "answered"]
    assert len(simulation.final(CallRow)) == 2


def test_devices_are_believed_as_seen_last() -> None:
    simulation = desk(("1", "d1"))
    simulation.set_device("d1", "unavailable")
    looked_at = simulation.at
    simulation.run(5)
    simulation.set_device("d1", "idle")
    simulation.post(ev.SwitchSeen(looked_at, (), ((DeviceName("d1"), "unavailable"),), fresh=False))
    assert simulation.agent("1").device_state == "idle"
    simulation.post(ev.SwitchSeen(simulation.at, (), ((DeviceName("d1"), "busy"),), fresh=False))
    assert simulation.agent("1").device_state == "busy"


def test_a_look_in_the_middle_of_late_news_writes_no_leg_twice() -> None:
    """The conversation is over for the switch and not yet told when it is looked at."""
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring(after_s=1, talk_s=0)
    simulation.ami_lag_s = 0.5
    simulation.call()
    simulation.run(1.2)
    simulation.see_switch()
    simulation.run(30)
    assert simulation.entries() == [("sales", "answered", 1.0)]
    assert sorted(cdr.role for cdr in simulation.final(CdrRow)) == ["agent", "customer"]
