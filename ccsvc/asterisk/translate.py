"""From AMI messages to the core's events: the only place that knows Asterisk's header names.

Promises: an event that is of no interest, or that lacks what it must have, gives None; the instant is Asterisk's own
`Timestamp` (microseconds), else the clock's. No state: one message in, at most one event out.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName
from ccsvc.domain.vocabulary import DeviceState
from ccsvc.wire.ami import AmiMessage

_PJSIP_CHANNEL = re.compile(r"PJSIP/(?P<device>.+)-[0-9a-f]{8}")
_PJSIP_DEVICE = re.compile(r"PJSIP/(?P<device>[^/]+)")
_NUMBER = re.compile(r"[0-9]{1,18}")

DEVICE_STATES: dict[str, DeviceState] = {
    "NOT_INUSE": "idle",
    "INUSE": "in_use",
    "BUSY": "busy",
    "INVALID": "unavailable",
    "UNAVAILABLE": "unavailable",
    "RINGING": "ringing",
    "RINGINUSE": "in_use",
    "ONHOLD": "on_hold",
}

DIAL_STATUSES: dict[str, ev.DialStatus] = {
    "ANSWER": "ANSWER",
    "NOANSWER": "NOANSWER",
    "BUSY": "BUSY",
    "CHANUNAVAIL": "CHANUNAVAIL",
    "CONGESTION": "CONGESTION",
    "CANCEL": "CANCEL",
}


def translate(message: AmiMessage, received_at: datetime) -> ev.Event | None:
    """The event that the message tells of, or None."""
    make = MAKERS.get(message.event)
    if make is None or (message.event in OF_A_CHANNEL and not _names_a_channel(message)):
        return None
    return make(message, instant(message.get("Timestamp"), received_at))


def instant(stamp: str, otherwise: datetime) -> datetime:
    """Asterisk's `Timestamp` header (epoch seconds with six decimals) as an aware instant."""
    try:
        return datetime.fromtimestamp(float(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        return otherwise


def number(text: str) -> int | None:
    """A whole number that is not negative, of at most 18 ASCII digits; None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def device_of(channel_name: str) -> DeviceName | None:
    """The device of a PJSIP channel's name, as in `PJSIP/d101-0000000a`."""
    found = _PJSIP_CHANNEL.fullmatch(channel_name)
    return DeviceName(found["device"]) if found else None


def device_state(name: str, state: str) -> tuple[DeviceName, DeviceState] | None:
    """A PJSIP device and its state; None for any other technology."""
    found = _PJSIP_DEVICE.fullmatch(name)
    return (DeviceName(found["device"]), DEVICE_STATES.get(state, "unknown")) if found else None


def dial_status(word: str, cause: str = "") -> ev.DialStatus:
    """DIALSTATUS as a closed word. `cause` (HANGUPCAUSE) 21, a call rejected (SIP 603), is a refusal like busy."""
    if word == "CHANUNAVAIL" and cause == "21":
        return "BUSY"
    return DIAL_STATUSES.get(word, "UNKNOWN")


def live_channel(message: AmiMessage) -> ev.LiveChannel:
    """One line of CoreShowChannels."""
    return ev.LiveChannel(
        channel=_channel(message),
        linkedid=message.get("Linkedid"),
        name=message.get("Channel"),
        device=device_of(message.get("Channel")),
        bridge=message.get("BridgeId"),
        application=message.get("Application"),
    )


def _names_a_channel(message: AmiMessage) -> bool:
    """Whether it says of which channel it speaks; a forged event seldom does (see `ccsvc.wire.ami`)."""
    return all(message.get(key) for key in ("Channel", "Uniqueid", "Linkedid"))


def _channel(message: AmiMessage, key: str = "Uniqueid") -> ChannelId:
    return ChannelId(message.get(key))


def _started(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.ChannelStarted(at, _channel(m), m.get("Linkedid"), m.get("Channel"), device_of(m.get("Channel")))


def _ended(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.ChannelEnded(at, _channel(m), m.get("Linkedid"), number(m.get("Cause")) or 0)


def _hangup_requested(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.HangupRequested(at, _channel(m))


def _leg_dialled(m: AmiMessage, at: datetime) -> ev.Event | None:
    name = m.get("DestChannel")
    if not (name and m.get("Uniqueid") and m.get("DestUniqueid")):
        return None
    return ev.LegDialled(at, _channel(m), _channel(m, "DestUniqueid"), name, device_of(name))


def _leg_dial_ended(m: AmiMessage, at: datetime) -> ev.Event | None:
    if not m.get("DestUniqueid"):
        return None
    return ev.LegDialEnded(at, _channel(m, "DestUniqueid"), dial_status(m.get("DialStatus")))


def _bridge_entered(m: AmiMessage, at: datetime) -> ev.Event | None:
    bridge = m.get("BridgeUniqueid")
    return ev.BridgeEntered(at, _channel(m), m.get("Linkedid"), bridge) if bridge else None


def _bridge_left(m: AmiMessage, at: datetime) -> ev.Event | None:
    bridge = m.get("BridgeUniqueid")
    return ev.BridgeLeft(at, _channel(m), bridge) if bridge else None


def _hold(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.HoldStarted(at, _channel(m))


def _unhold(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.HoldEnded(at, _channel(m))


def _device_changed(m: AmiMessage, at: datetime) -> ev.Event | None:
    found = device_state(m.get("Device"), m.get("State"))
    return ev.DeviceStateChanged(at, *found) if found else None


def _spy_started(m: AmiMessage, at: datetime) -> ev.Event | None:
    if not (m.get("SpyerUniqueid") and m.get("SpyeeUniqueid")):
        return None
    return ev.SpyStarted(at, _channel(m, "SpyerUniqueid"), _channel(m, "SpyeeUniqueid"))


def _recording_stopped(m: AmiMessage, at: datetime) -> ev.Event:
    return ev.RecordingStopped(at, _channel(m))


OF_A_CHANNEL = frozenset(
    {"Newchannel", "Hangup", "HangupRequest", "BridgeEnter", "BridgeLeave", "Hold", "Unhold", "MixMonitorStop"}
)

MAKERS: dict[str, Callable[[AmiMessage, datetime], ev.Event | None]] = {
    "Newchannel": _started,
    "Hangup": _ended,
    "HangupRequest": _hangup_requested,
    "DialBegin": _leg_dialled,
    "DialEnd": _leg_dial_ended,
    "BridgeEnter": _bridge_entered,
    "BridgeLeave": _bridge_left,
    "Hold": _hold,
    "Unhold": _unhold,
    "DeviceStateChange": _device_changed,
    "ChanSpyStart": _spy_started,
    "MixMonitorStop": _recording_stopped,
}
