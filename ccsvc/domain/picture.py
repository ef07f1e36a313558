"""Taking a `CentreView` of the world: what people and programs see of the present."""

from datetime import datetime

from ccsvc.domain.ids import QueueName
from ccsvc.domain.stats import QueueStats, StatsState
from ccsvc.domain.view import AgentView, CallView, CentreView, QueueView, WaitingView
from ccsvc.domain.vocabulary import AGENT_GAUGE_STATES
from ccsvc.domain.world import Agent, Call, Entry, World, seconds


def picture(world: World, at: datetime, stats: StatsState) -> CentreView:
    return CentreView(
        at=at,
        pbx=world.settings.pbx.name,
        connected=world.connected,
        queues=tuple(_queue(world, name, at, stats.queues.get(name, QueueStats())) for name in world.lines),
        agents=tuple(_agent(world, agent) for agent in world.agents.values()),
        calls=tuple(_call(call) for call in world.calls.values()),
    )


def gauge_state(agent: Agent) -> str:
    """One word for both axes: what a call does to an agent outweighs what they chose."""
    if agent.activity != "idle":
        return agent.activity
    return {"ready": "idle", "paused": "paused"}.get(agent.status, "logged_out")


def _queue(world: World, name: QueueName, at: datetime, stats: QueueStats) -> QueueView:
    line = world.lines[name]
    states = dict.fromkeys(AGENT_GAUGE_STATES, 0)
    for agent in world.members(name):
        states[gauge_state(agent)] += 1
    return QueueView(
        name=name,
        waiting=tuple(_waiting(entry, n) for n, entry in enumerate(line, 1)),
        longest_wait_s=max((seconds(entry.row.entered_at, at) for entry in line), default=0.0),
        agents=states,
        entered=stats.entered,
        exits=dict(stats.exits),
        unexplained=stats.entered - stats.left - len(line),
    )


def _waiting(entry: Entry, position: int) -> WaitingView:
    row = entry.call.row
    return WaitingView(
        call_id=row.call_id,
        caller=row.caller,
        caller_name=row.caller_name,
        since=entry.row.entered_at,
        position=position,
        ringing_agent=entry.offer.agent_id if entry.offer else None,
    )


def _agent(world: World, agent: Agent) -> AgentView:
    return AgentView(
        agent_id=agent.id,
        name=agent.settings.name,
        status=agent.status,
        activity=agent.activity,
        reason=agent.reason,
        since=agent.since,
        device=agent.device,
        device_state=world.devices.get(agent.device, "unknown") if agent.device else "unknown",
        call_id=agent.call,
        queues=agent.settings.queues,
    )


def _call(call: Call) -> CallView:
    talk = next(iter(call.talks.values()), None)
    return CallView(
        call_id=call.id,
        caller=call.row.caller,
        caller_name=call.row.caller_name,
        did=call.row.did,
        language=call.language,
        started_at=call.row.started_at,
        phase=call.phase,
        where=talk.row.agent_id if talk else call.entry.queue if call.entry else call.node,
        agent_id=talk.row.agent_id
        if talk
        else call.entry.offer.agent_id
        if call.entry and call.entry.offer
        else None,
    )
