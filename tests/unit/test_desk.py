"""What agents and supervisors do by feature code, as they live it: a phone, keys, and what is said."""

from collections.abc import Sequence

import pytest

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId
from ccsvc.domain.records import AgentSessionRow, AgentStateRow, AuditRow, Row, SegmentRow, SupervisionRow
from tests.unit.centre_driver import Simulation
from tests.unit.centre_parts import Ring, Session


def said(simulation: Simulation, session: Session) -> list[str]:
    """The names of everything that was played in this session."""
    asks = [ask for ask in simulation.sent(cmd.Ask) if ask.session == session.id]
    return [prompt.name for ask in asks for prompt in ask.prompts]


def audits(simulation: Simulation) -> list[tuple[str, str, str, str]]:
    return [(a.actor, a.verb, a.target, a.reason) for a in simulation.final(AuditRow)]


def test_an_agent_logs_in_with_number_and_pin() -> None:
    simulation = Simulation()
    session = simulation.feature("d1", "login", digits=("1", "1234"))
    simulation.run(1)
    assert said(simulation, session) == ["agent_ask_number", "agent_ask_pin", "agent_logged_in"]
    assert audits(simulation) == [("agent:1", "login", "device:d1", "")]
    agent = simulation.agent("1")
    assert (agent.status, agent.activity, agent.device) == ("ready", "idle", "d1")
    assert simulation.only(AgentSessionRow).ended_at is None
    net = simulation.sent(cmd.SetSafetyNet)[-1]
    assert (net.agent, net.device, net.queues, net.paused) == ("1", "d1", ("sales",), False)
    assert not session.open


@pytest.mark.parametrize(("number", "pin", "reason"), [("1", "9999", "wrong_pin"), ("8888", "1234", "unknown_agent")])
def test_a_wrong_pin_and_an_unknown_agent_sound_the_same_and_are_told_apart_in_the_audit(
    number: str, pin: str, reason: str
) -> None:
    simulation = Simulation()
    session = simulation.feature("d1", "login", digits=(number, pin))
    simulation.run(1)
    assert said(simulation, session) == ["agent_ask_number", "agent_ask_pin", "agent_wrong_pin"]
    assert audits(simulation) == [(f"agent:{number}", "login", "device:d1", reason)]
    assert simulation.final(AgentSessionRow) == []
    assert not session.open


def test_who_presses_nothing_is_refused() -> None:
    simulation = Simulation()
    simulation.feature("d1", "login")
    simulation.run(60)
    assert [a.allowed for a in simulation.final(AuditRow)] == [False]


def test_a_device_where_another_agent_sits_is_taken() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    session = simulation.feature("d1", "login", digits=("2", "1234"))
    simulation.run(1)
    assert said(simulation, session)[-1] == "agent_already_elsewhere"
    assert audits(simulation)[-1][-1] == "device_taken"
    assert simulation.agent("1").device == "d1"
    assert simulation.agent("2").status == "logged_out"


def test_logging_in_elsewhere_moves_the_agent() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.run(10)
    simulation.log_in(("1", "d2"))
    first, second = simulation.final(AgentSessionRow)
    assert (first.device, first.end_reason) == ("d1", "moved")
    assert (second.device, second.end_reason) == ("d2", None)
    assert first.ended_at == second.started_at
    assert simulation.agent("1").device == "d2"
    simulation.log_in(("2", "d1"))
    assert simulation.agent("2").device == "d1"


def test_an_agent_in_a_call_cannot_log_in_elsewhere() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.call()
    simulation.run(10)
    simulation.feature("d2", "login", digits=("1", "1234"))
    simulation.run(1)
    assert audits(simulation)[-1][-1] == "in_call"
    assert simulation.agent("1").device == "d1"


def test_a_verified_pin_is_worth_nothing_once_the_phone_is_on_the_hook() -> None:
    simulation = Simulation()
    simulation.pin_check_s = 0.2
    session = simulation.feature("d1", "login", digits=("1", "1234"))
    simulation.run(0.1)
    assert len(simulation.sent(cmd.CheckPin)) == 1
    simulation.leave_desk(session)
    simulation.run(1)
    assert any(isinstance(event, ev.PinChecked) and event.ok for event in simulation.tape)
    assert simulation.rows == []
    assert simulation.agent("1").status == "logged_out"


