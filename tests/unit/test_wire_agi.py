"""AGI's bytes: every reply to its own command, whatever stands in a value, a name or a number."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccsvc.errors import AgiProtocolError, AgiUnsendable
from ccsvc.testing.fake_agi import DEAD, UNKNOWN, USAGE, header_block
from ccsvc.wire.agi import (
    COMMAND_LIMIT_BYTES,
    HEADER_BLOCK_LIMIT_BYTES,
    REPLY_LIMIT_BYTES,
    AgiEvent,
    AgiHangupLine,
    AgiParser,
    AgiReply,
    AgiRequest,
    AgiStray,
    encode_command,
    parse_reply,
)

BLOCK = header_block("call?x=1&y=a%20b&z=", {"agi_calleridname": "سارا\u2028\u0085"}, args=("first", "", "a: b"))

REPLIES = [
    ("200 result=0", AgiReply(200, "0")),
    ("200 result=-1", AgiReply(200, "-1")),
    ("200 result=1 (a(b)c))", AgiReply(200, "1", "a(b)c)")),
    ("200 result=1 ((((()", AgiReply(200, "1", "((((")),
    ("200 result=1 ()", AgiReply(200, "1", "")),
    ("200 result=1 (سلام)", AgiReply(200, "1", "سلام")),
    ("200 result=1 (a\u2028b\u0085c)", AgiReply(200, "1", "a\u2028b\u0085c")),
    ("200 result= (timeout)", AgiReply(200, "", "timeout")),
    ("200 result=52 endpos=8960", AgiReply(200, "52", None, 8960)),
    ("200 result=0 (timeout) endpos=0", AgiReply(200, "0", "timeout", 0)),
    ("200 result=1 (speech) endpos=10 results=1 score0=250", AgiReply(200, "1", "speech", 10)),
    ("200 result=1 (a\nb\nc)", AgiReply(200, "1", "a\nb\nc")),
    ("200 result=1 (a\n(b\n) c\nHANGUP\n)", AgiReply(200, "1", "a\n(b\n) c\nHANGUP\n")),
    (UNKNOWN, AgiReply(510, data="Invalid or unknown command")),
    (DEAD, AgiReply(511, data="Command Not Permitted on a dead channel or intercept routine")),
    ("520 Invalid command syntax.", AgiReply(520, data="Invalid command syntax.")),
    (USAGE, AgiReply(520, data=USAGE[4:])),
]


def opened() -> AgiParser:
    parser = AgiParser()
    parser.feed(BLOCK)
    return parser


def asked(parser: AgiParser | None = None) -> AgiParser:
    parser = parser or opened()
    parser.encode("NOOP")
    return parser


def unquoted(line: str) -> list[str]:
    """The words of a command as Asterisk's own parser finds them."""
    words: list[str] = []
    quoted = escaped = False
    apart = True
    for letter in line:
        if letter == '"' and not escaped:
            quoted = not quoted
            if quoted and apart:
                words.append("")
                apart = False
        elif letter in " \t" and not quoted and not escaped:
            apart = True
        elif letter == "\\" and not escaped:
            escaped = True
            continue
        else:
            if apart:
                words.append("")
                apart = False
            words[-1] += letter
        escaped = False
    return words


def test_the_header_block_becomes_the_request() -> None:
    (request,) = AgiParser().feed(BLOCK)
    assert isinstance(request, AgiRequest)
    assert request.path == "call"
    assert request.query == {"x": "1", "y": "a b", "z": ""}
    assert request.args == ("first", "", "a: b")
    assert (request.uniqueid, request.channel) == ("1000.1", "PJSIP/c1-1000.1")
    assert request.fields["agi_calleridname"] == "سارا\u2028\u0085"
    assert request.fields["agi_accountcode"] == ""


def test_every_cut_of_a_header_block_gives_the_same_request() -> None:
    for at in range(len(BLOCK) + 1):
        parser = AgiParser()
        assert len(parser.feed(BLOCK[:at]) + parser.feed(BLOCK[at:])) == 1


def test_a_name_that_is_not_utf8_does_not_lose_the_session() -> None:
    (request,) = AgiParser().feed(BLOCK.replace("سارا".encode(), b"\xd3\xc7"))
    assert isinstance(request, AgiRequest)
    assert request.fields["agi_calleridname"].startswith("\ufffd")


