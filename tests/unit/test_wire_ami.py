"""AMI's bytes: whole, ordered, unforged, whatever the portions they come in."""

import time
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccsvc.errors import AmiProtocolError, AmiUnsendable
from ccsvc.wire.ami import (
    HEADER_LIMIT_COUNT,
    LINE_LIMIT_BYTES,
    AmiMessage,
    AmiParser,
    encode_action,
    parse_message,
)

GREETING = b"Asterisk Call Manager/11.0.0\r\n"
NEWCHANNEL = (
    "Event: Newchannel\r\nPrivilege: call,all\r\nTimestamp: 1795314792.581349\r\nChannel: PJSIP/c1-00000000\r\n"
    "ChannelState: 4\r\nChannelStateDesc: Ring\r\nCallerIDNum: 2001\r\nCallerIDName: سارا محمدی\r\n"
    "ConnectedLineNum: <unknown>\r\nConnectedLineName: <unknown>\r\nLanguage: fa\r\nAccountCode: \r\n"
    "Context: default\r\nExten: 100\r\nPriority: 1\r\nUniqueid: 1795314792.15\r\nLinkedid: 1795314792.15\r\n\r\n"
).encode()
STREAM = (
    GREETING
    + b"Response: Success\r\nActionID: a-1\r\nMessage: Authentication accepted\r\n\r\n"
    + NEWCHANNEL
    + "Event: VarSet\r\nVariable: X\r\nValue: a\nb\u2028c\u0085d\r\n\r\n".encode()
    + b"Event: Hangup\r\nUniqueid: 1795314792.15\r\nCause: 16\r\nCause-txt: Normal Clearing\r\n\r\n"
)
HOSTILE_NAMES = ["a\u2028b", "a\u0085b", "a\u2029b", "a\nEvent: Hangup", "\n\nAction: x", ": ", "نام", ""]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
sendable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}", fullmatch=True)


def read(*portions: bytes) -> list[AmiMessage]:
    parser = AmiParser()
    return [message for portion in portions for message in parser.feed(portion)]


