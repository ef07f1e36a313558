"""A real Asterisk with our configuration: it starts quietly, does what the dialplan promises, and leaves nothing."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ccsvc.asterisk.conf_values import GIVE_UP_S
from ccsvc.asterisk.render import cdr_journal, cel_journal, needed_modules, queue_log
from ccsvc.settings import QueueSettings
from ccsvc.testing.pbx import Pbx, PbxNotRunning
from ccsvc.testing.sample import QUEUES, sample_settings
from ccsvc.testing.waiting import eventually

WITNESS = """[witness]
secret = witness
permit = 127.0.0.1/255.255.255.255
read = all
write = call,originate
"""
Headers = dict[str, str]


class Ami:
    """The least AMI that a test needs: one action, its answer; events are left in `events`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.events: list[Headers] = []

    async def do(self, **fields: str) -> Headers:
        lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
        self._writer.write("".join([*lines, "\r\n"]).encode())
        while "Response" not in (message := await self._message()):
            self.events.append(message)
        return message

    async def event(self, name: str) -> Headers:
        while (message := await self._message()).get("Event") != name:
            self.events.append(message)
        return message

    async def _message(self) -> Headers:
        raw = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        pairs = (line.partition(": ") for line in raw.decode(errors="replace").split("\r\n"))
        return {name.rstrip(":"): value for name, _, value in pairs if name}


@asynccontextmanager
async def ami(pbx: Pbx, username: str, secret: str, events: str = "off") -> AsyncIterator[Ami]:
    reader, writer = await asyncio.open_connection(pbx.settings.pbx.host, pbx.settings.pbx.ami_port)
    assert (await reader.readline()).startswith(b"Asterisk Call Manager/")
    link = Ami(reader, writer)
    answer = await link.do(Action="Login", Username=username, Secret=secret, Events=events)
    assert answer["Response"] == "Success", answer
    yield link
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def daemon_ami(pbx: Pbx, events: str = "off") -> AsyncIterator[Ami]:
    async with ami(pbx, pbx.settings.pbx.ami_username, pbx.settings.pbx.ami_secret, events) as link:
        yield link


Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeDaemon:
    """Listens for AGI sessions, keeps their headers and when they came, and does with each what `script` says."""

    def __init__(self, script: Session) -> None:
        self.sessions: list[Headers] = []
        self.came: list[float] = []
        self._script = script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(time.monotonic())
        raw = (await reader.readuntil(b"\n\n")).decode()
        self.sessions.append(dict(line.split(": ", 1) for line in raw.splitlines() if ": " in line))
        await self._script(reader, writer)
        writer.close()


async def hang_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a daemon with a waiting caller: silent until the caller is gone."""
    await reader.readline()


async def let_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a daemon that dies at once."""


def set_and_let_go(variable: str, value: str) -> Session:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f'SET VARIABLE {variable} "{value}"\n'.encode())
        assert (await reader.readline()).startswith(b"200 result=1")

    return script


@asynccontextmanager
async def fake_daemon(pbx: Pbx, script: Session) -> AsyncIterator[FakeDaemon]:
    daemon = FakeDaemon(script)
    async with await asyncio.start_server(daemon.serve, pbx.settings.pbx.agi_host, pbx.settings.pbx.agi_port):
        yield daemon


@pytest_asyncio.fixture(scope="module")
async def pbx() -> AsyncIterator[Pbx]:
    async with Pbx(site={"manager.d/witness.conf": WITNESS}) as pbx:
        yield pbx