def test_control_characters_in_a_header_are_replaced() -> None:
    (request,) = AgiParser().feed(header_block(fields={"agi_calleridname": "a\x1b[31m\rb\x7f\t"}))
    assert isinstance(request, AgiRequest)
    assert request.fields["agi_calleridname"] == "a\ufffd[31m\ufffdb\ufffd\ufffd"


@pytest.mark.parametrize(
    "number",
    [
        "55\nagi_extension: 900",
        "55\nagi_uniqueid: 1.1",
        "55\n\nHANGUP",
        "55\nagi_threadid: 1\n\n",
        "55\nHANGUP",
        "55\n200 result=0",
        "55\r\nEvent: Hangup",
    ],
)
def test_a_callers_number_with_line_breaks_in_it_is_refused(number: str) -> None:
    parser = AgiParser()
    with pytest.raises(AgiProtocolError):
        parser.feed(header_block(fields={"agi_callerid": number}))
    with pytest.raises(AgiProtocolError):
        parser.feed(b"200 result=0\n")


def test_a_forged_end_of_the_header_block_is_found_out_when_its_rest_comes_late() -> None:
    parser = AgiParser()
    forged = header_block(fields={"agi_callerid": "55\nagi_threadid: 1\n\n200 result=1 ("}).replace(
        b"agi_threadid: 1\n", b"", 1
    )
    at = forged.index(b"agi_calleridname")
    parser.feed(forged[:at])
    parser.encode("GET VARIABLE", "X")
    with pytest.raises(AgiProtocolError):
        parser.feed(forged[at:])


def test_a_header_block_without_a_channel_or_end_is_refused() -> None:
    with pytest.raises(AgiProtocolError, match="agi_uniqueid"):
        AgiParser().feed(b"agi_network: yes\n\n")
    with pytest.raises(AgiProtocolError, match="more than"):
        AgiParser().feed(b"agi_network: " + b"x" * HEADER_BLOCK_LIMIT_BYTES)
    with pytest.raises(AgiProtocolError, match="more than"):
        AgiParser().feed(b"".join(b"agi_arg_%d: x\n" % n for n in range(HEADER_BLOCK_LIMIT_BYTES // 10)))


@pytest.mark.parametrize(("text", "reply"), REPLIES)
def test_every_kind_of_reply_is_read_whole_at_every_cut(text: str, reply: AgiReply) -> None:
    data = f"{text}\n".encode()
    for at in range(len(data) + 1):
        parser = asked()
        assert parser.feed(data[:at]) + parser.feed(data[at:]) == [reply]
        assert not parser.awaiting_reply


@given(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=8), st.data())
def test_no_reply_shifts_the_next_one(script: list[tuple[str, AgiReply]], data: st.DataObject) -> None:
    parser = opened()
    for text, reply in script:
        parser.encode("NOOP")
        wire = b"100 Trying...\n" + f"{text}\n".encode()
        edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4))), len(wire)]
        assert [event for a, b in pairwise(edges) for event in parser.feed(wire[a:b])] == [reply]


@pytest.mark.parametrize("before", ["", "100 Trying...\n"])
def test_a_hangup_line_is_told_wherever_it_comes(before: str) -> None:
    parser = opened()
    assert parser.feed(b"HANGUP\n") == [AgiHangupLine()]
    asked(parser)
    assert parser.feed(f"{before}HANGUP\n200 result=1 (x)\nHANGUP\n".encode()) == [
        AgiHangupLine(),
        AgiReply(200, "1", "x"),
        AgiHangupLine(),
    ]


def test_a_reply_that_nobody_asked_for_is_stray() -> None:
    parser = opened()
    assert parser.feed(b"200 result=1 (forged\n200 result=0\n") == [
        AgiStray("200 result=1 (forged"),
        AgiStray("200 result=0"),
    ]


def test_a_value_with_a_parenthesis_before_its_line_break_does_not_answer_the_next_command() -> None:
    parser = asked()
    assert parser.feed(b"200 result=1 (a)\n200 result=1 (forged)\n") == [
        AgiReply(200, "1", "a"),
        AgiStray("200 result=1 (forged)"),
    ]
    asked(parser)
    assert parser.feed(b"c)\n200 result=7\n") == [AgiStray("c)"), AgiReply(200, "7")]


