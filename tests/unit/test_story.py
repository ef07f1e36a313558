"""Whole calls, from the first ring to the last row, and what METRICS' worked examples come to."""

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, SessionId
from ccsvc.domain.records import (
    AgentStateRow,
    CallRow,
    CdrRow,
    IvrStepRow,
    OfferRow,
    QueueEntryRow,
    QueueRefusalRow,
    RecordingRow,
    SegmentRow,
)
from ccsvc.domain.stats import indicators
from ccsvc.domain.story import MAX_HOPS
from ccsvc.settings import AgentSettings, QueueSettings, RecordingSettings
from tests.unit.centre_driver import Simulation
from tests.unit.centre_parts import Caller, Ring, settings


def desk(*people: tuple[str, str], **queue: object) -> Simulation:
    """Agents at their phones; `queue` changes the settings of both queues."""
    queues = tuple(QueueSettings(name=name, **{"wrap_up_s": 30.0, **queue}) for name in ("sales", "support"))  # type: ignore[arg-type]
    simulation = Simulation(settings(queue=queues))
    simulation.log_in(*people)
    return simulation


def offers(simulation: Simulation) -> list[tuple[str, str | None]]:
    return [(offer.agent_id, offer.result) for offer in simulation.final(OfferRow)]


def outcome(simulation: Simulation) -> tuple[str | None, str | None]:
    call = simulation.only(CallRow)
    return call.outcome, call.ended_by


def music(simulation: Simulation) -> int:
    return len(simulation.sent(cmd.PlayMusic))


# -- answered ----------------------------------------------------------------------------------------------------


def test_a_caller_is_answered_and_the_agent_hangs_up() -> None:
    simulation = desk(("1", "d1"))
    simulation.call()
    simulation.run(200)
    assert simulation.entries() == [("sales", "answered", 5.0)]
    assert offers(simulation) == [("1", "accepted")]
    assert outcome(simulation) == ("answered", "agent")
    call, segment = simulation.only(CallRow), simulation.only(SegmentRow)
    assert (call.wait_s, call.talk_s, call.segment_count, call.first_agent_id) == (5.0, 60.0, 1, "1")
    assert call.answered_at == segment.started_at
    assert (segment.talk_s, segment.hold_s, segment.wrap_up_s) == (60.0, 0.0, 30.0)
    assert not call.repaired


def test_the_customer_hangs_up_and_is_named() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring(hung_up_by="customer")
    simulation.call()
    simulation.run(200)
    assert outcome(simulation) == ("answered", "customer")


def test_the_rows_of_a_call_are_written_in_the_order_in_which_things_happened() -> None:
    simulation = desk(("1", "d1"))
    before = len(simulation.rows)
    simulation.call()
    simulation.run(200)
    kinds = [type(row).__name__ for row in simulation.rows[before:] if not isinstance(row, AgentStateRow)]
    assert kinds == [
        "CallRow",
        "QueueEntryRow",
        "OfferRow",
        "RecordingRow",
        "OfferRow",
        "QueueEntryRow",
        "SegmentRow",
        "SegmentRow",
        "CdrRow",
        "CdrRow",
        "RecordingRow",
        "CallRow",
        "RecordingRow",
        "SegmentRow",
    ]


def test_hold_is_hold_and_not_talk() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring(hold=(10, 25))
    simulation.call()
    simulation.run(200)
    segment = simulation.only(SegmentRow)
    assert (segment.talk_s, segment.hold_s) == (45.0, 15.0)
    assert simulation.only(CallRow).hold_s == 15.0


def test_an_agent_who_hangs_up_during_hold_has_held_until_then() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring(hold=(40, 999))
    simulation.call()
    simulation.run(200)
    segment = simulation.only(SegmentRow)
    assert (segment.talk_s, segment.hold_s) == (40.0, 20.0)


def test_every_leg_has_its_cdr() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.phone("d1").rings.append(Ring("busy", after_s=2))
    simulation.call()
    simulation.run(200)
    found = [(cdr.role, cdr.dial_result, cdr.duration, cdr.billsec, cdr.dst) for cdr in simulation.final(CdrRow)]
    assert found == [
        ("agent", "BUSY", 2.0, 0.0, "d1"),
        ("agent", "ANSWERED", 65.0, 60.0, "d2"),
        ("customer", "ANSWERED", 67.0, 60.0, "100"),
    ]


