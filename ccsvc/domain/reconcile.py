"""Holding what is believed against what the switch says: after every reconnect, and from time to time.

Promises: a call whose customer's channel the switch no longer knows is closed and marked `repaired`, never shown
as live for ever; a conversation that began unseen is found by its bridge; a conversation whose parties are no
longer together is ended. What began, changed or ended after the switch was asked is left alone.
"""

from dataclasses import replace
from datetime import datetime

from ccsvc.domain.closing import close_call, leg_ended
from ccsvc.domain.events import LiveChannel, SwitchSeen
from ccsvc.domain.floor import happen, safety_net
from ccsvc.domain.ids import ChannelId
from ccsvc.domain.lines import close_offer, offer_agent
from ccsvc.domain.talking import connect_all, end_talk, join, part
from ccsvc.domain.vocabulary import QueueExit
from ccsvc.domain.world import Call, Channel, Leg, World


def switch_seen(world: World, event: SwitchSeen) -> None:
    world.connected = True
    _see_devices(world, event)
    live = {channel.channel: channel for channel in event.channels}
    _forget_channels(world, event, live)
    for call in list(world.calls.values()):
        if call.channel not in live and call.row.started_at < event.at:
            _close_lost(world, call, event)
    for seen in live.values():
        if not world.is_gone(seen.channel):
            _see_channel(world, event, seen)
    for bridge in list(world.bridges):
        connect_all(world, bridge)
    _end_parted_talks(world, event, live)
    _end_dead_rings(world, live)
    _free_stuck_agents(world)
    if event.fresh:
        world.emit(*(safety_net(agent) for agent in world.agents.values()))
    for agent in world.agents.values():
        offer_agent(world, agent)


def _see_devices(world: World, event: SwitchSeen) -> None:
    for device, state in event.devices:
        if world.device_heard_at.get(device, event.at) <= event.at:
            world.devices[device], world.device_heard_at[device] = state, event.at


def _forget_channels(world: World, event: SwitchSeen, live: dict[ChannelId, LiveChannel]) -> None:
    for channel in list(world.channels.values()):
        if channel.id in live or channel.started_at >= event.at:
            continue
        call = world.by_channel.get(channel.id)
        if call is not None and call.channel == channel.id:
            continue
        if call is not None:
            call.repaired = True
            leg_ended(world, call, channel, _gone_at(event, channel.started_at))
            world.by_channel.pop(channel.id, None)
        if channel.bridge:
            part(world, channel)
        world.channels.pop(channel.id, None)


def _close_lost(world: World, call: Call, event: SwitchSeen) -> None:
    """The customer's channel is gone and nobody saw it go: with the switch's former life, or by itself.

    A customer left the queue at the latest when their session ended.
    """
    call.repaired = True
    at, left_at = _gone_at(event, call.row.started_at), call.away_since if call.entry is not None else None
    exit_: QueueExit = "system_lost" if _lived_before(event, call.row.started_at) else "abandoned"
    channel = world.channels.pop(call.channel, None)
    world.report("call closed from a snapshot", call)
    close_call(world, call, at, exit_, min(at, left_at) if left_at is not None else None)
    world.ended[call.channel] = "missed"
    if channel is not None and channel.bridge:
        part(world, channel)


def _lived_before(event: SwitchSeen, started_at: datetime) -> bool:
    """Whether this was in the switch's former life."""
    return event.booted_at is not None and started_at < event.booted_at


def _gone_at(event: SwitchSeen, started_at: datetime) -> datetime:
    """What is missed went at the latest when the switch started anew, else before the look."""
    if event.booted_at is not None and _lived_before(event, started_at):
        return min(event.at, event.booted_at)
    return event.at


def _see_channel(world: World, event: SwitchSeen, seen: LiveChannel) -> None:
    channel = world.channels.get(seen.channel)
    if channel is None:
        channel = Channel(seen.channel, seen.name, seen.device, started_at=event.at)
        world.channels[seen.channel] = channel
    channel.device, channel.name = channel.device or seen.device, channel.name or seen.name
    _know_leg(world, seen)
    if channel.bridge == seen.bridge or channel.changed_at > event.at:
        return
    call = world.by_channel.get(channel.id)
    if call is not None and event.fresh:
        call.repaired = True
        call.row = replace(call.row, repaired=True)
    if seen.bridge:
        join(world, channel, seen.bridge)
    elif channel.bridge:
        part(world, channel)


def _know_leg(world: World, seen: LiveChannel) -> None:
    """A leg of a call that began unseen, or whose name a former daemon knew: its CDR needs them."""
    call = world.customer(ChannelId(seen.linkedid))
    offer = call.entry.offer if call is not None and call.entry is not None else None
    rings = offer is not None and offer.device == seen.device
    if call is not None and offer is not None and rings and seen.channel not in world.by_channel:
        world.by_channel[seen.channel] = call
        call.legs.setdefault(seen.channel, Leg(seen.channel, seen.name, "agent", offer.offered_at, seen.device))
    owner = world.by_channel.get(seen.channel)
    leg = owner.legs.get(seen.channel) if owner is not None else None
    if leg is not None:
        leg.name = leg.name or seen.name


def _end_parted_talks(world: World, event: SwitchSeen, live: dict[ChannelId, LiveChannel]) -> None:
    """A conversation that was only believed in (its bridge was never seen) and whose parties are apart is over."""
    for call in world.calls.values():
        customer = live.get(call.channel)
        for channel, talk in list(call.talks.items()):
            agent = live.get(channel)
            if customer is None or agent is None or talk.row.started_at >= event.at:
                continue
            known = world.channels[channel].bridge or world.channels[call.channel].bridge
            if not known and not (customer.bridge and customer.bridge == agent.bridge):
                end_talk(world, call, channel, event.at)


def _end_dead_rings(world: World, live: dict[ChannelId, LiveChannel]) -> None:
    """A ring for a caller who stands in the PBX's own queue by now is over; nobody will say how it ended."""
    for call in world.calls.values():
        seen, entry = live.get(call.channel), call.entry
        if entry is None or entry.offer is None or call.session is not None or seen is None:
            continue
        if seen.application == "Queue":
            call.phase = "waiting"
            close_offer(world, entry, "unreachable")


def _free_stuck_agents(world: World) -> None:
    """An agent who rings or talks for a call that no longer exists is idle."""
    for agent in world.agents.values():
        call = world.calls.get(agent.call) if agent.call is not None else None
        if agent.activity == "ringing" and agent.offered is None:
            happen(world, agent, "offer_ended")
        elif agent.activity == "talking" and (call is None or not _talks(call, agent.id)):
            happen(world, agent, "released")


def _talks(call: Call, agent_id: str) -> bool:
    return any(talk.row.agent_id == agent_id for talk in call.talks.values())
