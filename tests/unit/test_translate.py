"""From the manager interface's text to events: written as Asterisk 22 sends it, and as it should never come."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccsvc.asterisk.translate import (
    MAKERS,
    device_of,
    device_state,
    dial_status,
    instant,
    live_channel,
    number,
    translate,
)
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName
from ccsvc.wire.ami import AmiMessage, AmiParser

RECEIVED = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SAID = datetime(2026, 1, 5, 7, 59, 59, 123456, tzinfo=UTC)
STAMP = "1767599999.123456"
C1, A1 = ChannelId("1767599990.35"), ChannelId("1767599995.36")


def channel(name: str, uniqueid: str, prefix: str = "", linkedid: str = C1) -> str:
    """The headers with which Asterisk describes a channel."""
    return (
        f"{prefix}Channel: {name}\n{prefix}ChannelState: 6\n{prefix}ChannelStateDesc: Up\n"
        f"{prefix}CallerIDNum: 0912\n{prefix}CallerIDName: زهرا\n{prefix}ConnectedLineNum: <unknown>\n"
        f"{prefix}Language: en\n{prefix}AccountCode: \n{prefix}Context: ccsvc-call\n{prefix}Exten: s\n"
        f"{prefix}Priority: 12\n{prefix}Uniqueid: {uniqueid}\n{prefix}Linkedid: {linkedid}\n"
    )


CUSTOMER = channel("PJSIP/c1-00000023", C1)
AGENT = channel("PJSIP/d101-00000024", A1)
BRIDGE = "BridgeUniqueid: 5f3c-b1\nBridgeType: basic\nBridgeTechnology: simple_bridge\nBridgeNumChannels: 2\n"

TAPE: dict[str, tuple[str, ev.Event]] = {
    "a channel begins": (
        f"Event: Newchannel\nPrivilege: call,all\nTimestamp: {STAMP}\n{AGENT}",
        ev.ChannelStarted(SAID, A1, C1, "PJSIP/d101-00000024", DeviceName("d101")),
    ),
    "a channel of another technology begins": (
        f"Event: Newchannel\nTimestamp: {STAMP}\n{channel('Local/1001@ccsvc-in-0001;1', '1.9', linkedid='1.9')}",
        ev.ChannelStarted(SAID, ChannelId("1.9"), "1.9", "Local/1001@ccsvc-in-0001;1", None),
    ),
    "the far end hangs up": (
        f"Event: HangupRequest\nTimestamp: {STAMP}\n{AGENT}Cause: 16\n",
        ev.HangupRequested(SAID, A1),
    ),
    "a channel ends": (
        f"Event: Hangup\nTimestamp: {STAMP}\n{AGENT}Cause: 26\nCause-txt: Answered elsewhere\nTechCause: SIP 200\n",
        ev.ChannelEnded(SAID, A1, C1, 26),
    ),
    "a leg is dialled": (
        f"Event: DialBegin\nTimestamp: {STAMP}\n{CUSTOMER}{channel('PJSIP/d101-00000024', A1, 'Dest')}"
        "DialString: d101/sip:d101@10.0.0.7\n",
        ev.LegDialled(SAID, C1, A1, "PJSIP/d101-00000024", DeviceName("d101")),
    ),
    "a dial ends": (
        f"Event: DialEnd\nTimestamp: {STAMP}\n{CUSTOMER}{channel('PJSIP/d101-00000024', A1, 'Dest')}"
        "DialStatus: NOANSWER\n",
        ev.LegDialEnded(SAID, A1, "NOANSWER"),
    ),
    "a dial ends in a way that is new": (
        f"Event: DialEnd\nTimestamp: {STAMP}\n{channel('PJSIP/d101-00000024', A1, 'Dest')}DialStatus: TORTURE\n",
        ev.LegDialEnded(SAID, A1, "UNKNOWN"),
    ),
    "a bridge is entered": (
        f"Event: BridgeEnter\nTimestamp: {STAMP}\n{BRIDGE}{AGENT}",
        ev.BridgeEntered(SAID, A1, C1, "5f3c-b1"),
    ),
    "a bridge is left": (
        f"Event: BridgeLeave\nTimestamp: {STAMP}\n{BRIDGE}{CUSTOMER}",
        ev.BridgeLeft(SAID, C1, "5f3c-b1"),
    ),
    "somebody is put on hold": (
        f"Event: Hold\nTimestamp: {STAMP}\n{AGENT}MusicClass: default\n",
        ev.HoldStarted(SAID, A1),
    ),
    "somebody is taken back": (f"Event: Unhold\nTimestamp: {STAMP}\n{AGENT}", ev.HoldEnded(SAID, A1)),
    "a device changes": (
        f"Event: DeviceStateChange\nPrivilege: call,all\nTimestamp: {STAMP}\nDevice: PJSIP/d101\nState: INUSE\n",
        ev.DeviceStateChanged(SAID, DeviceName("d101"), "in_use"),
    ),
    "somebody listens": (
        f"Event: ChanSpyStart\nTimestamp: {STAMP}\n{channel('PJSIP/d901-1', '1.9', 'Spyer')}"
        f"{channel('PJSIP/d101-00000024', A1, 'Spyee')}",
        ev.SpyStarted(SAID, ChannelId("1.9"), A1),
    ),
    "a recording is closed": (
        f"Event: MixMonitorStop\nTimestamp: {STAMP}\n{CUSTOMER}",
        ev.RecordingStopped(SAID, C1),
    ),
}


def parsed(text: str) -> AmiMessage:
    """As it comes off the wire."""
    (message,) = AmiParser(expect_banner=False).feed(text.replace("\n", "\r\n").encode() + b"\r\n")
    return message


def without(text: str, header: str) -> str:
    return "".join(f"{line}\n" for line in text.split("\n") if line and not line.startswith(f"{header}: "))


@pytest.mark.parametrize("what", TAPE)
def test_what_asterisk_says_becomes_the_event_it_tells_of(what: str) -> None:
    text, event = TAPE[what]
    assert translate(parsed(text), RECEIVED) == event


def test_the_tape_has_every_event_that_is_translated() -> None:
    assert {parsed(text).event for text, _ in TAPE.values()} == set(MAKERS)


NEEDED = {
    "a channel begins": ("Channel", "Uniqueid", "Linkedid"),
    "the far end hangs up": ("Channel", "Uniqueid", "Linkedid"),
    "a channel ends": ("Channel", "Uniqueid", "Linkedid"),
    "a leg is dialled": ("Uniqueid", "DestChannel", "DestUniqueid"),
    "a dial ends": ("DestUniqueid",),
    "a bridge is entered": ("Channel", "Uniqueid", "Linkedid", "BridgeUniqueid"),
    "a bridge is left": ("Channel", "Uniqueid", "Linkedid", "BridgeUniqueid"),
    "somebody is put on hold": ("Channel", "Uniqueid", "Linkedid"),
    "somebody is taken back": ("Channel", "Uniqueid", "Linkedid"),
    "a device changes": ("Device",),
    "somebody listens": ("SpyerUniqueid", "SpyeeUniqueid"),
    "a recording is closed": ("Channel", "Uniqueid", "Linkedid"),
}


@pytest.mark.parametrize(("what", "header"), [(what, each) for what, headers in NEEDED.items() for each in headers])
def test_an_event_that_lacks_what_it_must_have_is_none(what: str, header: str) -> None:
    text = TAPE[what][0]
    assert translate(parsed(without(text, header)), RECEIVED) is None
    assert translate(parsed(without(text, header) + f"{header}: \n"), RECEIVED) is None


@pytest.mark.parametrize("event", ["", "VarSet", "MusicOnHoldStart", "FullyBooted", "newchannel", "UserEvent"])
def test_events_of_no_interest_are_none(event: str) -> None:
    assert translate(parsed(f"Event: {event}\nTimestamp: {STAMP}\n{AGENT}"), RECEIVED) is None


def test_a_response_is_none() -> None:
    assert translate(parsed(f"Response: Success\n{AGENT}"), RECEIVED) is None


def test_an_event_without_a_time_is_of_the_moment_it_came() -> None:
    text, _ = TAPE["a channel ends"]
    event = translate(parsed(without(text, "Timestamp")), RECEIVED)
    assert event is not None
    assert event.at == RECEIVED


@pytest.mark.parametrize("stamp", ["", "soon", "nan", "inf", "-inf", "1e400", "99999999999999999", "1767599999,5"])
def test_a_time_that_is_none_is_the_moment_it_came(stamp: str) -> None:
    assert instant(stamp, RECEIVED) == RECEIVED


def test_an_instant_keeps_its_microseconds() -> None:
    assert instant(STAMP, RECEIVED) == SAID
    assert instant("1767599999.000001", RECEIVED) == SAID.replace(microsecond=1)


@given(st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001  made aware below
def test_every_instant_that_asterisk_can_write_is_read_back(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    epoch_us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert instant(f"{epoch_us // 10**6}.{epoch_us % 10**6:06}", RECEIVED) == at


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("PJSIP/a1-0000000a", "a1"),
        ("PJSIP/a10-0000000a", "a10"),
        ("PJSIP/front-desk-2-0000000a", "front-desk-2"),
        ("PJSIP/a1-0000000b-0000000a", "a1-0000000b"),
        ("PJSIP/outside-00ffffff", "outside"),
        ("PJSIP/a1", None),
        ("PJSIP/a1-xyz", None),
        ("PJSIP/a1-0000000A", None),
        ("PJSIP/-0000000a", None),
        ("PJSIP/a1-0000000a<ZOMBIE>", None),
        ("Local/a1-0000000a", None),
        ("SIP/PJSIP/a1-0000000a", None),
        ("PJSIP/a1-0000000a\nPJSIP/a1-0000000a", None),
        ("", None),
    ],
)
def test_the_device_of_a_channel_is_all_of_its_name_and_only_of_ours(name: str, device: str | None) -> None:
    assert device_of(name) == device


@pytest.mark.parametrize(
    ("state", "known"),
    [
        ("NOT_INUSE", "idle"),
        ("INUSE", "in_use"),
        ("RINGING", "ringing"),
        ("RINGINUSE", "in_use"),
        ("BUSY", "busy"),
        ("ONHOLD", "on_hold"),
        ("UNAVAILABLE", "unavailable"),
        ("INVALID", "unavailable"),
        ("UNKNOWN", "unknown"),
        ("", "unknown"),
        ("SLEEPING", "unknown"),
    ],
)
def test_device_states_are_closed_words(state: str, known: str) -> None:
    assert device_state("PJSIP/d101", state) == ("d101", known)


@pytest.mark.parametrize("name", ["Queue:sales", "Custom:x", "PJSIP/", "PJSIP/a/b", "Local/1@x", ""])
def test_a_device_of_another_kind_is_none(name: str) -> None:
    assert device_state(name, "INUSE") is None


@pytest.mark.parametrize(
    ("word", "cause", "status"),
    [
        ("ANSWER", "16", "ANSWER"),
        ("NOANSWER", "", "NOANSWER"),
        ("BUSY", "17", "BUSY"),
        ("CHANUNAVAIL", "20", "CHANUNAVAIL"),
        ("CHANUNAVAIL", "21", "BUSY"),
        ("CONGESTION", "21", "CONGESTION"),
        ("CANCEL", "", "CANCEL"),
        ("DONTCALL", "", "UNKNOWN"),
        ("", "", "UNKNOWN"),
    ],
)
def test_dial_results_are_closed_words_and_a_rejected_call_is_busy(word: str, cause: str, status: str) -> None:
    assert dial_status(word, cause) == status


@pytest.mark.parametrize("cause", ["", "16a", "-1", "١٦", "9" * 5000])
def test_a_cause_that_is_no_number_is_0(cause: str) -> None:
    event = translate(parsed(f"Event: Hangup\nTimestamp: {STAMP}\n{AGENT}Cause: {cause}\n"), RECEIVED)
    assert event == ev.ChannelEnded(SAID, A1, C1, 0)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("42", 42), ("", None), ("٤٢", None), ("4 2", None), ("1" * 19, None)]
)
def test_a_number_is_of_ascii_digits_and_not_endless(text: str, value: int | None) -> None:
    assert number(text) == value


def test_a_line_of_core_show_channels() -> None:
    text = (
        f"Event: CoreShowChannel\nActionID: 1\n{AGENT}Application: AppDial\nDuration: 00:00:07\nBridgeId: 5f3c-b1\n"
    )
    assert live_channel(parsed(text)) == ev.LiveChannel(
        channel=A1,
        linkedid=C1,
        name="PJSIP/d101-00000024",
        device=DeviceName("d101"),
        bridge="5f3c-b1",
        application="AppDial",
    )


def test_a_caller_s_name_with_line_ends_of_other_kinds_forges_no_header() -> None:
    name = "Mallory\nUniqueid: 666\u2028Linkedid: 666\x85Channel: PJSIP/d101-00000001\x0bEvent: Hangup"
    frame = f"Event: Newchannel\r\nTimestamp: {STAMP}\r\nCallerIDName: {name}\r\n" + AGENT.replace("\n", "\r\n")
    (message,) = AmiParser(expect_banner=False).feed(frame.encode() + b"\r\n")
    assert translate(message, RECEIVED) == TAPE["a channel begins"][1]


@given(st.dictionaries(st.sampled_from(["Event", "Channel", "Uniqueid", "Timestamp", "Cause", "State"]), st.text()))
def test_no_text_from_outside_makes_it_fail(headers: dict[str, str]) -> None:
    for event in MAKERS:
        translate(AmiMessage.of({**headers, "Event": event}), RECEIVED)
