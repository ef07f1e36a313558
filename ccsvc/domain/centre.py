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
from ccsvc.domain.lines import (
    close_offer,
    deserted,
    find,
    leave,
    offer_agent,
    out_of_time,
    retry_now,
    watch_limit,
)
from ccsvc.domain.picture import picture
from ccsvc.domain.reconcile import switch_seen
from ccsvc.domain.recording import close_limit_reached, file_closed, measured
from ccsvc.domain.records import Row
from ccsvc.domain.restore import restore
from ccsvc.domain.stats import StatsState
from ccsvc.domain.story import arrived, dial_finished, give_up, go, hangup_requested, unbridged
from ccsvc.domain.talking import bridge_entered, bridge_left, hold_ended, hold_started, part
from ccsvc.domain.view import CentreView
from ccsvc.domain.world import Call, Channel, Desk, Entry, Leg, World, new_world, seconds
from ccsvc.settings import Settings

MOVED_LIMIT_S = 10.0
"""How long a waiting caller whose session ended may stay away before their stay counts as withdrawn."""


class Centre:
    def __init__(self, settings: Settings) -> None:
        self._world = new_world(settings)

    def restore(self, rows: Sequence[Row], at: datetime | None = None) -> list[Command]:
        """Rebuild the present from the rows that a former life left open.

        `at` is now; without it the clock is taken to stand where the last row was written.
        """
        self._world.out = []
        restore(self._world, rows, at)
        return self._world.out

    def handle(self, event: ev.Event) -> list[Command]:
        """Take one fact in; returns what is to be done, in order."""
        world = self._world
        world.now, world.out = event.at, []
        HANDLERS[type(event)](world, event)
        if world.somebody_left:
            _sweep_deserted(world)
        _offer_freed(world)
        return world.out

    def view(self, at: datetime, stats: StatsState) -> CentreView:
        """A consistent picture of the present."""
        return picture(self._world, at, stats)


def _channel_started(world: World, event: ev.ChannelStarted) -> None:
    if world.is_gone(event.channel):
        return
    channel = world.channels.setdefault(event.channel, Channel(event.channel, event.name, event.device))
    channel.device = channel.device or event.device
    channel.started_at = event.at


def _leg_dialled(world: World, event: ev.LegDialled) -> None:
    call = world.customer(event.channel)
    if call is None or world.is_gone(event.leg) or world.by_channel.get(event.leg, call) is not call:
        return
    if event.leg == call.channel:
        return
    leg = world.channels.setdefault(event.leg, Channel(event.leg, event.leg_name, event.device, started_at=event.at))
    leg.device = leg.device or event.device
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
    world.bury(event.channel, "told" if world.ended.get(event.channel) == "missed" else "gone")
    call = world.by_channel.get(event.channel)
    if call is not None and call.channel == event.channel:
        close_call(world, call, event.at)
    elif call is not None:
        leg_ended(world, call, channel or Channel(event.channel, "", None), event.at)
        world.by_channel.pop(event.channel, None)
    if channel is not None and channel.bridge:
        part(world, channel)


def _dial_finished(world: World, event: ev.DialFinished) -> None:
    owner = world.sessions.get(event.session)
    if isinstance(owner, Call) and owner.session == event.session:
        dial_finished(world, owner, event)


def _feature_dialled(world: World, event: ev.FeatureDialled) -> None:
    if event.session in world.sessions:
        return
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
        owner.session, owner.dialog, owner.dialling = None, None, None
        owner.away_since = event.at
        if owner.entry is not None:
            world.timer("moved", owner.entry.id, MOVED_LIMIT_S)


def _session_broke(world: World, event: ev.SessionBroke) -> None:
    owner = world.sessions.get(event.session)
    world.report("session command failed", owner if isinstance(owner, Call) else None, command=event.what)


def _device_state_changed(world: World, event: ev.DeviceStateChanged) -> None:
    if event.at < world.device_heard_at.get(event.device, event.at):
        return
    world.devices[event.device], world.device_heard_at[event.device] = event.state, event.at
    agent = world.agent_at(event.device)
    if agent is not None and event.state == "idle":
        offer_agent(world, agent)


def _switch_lost(world: World, event: ev.SwitchLost) -> None:
    world.connected = False
    world.report("event stream lost", None, reason=event.reason)


def _timer_fired(world: World, event: ev.TimerFired) -> None:
    subject = event.timer.subject
    match event.timer.kind:
        case "wrap_up":
            wrap_up_over(world, subject)
        case "unbridged":
            unbridged(world, subject)
        case "measure":
            close_limit_reached(world, subject)
        case kind:
            entry = find(world, subject)
            if entry is not None and kind in ENTRY_TIMERS:
                ENTRY_TIMERS[kind](world, entry)


def _limit_reached(world: World, entry: Entry) -> None:
    """The maximum wait is over, or nearly. Who is being rung for, or away, is told when they next wait."""
    if entry.offer is not None or entry.call.phase != "waiting" or entry.call.session is None:
        return
    if out_of_time(world, entry):
        give_up(world, entry, "timed_out")
    else:
        watch_limit(world, entry)


def _stayed_away(world: World, entry: Entry) -> None:
    """A waiting caller's session ended a while ago. While the switch can't be seen they may just have hung up."""
    call = entry.call
    if call.session is not None or call.away_since is None:
        return
    left_s = MOVED_LIMIT_S - seconds(call.away_since, world.now)
    if left_s > 0.5 or not world.connected:
        world.timer("moved", entry.id, max(1.0, left_s))
        return
    close_offer(world, entry, "caller_gone")
    call.phase = "leaving"
    leave(world, entry, "withdrawn", world.now)


ENTRY_TIMERS: dict[ev.TimerKind, Callable[[World, Entry], None]] = {
    "max_wait": _limit_reached,
    "retry": retry_now,
    "moved": _stayed_away,
}


def _offer_freed(world: World) -> None:
    """Whoever may have become free is offered the first caller who waits for them, within the same event."""
    freed, world.freed = world.freed, {}
    for agent in freed:
        offer_agent(world, world.agents[agent])


def _sweep_deserted(world: World) -> None:
    """Callers of a queue whose last agent has gone are told so, where the queue says that they shall leave."""
    world.somebody_left = False
    for name, line in world.lines.items():
        if line and world.queues[name].leave_empty and deserted(world, name):
            for entry in list(line):
                if entry.offer is None and entry.call.phase == "waiting" and entry.call.session is not None:
                    give_up(world, entry, "left_empty")
                else:
                    entry.stranded = True


def _nothing_follows(_world: World, _event: ev.SpyStarted) -> None:
    """The listening was written when it was asked for."""


HANDLERS: dict[type[ev.Event], Callable[[World, Any], None]] = {
    ev.CallArrived: arrived,
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
    ev.SpyStarted: _nothing_follows,
    ev.RecordingStopped: lambda world, event: file_closed(world, event.channel),
    ev.RecordingMeasured: measured,
    ev.SwitchSeen: switch_seen,
    ev.SwitchLost: _switch_lost,
    ev.TimerFired: _timer_fired,
    ev.AgentForced: force,
}
