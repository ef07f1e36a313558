"""Callers' sessions over real sockets: what is commanded, what is told of it, and how a session can end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ccsvc.asterisk.fastagi import AgiServer
from ccsvc.asterisk.sessions import MAILBOX_LIMIT, AgiSessions
from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName, OfferId, SessionId
from ccsvc.errors import PromptMissing
from ccsvc.testing.fake_agi import DEAD, UNKNOWN, USAGE, Answer, FakeAgi
from ccsvc.testing.fakes import ListInbox, captured_log
from ccsvc.testing.waiting import eventually

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
S = SessionId(1)
OFFER = OfferId("p/1/q1/o1")
DIAL = cmd.DialAgent(S, OFFER, DeviceName("d101"), 14.6, "default")
HELLO, BYE = cmd.PromptRef("hello", "fa"), cmd.PromptRef("bye", "en")
KEYS = 'GET FULL VARIABLE "${READSTATUS}:${CCSVC_KEYS}"'
ENDED = ev.SessionEnded(NOW, S)


def prompt_path(name: str, language: str) -> str:
    if name == "missing":
        raise PromptMissing([f"prompt {name!r} ({language}): was not asked for"])
    return f"/prompts/{language}/{name}"


@dataclass
class Office:
    """The sessions, what they told, and the address they are reached at."""

    folder: Path = Path("/recordings")
    inbox: ListInbox = field(default_factory=ListInbox)

    def __post_init__(self) -> None:
        self.log, self.lines = captured_log()
        self.sessions = AgiSessions(
            inbox=self.inbox,
            prompt_path=prompt_path,
            recordings_dir=self.folder,
            clock=lambda: NOW,
            log=self.log,
        )
        self.server = AgiServer(host="127.0.0.1", port=0, handler=self.sessions.handle)

    @property
    def told(self) -> list[ev.Event]:
        """Everything but the arrivals."""
        return [e for e in self.inbox.events if not isinstance(e, (ev.CallArrived, ev.FeatureDialled))]

    async def until_told(self, *events: ev.Event) -> None:
        await eventually(lambda: self.told == list(events), f"{events}, not {self.told}")

    async def arrived(self, count: int = 1) -> None:
        def arrivals() -> int:
            return sum(isinstance(e, (ev.CallArrived, ev.FeatureDialled)) for e in self.inbox.events)

        await eventually(lambda: arrivals() == count, "the arrival told")


@asynccontextmanager
async def opened(office: Office | None = None) -> AsyncIterator[Office]:
    office = office or Office()
    await office.server.start()
    try:
        yield office
    finally:
        await office.server.close(1.0)


@asynccontextmanager
async def calling(office: Office, **how: Any) -> AsyncIterator[FakeAgi]:
    """A caller whose session is open and was told of."""
    before = len([e for e in office.inbox.events if isinstance(e, (ev.CallArrived, ev.FeatureDialled))])
    async with FakeAgi("127.0.0.1", office.server.port) as caller:
        await caller.open(**how)
        await office.arrived(before + 1)
        yield caller


async def said(office: Office, caller: FakeAgi, command: cmd.Command, *replies: str) -> list[str]:
    """Give the command, answer each line with the next reply, and return the lines."""
    office.sessions.submit(command)
    lines = []
    for reply in replies:
        lines.append(await caller.read_command())
        await caller.reply(reply)
    return lines


# -- arriving ------------------------------------------------------------------------------------------------------


async def test_a_caller_who_arrives_is_told_of_with_all_that_rides_on_the_channel() -> None:
    fields = {"agi_callerid": "0912", "agi_calleridname": r"Zahra \"Z\" \\o", "agi_channel": "PJSIP/c1-0000000a"}
    async with opened() as office, calling(office, fields=fields, args=("v1|x", "BUSY", "PJSIP/a-1", "1001")):
        assert office.inbox.events == [
            ev.CallArrived(
                at=NOW,
                session=S,
                channel=ChannelId("1000.1"),
                linkedid="1000.1",
                channel_name="PJSIP/c1-0000000a",
                did="1001",
                caller="0912",
                caller_name=r'Zahra "Z" \o',
                resume="v1|x",
                dial_status="BUSY",
                transferred_by="PJSIP/a-1",
            )
        ]


async def test_a_caller_without_number_name_or_arguments_arrives_all_the_same() -> None:
    fields = {"agi_callerid": "unknown", "agi_calleridname": "unknown"}
    async with opened() as office, calling(office, fields=fields):
        (arrival,) = office.inbox.events
        assert isinstance(arrival, ev.CallArrived)
        assert (arrival.caller, arrival.caller_name, arrival.did, arrival.resume) == ("", "", "", "")


async def test_a_feature_code_arrives_with_its_device() -> None:
    async with opened() as office, calling(office, script="feature", args=("listen", "101", "d901")):
        assert office.inbox.events == [
            ev.FeatureDialled(NOW, S, ChannelId("1000.1"), DeviceName("d901"), "listen", "101")
        ]


@pytest.mark.parametrize(
    "how",
    [
        {"script": "nonsense"},
        {"script": "feature", "args": ("format_disk", "", "d1")},
        {"script": "feature"},
        {"uniqueid": ""},
    ],
    ids=str,
)
async def test_what_nobody_knows_is_closed_and_not_told(how: dict[str, Any]) -> None:
    async with opened() as office, FakeAgi("127.0.0.1", office.server.port) as caller:
        await caller.open(**how)
        assert await caller.wait_closed() == b""
        assert office.inbox.events == []
        assert office.lines[-1]["event"] == "AGI request that nobody knows"


async def test_each_session_has_a_number_of_its_own() -> None:
    async with opened() as office, calling(office, uniqueid="1.1"), calling(office, uniqueid="1.2"):
        arrivals = [e for e in office.inbox.events if isinstance(e, ev.CallArrived)]
        assert [(e.session, e.channel) for e in arrivals] == [(1, "1.1"), (2, "1.2")]


async def test_an_inbox_without_room_gives_the_caller_back_to_the_dialplan() -> None:
    async with opened() as office, FakeAgi("127.0.0.1", office.server.port) as caller:
        office.inbox.is_full = True
        await caller.open()
        assert await caller.wait_closed() == b""


# -- commands ------------------------------------------------------------------------------------------------------

SIMPLE: list[tuple[cmd.Command, list[str]]] = [
    (cmd.PlayMusic(S, "jazz"), ['SET MUSIC "ON" "jazz"']),
    (
        cmd.RideAlong(S, (("CCSVC_STATE", "v1|a"), ("DIALSTATUS", ""))),
        ['SET VARIABLE "CCSVC_STATE" "v1|a"', 'SET VARIABLE "DIALSTATUS" ""'],
    ),
    (cmd.RecordCall(S, "2026/a.wav"), ['EXEC "MixMonitor" "/recordings/2026/a.wav"']),
]


@pytest.mark.parametrize(("command", "lines"), SIMPLE, ids=lambda each: type(each).__name__)
async def test_a_simple_command_is_said_and_nothing_is_told(command: cmd.Command, lines: list[str]) -> None:
    async with opened() as office, calling(office) as caller:
        assert await said(office, caller, command, *["200 result=0"] * len(lines)) == lines
        assert await said(office, caller, cmd.PlayMusic(S, "next"), "200 result=0") == ['SET MUSIC "ON" "next"']
        assert office.told == []


async def test_commas_in_the_recordings_folder_do_not_end_the_file_s_name() -> None:
    async with opened(Office(Path("/a,b"))) as office, calling(office) as caller:
        lines = await said(office, caller, cmd.RecordCall(S, "c.wav"), "200 result=0")
        assert lines == [r'EXEC "MixMonitor" "/a\\,b/c.wav"'], "one backslash, doubled by the quoting"


async def test_an_announcement_is_played_whole_and_told() -> None:
    async with opened() as office, calling(office) as caller:
        lines = await said(office, caller, cmd.Ask(S, 3, (HELLO, BYE)), "200 result=0")
        assert lines == ['EXEC "Playback" "/prompts/fa/hello&/prompts/en/bye"']
        await office.until_told(ev.Answered(NOW, S, 3, ""))


@pytest.mark.parametrize(
    ("digits", "line", "value", "answer"),
    [
        (1, 'EXEC "Read" "CCSVC_KEYS,/prompts/fa/hello,1,e,1,1.5"', "OK:#", "#"),
        (1, 'EXEC "Read" "CCSVC_KEYS,/prompts/fa/hello,1,e,1,1.5"', "TIMEOUT:", ""),
        (8, 'EXEC "Read" "CCSVC_KEYS,/prompts/fa/hello,8,,1,1.5"', "OK:1234", "1234"),
        (8, 'EXEC "Read" "CCSVC_KEYS,/prompts/fa/hello,8,,1,1.5"', "OK:12:AB٣", "12"),
        (8, 'EXEC "Read" "CCSVC_KEYS,/prompts/fa/hello,8,,1,1.5"', "INTERRUPTED:4", "4"),
    ],
)
async def test_a_question_is_asked_and_the_keys_are_told(digits: int, line: str, value: str, answer: str) -> None:
    async with opened() as office, calling(office) as caller:
        ask = cmd.Ask(S, 5, (HELLO,), digits, 1.5)
        lines = await said(office, caller, ask, "200 result=0", f"200 result=1 ({value})")
        assert lines == [line, KEYS]
        await office.until_told(ev.Answered(NOW, S, 5, answer))


def dialled(**variables: str) -> dict[str, Answer]:
    values = {"DIALSTATUS": "ANSWER", "HANGUPCAUSE": "16", "BLINDTRANSFER": "", **variables}
    return {f'GET VARIABLE "{name}"': f"200 result=1 ({value})" for name, value in values.items()}


@pytest.mark.parametrize(
    ("result", "variables", "told"),
    [
        ("0", {}, ev.DialFinished(NOW, S, OFFER, 0, "ANSWER")),
        ("0", {"DIALSTATUS": "NOANSWER"}, ev.DialFinished(NOW, S, OFFER, 0, "NOANSWER")),
        ("0", {"DIALSTATUS": "CHANUNAVAIL", "HANGUPCAUSE": "21"}, ev.DialFinished(NOW, S, OFFER, 0, "BUSY")),
        ("0", {"BLINDTRANSFER": "PJSIP/a-1"}, ev.DialFinished(NOW, S, OFFER, 0, "ANSWER", "PJSIP/a-1")),
        ("-1", {}, ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")),
        ("x", {}, ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")),
        ("--1", {}, ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")),
    ],
)
async def test_an_agent_is_rung_and_what_came_of_it_is_asked_for_and_told(
    result: str, variables: Mapping[str, str], told: ev.DialFinished
) -> None:
    async with opened() as office, calling(office) as caller:
        office.sessions.submit(DIAL)
        playing = asyncio.create_task(caller.play({"EXEC": f"200 result={result}", **dialled(**variables)}))
        await office.until_told(told)
        assert caller.commands[0] == 'EXEC "Dial" "PJSIP/d101,15,gm(default)"'
        assert len(caller.commands) == (4 if result == "0" else 1)
        playing.cancel()


async def test_a_ring_is_never_shorter_than_a_second() -> None:
    async with opened() as office, calling(office) as caller:
        office.sessions.submit(cmd.DialAgent(S, OFFER, DeviceName("d1"), 0.2, "m"))
        assert await caller.read_command() == 'EXEC "Dial" "PJSIP/d1,1,gm(m)"'


async def test_a_supervisor_listens_by_prefix_and_the_end_of_it_is_told() -> None:
    async with opened() as office, calling(office, script="feature", args=("listen", "101", "d901")) as caller:
        lines = await said(office, caller, cmd.Spy(S, 4, DeviceName("d101")), "200 result=0")
        assert lines == ['EXEC "ChanSpy" "PJSIP/d101-,q"']
        await office.until_told(ev.SpyFinished(NOW, S, 4))


async def test_commands_are_carried_out_one_after_the_other() -> None:
    async with opened() as office, calling(office) as caller:
        for command in (cmd.Ask(S, 1, (HELLO,)), cmd.PlayMusic(S, "a"), cmd.PlayMusic(S, "b")):
            office.sessions.submit(command)
        first = await caller.read_command()
        assert first.startswith('EXEC "Playback"')
        await caller.reply()
        for music in ("a", "b"):
            assert await caller.read_command() == f'SET MUSIC "ON" "{music}"'
            await caller.reply()


async def test_a_session_that_is_finished_on_purpose_says_so_on_the_channel_and_closes() -> None:
    async with opened() as office, calling(office) as caller:
        office.sessions.submit(cmd.FinishSession(S))
        office.sessions.submit(cmd.PlayMusic(S, "never"))
        await caller.play({})
        assert caller.commands == ['SET VARIABLE "CCSVC_DONE" "1"']
        await office.until_told(ENDED)


async def test_a_command_for_a_session_that_is_gone_is_dropped() -> None:
    async with opened() as office:
        async with calling(office) as caller:
            await caller.hang_up()
            await caller.wait_closed()
        await office.until_told(ENDED)
        office.sessions.submit(cmd.PlayMusic(S, "a"))
        office.sessions.submit(cmd.PlayMusic(SessionId(77), "a"))
        office.sessions.submit(cmd.HangUp(ChannelId("1")))
        assert office.told == [ENDED]


# -- ending: HANGUP, a closed connection and a reset, at every point -------------------------------------------------

POINTS: dict[str, tuple[cmd.Command | None, list[str], list[ev.Event]]] = {
    "waiting": (None, [], []),
    "in music": (cmd.PlayMusic(S, "a"), [], []),
    "in an announcement": (cmd.Ask(S, 1, (HELLO,)), [], []),
    "in a question": (cmd.Ask(S, 1, (HELLO,), 1), [], []),
    "before the keys": (cmd.Ask(S, 1, (HELLO,), 1), ["200 result=0"], []),
    "while an agent rings": (DIAL, [], [ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")]),
    "before the dial's status": (DIAL, ["200 result=0"], [ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")]),
    "while listening": (cmd.Spy(S, 1, DeviceName("d1")), [], []),
    "while finishing": (cmd.FinishSession(S), [], []),
}


@pytest.mark.parametrize("rst", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_connection_that_goes_at_any_point_is_told_once(point: str, rst: bool) -> None:
    command, replies, told = POINTS[point]
    async with opened() as office, calling(office) as caller:
        if command is not None:
            await said(office, caller, command, *replies)
            await caller.read_command()
        if rst:
            caller.reset()
        else:
            await caller.close()
        await office.until_told(*told, ENDED)


HANGUPS: dict[str, tuple[cmd.Command | None, list[str], list[ev.Event]]] = {
    "waiting": (None, [], []),
    "in an announcement": (cmd.Ask(S, 1, (HELLO,)), ["200 result=-1"], []),
    "in a question": (cmd.Ask(S, 1, (HELLO,), 1), ["200 result=0", "200 result=1 (HANGUP:)"], []),
    "while an agent rings": (DIAL, ["200 result=-1"], [ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")]),
    "after the talk": (
        DIAL,
        ["200 result=0", "200 result=1 (ANSWER)", "200 result=1 (16)", "200 result=1 (PJSIP/d101-1)"],
        [ev.DialFinished(NOW, S, OFFER, 0, "ANSWER", "PJSIP/d101-1")],
    ),
    "while listening": (cmd.Spy(S, 1, DeviceName("d1")), ["200 result=-1"], [ev.SpyFinished(NOW, S, 1)]),
}


@pytest.mark.parametrize("point", HANGUPS)
@pytest.mark.parametrize("early", [False, True], ids=["after the reply", "before the reply"])
async def test_a_hang_up_at_any_point_closes_the_socket_and_is_told_once(point: str, early: bool) -> None:
    """Asterisk writes HANGUP before the reply or after it, as its buffers will have it."""
    command, replies, told = HANGUPS[point]
    async with opened() as office, calling(office) as caller:
        if command is None:
            await caller.hang_up()
        else:
            office.sessions.submit(command)
        for n, reply in enumerate(replies):
            await caller.read_command()
            is_last = n == len(replies) - 1
            await caller.send((b"HANGUP\n" if early and is_last else b"") + f"{reply}\n".encode())
        if not early and replies:
            await caller.hang_up()
        assert await caller.wait_closed() == b"", "nothing is commanded any more"
        await office.until_told(*told, ENDED)


async def test_who_hangs_up_while_being_asked_is_not_told_to_have_pressed_nothing() -> None:
    """Asterisk answers 0 and no keys, as for silence: only READSTATUS tells them apart."""
    async with opened() as office, calling(office) as caller:
        await said(office, caller, cmd.Ask(S, 1, (HELLO,), 1), "200 result=0", "200 result=1 (HANGUP:)")
        await caller.wait_closed()
        await office.until_told(ENDED)


# -- ending: what Asterisk refuses -----------------------------------------------------------------------------------

BROKEN: list[tuple[str, cmd.Command, list[str], str, list[ev.Event]]] = [
    ("unknown", cmd.PlayMusic(S, "a"), [UNKNOWN], "agi_refused", []),
    ("usage", cmd.RideAlong(S, (("A", "b"),)), [USAGE], "agi_refused", []),
    ("dead", cmd.Ask(S, 1, (HELLO,)), [DEAD], "agi_refused", []),
    ("no such file", cmd.Ask(S, 1, (HELLO,), 1), ["200 result=0", "200 result=1 (ERROR:)"], "agi_refused", []),
    ("no app_dial", DIAL, ["200 result=-2"], "pbx_module_missing", [ev.DialFinished(NOW, S, OFFER, -1, "CANCEL")]),
    ("no app_read", cmd.Ask(S, 1, (HELLO,), 1), ["200 result=-2"], "pbx_module_missing", []),
    ("no app_chanspy", cmd.Spy(S, 1, DeviceName("d")), ["200 result=-2"], "pbx_module_missing", []),
    ("no prompt", cmd.Ask(S, 1, (cmd.PromptRef("missing", "fa"),), 1), [], "prompt_missing", []),
    ("unsendable", cmd.PlayMusic(S, "a\nb"), [], "agi_unsendable", []),
]


@pytest.mark.parametrize(("command", "replies", "code", "told"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
async def test_what_can_not_be_done_breaks_the_session_off_without_saying_that_it_is_done(
    command: cmd.Command, replies: list[str], code: str, told: list[ev.Event]
) -> None:
    async with opened() as office, calling(office) as caller:
        await said(office, caller, command, *replies)
        assert await caller.wait_closed() == b""
        assert not any("CCSVC_DONE" in line for line in caller.commands)
        await office.until_told(*told, ev.SessionBroke(NOW, S, code), ENDED)
        line = office.lines[-1]
        assert (line["event"], line["code"], bool(line["reason"])) == ("session broken off", code, True)


async def test_a_call_that_can_not_be_recorded_goes_on() -> None:
    async with opened() as office, calling(office) as caller:
        await said(office, caller, cmd.RecordCall(S, "a.wav"), "200 result=-2")
        assert await said(office, caller, cmd.PlayMusic(S, "on"), "200 result=0") == ['SET MUSIC "ON" "on"']
        assert office.lines[-1]["code"] == "pbx_module_missing"
        assert office.told == []


async def test_bytes_that_are_no_agi_break_the_session_off() -> None:
    async with opened() as office, calling(office) as caller:
        await caller.send(b"agi_uniqueid: 666\n")
        await caller.wait_closed()
        await eventually(lambda: office.told[-1:] == [ENDED], "the end told")
        assert office.told.count(ENDED) == 1


async def test_a_mailbox_that_runs_over_breaks_the_session_off() -> None:
    async with opened() as office, calling(office) as caller:
        office.sessions.submit(cmd.Ask(S, 1, (HELLO,)))
        await caller.read_command()
        for n in range(MAILBOX_LIMIT + 1):
            office.sessions.submit(cmd.PlayMusic(S, str(n)))
        await asyncio.wait_for(caller.wait_closed(), 3)
        await office.until_told(ev.SessionBroke(NOW, S, "agi_busy"), ENDED)


async def test_an_answer_that_can_not_be_told_ends_the_session_because_nothing_would_follow() -> None:
    async with opened() as office, calling(office) as caller:
        office.sessions.submit(cmd.Ask(S, 1, (HELLO,)))
        await caller.read_command()
        office.inbox.is_full = True
        await caller.reply()
        assert await caller.wait_closed() == b""
        assert office.lines[-1]["code"] == "agi"


async def test_when_the_daemon_ends_every_session_is_told_and_closed_without_saying_that_it_is_done() -> None:
    office = Office()
    await office.server.start()
    async with calling(office, uniqueid="1.1") as waiting, calling(office, uniqueid="1.2") as ringing:
        office.sessions.submit(cmd.DialAgent(SessionId(2), OFFER, DeviceName("d1"), 5, "m"))
        await ringing.read_command()
        await office.server.close(0)
        assert await waiting.wait_closed() == await ringing.wait_closed() == b""
        assert {type(e) for e in office.told} == {ev.SessionEnded, ev.DialFinished}
        assert sorted(e.session for e in office.told if isinstance(e, ev.SessionEnded)) == [1, 2]


async def test_no_task_is_left_of_sessions_that_are_over() -> None:
    async with opened() as office:
        for _ in range(5):
            async with calling(office):
                pass

        def left() -> set[str]:
            return {t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("agi-session")}

        await eventually(lambda: not left(), f"no task left: {left()}")
