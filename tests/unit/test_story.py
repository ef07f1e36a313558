"""One call in one queue, from the first ring to the last row, and METRICS' third worked example."""

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain.records import (
    AgentStateRow,
    CallRow,
    CdrRow,
    OfferRow,
    QueueEntryRow,
    QueueRefusalRow,
    SegmentRow,
)
from ccsvc.domain.stats import indicators
from ccsvc.domain.story import MAX_HOPS
from ccsvc.settings import QueueSettings
from tests.unit.centre_driver import Simulation, desk, music, offers, outcome
from tests.unit.centre_parts import Ring, settings

# -- answered ------------------------------------------------------------------------------------------------


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
        ("customer", "ANSWERED", 67.0, 67.0, "100"),
    ]


# -- waiting, and giving up ----------------------------------------------------------------------------------


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


# -- offers that come to nothing -----------------------------------------------------------------------------


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


# -- limits --------------------------------------------------------------------------------------------------


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