@pytest_asyncio.fixture(autouse=True)
async def quiet(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """No call and no heartbeat of one test reaches the next."""
    yield
    if "pbx" in request.fixturenames:
        shared: Pbx = request.getfixturevalue("pbx")
        await shared.cli("channel request hangup all")
        await eventually(lambda: channels_are(shared, 0), "no channel left")
        await beat(shared, at=0)


async def channels_are(pbx: Pbx, count: int) -> bool:
    return f"{count} active channels" in await pbx.cli("core show channels count")


async def beat(pbx: Pbx, at: float | None = None) -> None:
    """One heartbeat, as the daemon gives it."""
    async with daemon_ami(pbx) as link:
        stamp = str(int(time.time() if at is None else at))
        assert (await link.do(Action="Setvar", Variable="CCSVC_ALIVE", Value=stamp))["Response"] == "Success"


CALLER = '"A \\"caller\\"" <0912>'


async def call(pbx: Pbx, number: str, caller_id: str = CALLER, **variables: str) -> None:
    """Somebody calls `number`; `variables` are on the channel that runs the dialplan."""
    async with ami(pbx, "witness", "witness") as link:
        fields = {f"Variable: {name}={value}\r\nX-{name}": "" for name, value in variables.items()}
        answer = await link.do(
            Action="Originate",
            Channel=f"Local/{number}@ccsvc-in",
            Application="Wait",
            Data="30",
            CallerID=caller_id,
            Async="true",
            **fields,
        )
        assert answer["Response"] == "Success", answer


async def waits_in(pbx: Pbx, queue: str) -> bool:
    return f"{queue} has 1 calls" in await pbx.cli(f"queue show {queue}")


async def until_in_queue(pbx: Pbx, queue: str) -> float:
    """Seconds from now until a caller waits in the PBX's own queue."""
    began = time.monotonic()
    await eventually(lambda: waits_in(pbx, queue), f"a caller in the safety net of {queue}", deadline_s=15)
    return time.monotonic() - began


async def test_it_starts_with_every_module_and_nothing_to_complain_about(pbx: Pbx) -> None:
    shown = await pbx.cli("module show")
    for module in needed_modules():
        assert re.search(rf"^{re.escape(module)} .* Running ", shown, re.MULTILINE), module
    assert re.findall(r".*\b(?:WARNING|ERROR)\b.*", pbx.log()) == []


async def test_every_phone_and_queue_of_the_settings_is_known_to_it(pbx: Pbx) -> None:
    endpoints = await pbx.cli("pjsip show endpoints")
    for device in pbx.settings.device:
        assert re.search(rf"Endpoint:  {device.name}/", endpoints), device.name
    for queue in pbx.settings.queue:
        assert f"{queue.name} has 0 calls" in await pbx.cli("queue show")


async def test_the_daemon_may_do_its_work_over_ami(pbx: Pbx) -> None:
    async with daemon_ami(pbx) as link:
        member = {"Queue": "sales", "Interface": "PJSIP/d101"}
        for action in (
            {"Action": "QueueAdd", **member, "MemberName": "101"},
            {"Action": "QueuePause", **member, "Paused": "true"},
            {"Action": "QueueStatus"},
            {"Action": "QueueRemove", **member},
            {"Action": "CoreShowChannels"},
            {"Action": "CoreStatus"},
            {"Action": "DeviceStateList"},
            {"Action": "BridgeList"},
            {"Action": "Getvar", "Variable": "GLOBAL(CCSVC_ALIVE)"},
            {"Action": "LoggerRotate"},
        ):
            answer = await link.do(**action)
            assert answer["Response"] == "Success", (action, answer)
        for name in ("Hangup", "Redirect", "MixMonitorMute", "ControlPlayback", "PlayDTMF", "BlindTransfer"):
            answer = await link.do(Action=name, Channel="none", Context="x", Exten="1", Priority="1", Digit="1")
            assert "ermission" not in answer["Message"], (name, answer)


@pytest.mark.parametrize(
    "action",
    [
        {"Action": "Command", "Command": "core show uptime"},
        {"Action": "GetConfig", "Filename": "manager.conf"},
        {"Action": "UpdateConfig", "SrcFilename": "manager.conf", "DstFilename": "manager.conf"},
        {"Action": "DBPut", "Family": "a", "Key": "b", "Val": "c"},
        {"Action": "ModuleLoad", "LoadType": "load", "Module": "app_system.so"},
        {"Action": "Reload"},
        {"Action": "DialplanExtensionAdd", "Context": "x", "Extension": "1", "Priority": "1", "Application": "NoOp"},
        {"Action": "AGI", "Channel": "x", "Command": "NOOP"},
        {"Action": "Originate", "Channel": "Local/1000@ccsvc-in", "Application": "System", "Data": "id"},
        {"Action": "Getvar", "Variable": "SHELL(id)"},
    ],
    ids=lambda action: action["Action"],
)
async def test_the_daemon_may_not_do_over_ami_what_owns_the_machine(pbx: Pbx, action: Headers) -> None:
    async with daemon_ami(pbx) as link:
        answer = await link.do(**action)
    assert answer["Response"] == "Error"
    assert re.search("denied|Forbidden", answer["Message"]), answer


async def test_a_wrong_secret_is_refused(pbx: Pbx) -> None:
    with pytest.raises(AssertionError, match="Authentication failed"):
        async with ami(pbx, pbx.settings.pbx.ami_username, "wrong"):
            pass


async def test_events_have_microseconds_and_the_costly_ones_are_never_made(pbx: Pbx) -> None:
    async with ami(pbx, "witness", "witness", events="on") as link:
        await call(pbx, "1001")
        assert re.fullmatch(r"\d+\.\d{6}", (await link.event("Newchannel"))["Timestamp"])
        await link.event("MusicOnHoldStart")
        await pbx.cli("channel request hangup all")
        await link.event("Hangup")
        names = {event["Event"] for event in link.events}
    assert not names & {"VarSet", "Newexten", "TestEvent", "RTCPSent", "QueueMemberStatus"}


@dataclass
class Stranded:
    """What became of six callers while a daemon hung: it accepts connections, and its heartbeat stands still."""

    music: Headers
    asked_daemon: int
    waited_s: float
    queues: dict[str, str]

    def where(self, number: str) -> str:
        """The queue that the caller of this number waits in, and how."""
        return next(
            (
                f"{queue} {line}"
                for queue, text in self.queues.items()
                for line in text.splitlines()
                if f"/{number}@" in line
            ),
            "nowhere",
        )


@pytest_asyncio.fixture(scope="module")
async def stranded(pbx: Pbx) -> Stranded:
    async with fake_daemon(pbx, hang_on) as daemon, ami(pbx, "witness", "witness", events="on") as link:
        await beat(pbx, at=time.time() - pbx.settings.pbx.heartbeat_stale_s - 1)
        began = time.monotonic()
        await call(pbx, "1003")
        await call(pbx, "+1002")
        await call(pbx, "1001", CCSVC_QUEUE="billing", CCSVC_PRIO="7")
        await call(pbx, "+1001", CCSVC_QUEUE="nosuch")
        await call(pbx, "+1003", CCSVC_DONE="1", DIALSTATUS="ANSWER")
        await call(pbx, "1000", caller_id="")
        music = await link.event("MusicOnHoldStart")
        await eventually(lambda: waiting_are(pbx, 6), "all in the safety net", deadline_s=15)
        waited_s = time.monotonic() - began
        queues = {name: await pbx.cli(f"queue show {name}") for name in QUEUES}
        await pbx.cli("channel request hangup all")
    return Stranded(music, len(daemon.sessions), waited_s, queues)


async def is_looking(pbx: Pbx) -> bool:
    """Somebody is between two looks for the daemon."""
    return "Wait!0.25" in await pbx.cli("core show channels concise")


async def waiting_are(pbx: Pbx, count: int) -> bool:
    found = re.findall(r" has (\d+) calls", await pbx.cli("queue show"))
    return sum(map(int, found)) == count


def test_without_a_daemon_a_caller_hears_music_and_waits_in_the_number_s_own_queue_after_five_seconds(
    stranded: Stranded,
) -> None:
    assert stranded.music["Class"] == "default"
    assert stranded.where("1003").startswith("billing ")
    assert 3.5 < stranded.waited_s < 9


def test_a_number_is_reached_with_a_plus_as_well(stranded: Stranded) -> None:
    assert stranded.where("+1002").startswith("support ")


def test_a_caller_who_waited_in_a_queue_goes_back_to_that_one_with_the_priority_they_had(stranded: Stranded) -> None:
    assert stranded.where("1001").startswith("billing ")
    assert "prio: 7)" in stranded.where("1001")


def test_a_queue_that_the_pbx_does_not_know_is_no_reason_to_lose_a_caller(stranded: Stranded) -> None:
    assert stranded.where("+1001").startswith("sales ")


def test_a_new_call_starts_without_the_marks_of_an_old_one(stranded: Stranded) -> None:
    assert stranded.where("+1003").startswith("billing ")


def test_a_caller_without_a_name_or_number_is_a_caller(stranded: Stranded) -> None:
    assert stranded.where("1000").startswith("support ")


def test_a_daemon_whose_heartbeat_stands_still_is_not_even_asked(stranded: Stranded) -> None:
    assert stranded.asked_daemon == 0


async def test_a_daemon_that_is_alive_gets_the_caller_at_once_with_all_it_has_to_know(pbx: Pbx) -> None:
    async with fake_daemon(pbx, hang_on) as daemon:
        await beat(pbx)
        began = time.monotonic()
        await call(pbx, "+1000", CCSVC_STATE="of-the-call-before-a-transfer")
        await eventually(lambda: daemon.sessions, "an AGI session")
        assert daemon.came[0] - began < 1
        header = daemon.sessions[0]
        assert header["agi_network_script"] == "call"
        assert [header[f"agi_arg_{n}"] for n in (1, 4)] == ["", "1000"]
        await pbx.cli("channel request hangup all")


async def test_a_daemon_that_starts_in_time_gets_the_caller_who_waited_for_it(pbx: Pbx) -> None:
    await call(pbx, "1001")
    await eventually(lambda: is_looking(pbx), "a caller who looks for a daemon", deadline_s=2)
    async with fake_daemon(pbx, hang_on) as daemon:
        began = time.monotonic()
        await beat(pbx)
        await eventually(lambda: daemon.sessions, "an AGI session", deadline_s=3)
        assert daemon.came[0] - began < 1
        await pbx.cli("channel request hangup all")


async def test_a_daemon_that_dies_again_and_again_is_asked_at_most_twenty_times(pbx: Pbx) -> None:
    async with fake_daemon(pbx, let_go) as daemon:
        await beat(pbx, at=time.time() + 60)
        await call(pbx, "1001")
        assert 3.5 < await until_in_queue(pbx, "sales") < 8
        assert 10 <= len(daemon.sessions) <= 20


async def test_after_a_session_that_lasted_the_caller_waits_the_whole_time_for_a_new_daemon(pbx: Pbx) -> None:
    async def last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(GIVE_UP_S + 1)  # the scene, not a wait for something: longer than the PBX would look

    async with fake_daemon(pbx, last) as daemon:
        await beat(pbx, at=time.time() + 60)
        await call(pbx, "1001")
        await eventually(lambda: daemon.sessions, "a first session")
    await eventually(lambda: is_looking(pbx), "a caller who looks for a daemon", deadline_s=10)
    assert 3.5 < await until_in_queue(pbx, "sales") < 8


@pytest.mark.parametrize(("variable", "value"), [("CCSVC_DONE", "1"), ("DIALSTATUS", "ANSWER")])
async def test_a_call_that_is_over_is_hung_up_and_not_tried_again(pbx: Pbx, variable: str, value: str) -> None:
    async with fake_daemon(pbx, set_and_let_go(variable, value)) as daemon:
        await beat(pbx)
        await call(pbx, "1001")
        await eventually(lambda: daemon.sessions, "an AGI session")
        await eventually(lambda: channels_are(pbx, 0), "the channel gone", deadline_s=2)
        assert len(daemon.sessions) == 1


async def feature(pbx: Pbx, code: str) -> None:
    async with ami(pbx, "witness", "witness") as link:
        await link.do(
            Action="Originate", Channel=f"Local/{code}@ccsvc-phones", Application="Wait", Data="5", Async="true"
        )


@pytest.mark.parametrize(
    ("code", "verb", "argument"),
    [
        ("*10", "login", ""),
        ("*11", "logout", ""),
        ("*12", "pause", ""),
        ("*13", "ready", ""),
        ("*14", "end_wrap_up", ""),
        ("*15", "waiting_count", ""),
        ("*20101", "listen", "101"),
        ("*201x0;1", "listen", "101"),
    ],
)
async def test_a_feature_code_asks_the_daemon_for_its_verb(pbx: Pbx, code: str, verb: str, argument: str) -> None:
    async with fake_daemon(pbx, let_go) as daemon:
        await beat(pbx)
        await feature(pbx, code)
        await eventually(lambda: daemon.sessions, "an AGI session")
        header = daemon.sessions[0]
        assert header["agi_network_script"] == "feature"
        assert (header["agi_arg_1"], header.get("agi_arg_2", "")) == (verb, argument.replace("x0;1", "01"))
        await eventually(lambda: channels_are(pbx, 0), "the phone free again")


async def test_a_feature_code_without_a_daemon_ends_at_once(pbx: Pbx) -> None:
    async with fake_daemon(pbx, let_go) as daemon:
        await feature(pbx, "*10")
        await eventually(lambda: channels_are(pbx, 0), "the phone free again", deadline_s=2)
        assert daemon.sessions == []


async def test_the_journals_are_json_whatever_the_caller_calls_themselves(pbx: Pbx) -> None:
    await call(pbx, "1001")
    await until_in_queue(pbx, "sales")
    await pbx.cli("channel request hangup all")
    await eventually(lambda: b"LINKEDID_END" in last_line(cel_journal(pbx.settings)), "the end in the journal")
    events = [json.loads(line) for line in cel_journal(pbx.settings).read_bytes().splitlines()]
    assert {"CHAN_START", "ANSWER", "APP_START", "APP_END", "HANGUP", "CHAN_END", "LINKEDID_END"} <= {
        event["eventtype"] for event in events
    }
    assert all(isinstance(event["eventtime"], float) and isinstance(event["uniqueid"], str) for event in events)
    assert all(event["uniqueid"].startswith(f"{pbx.settings.pbx.name}-") for event in events)
    records = [
        json.loads(line) for line in cdr_journal(pbx.settings).read_bytes().splitlines() if b"ccsvc-call" in line
    ]
    assert records[-1]["did"] == "1001"
    assert "|sales|NONE|ENTERQUEUE|" in queue_log(pbx.settings).read_text()


def last_line(path: Path) -> bytes:
    return path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]


