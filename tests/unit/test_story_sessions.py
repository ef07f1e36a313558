"""Sessions that break or are told late, and streams that tell of one call in another order."""

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import SessionId
from ccsvc.domain.records import (
    CallRow,
    CdrRow,
    OfferRow,
    SegmentRow,
)
from tests.unit.centre_driver import Simulation, desk, offers, outcome, overflowing
from tests.unit.centre_parts import Ring

# -- sessions that break -------------------------------------------------------------------------------------


def test_a_waiting_caller_whose_session_breaks_keeps_their_place() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    first, _ = simulation.call(), simulation.call()
    simulation.run(10)
    simulation.break_session(first)
    simulation.run(1)
    simulation.force("1", "ready")
    simulation.run(10)
    assert simulation.entries()[0] == ("sales", "answered", 16.0)


def test_a_caller_whose_session_is_away_is_not_rung_for() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    first, second = simulation.call(), simulation.call()
    simulation.run(10)
    simulation.break_session(first)
    simulation.force("1", "ready")
    assert [o.call_id for o in simulation.final(OfferRow)] == [f"pbx1/{second.channel}"]


def test_a_caller_who_stays_away_has_withdrawn_and_no_agent_is_kept_for_them() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    caller = simulation.call()
    simulation.run(1)
    assert caller.session is not None
    simulation.post(ev.SessionEnded(simulation.at, caller.session.id))
    simulation.run(11)
    assert simulation.entries() == [("sales", "withdrawn", 11.0)]
    assert offers(simulation) == [("1", "caller_gone")]
    assert simulation.agent("1").activity == "idle"


def test_a_caller_who_stays_away_while_the_switch_is_unseen_is_not_written_off() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(10)
    simulation.lose_switch()
    assert caller.session is not None
    caller.alive = False
    simulation.post(ev.SessionEnded(simulation.at, caller.session.id))
    simulation.run(30)
    simulation.see_switch(fresh=True)
    assert simulation.entries() == [("sales", "abandoned", 10.0)]
    assert simulation.only(CallRow).repaired


def test_a_session_that_breaks_during_the_apology_goes_on_with_what_follows() -> None:
    simulation = overflowing(60.0)
    caller = simulation.call()
    simulation.run(59.999)
    simulation.post(ev.TimerFired(simulation.at, ev.Timer("max_wait", f"pbx1/{caller.channel}/q1")))
    assert simulation.entries()[0][1] == "timed_out"
    simulation.break_session(caller)
    simulation.run(300)
    assert [(queue, exit_) for queue, exit_, _ in simulation.entries()] == [
        ("sales", "timed_out"),
        ("support", "answered"),
    ]


def test_an_arrival_told_twice_is_one_call() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.post(next(event for event in reversed(simulation.tape) if isinstance(event, ev.CallArrived)))
    simulation.run(300)
    assert simulation.entries() == [("sales", "answered", 5.0)]
    assert len(simulation.sent(cmd.DialAgent)) == 1


def test_a_session_that_arrives_after_its_channel_ended_is_let_go() -> None:
    simulation = desk(("1", "d1"))
    simulation.call(patience_s=2)
    simulation.run(5)
    arrival = next(event for event in simulation.tape if isinstance(event, ev.CallArrived))
    simulation.post(arrival)
    assert simulation.view().calls == ()
    assert simulation.sent(cmd.FinishSession)[-1].session == arrival.session


def test_a_dial_result_of_an_older_session_changes_nothing() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    old = caller.session
    simulation.break_session(caller)
    simulation.run(1)
    simulation.force("1", "ready")
    assert old is not None
    offer = simulation.final(OfferRow)[0].offer_id
    simulation.post(ev.DialFinished(simulation.at, old.id, offer, -1, "CANCEL"))
    simulation.run(200)
    assert simulation.entries()[0][1] == "answered"


def test_an_older_answer_does_not_move_the_dialog() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call("300")
    assert caller.session is not None
    ask = simulation.sent(cmd.Ask)[-1]
    simulation.post(ev.Answered(simulation.at, caller.session.id, ask.token + 7, "1"))
    simulation.post(ev.Answered(simulation.at, SessionId(99_999), ask.token, "1"))
    assert simulation.entries() == []


# -- the switch and the sessions tell at different times -----------------------------------------------------