# -- waiting, and giving up ----------------------------------------------------------------------------------------


def test_a_caller_who_hangs_up_while_waiting_has_abandoned() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    simulation.call(patience_s=12)
    simulation.run(60)
    assert simulation.entries() == [("sales", "abandoned", 12.0)]
    assert outcome(simulation) == ("abandoned", "customer")
    assert simulation.only(QueueEntryRow).short is False
    assert music(simulation) == 1


def test_a_short_abandon_counts_up_to_and_including_its_threshold() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    simulation.call(patience_s=5)
    simulation.run(60)
    assert simulation.only(QueueEntryRow).short is True
    assert outcome(simulation) == ("short_abandoned", "customer")


def test_worked_example_3_a_caller_who_hangs_up_while_it_rings_is_nobodys_fault() -> None:
    simulation = desk(("1", "d1"))
    simulation.force("1", "paused")
    caller = simulation.call()
    simulation.run(10)
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.force("1", "ready")
    simulation.run(8)
    simulation.hang_up(caller)
    simulation.run(1)
    assert simulation.entries() == [("sales", "abandoned", 18.0)]
    assert offers(simulation) == [("1", "caller_gone")]
    assert outcome(simulation) == ("abandoned", "customer")
    agent = simulation.agent("1")
    assert (agent.status, agent.activity) == ("ready", "idle")
    cohort = next(iter(simulation.stats.queues["sales"].minutes.values()))
    assert indicators(cohort, "answered_of_answered").service_level_ratio is None
    assert indicators(cohort, "answered_of_all").service_level_ratio == 0
    assert indicators(cohort, "served_of_all").service_level_ratio == 1


def test_an_agent_whose_caller_went_away_keeps_their_turn() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.run(5)
    caller = simulation.call()
    simulation.run(1)
    simulation.hang_up(caller)
    simulation.run(1)
    simulation.call()
    assert [agent for agent, _ in offers(simulation)] == ["1", "1"]


# -- offers that come to nothing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "result"), [("no_answer", "no_answer"), ("busy", "rejected"), ("unreachable", "unreachable")]
)
def test_a_failed_offer_leads_to_the_next_agent_and_the_place_is_kept(does: str, result: str) -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.phone("d1").usually = Ring(does, after_s=3)  # type: ignore[arg-type]
    first = simulation.call()
    simulation.call()
    simulation.run(30)
    assert offers(simulation)[0] == ("1", result)
    assert simulation.final(OfferRow)[0].offer_id.endswith("/q1/o1")
    entry = simulation.final(QueueEntryRow)[0]
    assert entry.call_id.endswith(first.channel)
    assert entry.entered_at == simulation.final(CallRow)[0].started_at


def test_a_caller_who_was_not_answered_is_still_the_first_in_line() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").rings.append(Ring("no_answer"))
    first = simulation.call()
    simulation.run(1)
    second = simulation.call()
    simulation.run(13)
    line = [f"pbx1/{caller.channel}" for caller in (first, second)]
    assert [w.call_id for w in simulation.queue("sales").waiting] == line
    simulation.run(2)
    assert [w.call_id for w in simulation.queue("sales").waiting] == line
    assert [o.call_id for o in simulation.final(OfferRow)] == line


def test_an_agent_tried_in_vain_is_tried_again_after_the_pause_and_not_before() -> None:
    simulation = desk(("1", "d1"), retry_s=5.0)
    simulation.phone("d1").rings.append(Ring("busy", after_s=1))
    simulation.call()
    simulation.run(5.9)
    assert len(offers(simulation)) == 1
    simulation.run(0.2)
    assert len(offers(simulation)) == 2


def test_a_phone_that_refuses_at_once_does_not_turn_the_queue_into_a_hammer() -> None:
    simulation = desk(("1", "d1"), retry_s=0.0)
    simulation.phone("d1").usually = Ring("unreachable")
    simulation.call()
    simulation.run(10)
    assert len(offers(simulation)) <= 11
    assert len(simulation.tape) < 100