async def test_a_reload_keeps_the_heartbeat_and_takes_a_new_queue(pbx: Pbx) -> None:
    await beat(pbx, at=4711)
    settings = replace(pbx.settings, queue=(*pbx.settings.queue, QueueSettings(name="vip")))
    assert [path.name for path in pbx.configure(settings)] == ["queues.conf"]
    await pbx.reload()
    await eventually(lambda: knows_queue(pbx, "vip"), "the new queue")
    async with daemon_ami(pbx) as link:
        assert (await link.do(Action="Getvar", Variable="GLOBAL(CCSVC_ALIVE)"))["Value"] == "4711"


async def knows_queue(pbx: Pbx, queue: str) -> bool:
    return f"{queue} has" in await pbx.cli(f"queue show {queue}")


async def test_the_tests_before_this_one_made_it_complain_of_nothing_but_an_absent_daemon(pbx: Pbx) -> None:
    complaints = re.findall(r".*\b(?:WARNING|ERROR)\b.*", pbx.log())
    expected = "FastAGI failed|Connection refused|item requested: 'endpoint'|failed to authenticate|No such channel"
    assert [line for line in complaints if not re.search(expected, line)] == []


async def test_after_a_crash_it_comes_back_on_the_same_ports_with_the_agents_who_were_logged_in() -> None:
    async with Pbx() as pbx:
        async with daemon_ami(pbx) as link:
            await link.do(Action="QueueAdd", Queue="sales", Interface="PJSIP/d101", MemberName="101", Paused="true")
        await eventually(lambda: "PJSIP/d101" in saved_members(pbx), "the agent on disk")
        before, old = pbx.settings, pbx.pid
        await pbx.kill()
        assert pbx.pid is None
        with pytest.raises(PbxNotRunning):
            await pbx.cli("core show uptime")
        await pbx.start()
        assert pbx.settings == before
        assert pbx.pid != old
        assert re.search(r"101 \(PJSIP/d101\).*\(paused", await pbx.cli("queue show sales"))
        await pbx.restart()
        assert "PJSIP/d101" in await pbx.cli("queue show sales")


