"""Everything that can be learnt from outside, typed and in the past tense.

Promises: `at` is when it happened (aware UTC, from the PBX's own stamp where it gives one), text that a caller
sent is carried verbatim and means nothing here. This module does not know who read the fact from which wire:
the live stream, the journal and a snapshot after a reconnect all speak these events.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, OfferId, SessionId
from ccsvc.domain.vocabulary import DeviceState

FeatureVerb = Literal["login", "logout", "pause", "ready", "end_wrap_up", "waiting_count", "listen"]
DialStatus = Literal["ANSWER", "NOANSWER", "BUSY", "CHANUNAVAIL", "CONGESTION", "CANCEL", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime


# -- the sessions that callers, agents and supervisors open by dialling ------------------------------------


@dataclass(frozen=True, slots=True)
class CallArrived(Event):
    """A customer's channel opened its session. `resume` is what rode on the channel, empty at first sight.

    `dial_status` is the channel's last DIALSTATUS and `transferred_by` its BLINDTRANSFER, both empty if unset.
    """

    session: SessionId
    channel: ChannelId
    linkedid: str
    channel_name: str
    did: str
    caller: str
    caller_name: str
    resume: str = ""
    dial_status: str = ""
    transferred_by: str = ""


@dataclass(frozen=True, slots=True)
class FeatureDialled(Event):
    """Somebody dialled a feature code from a device."""

    session: SessionId
    channel: ChannelId
    device: DeviceName
    verb: FeatureVerb
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """What came of an `Ask`: the digits pressed (empty: none in time)."""

    session: SessionId
    token: int
    digits: str


@dataclass(frozen=True, slots=True)
class PinChecked(Event):
    session: SessionId
    token: int
    ok: bool


@dataclass(frozen=True, slots=True)
class DialFinished(Event):
    """`EXEC Dial` gave the session back. `result` -1: the caller has gone or moved."""

    session: SessionId
    offer: OfferId
    result: int
    status: DialStatus
    transferred_by: str = ""


@dataclass(frozen=True, slots=True)
class SpyFinished(Event):
    session: SessionId
    token: int


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The session's socket is closed. The channel may be gone, or may have moved and will open another."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class SessionBroke(Event):
    """A command of the session was refused or out of time: the session goes on, the thing asked did not happen."""

    session: SessionId
    what: str


# -- what the switch says of channels, bridges and devices -------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelStarted(Event):
    channel: ChannelId
    linkedid: str
    name: str
    device: DeviceName | None


@dataclass(frozen=True, slots=True)
class HangupRequested(Event):
    """The far end of this channel hung up: it is the one who ended the call."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class ChannelEnded(Event):
    channel: ChannelId
    linkedid: str
    cause: int


@dataclass(frozen=True, slots=True)
class LegDialled(Event):
    """A Dial on `channel` made the leg `leg` ring at `device`."""

    channel: ChannelId
    leg: ChannelId
    leg_name: str
    device: DeviceName | None


@dataclass(frozen=True, slots=True)
class LegDialEnded(Event):
    leg: ChannelId
    status: DialStatus


@dataclass(frozen=True, slots=True)
class BridgeEntered(Event):
    channel: ChannelId
    linkedid: str
    bridge: str


@dataclass(frozen=True, slots=True)
class BridgeLeft(Event):
    channel: ChannelId
    bridge: str


@dataclass(frozen=True, slots=True)
class HoldStarted(Event):
    channel: ChannelId


@dataclass(frozen=True, slots=True)
class HoldEnded(Event):
    channel: ChannelId


@dataclass(frozen=True, slots=True)
class DeviceStateChanged(Event):
    device: DeviceName
    state: DeviceState


@dataclass(frozen=True, slots=True)
class SpyStarted(Event):
    spyer: ChannelId
    spied: ChannelId


@dataclass(frozen=True, slots=True)
class RecordingStopped(Event):
    """The switch closed the recording of this channel: the file is whole now."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class RecordingMeasured(Event):
    """The file was looked at. None: it is not there or can't be read."""

    recording_id: str
    duration_s: float | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class LiveChannel:
    channel: ChannelId
    linkedid: str
    name: str
    device: DeviceName | None
    bridge: str
    application: str


@dataclass(frozen=True, slots=True)
class SwitchSeen(Event):
    """What the switch is carrying right now: asked after every (re)connect, and from time to time."""

    channels: tuple[LiveChannel, ...]
    devices: tuple[tuple[DeviceName, DeviceState], ...]
    fresh: bool
    """The first look since the stream was (re)connected."""
    booted_at: datetime | None = None
    """When the switch itself started, if it said so: what is older was lost with its former life."""


@dataclass(frozen=True, slots=True)
class SwitchLost(Event):
    """The event stream is cut: what is believed of the switch may be old from now on."""

    reason: str


# -- time and hands ------------------------------------------------------------------------------------------


TimerKind = Literal["max_wait", "retry", "wrap_up", "unbridged", "measure", "moved", "forget"]


@dataclass(frozen=True, slots=True)
class Timer:
    """What a timer was for. One that fires late is compared with the state and ignored."""

    kind: TimerKind
    subject: str


@dataclass(frozen=True, slots=True)
class TimerFired(Event):
    timer: Timer


@dataclass(frozen=True, slots=True)
class AgentForced(Event):
    """An operator or supervisor set an agent's status from outside."""

    agent: AgentId
    status: Literal["logged_out", "ready", "paused"]
    reason: str
