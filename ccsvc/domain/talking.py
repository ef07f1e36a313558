"""Conversations: a segment begins when the customer and an agent are in one bridge, and ends when they are not.

Promises: what counts as an answer is the bridge, never the Dial's result; a consultation during hold is hold,
counted once; the first agent's segment ends at the transfer. An offer that rang elsewhere meanwhile is lost_race.
"""

from dataclasses import replace
from datetime import datetime

from ccsvc.domain.events import BridgeEntered, BridgeLeft
from ccsvc.domain.floor import begin_wrap_up, end_wrap_up, happen
from ccsvc.domain.ids import ChannelId, DeviceName, segment_id
from ccsvc.domain.lines import close_offer, leave
from ccsvc.domain.records import SegmentRow
from ccsvc.domain.resume import EPOCH
from ccsvc.domain.world import Agent, Call, Channel, Leg, Talk, World, seconds


def bridge_entered(world: World, event: BridgeEntered) -> None:
    channel = world.channels.get(event.channel) or _began_unseen(world, event)
    if channel is None:
        return
    join(world, channel, event.bridge)
    connect_all(world, event.bridge)


def _began_unseen(world: World, event: BridgeEntered) -> Channel | None:
    """A channel that nobody told of: of a call for which a phone rings, it is that phone's."""
    call = world.customer(ChannelId(event.linkedid))
    offer = call.entry.offer if call is not None and call.entry is not None else None
    if call is None or offer is None or world.is_gone(event.channel):
        return None
    channel = Channel(event.channel, "", offer.device, started_at=offer.offered_at)
    world.channels[channel.id], world.by_channel[channel.id] = channel, call
    call.legs.setdefault(channel.id, Leg(channel.id, "", "agent", offer.offered_at, offer.device))
    return channel


def bridge_left(world: World, event: BridgeLeft) -> None:
    channel = world.channels.get(event.channel)
    if channel is None or channel.bridge != event.bridge:
        return
    part(world, channel)


def join(world: World, channel: Channel, bridge: str) -> None:
    """Put a channel into a bridge without drawing conclusions yet."""
    if channel.bridge and channel.bridge != bridge:
        part(world, channel)
    channel.bridge, channel.changed_at = bridge, world.now
    if bridge:
        world.bridges.setdefault(bridge, set()).add(channel.id)


def part(world: World, channel: Channel) -> None:
    """Take a channel out of its bridge; the conversations that it was in end now.

    One that began later than this news is another one: the journal repeats what is past.
    """
    members = world.bridges.get(channel.bridge, set())
    members.discard(channel.id)
    if not members:
        world.bridges.pop(channel.bridge, None)
    channel.bridge, channel.changed_at = "", world.now
    call = world.by_channel.get(channel.id)
    if call is None:
        return
    for leg, talk in list(call.talks.items()):
        if channel.id in (leg, call.channel) and talk.row.started_at <= world.now:
            end_talk(world, call, leg, world.now)


def connect_all(world: World, bridge: str) -> None:
    """Whoever is together in the bridge now talks: every customer with every agent there."""
    members = [world.channels[c] for c in sorted(world.bridges.get(bridge, ()))]
    for call in [call for m in members if (call := world.customer(m.id)) is not None]:
        for member in members:
            agent = _agent_on(world, call, member)
            if agent is not None and member.device is not None and not _taken(world, member):
                _connect(world, call, member, member.device, agent)


def _agent_on(world: World, call: Call, channel: Channel) -> Agent | None:
    """Who speaks on this channel: the agent whom it rang, even if they logged out meanwhile, or who sits there."""
    offer = call.entry.offer if call.entry is not None else None
    if offer is not None and offer.device == channel.device:
        return world.agents.get(offer.agent_id)
    return world.agent_at(channel.device)


def _taken(world: World, channel: Channel) -> bool:
    """The channel is a customer's, or an agent talks on it already, or talked on it later than this news is."""
    call = world.by_channel.get(channel.id)
    if call is None:
        return False
    later = any(s.channel == channel.id and s.ended_at and s.ended_at > world.now for s in call.segments)
    return call.channel == channel.id or channel.id in call.talks or later


def _connect(world: World, call: Call, channel: Channel, device: DeviceName, agent: Agent) -> None:
    at, entry = world.now, call.entry
    queue = entry.queue if entry is not None else None
    if entry is not None:
        offer = entry.offer
        close_offer(world, entry, "accepted" if offer is not None and offer.agent_id == agent.id else "lost_race")
        leave(world, entry, "answered", at, agent)
    row = SegmentRow(
        segment_id=segment_id(call.id, len(call.segments) + len(call.talks) + 1),
        call_id=call.id,
        entry_id=entry.id if entry is not None else None,
        pbx=world.settings.pbx.name,
        queue=queue,
        agent_id=agent.id,
        device=device,
        channel=channel.id,
        started_at=at,
        repaired=call.repaired,
    )
    call.talks[channel.id] = Talk(row)
    call.phase = "talking"
    if call.hung_up_by == "agent":
        call.hung_up_by = None
    world.by_channel[channel.id] = call
    _leg_bridged(world, call, channel)
    world.write(row)
    _begin_talking(world, agent, call)
    world.report("agent connected", call, agent=agent.id)


def _begin_talking(world: World, agent: Agent, call: Call) -> None:
    if agent.activity == "wrap_up":
        end_wrap_up(world, agent, next_fact="answered")
    if agent.activity != "talking":
        happen(world, agent, "answered", call.id)


def _leg_bridged(world: World, call: Call, channel: Channel) -> None:
    customer = call.legs.get(call.channel)
    began_at = channel.started_at if channel.started_at > EPOCH else world.now
    leg = call.legs.setdefault(channel.id, Leg(channel.id, channel.name, "agent", began_at, channel.device))
    for one in (leg, customer):
        if one is not None:
            one.dial_result = "ANSWERED"
            one.bridged_at = one.bridged_at or world.now


def end_talk(world: World, call: Call, channel: ChannelId, at: datetime) -> None:
    """Close the talk of the agent on this channel; wrap-up begins."""
    talk = call.talks.pop(channel)
    if talk.held_since is not None:
        talk.hold_s += seconds(talk.held_since, at)
    total_s = seconds(talk.row.started_at, at)
    hold_s = min(talk.hold_s, total_s)
    row = replace(
        talk.row,
        ended_at=max(at, talk.row.started_at),
        talk_s=total_s - hold_s,
        hold_s=hold_s,
        repaired=talk.row.repaired or call.repaired,
    )
    call.segments.append(row)
    world.write(row)
    agent = world.agents.get(row.agent_id)
    if agent is None or agent.activity != "talking" or agent.call != call.id:
        world.write(replace(row, wrap_up_ended_at=row.ended_at, wrap_up_s=0.0))
        return
    limit_s = world.queues[row.queue].wrap_up_s if row.queue in world.queues else 0.0
    begin_wrap_up(world, agent, row, limit_s)


def hold_started(world: World, channel: ChannelId) -> None:
    talk = _talk_on(world, channel)
    if talk is not None and talk.held_since is None:
        talk.held_since = world.now


def hold_ended(world: World, channel: ChannelId) -> None:
    talk = _talk_on(world, channel)
    if talk is not None and talk.held_since is not None:
        talk.hold_s += seconds(talk.held_since, world.now)
        talk.held_since = None


def _talk_on(world: World, channel: ChannelId) -> Talk | None:
    call = world.by_channel.get(channel)
    return call.talks.get(channel) if call is not None else None
