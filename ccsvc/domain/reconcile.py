"""Holding what is believed against what the switch says: after every reconnect, and from time to time.

Promises: a call whose customer's channel the switch no longer knows is closed and marked `repaired`, never shown
as live for ever; a conversation that began unseen is found by its bridge; a conversation whose parties are no
longer together is ended. What began after the switch was asked is left alone.
"""

from dataclasses import replace

from ccsvc.domain.closing import close_call, leg_ended
from ccsvc.domain.events import LiveChannel, SwitchSeen
from ccsvc.domain.floor import happen, safety_net
from ccsvc.domain.ids import ChannelId
from ccsvc.domain.lines import offer_agent
from ccsvc.domain.talking import connect_all, join, part
from ccsvc.domain.vocabulary import QueueExit
from ccsvc.domain.world import Call, Channel, World


def switch_seen(world: World, event: SwitchSeen) -> None:
    world.connected = True
    world.devices.update(event.devices)
    live = {channel.channel: channel for channel in event.channels}
    _forget_channels(world, event, live)
    for call in list(world.calls.values()):
        if call.channel not in live and call.row.started_at < event.at:
            _close_lost(world, call, event)
    for seen in event.channels:
        _see_channel(world, event, seen)
    for bridge in list(world.bridges):
        connect_all(world, bridge)
    _free_stuck_agents(world)
    if event.fresh:
        world.emit(*(safety_net(agent) for agent in world.agents.values()))
    for agent in world.agents.values():
        offer_agent(world, agent)


def _forget_channels(world: World, event: SwitchSeen, live: dict[ChannelId, LiveChannel]) -> None:
    for channel in list(world.channels.values()):
        if channel.id in live or channel.started_at >= event.at:
            continue
        call = world.by_channel.get(channel.id)
        if call is not None and call.channel == channel.id:
            continue
        if call is not None:
            call.repaired = True
            leg_ended(world, call, channel, event.at)
            world.by_channel.pop(channel.id, None)
        if channel.bridge:
            part(world, channel)
        world.channels.pop(channel.id, None)


def _close_lost(world: World, call: Call, event: SwitchSeen) -> None:
    """The customer's channel is gone and nobody saw it go."""
    call.repaired = True
    lost = event.booted_at is not None and call.row.started_at < event.booted_at
    exit_: QueueExit = "system_lost" if lost else "abandoned"
    channel = world.channels.pop(call.channel, None)
    world.report("call closed from a snapshot", call)
    close_call(world, call, event.at, exit_)
    if channel is not None and channel.bridge:
        part(world, channel)


def _see_channel(world: World, event: SwitchSeen, seen: LiveChannel) -> None:
    channel = world.channels.get(seen.channel)
    if channel is None:
        channel = Channel(seen.channel, seen.name, seen.device, started_at=event.at)
        world.channels[seen.channel] = channel
    channel.device = channel.device or seen.device
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


def _free_stuck_agents(world: World) -> None:
    """An agent who rings or talks for a call that no longer exists is idle."""
    for agent in world.agents.values():
        call = world.calls.get(agent.call) if agent.call is not None else None
        if agent.activity == "ringing" and (call is None or call.entry is None or call.entry.offer is None):
            happen(world, agent, "offer_ended")
        elif agent.activity == "talking" and (call is None or not _talks(call, agent.id)):
            happen(world, agent, "released")


def _talks(call: Call, agent_id: str) -> bool:
    return any(talk.row.agent_id == agent_id for talk in call.talks.values())