def test_a_pin_never_shows_in_a_repr() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    assert "1234" not in repr(simulation.sent(cmd.CheckPin))
    assert "1234" not in repr(simulation.sent(cmd.Report))


@pytest.mark.parametrize("verb", ["logout", "pause", "ready", "end_wrap_up", "waiting_count"])
def test_a_code_from_a_phone_where_nobody_sits_is_refused_and_audited(verb: ev.FeatureVerb) -> None:
    simulation = Simulation()
    session = simulation.feature("d1", verb)
    simulation.run(1)
    assert said(simulation, session) == ["agent_unknown"]
    assert audits(simulation) == [("device:d1", verb, "", "not_logged_in")]


def test_an_agent_logs_out() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.run(60)
    session = simulation.feature("d1", "logout")
    simulation.run(1)
    assert said(simulation, session) == ["agent_logged_out"]
    assert simulation.only(AgentSessionRow).end_reason == "logged_out"
    assert simulation.sent(cmd.SetSafetyNet)[-1].device is None
    assert all(row.ended_at is not None for row in simulation.final(AgentStateRow))


@pytest.mark.parametrize(("digit", "reason"), [("2", "lunch"), ("", "other"), ("8", "other"), ("*", "other")])
def test_a_pause_has_the_reason_of_its_digit(digit: str, reason: str) -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.feature("d1", "pause", digits=(digit,))
    simulation.run(10)
    agent = simulation.agent("1")
    assert (agent.status, agent.reason) == ("paused", reason)
    assert simulation.sent(cmd.SetSafetyNet)[-1].paused
    simulation.call()
    assert simulation.sent(cmd.DialAgent) == []


def test_who_is_logged_out_while_asked_for_a_reason_stays_logged_out() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    session = simulation.feature("d1", "pause")
    simulation.force("1", "logged_out")
    simulation.run(10)
    assert simulation.agent("1").status == "logged_out"
    assert said(simulation, session)[-1] == "agent_unknown"


def test_ready_again_takes_the_caller_who_waits_as_soon_as_the_phone_is_free() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.force("1", "paused", "lunch")
    simulation.call()
    simulation.run(10)
    simulation.feature("d1", "ready")
    assert simulation.sent(cmd.DialAgent) == []
    simulation.run(1)
    assert [d.device for d in simulation.sent(cmd.DialAgent)] == ["d1"]


def test_ready_twice_does_not_send_an_agent_to_the_end_of_the_row() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"), ("2", "d2"))
    simulation.run(5)
    simulation.feature("d1", "ready")
    simulation.run(1)
    simulation.call()
    assert simulation.sent(cmd.DialAgent)[-1].device == "d1"


def test_an_agent_ends_their_wrap_up() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.call()
    simulation.run(70)
    assert simulation.agent("1").activity == "wrap_up"
    session = simulation.feature("d1", "end_wrap_up")
    simulation.run(1)
    assert said(simulation, session) == ["ok"]
    assert simulation.agent("1").activity == "idle"
    assert simulation.only(SegmentRow).wrap_up_s == pytest.approx(5, abs=0.01)
    simulation.run(60)
    assert simulation.agent("1").activity == "idle"


def test_logging_out_ends_the_wrap_up() -> None:
    simulation = Simulation()
    simulation.log_in(("1", "d1"))
    simulation.call()
    simulation.run(75)
    simulation.feature("d1", "logout")
    simulation.run(1)
    assert simulation.only(SegmentRow).wrap_up_s == pytest.approx(10, abs=0.01)
    assert simulation.agent("1").activity == "idle"


@pytest.mark.parametrize(("waiting", "prompts"), [(0, ["d0"]), (3, ["d3"]), (12, ["d1", "d2"])])
def test_the_number_of_waiting_callers_is_said_digit_by_digit(waiting: int, prompts: Sequence[str]) -> None:
    simulation = Simulation()
    simulation.log_in(("4", "d4"))
    simulation.force("4", "paused")
    for n in range(waiting):
        simulation.call("100" if n % 2 else "200")
    session = simulation.feature("d4", "waiting_count")
    simulation.run(1)
    assert said(simulation, session) == prompts


def supervised() -> Simulation:
    """Agent 1 of sales talks."""
    simulation = Simulation()
    simulation.log_in(("1", "d1"), ("3", "d3"))
    simulation.phone("d1").usually = Ring(talk_s=600)
    simulation.call()
    simulation.run(10)
    return simulation