def saved_members(pbx: Pbx) -> str:
    """What a restart will know: the PBX writes its database once a second."""
    with closing(sqlite3.connect(f"file:{pbx.dir}/state/astdb.sqlite3?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT value FROM astdb WHERE key = '/Queue/PersistentMembers/sales'").fetchall()
    return str(rows)


def exists(path: Path | str) -> bool:
    return Path(path).exists()


async def test_two_run_side_by_side_and_leave_neither_process_nor_port_nor_folder() -> None:
    async with Pbx() as one, Pbx() as other:
        ports = {port for pbx in (one, other) for port in (pbx.settings.pbx.sip_port, pbx.settings.pbx.ami_port)}
        assert len(ports) == 4
        pids = [one.pid, other.pid]
        folders = [one.dir, other.dir]
    for pid in pids:
        assert pid is not None
        assert not exists(f"/proc/{pid}")
    assert not any(map(exists, folders))
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


async def test_a_long_folder_gets_a_control_socket_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    async with Pbx(folder=folder) as pbx:
        assert "Asterisk" in await pbx.cli("core show version")
        run_dir = Path(pbx.settings.pbx.run_dir)
    assert exists(folder)
    assert not exists(run_dir)


async def test_a_configuration_that_it_refuses_is_an_error_with_the_end_of_its_log() -> None:
    broken = Pbx(sample_settings(), site={"modules.d/broken.conf": "require = no_such_module.so\n"})
    with pytest.raises(PbxNotRunning, match="no_such_module"):
        await broken.start()
    await broken.close()


OWNER = """
import asyncio
from ccsvc.testing.pbx import Pbx

async def main():
    async with Pbx() as pbx:
        print(pbx.pid, pbx.dir, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_ends_with_the_process_that_started_it() -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    pid, folder = (await asyncio.wait_for(owner.stdout.readline(), 40)).decode().split()
    assert exists(f"/proc/{pid}")
    os.kill(owner.pid, signal.SIGKILL)
    await owner.wait()
    await eventually(lambda: not exists(f"/proc/{pid}"), "the PBX gone too")
    remove = await asyncio.create_subprocess_exec("rm", "-r", folder)
    assert await remove.wait() == 0
