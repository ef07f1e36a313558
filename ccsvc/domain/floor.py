"""The agents' side: who is logged in where, chosen status, activity, and the rows that attendance is made of.

Promises: every change of status or activity closes one `AgentStateRow` and opens the next at the same instant,
so that an agent's day has neither gaps nor overlaps, even if facts come a little out of order; the PBX's
safety-net queues are told of every change. Whoever may have become free is noted in `World.freed`.
"""

from dataclasses import replace
from datetime import datetime

from ccsvc.domain.activity import ActivityFact, after
from ccsvc.domain.commands import SetSafetyNet
from ccsvc.domain.ids import AgentId, CallId, DeviceName
from ccsvc.domain.records import AgentSessionRow, AgentStateRow, SegmentRow
from ccsvc.domain.vocabulary import AgentStatus, SessionEnd
from ccsvc.domain.world import Agent, World, seconds


def log_in(world: World, agent: Agent, device: DeviceName) -> None:
    """Seat the agent at a device, ready and idle. A session elsewhere ends with reason `moved`."""
    if agent.status != "logged_out":
        log_out(world, agent, "moved")
    agent.device = device
    world.seats[device] = agent.id
    agent.session_row = AgentSessionRow(agent.id, world.settings.pbx.name, device, max(world.now, agent.since))
    world.write(agent.session_row)
    set_status(world, agent, "ready", "")
    world.report("agent logged in", agent=agent.id, device=device)


def log_out(world: World, agent: Agent, reason: SessionEnd) -> None:
    """End attendance and after-call work. A conversation that is going on goes on; its segment ends with it."""
    if reason != "moved":
        end_wrap_up(world, agent)
    set_status(world, agent, "logged_out", "")
    if agent.device is not None:
        world.seats.pop(agent.device, None)
    if agent.session_row is not None:
        world.write(replace(agent.session_row, ended_at=agent.since, end_reason=reason))
    agent.session_row = None
    agent.device = None
    world.somebody_left = True
    world.report("agent logged out", agent=agent.id, reason=reason)


def set_status(world: World, agent: Agent, status: AgentStatus, reason: str) -> None:
    if status == "ready" != agent.status and agent.activity == "idle":
        agent.idle_since = world.now
    agent.status, agent.reason = status, reason
    world.freed[agent.id] = None
    turn_page(world, agent)
    world.emit(safety_net(agent))


def safety_net(agent: Agent) -> SetSafetyNet:
    """What the PBX's own queues must know of this agent now."""
    device = agent.device if agent.status != "logged_out" else None
    return SetSafetyNet(agent.id, device, agent.queues, paused=agent.status == "paused")


def happen(world: World, agent: Agent, fact: ActivityFact, call: CallId | None = None) -> None:
    """Move the agent's activity by the table; raises `ImpossibleActivityError` before changing anything."""
    activity = after(agent.activity, fact)
    agent.activity = activity
    agent.call = call if activity in ("ringing", "talking") else None
    if activity == "idle":
        agent.idle_since = world.now
        world.freed[agent.id] = None
    turn_page(world, agent)


def begin_wrap_up(world: World, agent: Agent, segment: SegmentRow, limit_s: float) -> None:
    """After-call work begins: no offer from any queue until the agent ends it or the limit comes.

    Who has logged out meanwhile has none.
    """
    if limit_s <= 0 or agent.status == "logged_out":
        world.write(replace(segment, wrap_up_ended_at=segment.ended_at, wrap_up_s=0.0))
        happen(world, agent, "released")
        return
    happen(world, agent, "talk_ended")
    agent.wrapping = segment
    world.timer("wrap_up", segment.segment_id, limit_s)


def end_wrap_up(world: World, agent: Agent, *, next_fact: ActivityFact = "wrap_up_ended") -> None:
    """Close the segment of the agent's after-call work; nothing happens if there is none."""
    segment = agent.wrapping
    if segment is None:
        return
    agent.wrapping = None
    world.write(finished(segment, world.now))
    if next_fact == "wrap_up_ended" and agent.activity == "wrap_up":
        happen(world, agent, "wrap_up_ended")


def finished(segment: SegmentRow, at: datetime) -> SegmentRow:
    """The segment with its wrap-up ended at `at`."""
    assert segment.ended_at is not None
    return replace(segment, wrap_up_ended_at=max(at, segment.ended_at), wrap_up_s=seconds(segment.ended_at, at))


def wrap_up_over(world: World, segment_id: str) -> None:
    """The wrap-up limit of a segment came; nothing happens if its agent ended it before."""
    for agent in world.agents.values():
        if agent.wrapping is not None and agent.wrapping.segment_id == segment_id:
            end_wrap_up(world, agent)


def can_be_offered(world: World, agent: Agent) -> bool:
    """Ready and idle, and the phone is not in use: METRICS' and DESIGN's condition for an offer."""
    return (
        world.connected
        and agent.status == "ready"
        and agent.activity == "idle"
        and agent.offered is None
        and agent.device is not None
        and world.devices.get(agent.device, "unknown") == "idle"
    )


def turn_page(world: World, agent: Agent) -> None:
    """Close the open state row and, unless logged out, open the next at the same instant."""
    previous, at = agent.state_row, max(world.now, agent.since)
    agent.since = at
    if previous is not None:
        world.write(replace(previous, ended_at=at))
    if agent.status == "logged_out" and agent.activity == "idle":
        agent.state_row = None
        return
    agent.state_row = AgentStateRow(
        agent_id=AgentId(agent.id),
        pbx=world.settings.pbx.name,
        started_at=at,
        seq=agent.pages,
        status=agent.status,
        activity=agent.activity,
        reason=agent.reason,
        call_id=agent.call,
    )
    agent.pages += 1
    world.write(agent.state_row)