@pytest.mark.parametrize(("ami_lag_s", "agi_lag_s"), [(0.02, 0.0), (0.6, 0.0), (0.0, 0.02), (0.0, 0.6)], ids=str)
def test_two_streams_may_tell_of_a_call_in_any_order(ami_lag_s: float, agi_lag_s: float) -> None:
    def lived(ami_lag_s: float, agi_lag_s: float) -> tuple[object, ...]:
        simulation = Simulation(ami_lag_s=ami_lag_s, agi_lag_s=agi_lag_s)
        simulation.run(1)
        simulation.see_switch(fresh=True)
        for agent, device in (("1", "d1"), ("2", "d2"), ("3", "d3")):
            simulation.log_in((agent, device))
            simulation.run(5)
        simulation.phone("d1").rings.extend([Ring("no_answer"), Ring(talk_s=20, transfer_to="200")])
        simulation.phone("d2").rings.extend([Ring("busy", after_s=2)])
        simulation.call(patience_s=400)
        simulation.run(500)
        segments = [(s.agent_id, s.queue, round(s.talk_s or 0)) for s in simulation.final(SegmentRow)]
        cdrs = sorted((c.role, c.dial_result) for c in simulation.final(CdrRow))
        call = simulation.only(CallRow)
        entries = [(queue, exit_) for queue, exit_, _ in simulation.entries()]
        return offers(simulation), entries, segments, cdrs, call.outcome, call.transfers_completed

    assert lived(ami_lag_s, agi_lag_s) == lived(0.0, 0.0)


def test_a_dial_that_ends_before_its_bridge_was_told_ends_the_call_all_the_same() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring(talk_s=0.3)
    simulation.ami_lag_s = 0.5
    caller = simulation.call()
    simulation.run(20)
    assert not caller.alive
    assert outcome(simulation) == ("answered", "agent")
    assert simulation.only(SegmentRow).talk_s == pytest.approx(0.3)
    assert offers(simulation) == [("1", "accepted")]


def test_an_answered_dial_while_the_switch_is_unseen_counts_as_served() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    simulation.lose_switch()
    assert caller.session is not None
    offer = simulation.sent(cmd.DialAgent)[-1].offer
    caller.dial = None
    caller.session.busy = False
    simulation.post(ev.DialFinished(simulation.at, caller.session.id, offer, 0, "ANSWER"))
    assert not caller.alive
    assert offers(simulation) == [("1", "accepted")]
    call = simulation.only(CallRow)
    assert (call.outcome, call.first_agent_id, call.repaired) == ("answered", "1", True)
    assert simulation.agent("1").activity == "idle"


def test_a_session_that_goes_on_after_its_dial_said_that_the_caller_leaves_is_not_forgotten() -> None:
    simulation = desk(("1", "d1"))
    caller = simulation.call()
    assert caller.session is not None
    offer = simulation.sent(cmd.DialAgent)[-1].offer
    caller.dial = None
    caller.session.busy = False
    simulation.post(ev.DialFinished(simulation.at, caller.session.id, offer, -1, "CANCEL"))
    simulation.run(9)
    assert simulation.view().calls[0].phase == "leaving"
    simulation.run(5)
    assert simulation.final(OfferRow)[0].result == "caller_gone"
    assert simulation.view().calls[0].phase in ("waiting", "ringing")


def test_who_hung_up_after_a_transfer_is_not_who_transferred() -> None:
    """The agent's phone hangs up late, when the customer waits elsewhere already."""
    simulation = desk(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=10, transfer_to="200")
    simulation.force("3", "paused")
    caller = simulation.call()
    simulation.run(14.5)
    assert caller.dial is not None
    leg = caller.dial.leg
    simulation.run(1)
    simulation.post(ev.HangupRequested(simulation.at, leg))
    simulation.run(20)
    simulation.hang_up(caller)
    assert outcome(simulation) == ("answered", "customer")
    assert simulation.entries()[1][1] == "abandoned"


def test_a_caller_who_comes_back_has_not_hung_up() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.post(ev.HangupRequested(simulation.at, caller.channel))
    simulation.break_session(caller)
    simulation.run(1)
    simulation.force("1", "ready")
    simulation.run(200)
    assert outcome(simulation) == ("answered", "agent")