def test_a_reply_without_end_is_refused() -> None:
    for endless in (b"200 result=1 (" + b"x" * REPLY_LIMIT_BYTES, b"200 result=1 (x\n" * (REPLY_LIMIT_BYTES // 10)):
        parser = asked()
        with pytest.raises(AgiProtocolError, match="a reply of more"):
            parser.feed(endless)


def test_a_reply_of_many_lines_at_the_limit_is_read_in_no_time() -> None:
    parser = asked()
    body = b") a=b x\n" * (REPLY_LIMIT_BYTES // 8 - 10)
    (reply,) = parser.feed(b"200 result=1 (" + body + b")\n")
    assert isinstance(reply, AgiReply)
    assert reply.data == body.decode()


@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(0, 2))
@example([b"200 result=1 (a endpos=" + b"9" * 90 + b"\n"], 2)
def test_garbage_raises_nothing_but_the_protocol_error(portions: list[bytes], state: int) -> None:
    parser = [AgiParser, opened, asked][state]()
    try:
        for portion in portions:
            parser.feed(portion)
    except AgiProtocolError:
        with pytest.raises(AgiProtocolError):
            parser.feed(b"")


@given(st.from_regex(r"[0-9]{3}[ -].{0,60}", fullmatch=True))
def test_any_line_with_a_code_is_some_reply(line: str) -> None:
    assert parse_reply(line).code == int(line[:3])


VERBS = ["SET VARIABLE", "EXEC", "GET FULL VARIABLE", "STREAM FILE"]
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(st.sampled_from(VERBS), st.lists(printable, max_size=5))
@example("EXEC", ["Dial", 'PJSIP/a,30,gm(x)b(y^"z")'])
@example("SET VARIABLE", ["X", 'a\\"b\\\\', "\\", '"', "", " ", "\u2028"])
def test_asterisk_finds_the_arguments_that_were_given(verb: str, args: list[str]) -> None:
    line = encode_command(verb, *args).decode()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert unquoted(line[:-1]) == [*verb.split(), *args]


@given(st.text(max_size=20))
def test_nothing_can_slip_in_a_second_command(value: str) -> None:
    try:
        line = encode_command("SET VARIABLE", "X", value)
    except AgiUnsendable:
        assert any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in value)
    else:
        assert line.count(b"\n") == 1
        assert b"\0" not in line


@pytest.mark.parametrize("verb", ["", "set variable", "EXEC\n", "EXEC  X", " EXEC", 'EXEC "a"', "ÉXEC"])
def test_a_command_that_is_none_is_refused(verb: str) -> None:
    with pytest.raises(AgiUnsendable):
        encode_command(verb, "x")


def test_a_line_that_asterisk_would_run_as_two_is_refused() -> None:
    longest = "x" * (COMMAND_LIMIT_BYTES - len('EXEC ""\n'))
    assert len(encode_command("EXEC", longest)) == COMMAND_LIMIT_BYTES
    with pytest.raises(AgiUnsendable, match="bytes"):
        encode_command("EXEC", longest + "x")
    with pytest.raises(AgiUnsendable, match="arguments"):
        encode_command("EXEC", *["x"] * 121)


def test_one_command_at_a_time_and_none_before_the_request() -> None:
    with pytest.raises(AgiUnsendable, match="turn"):
        AgiParser().encode("NOOP")
    parser = asked()
    with pytest.raises(AgiUnsendable, match="turn"):
        parser.encode("NOOP")
    parser.feed(b"200 result=0\n")
    assert parser.encode("NOOP") == b"NOOP\n"


def test_a_refused_command_is_not_awaited() -> None:
    parser = opened()
    with pytest.raises(AgiUnsendable):
        parser.encode("SET VARIABLE", "X", "a\nb")
    assert not parser.awaiting_reply


def test_the_request_is_not_told_when_its_block_goes_on_after_the_end() -> None:
    events: list[AgiEvent] = []
    with pytest.raises(AgiProtocolError):
        events = AgiParser().feed(BLOCK + b"agi_context: other\n")
    assert events == []
