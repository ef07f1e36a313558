"""The contact centre as one function: an event goes in, commands come out.

`Centre.handle` is the only writer of the `World`. It runs in microseconds, never waits, never fails half way
on an event that it can foresee, and knows no time but the event's own `at`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ccsvc.domain import events as ev
from ccsvc.domain.closing import close_call, leg_ended
from ccsvc.domain.commands import Command, FinishSession
from ccsvc.domain.conversation import answer, start
from ccsvc.domain.desk import close_supervision, dialog_for, force, free_again
from ccsvc.domain.dialog import Answer
from ccsvc.domain.floor import wrap_up_over
from ccsvc.domain.ids import SessionId
from ccsvc.domain.lines import deserted, find, leave, offer_agent, retry_now
from ccsvc.domain.picture import picture
from ccsvc.domain.reconcile import switch_seen
from ccsvc.domain.recording import close_limit_reached, file_closed, measured
from ccsvc.domain.records import Row
from ccsvc.domain.restore import restore
from ccsvc.domain.stats import StatsState
from ccsvc.domain.story import arrived, dial_finished, fail_offer, give_up, go, hangup_requested
from ccsvc.domain.talking import bridge_entered, bridge_left, hold_ended, hold_started, part
from ccsvc.domain.view import CentreView
from ccsvc.domain.world import Call, Channel, Desk, Leg, World, new_world
from ccsvc.settings import Settings

MOVED_LIMIT_S = 10.0
"""How long a waiting caller whose session ended may stay away before their stay counts as withdrawn."""


class Centre:
    def __init__(self, settings: Settings) -> None:
        self._world = new_world(settings)

    def restore(self, rows: Sequence[Row]) -> list[Command]:
        """Rebuild the present from the rows that a former life left open."""
        self._world.out = []
        restore(self._world, rows)
        return self._world.out

    def handle(self, event: ev.Event) -> list[Command]:
        """Take one fact in; returns what is to be done, in order."""
        world = self._world
        world.now, world.out = event.at, []
        HANDLERS[type(event)](world, event)
        if world.somebody_left:
            _sweep_deserted(world)
        return world.out

    def view(self, at: datetime, stats: StatsState) -> CentreView:
        """A consistent picture of the present."""
        return picture(self._world, at, stats)


def _channel_started(world: World, event: ev.ChannelStarted) -> None:
    channel = world.channels.setdefault(event.channel, Channel(event.channel, event.name, event.device))
    channel.device = channel.device or event.device
    channel.started_at = event.at


def _leg_dialled(world: World, event: ev.LegDialled) -> None:
    call = world.customer(event.channel)
    if call is None:
        return
    world.channels.setdefault(event.leg, Channel(event.leg, event.leg_name, event.device, started_at=event.at))
    world.by_channel[event.leg] = call
    call.legs.setdefault(event.leg, Leg(event.leg, event.leg_name, "agent", event.at, event.device))


def _leg_dial_ended(world: World, event: ev.LegDialEnded) -> None:
    call = world.by_channel.get(event.leg)
    leg = call.legs.get(event.leg) if call is not None else None
    if leg is not None and leg.bridged_at is None:
        leg.dial_result = _DIAL_RESULTS.get(event.status, "NO ANSWER")


_DIAL_RESULTS: dict[str, Any] = {"BUSY": "BUSY", "CHANUNAVAIL": "FAILED", "CONGESTION": "FAILED"}


def _channel_ended(world: World, event: ev.ChannelEnded) -> None:
    channel = world.channels.pop(event.channel, None)
    call = world.by_channel.get(event.channel)
    if call is not None and call.channel == event.channel:
        close_call(world, call, event.at)
    elif call is not None:
        leg_ended(world, call, channel or Channel(event.channel, "", None), event.at)
        world.by_channel.pop(event.channel, None)
    if channel is not None and channel.bridge:
        part(world, channel)


def _call_arrived(world: World, event: ev.CallArrived) -> None:
    arrived(world, event)


def _dial_finished(world: World, event: ev.DialFinished) -> None:
    owner = world.sessions.get(event.session)
    if isinstance(owner, Call):
        dial_finished(world, owner, event)


def _feature_dialled(world: World, event: ev.FeatureDialled) -> None:
    desk = Desk(event.session, event.channel, event.device)
    world.sessions[event.session] = desk
    if start(world, desk, dialog_for(world, desk, event)) is not None:
        world.emit(FinishSession(event.session))


def _answered(world: World, event: ev.Answered) -> None:
    _continue(world, event.session, event.token, event.digits)


def _pin_checked(world: World, event: ev.PinChecked) -> None:
    _continue(world, event.session, event.token, event.ok)


def _spy_finished(world: World, event: ev.SpyFinished) -> None:
    owner = world.sessions.get(event.session)
    if isinstance(owner, Desk):
        close_supervision(world, owner)
    _continue(world, event.session, event.token, None)


def _continue(world: World, session: SessionId, token: int, value: Answer) -> None:
    """Give a dialog its answer; where it is over, go on with what follows."""
    found = answer(world, session, token, value)
    if found is None:
        return
    owner, done = found
    if done is None:
        return
    if isinstance(owner, Call):
        go(world, owner, done.step)
    else:
        world.emit(FinishSession(session))


def _session_ended(world: World, event: ev.SessionEnded) -> None:
    owner = world.sessions.pop(event.session, None)
    world.tokens.pop(event.session, None)
    if isinstance(owner, Desk):
        owner.dialog = None
        close_supervision(world, owner)
        free_again(world, owner)
    elif owner is not None and owner.session == event.session:
        owner.session = None
        owner.dialog = None
        if owner.entry is not None:
            world.timer("moved", owner.entry.id, MOVED_LIMIT_S)


def _session_broke(world: World, event: ev.SessionBroke) -> None:
    owner = world.sessions.get(event.session)
    world.report("session command failed", owner if isinstance(owner, Call) else None, command=event.what)


def _device_state_changed(world: World, event: ev.DeviceStateChanged) -> None:
    world.devices[event.device] = event.state
    agent = world.agent_at(event.device)
    if agent is not None and event.state == "idle":
        offer_agent(world, agent)


def _switch_lost(world: World, event: ev.SwitchLost) -> None:
    world.connected = False
    world.report("event stream lost", None, reason=event.reason)


def _timer_fired(world: World, event: ev.TimerFired) -> None:
    subject = event.timer.subject
    match event.timer.kind:
        case "max_wait":
            entry = find(world, subject)
            if entry is not None and entry.offer is None and entry.call.phase == "waiting":
                give_up(world, entry, "timed_out")
        case "retry":
            entry = find(world, subject)
            if entry is not None:
                retry_now(world, entry)
        case "wrap_up":
            agent = wrap_up_over(world, subject)
            if agent is not None:
                offer_agent(world, agent)
        case "unbridged":
            entry = find(world, subject)
            if entry is not None and entry.offer is not None:
                fail_offer(world, entry, "agent_dropped")
        case "measure":
            close_limit_reached(world, subject)
        case "moved":
            entry = find(world, subject)
            if entry is not None and entry.call.session is None:
                leave(world, entry, "withdrawn", world.now)


def _sweep_deserted(world: World) -> None:
    """Callers of a queue whose last agent has gone are told so, where the queue says that they shall leave."""
    world.somebody_left = False
    for name, line in world.lines.items():
        if line and world.queues[name].leave_empty and deserted(world, name):
            for entry in [e for e in line if e.offer is None and e.call.phase == "waiting" and e.call.session]:
                give_up(world, entry, "left_empty")


HANDLERS: dict[type[ev.Event], Callable[[World, Any], None]] = {
    ev.CallArrived: _call_arrived,
    ev.FeatureDialled: _feature_dialled,
    ev.Answered: _answered,
    ev.PinChecked: _pin_checked,
    ev.DialFinished: _dial_finished,
    ev.SpyFinished: _spy_finished,
    ev.SessionEnded: _session_ended,
    ev.SessionBroke: _session_broke,
    ev.ChannelStarted: _channel_started,
    ev.HangupRequested: hangup_requested,
    ev.ChannelEnded: _channel_ended,
    ev.LegDialled: _leg_dialled,
    ev.LegDialEnded: _leg_dial_ended,
    ev.BridgeEntered: bridge_entered,
    ev.BridgeLeft: bridge_left,
    ev.HoldStarted: lambda world, event: hold_started(world, event.channel),
    ev.HoldEnded: lambda world, event: hold_ended(world, event.channel),
    ev.DeviceStateChanged: _device_state_changed,
    ev.RecordingStopped: lambda world, event: file_closed(world, event.channel),
    ev.RecordingMeasured: measured,
    ev.SwitchSeen: switch_seen,
    ev.SwitchLost: _switch_lost,
    ev.TimerFired: _timer_fired,
    ev.AgentForced: force,
}