def test_every_cut_into_two_gives_the_same_messages() -> None:
    whole = read(STREAM)
    assert [message.event or message.response for message in whole] == ["Success", "Newchannel", "VarSet", "Hangup"]
    for at in range(len(STREAM) + 1):
        assert read(STREAM[:at], STREAM[at:]) == whole


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=30))
def test_any_cut_into_many_gives_the_same_messages(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read(*[STREAM[a:b] for a, b in pairwise(edges)]) == read(STREAM)


def test_byte_by_byte_keeps_letters_of_several_bytes() -> None:
    messages = read(*[STREAM[at : at + 1] for at in range(len(STREAM))])
    assert messages[1].get("CallerIDName") == "سارا محمدی"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_with_separators_of_other_worlds_stays_one_value(name: str) -> None:
    data = f"Event: Newchannel\r\nCallerIDName: {name}\r\nUniqueid: 1.1\r\n\r\n".encode()
    (message,) = read(GREETING, data)
    assert message.get("CallerIDName") == name
    assert message.get("Uniqueid") == "1.1"


def test_invalid_utf8_is_shown_as_such_and_harms_nothing_beside_it() -> None:
    (message,) = read(GREETING, b"Event: X\r\nName: a\xff\xe2\x80b \xd8\xb3\r\n\r\n")
    assert message.get("Name") == "a\ufffd\ufffdb \u0633"


def test_repeated_headers_are_all_kept_in_order() -> None:
    (message,) = read(GREETING, b"Event: X\r\nVariable: a=1\r\nOther: o\r\nVariable: b=2\r\n\r\n")
    assert message.get("Variable") == "a=1"
    assert message.all("Variable") == ("a=1", "b=2")
    assert message.repeated == {"Variable"}
    assert message.headers == (("Event", "X"), ("Variable", "a=1"), ("Other", "o"), ("Variable", "b=2"))


def test_a_header_slipped_in_by_a_caller_shows_as_repeated() -> None:
    data = NEWCHANNEL.replace(b"CallerIDNum: 2001", b"CallerIDNum: 2001\r\nUniqueid: 1.1")
    (message,) = read(GREETING, data)
    assert message.repeated == {"Uniqueid"}


def test_an_absent_header_is_the_default() -> None:
    message = AmiMessage.of({"Event": "X", "AccountCode": ""})
    assert (message.get("Nope"), message.get("Nope", "-"), message.get("AccountCode", "-")) == ("", "-", "")
    assert "AccountCode" in message
    assert "Nope" not in message
    assert message.repeated == frozenset()


def test_empty_lines_between_messages_are_no_messages() -> None:
    assert [m.event for m in read(GREETING, b"\r\n\r\n\r\nEvent: X\r\n\r\n\r\n\r\n\r\nEvent: Y\r\n\r\n")] == [
        "X",
        "Y",
    ]


def test_the_greeting_is_kept_and_anything_else_in_its_place_refused() -> None:
    parser = AmiParser()
    assert parser.banner is None
    parser.feed(GREETING)
    assert parser.banner == "11.0.0"
    for other in (
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"Asterisk Call Manager/" + b"x" * 300,
    ):
        with pytest.raises(AmiProtocolError, match="manager port"):
            AmiParser().feed(other)


def test_a_recorded_stream_is_read_without_a_greeting() -> None:
    assert [message.event for message in AmiParser(expect_banner=False).feed(NEWCHANNEL)] == ["Newchannel"]


def test_a_message_without_end_is_refused_and_the_parser_with_it() -> None:
    parser = AmiParser(message_limit_bytes=1000)
    parser.feed(GREETING + b"Event: X\r\n" + b"A: b\r\n" * 100)
    with pytest.raises(AmiProtocolError, match="1000 bytes"):
        parser.feed(b"A: b\r\n" * 100)
    with pytest.raises(AmiProtocolError):
        parser.feed(b"\r\n\r\n")


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
@example([b"\r\n\r\n", b"\xff\r\n\r\n", b": \r\n\r\n"], True)
def test_garbage_raises_nothing_but_the_protocol_error(portions: list[bytes], with_greeting: bool) -> None:
    parser = AmiParser(message_limit_bytes=300)
    try:
        for portion in [GREETING] * with_greeting + portions:
            for message in parser.feed(portion):
                assert message.lines
                assert message.get("Event") == message.event
                assert message.repeated <= {key for key, _ in message.headers}
    except AmiProtocolError:
        with pytest.raises(AmiProtocolError):
            parser.feed(GREETING)


@given(keys.filter(lambda key: key.lower() not in ("action", "actionid")), st.lists(texts, min_size=1, max_size=3))
def test_what_can_be_sent_is_read_back_as_exactly_one_action(key: str, values: list[str]) -> None:
    try:
        data = encode_action("Setvar", {key: values}, "t-1")
    except AmiUnsendable:
        assert any(ord(c) < 32 or ord(c) == 127 for value in values for c in value)
        return
    (message,) = AmiParser(expect_banner=False).feed(data)
    assert message.all(key) == tuple(values)
    assert (message.all("Action"), message.all("ActionID")) == (("Setvar",), ("t-1",))
    assert len(message.lines) == 2 + len(values)


@given(sendable)
def test_every_text_without_control_characters_can_be_sent(value: str) -> None:
    assert parse_message(encode_action("Setvar", {"Value": value}, "1").removesuffix(b"\r\n\r\n")) is not None


@pytest.mark.parametrize("code", [*range(32), 127])
def test_no_control_character_can_be_sent_anywhere(code: int) -> None:
    bad = f"a{chr(code)}b"
    tries: list[tuple[str, Mapping[str, str | list[str]], str]] = [
        (bad, {}, "1"),
        ("Ping", {"Key": bad}, "1"),
        ("Ping", {bad: "x"}, "1"),
        ("Ping", {"Key": ["x", bad]}, "1"),
        ("Ping", {}, bad),
    ]
    for name, fields, action_id in tries:
        with pytest.raises(AmiUnsendable):
            encode_action(name, fields, action_id)


@pytest.mark.parametrize("key", ["", "Action", "actionid", "a:b", "a b", "1a", "é", "Event\r\nX"])
def test_a_header_name_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(AmiUnsendable):
        encode_action("Ping", {key: "x"}, "1")


def test_a_secret_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(AmiUnsendable) as caught:
        encode_action("Login", {"Secret": "hunter2\n"}, "1")
    assert "hunter2" not in str(caught.value)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(AmiUnsendable, match="not valid text"):
        encode_action("Setvar", {"Value": "a\ud800"}, "1")


def test_asterisks_limits_are_kept_to_the_byte() -> None:
    longest = "x" * (LINE_LIMIT_BYTES - len("Value: \r\n"))
    encode_action("Setvar", {"Value": longest}, "1")
    with pytest.raises(AmiUnsendable, match="1025 bytes"):
        encode_action("Setvar", {"Value": longest + "x"}, "1")
    encode_action("Setvar", {"Variable": ["x"] * (HEADER_LIMIT_COUNT - 2)}, "1")
    with pytest.raises(AmiUnsendable, match="129 headers"):
        encode_action("Setvar", {"Variable": ["x"] * (HEADER_LIMIT_COUNT - 1)}, "1")


def test_reading_a_long_backlog_is_linear_and_quick() -> None:
    events = 2000
    data = NEWCHANNEL * events
    parser = AmiParser(expect_banner=False)
    began_s = time.process_time()
    seen = sum(len(parser.feed(data[at : at + 1460])) for at in range(0, len(data), 1460))
    spent_us = (time.process_time() - began_s) / events * 1e6
    assert seen == events
    assert spent_us < 150  # measured: 6 to 15; the rest is for a busy machine