def test_the_next_agent_is_the_one_who_has_been_idle_longest() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"), ("4", "d4"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.phone("d2").usually = Ring("no_answer", after_s=99)
    simulation.call()
    simulation.run(40)
    assert [agent for agent, _ in offers(simulation)] == ["1", "2", "4"]


def test_an_agent_who_drops_before_the_bridge_costs_the_caller_nothing() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.phone("d1").usually = Ring("drop", after_s=2)
    simulation.call()
    simulation.run(200)
    assert offers(simulation) == [("1", "agent_dropped"), ("2", "accepted")]
    assert simulation.entries() == [("sales", "answered", 8.0)]


def test_an_agent_on_a_busy_phone_is_not_rung() -> None:
    simulation = desk(("1", "d1"))
    simulation.set_device("d1", "in_use")
    simulation.call()
    simulation.run(10)
    assert offers(simulation) == []
    simulation.set_device("d1", "idle")
    assert offers(simulation) == [("1", None)]


def test_all_are_busy_and_the_first_to_become_free_is_rung_in_the_same_instant() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"), wrap_up_s=0.0)
    simulation.phone("d1").usually, simulation.phone("d2").usually = Ring(talk_s=30), Ring(talk_s=99)
    for _ in range(3):
        simulation.call()
    simulation.run(34.9)
    assert len(offers(simulation)) == 2
    simulation.run(0.2)
    third = simulation.final(OfferRow)[2]
    assert third.agent_id == "1"
    assert third.offered_at == simulation.final(SegmentRow)[0].ended_at


def test_an_agent_who_ends_wrap_up_takes_the_first_caller_of_all_their_queues() -> None:
    simulation = desk(("4", "d4"))
    simulation.call("100")
    simulation.run(10)
    simulation.call("200")
    simulation.run(1)
    simulation.call("100")
    simulation.run(90)
    assert [offer.queue for offer in simulation.final(OfferRow)] == ["sales", "support"]


def test_a_queue_with_priority_is_served_first() -> None:
    queues = (QueueSettings(name="sales", wrap_up_s=0.0), QueueSettings(name="support", priority=5, wrap_up_s=0.0))
    simulation = Simulation(settings(queue=queues))
    simulation.log_in(("4", "d4"))
    for did in ("100", "100", "200"):
        simulation.call(did)
        simulation.run(1)
    simulation.run(100)
    assert [offer.queue for offer in simulation.final(OfferRow)][:2] == ["sales", "support"]


def test_nothing_is_offered_while_the_switch_cannot_be_seen() -> None:
    simulation = desk(("1", "d1"))
    simulation.lose_switch()
    simulation.call()
    simulation.run(5)
    assert offers(simulation) == []
    simulation.see_switch(fresh=True)
    assert offers(simulation) == [("1", None)]


# -- limits --------------------------------------------------------------------------------------------------------


def test_the_maximum_wait_ends_the_stay_and_the_way_out_is_followed() -> None:
    simulation = desk(("1", "d1"), max_wait_s=60.0)
    simulation.force("1", "paused")
    simulation.call()
    simulation.run(100)
    assert simulation.entries() == [("sales", "timed_out", 60.0)]
    assert outcome(simulation) == ("refused", "system")
    assert [a.prompts[0].name for a in simulation.sent(cmd.Ask)][-1] == "queue_timeout_sorry"


def test_the_maximum_wait_counts_while_it_rings_too() -> None:
    simulation = desk(("1", "d1"), max_wait_s=60.0)
    simulation.force("1", "paused")
    simulation.call()
    simulation.run(50)
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.force("1", "ready")
    assert simulation.sent(cmd.DialAgent)[-1].ring_s == pytest.approx(10)
    simulation.run(60)
    assert simulation.entries() == [("sales", "timed_out", 60.0)]
    assert offers(simulation) == [("1", "no_answer")]


