"""What agents and supervisors do by feature code: the dialogs behind `*10` to `*20`.

Promises: nobody acts without having proved who they are where that is asked (log in, listen); every act is
written to the audit before it takes effect, refused ones with the reason; a refusal is spoken, and hangs up.
"""

from collections.abc import Generator
from dataclasses import replace

from ccsvc.domain.dialog import Answer, AskFor, Dialog, Listen, Request, Tell, Verify, asked
from ccsvc.domain.events import AgentForced, FeatureDialled
from ccsvc.domain.floor import end_wrap_up, log_in, log_out, set_status
from ccsvc.domain.ids import AgentId, DeviceName, SupervisorId
from ccsvc.domain.lines import offer_agent
from ccsvc.domain.records import AuditRow, SupervisionRow
from ccsvc.domain.world import Agent, Desk, World
from ccsvc.settings import SupervisorSettings

Talk = Generator[Request, Answer, str | None]


def audit(world: World, actor: str, verb: str, target: str, reason: str = "") -> None:
    """Write who asked for what. An empty `reason` means that it was allowed."""
    world.audit_n += 1
    row = AuditRow(
        world.settings.pbx.name, world.now, world.audit_n, actor, verb, target, allowed=not reason, reason=reason
    )
    world.write(row)
    world.report("audit", None, actor=actor, verb=verb, target=target, refused=reason or "no")


def dialog_for(world: World, desk: Desk, event: FeatureDialled) -> Dialog:
    """The dialog of the code that was dialled."""
    match event.verb:
        case "login":
            return _log_in(world, desk)
        case "listen":
            return _listen(world, desk, event.argument)
        case _:
            return _seated(world, desk, event.verb)


def _log_in(world: World, desk: Desk) -> Dialog:
    number = asked((yield AskFor(("agent_ask_number",), 8, 8.0)))
    agent = world.agents.get(AgentId(number))
    pin = asked((yield AskFor(("agent_ask_pin",), 12, 8.0)))
    verified = (yield Verify("agent", number, pin)) is True
    reason = _why_not_log_in(world, desk, agent, verified=verified)
    audit(world, f"agent:{number[:8]}", "login", f"device:{desk.device}", reason)
    if reason or agent is None:
        yield Tell((_SPOKEN.get(reason, "not_allowed"),))
        return None
    log_in(world, agent, desk.device)
    yield Tell(("agent_logged_in",))
    return None


def _why_not_log_in(world: World, desk: Desk, agent: Agent | None, *, verified: bool) -> str:
    """Unknown number and wrong PIN are told apart in the audit only: the phone hears the same sentence."""
    if agent is None:
        return "unknown_agent"
    if not verified:
        return "wrong_pin"
    seated = world.agent_at(desk.device)
    if seated is not None and seated is not agent:
        return "device_taken"
    if agent.activity in ("ringing", "talking"):
        return "in_call"
    return ""


_SPOKEN = {
    "unknown_agent": "agent_wrong_pin",
    "wrong_pin": "agent_wrong_pin",
    "device_taken": "agent_already_elsewhere",
    "in_call": "agent_already_elsewhere",
}


def _seated(world: World, desk: Desk, verb: str) -> Dialog:
    """The codes of an agent who is logged in at this device."""
    agent = world.agent_at(desk.device)
    audit(
        world, f"agent:{agent.id}" if agent else f"device:{desk.device}", verb, "", "" if agent else "not_logged_in"
    )
    if agent is None:
        yield Tell(("agent_unknown",))
        return None
    told = yield from _ACTS[verb](world, agent)
    if told:
        yield Tell((told,))
    return None


def _out(world: World, agent: Agent) -> Talk:
    log_out(world, agent, "logged_out")
    yield from ()
    return "agent_logged_out"


def _pause(world: World, agent: Agent) -> Talk:
    digit = asked((yield AskFor(("pause_ask_reason",), 1, 5.0)))
    if agent.status == "logged_out":
        return "agent_unknown"
    reason = world.settings.pause_reasons.get(digit, "other")
    set_status(world, agent, "paused", reason)
    return "agent_paused"


def _ready(world: World, agent: Agent) -> Talk:
    set_status(world, agent, "ready", "")
    yield from ()
    return "agent_ready"


def _end_wrap_up(world: World, agent: Agent) -> Talk:
    end_wrap_up(world, agent)
    yield from ()
    return "ok"


def _waiting(world: World, agent: Agent) -> Talk:
    waiting = sum(len(world.lines[queue]) for queue in agent.queues if queue in world.lines)
    yield Tell(tuple(f"d{digit}" for digit in str(waiting)))
    return None


_ACTS = {
    "logout": _out,
    "pause": _pause,
    "ready": _ready,
    "end_wrap_up": _end_wrap_up,
    "waiting_count": _waiting,
}


def _listen(world: World, desk: Desk, number: str) -> Dialog:
    supervisor = supervisor_at(world, desk.device)
    target = f"agent:{number[:8]}"
    if supervisor is None:
        audit(world, f"device:{desk.device}", "listen", target, "not_a_supervisor")
        yield Tell(("not_allowed",))
        return None
    pin = asked((yield AskFor(("supervisor_ask_pin",), 12, 8.0)))
    verified = (yield Verify("supervisor", supervisor.number, pin)) is True
    agent = world.agents.get(AgentId(number))
    reason = _why_not_listen(supervisor, agent, verified=verified)
    audit(world, f"supervisor:{supervisor.number}", "listen", target, reason)
    if reason or agent is None or agent.device is None:
        yield Tell((_REFUSED.get(reason, "not_allowed"),))
        return None
    yield Tell(("listening",))
    desk.supervision = SupervisionRow(
        SupervisorId(supervisor.number), world.settings.pbx.name, agent.id, agent.call, "listen", world.now
    )
    world.write(desk.supervision)
    yield Listen(agent.device)
    return None


_REFUSED = {"wrong_pin": "agent_wrong_pin", "agent_not_in_call": "agent_not_in_call"}


def supervisor_at(world: World, device: DeviceName) -> SupervisorSettings | None:
    return next((s for s in world.settings.supervisor if s.device == device), None)


def _why_not_listen(supervisor: SupervisorSettings, agent: Agent | None, *, verified: bool) -> str:
    if not verified:
        return "wrong_pin"
    if agent is None:
        return "unknown_agent"
    if supervisor.queues and not set(supervisor.queues) & set(agent.settings.queues):
        return "out_of_scope"
    if agent.activity != "talking" or agent.device is None:
        return "agent_not_in_call"
    return ""


def free_again(world: World, desk: Desk) -> None:
    """A feature code's call has ended: whoever sits there may be offered a caller now."""
    agent = world.agent_at(desk.device)
    if agent is not None:
        offer_agent(world, agent)


def close_supervision(world: World, desk: Desk) -> None:
    """The supervisor has stopped listening."""
    if desk.supervision is not None:
        world.write(replace(desk.supervision, ended_at=max(world.now, desk.supervision.started_at)))
        desk.supervision = None


def force(world: World, event: AgentForced) -> None:
    """Set an agent's status from outside; a logged-out agent has no device and can only be left as they are."""
    agent = world.agents.get(event.agent)
    refused = "unknown_agent" if agent is None else "not_logged_in" if agent.status == "logged_out" else ""
    audit(world, "operator", f"set_{event.status}", f"agent:{event.agent}", refused)
    if agent is None or refused:
        return
    if event.status == "logged_out":
        log_out(world, agent, "forced")
    else:
        set_status(world, agent, event.status, event.reason)