def test_a_supervisor_listens_to_an_agent_of_their_queues() -> None:
    simulation = supervised()
    session = simulation.feature("d6", "listen", "1", digits=("7777",))
    simulation.run(1)
    assert said(simulation, session) == ["supervisor_ask_pin", "listening"]
    assert simulation.sent(cmd.Spy)[-1].device == "d1"
    assert audits(simulation)[-1] == ("supervisor:77", "listen", "agent:1", "")
    spied = ev.SpyStarted(simulation.at, ChannelId("spyer"), ChannelId("spied"))
    simulation.post(spied)
    row = simulation.only(SupervisionRow)
    assert (row.agent_id, row.mode, row.ended_at) == ("1", "listen", None)
    assert row.call_id == simulation.view().calls[0].call_id
    simulation.run(60)
    simulation.stop_spying(session)
    assert simulation.only(SupervisionRow).ended_at == simulation.at
    assert not session.open
    assert len(simulation.view().calls) == 1


def test_a_supervisor_who_hangs_up_has_listened_until_then() -> None:
    simulation = supervised()
    session = simulation.feature("d6", "listen", "1", digits=("7777",))
    simulation.run(30)
    simulation.leave_desk(session)
    assert simulation.only(SupervisionRow).ended_at == simulation.at


@pytest.mark.parametrize(
    ("device", "agent", "pin", "reason", "prompt"),
    [
        ("d6", "1", "0000", "wrong_pin", "agent_wrong_pin"),
        ("d5", "1", "7777", "not_a_supervisor", "not_allowed"),
        ("d6", "3", "7777", "out_of_scope", "not_allowed"),
        ("d6", "2", "7777", "agent_not_in_call", "agent_not_in_call"),
        ("d6", "12345678901", "7777", "unknown_agent", "not_allowed"),
    ],
)
def test_listening_is_refused_with_its_reason(device: str, agent: str, pin: str, reason: str, prompt: str) -> None:
    simulation = supervised()
    session = simulation.feature(device, "listen", agent, digits=(pin,))
    simulation.run(1)
    assert audits(simulation)[-1][-1] == reason
    assert said(simulation, session)[-1] == prompt
    assert simulation.sent(cmd.Spy) == []
    assert simulation.final(SupervisionRow) == []
    assert not session.open


def test_every_act_is_written_to_the_audit_before_it_takes_effect() -> None:
    simulation = supervised()
    simulation.feature("d6", "listen", "1", digits=("7777",))
    simulation.run(1)
    simulation.feature("d3", "pause", digits=("1",))
    simulation.run(1)
    simulation.force("3", "ready")
    effects: dict[str, type[Row]] = {"login": AgentSessionRow, "listen": SupervisionRow, "pause": AgentStateRow}
    for verb, effect in effects.items():
        audit = next(n for n, row in enumerate(simulation.rows) if isinstance(row, AuditRow) and row.verb == verb)
        assert any(isinstance(row, effect) for row in simulation.rows[audit:])
    first = next(n for n, row in enumerate(simulation.rows) if isinstance(row, AgentSessionRow))
    assert isinstance(simulation.rows[first - 1], AuditRow)
    assert ("operator", "set_ready", "agent:3", "") in audits(simulation)


def test_two_acts_at_one_instant_have_rows_of_their_own() -> None:
    simulation = Simulation()
    simulation.force("1", "ready")
    simulation.force("1", "ready")
    assert len(simulation.final(AuditRow)) == 2


def test_forcing_an_agent_who_is_not_there_is_refused_in_the_audit() -> None:
    simulation = Simulation()
    simulation.force("1", "ready")
    simulation.force("nobody", "paused")
    assert [a[-1] for a in audits(simulation)] == ["not_logged_in", "unknown_agent"]
    assert simulation.agent("1").status == "logged_out"


def test_a_feature_session_told_twice_is_one() -> None:
    simulation = supervised()
    session = simulation.feature("d6", "listen", "1", digits=("7777",))
    simulation.run(1)
    simulation.post(next(event for event in reversed(simulation.tape) if isinstance(event, ev.FeatureDialled)))
    simulation.leave_desk(session)
    assert simulation.only(SupervisionRow).ended_at is not None