def test_no_phone_is_rung_for_the_last_moment_of_a_wait() -> None:
    simulation = desk(("1", "d1"), max_wait_s=60.0)
    simulation.force("1", "paused")
    simulation.call()
    simulation.run(59.5)
    simulation.force("1", "ready")
    simulation.run(10)
    assert offers(simulation) == []
    assert simulation.entries() == [("sales", "timed_out", 60.0)]


def test_nobody_logged_in_lets_nobody_in() -> None:
    simulation = desk()
    simulation.call()
    simulation.run(60)
    assert simulation.entries() == []
    assert [(r.queue, r.reason) for r in simulation.final(QueueRefusalRow)] == [("sales", "empty")]
    assert outcome(simulation) == ("refused", "system")
    assert simulation.stats.queues["sales"].refused == {"empty": 1}


def test_a_queue_that_may_be_joined_empty_is_joined() -> None:
    simulation = desk(join_empty=True)
    simulation.call()
    simulation.run(10)
    assert len(simulation.queue("sales").waiting) == 1
    simulation.log_in(("1", "d1"))
    simulation.run(1)
    assert offers(simulation) == [("1", None)]


def test_the_last_agent_who_leaves_sends_the_callers_on() -> None:
    simulation = desk(("1", "d1"), ("2", "d2"))
    simulation.force("1", "paused")
    simulation.force("2", "paused")
    simulation.call()
    simulation.run(10)
    simulation.force("1", "logged_out")
    assert len(simulation.queue("sales").waiting) == 1
    simulation.force("2", "logged_out")
    simulation.run(60)
    assert simulation.entries() == [("sales", "left_empty", 10.0)]
    assert outcome(simulation) == ("refused", "system")


def test_the_last_agent_may_leave_while_being_rung() -> None:
    simulation = desk(("1", "d1"))
    simulation.phone("d1").usually = Ring("no_answer", after_s=99)
    simulation.call()
    simulation.run(3)
    simulation.force("1", "logged_out")
    simulation.run(60)
    assert offers(simulation) == [("1", "no_answer")]
    assert simulation.entries() == [("sales", "left_empty", 15.0)]


def test_a_full_queue_refuses() -> None:
    simulation = desk(("1", "d1"), max_waiting=1)
    simulation.force("1", "paused")
    simulation.call()
    simulation.call()
    simulation.run(5)
    assert [r.reason for r in simulation.final(QueueRefusalRow)] == ["full"]
    assert len(simulation.queue("sales").waiting) == 1


def test_a_number_that_leads_nowhere_is_refused() -> None:
    simulation = desk()
    simulation.call("999")
    simulation.run(5)
    assert outcome(simulation) == ("refused", "system")


def test_queues_that_lead_in_circles_let_the_caller_go_in_the_end() -> None:
    queues = (
        QueueSettings(name="sales", on_empty="queue:support"),
        QueueSettings(name="support", on_empty="queue:sales"),
    )
    simulation = Simulation(settings(queue=queues))
    simulation.prompt_s = 1.0
    simulation.call()
    simulation.run_out()
    assert outcome(simulation) == ("refused", "system")
    assert len(simulation.final(QueueRefusalRow)) == MAX_HOPS


# -- several queues --------------------------------------------------------------------------------------------------


def overflowing(max_wait_s: float) -> Simulation:
    """Sales overflows into support, where agent 3 answers after 25 s of waiting."""
    queues = (
        QueueSettings(name="sales", max_wait_s=max_wait_s, on_timeout="queue:support"),
        QueueSettings(name="support", ring_timeout_s=30.0),
    )
    simulation = Simulation(settings(queue=queues))
    simulation.log_in(("1", "d1"), ("3", "d3"))
    simulation.force("1", "paused")
    simulation.phone("d3").usually = Ring(after_s=25)
    return simulation


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


# -- the menu --------------------------------------------------------------------------------------------------------


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
    simulation.settings.ivr["welcome"].node["main"].keys["2"]
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


# -- sessions that break -----------------------------------------------------------------------------------------------


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


# -- the switch and the sessions tell at different times -------------------------------------------------------------


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


# -- agents who leave ------------------------------------------------------------------------------------------------


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


# -- recordings --------------------------------------------------------------------------------------------------------


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


# -- costs ---------------------------------------------------------------------------------------------------------------


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
