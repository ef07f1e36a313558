"""What operators get wrong and machines lack: each case ends in one clear sentence, or in a daemon that says so."""

import asyncio
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from msgspec.structs import replace
from structlog.testing import capture_logs

from ccsvc.asterisk.recordings import RecordingFolder
from ccsvc.asterisk.render import cel_journal
from ccsvc.bootstrap import Daemon, PartEnded, make_prompts
from ccsvc.domain.commands import Write
from ccsvc.errors import PortTaken, PromptMissing, RecordingFolderUnwritable, SpoolTaken
from ccsvc.postgres.migrate import migrate
from ccsvc.settings import Settings
from ccsvc.testing.child import bound_to_parent
from ccsvc.testing.fake_ami import FakeAmi
from ccsvc.testing.pbx import Pbx
from ccsvc.testing.prefix import cache_root
from ccsvc.testing.sample import sample_settings
from ccsvc.testing.tomltext import toml_of
from ccsvc.testing.waiting import eventually
from tests.row_samples import call_row

NOWHERE = "postgresql://ccsvc@127.0.0.1:1/ccsvc"
LIMIT_S = 30


class AnyPrompt:
    """Every sentence is there, for daemons that nobody will call."""

    def path(self, name: str, language: str) -> str:
        return f"/prompts/{language}/{name}"

    def duration_s(self, name: str, language: str) -> float:
        return 1.0


def private(folder: Path, settings: Settings | None = None, *, dsn: str = NOWHERE) -> Settings:
    """A contact centre whose folders lie in `folder`; ports are given by the kernel, and there is no PBX."""
    settings = settings or sample_settings()
    return replace(
        settings,
        pbx=replace(settings.pbx, ami_port=1, agi_port=0, log_dir=str(folder / "log")),
        http=replace(settings.http, host="127.0.0.1", port=0),
        postgres=replace(settings.postgres, dsn=dsn),
        recording=replace(settings.recording, dir=str(folder / "recordings")),
        prompts=replace(settings.prompts, cache_dir=str(cache_root() / "sounds/prompts")),
        state=replace(settings.state, dir=str(folder / "state")),
    )


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Daemon]:
    """A daemon in this process. Whatever its start raises, nothing of it is left."""
    before = names_of_tasks()
    daemon = Daemon(settings, AnyPrompt())
    try:
        await daemon.start()
        yield daemon
    finally:
        await daemon.stop()
    assert names_of_tasks() <= before


def names_of_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("ccsvc-")}


async def refused(settings: Settings, kind: type[Exception]) -> str:
    """What the start of this daemon says."""
    with pytest.raises(kind) as caught:
        async with started(settings):
            pass
    return str(caught.value)


@dataclass
class Ended:
    status: int
    text: str


class Command:
    """`ccsvc …` as a process, as an operator starts it."""

    def __init__(self, folder: Path, settings: Settings, text: str = "") -> None:
        self.config, self.log = folder / "ccsvc.toml", folder / "ccsvc.log"
        self.config.write_text(toml_of(settings) + text, encoding="utf-8")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> None:
        guards = ("CCSVC_PULSE_FD", "WATCHDOG_USEC", "NOTIFY_SOCKET")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *bound_to_parent([sys.executable, "-m", "ccsvc", *arguments, "--config", str(self.config)]),
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name not in guards},
            )

    async def ended(self) -> Ended:
        assert self.process is not None
        try:
            status = await asyncio.wait_for(self.process.wait(), LIMIT_S)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
        return Ended(status, self.log.read_text())

    async def run(self, *arguments: str) -> Ended:
        await self.start(*arguments)
        return await self.ended()


def assert_clear(ended: Ended, *words: str) -> None:
    """Exit status 1, one text for a person at the end, no trace."""
    assert ended.status == 1, ended.text
    assert "Traceback" not in ended.text
    last = next(line for line in reversed(ended.text.split("\n")) if line.startswith("ccsvc: "))
    for word in words:
        assert word in ended.text[ended.text.rindex(last) :]


@asynccontextmanager
async def taken_port() -> AsyncIterator[int]:
    """A port on which somebody else listens."""
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


# -- configuration and ports -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [[], ["--no-watchdog"]], ids=["guarded", "alone"])
async def test_an_unknown_key_stops_the_daemon_before_it_begins(tmp_path: Path, how: list[str]) -> None:
    command = Command(tmp_path, private(tmp_path), text="\n[[trunk]]\nname = 'x'\nhost = '10.0.0.1'\nmatches = []\n")
    assert_clear(await command.run("run", *how), "ccsvc.toml: ", "trunk.x.matches", "did you mean 'match'?")
    assert not (tmp_path / "state").exists()


async def test_an_agi_port_that_is_taken_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    async with taken_port() as port:
        settings = private(tmp_path)
        settings = replace(settings, pbx=replace(settings.pbx, agi_port=port))
        said = await refused(settings, PortTaken)
        assert said.startswith(f"AGI can't listen on 127.0.0.1 port {port}: another program has this port; ")


async def test_an_http_port_that_is_taken_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    async with taken_port() as port:
        settings = private(tmp_path)
        said = await refused(replace(settings, http=replace(settings.http, port=port)), PortTaken)
        assert said.startswith(f"HTTP can't listen on 127.0.0.1 port {port}: another program has this port; ")


async def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    settings = private(tmp_path)
    async with started(settings) as first:
        said = await refused(settings, SpoolTaken)
        assert str(tmp_path / "state") in said
        first.runner.execute([Write(call_row("a"))])
        assert first.spool.pending_rows == 1
        assert first.runner.counters.rows_lost == 0


# -- folders, sentences, journal -------------------------------------------------------------------------------------


async def test_a_recordings_folder_that_can_not_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file in the way")
    said = await refused(private(tmp_path), RecordingFolderUnwritable)
    assert said.startswith(f"recordings can't be written to {tmp_path}/recordings (")
    assert "[recording] dir" in said


async def test_a_recorded_sentence_that_can_not_be_played_stops_the_start_with_its_file(tmp_path: Path) -> None:
    settings = private(tmp_path)
    recorded = tmp_path / "recorded"
    (recorded / "en").mkdir(parents=True)
    (recorded / "en/main.welcome.wav").write_text("this is no sound")
    (recorded / "en/agent_ready.wav").mkdir()
    settings = replace(settings, prompts=replace(settings.prompts, recorded_dir=str(recorded)))
    with pytest.raises(PromptMissing) as caught:
        await asyncio.to_thread(make_prompts, settings)
    assert len(caught.value.faults) == 2, "all faults at once"
    for name in ("main.welcome", "agent_ready"):
        assert any(f"{recorded}/en/{name}.wav" in fault for fault in caught.value.faults)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"no sound at all" * 10,
        b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(16) + b"data\0\0\0\0",
    ],
    ids=["empty", "cut off", "text", "a rate of 0"],
)
async def test_a_recording_that_makes_no_sense_is_none_and_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert await RecordingFolder(tmp_path).measure("a.wav") is None


async def test_a_recording_is_measured_in_seconds_and_bytes(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 12000))
    folder = RecordingFolder(tmp_path)
    assert await folder.measure("a.wav") == (1.5, 24044)
    assert await folder.measure("none.wav") is None
    assert await folder.measure("nul\0.wav") is None


async def test_a_journal_that_can_not_be_read_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    settings = private(tmp_path)
    async with started(settings) as daemon:
        daemon.runner.execute([Write(call_row("a"))])
    cel_journal(settings).mkdir(parents=True)
    async with started(settings) as daemon:
        assert [call.call_id for call in daemon.runner.view().calls] == ["pbx1/a"]


# -- the PBX ---------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module")
async def pbx() -> AsyncIterator[Pbx]:
    """A real one that can say which modules it runs."""
    async with Pbx(site={"modules.d/says.conf": "load = func_module.so\n"}) as pbx:
        yield pbx


def at(pbx: Pbx, settings: Settings, **changes: Any) -> Settings:
    """The settings with this PBX's AMI."""
    real = pbx.settings.pbx
    wanted = {"ami_port": real.ami_port, "ami_secret": real.ami_secret, "ami_username": real.ami_username, **changes}
    return replace(settings, pbx=replace(settings.pbx, **wanted))


async def test_a_login_that_the_pbx_refuses_ends_the_daemon_with_one_sentence(pbx: Pbx, tmp_path: Path) -> None:
    command = Command(tmp_path, at(pbx, private(tmp_path), ami_secret="not-this-one"))
    ended = await command.run("run")
    where = f"Asterisk at 127.0.0.1:{pbx.settings.pbx.ami_port} refused the manager login of 'ccsvc'"
    assert_clear(ended, where, "Authentication failed", "ami_secret against manager.conf")
    assert "not-this-one" not in ended.text


async def test_a_pbx_that_is_away_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    async with started(private(tmp_path)) as daemon:
        (about_pbx, _) = daemon.readiness()
        assert about_pbx.startswith("the PBX is not connected (can't connect (")


async def reasons(daemon: Daemon, word: str, *, present: bool = True) -> str:
    """The reason not to be ready in which the word stands, once there is one (or none any more)."""

    def look() -> list[str]:
        found = [reason for reason in daemon.readiness() if word in reason]
        return (found or []) if present else ([] if found else ["gone"])

    return (await eventually(look, f"{word} in {daemon.readiness()}" if present else f"no {word}"))[0]


async def test_a_module_that_the_pbx_lacks_is_said_with_what_it_is_needed_for(pbx: Pbx, tmp_path: Path) -> None:
    await pbx.cli("module unload app_read.so")
    try:
        async with started(at(pbx, private(tmp_path))) as daemon:
            said = await reasons(daemon, "app_read.so")
            assert said.startswith(
                "Asterisk has not loaded app_read.so, needed for asking callers and agents for keys: "
            )
            assert [error.module for error in daemon.switch.missing] == ["app_read.so"]
    finally:
        await pbx.cli("module load app_read.so")


async def test_a_pbx_with_every_module_is_not_complained_about_whether_it_can_say_so_or_not(
    pbx: Pbx, tmp_path: Path
) -> None:
    async with started(at(pbx, private(tmp_path))) as daemon:
        await reasons(daemon, "PBX", present=False)
        await eventually(lambda: "ccsvc-modules" not in names_of_tasks(), "the modules asked for")
        assert daemon.switch.missing == ()
        await pbx.cli("module unload func_module.so")
        try:
            await daemon.switch._check_modules()
            assert daemon.switch.missing == ()
        finally:
            await pbx.cli("module load func_module.so")


async def test_a_daemon_that_waits_for_its_pbx_to_boot_ends_when_it_is_told_to(tmp_path: Path) -> None:
    async with FakeAmi() as never_boots:
        never_boots.fully_booted = False
        settings = private(tmp_path)
        settings = replace(
            settings, pbx=replace(settings.pbx, ami_port=never_boots.port, ami_username="ccsvc", ami_secret="secret")
        )
        command = Command(tmp_path, settings)
        await command.start("run", "--no-watchdog")
        await eventually(lambda: never_boots.session_count == 2, "both sessions", deadline_s=LIMIT_S)
        assert command.process is not None
        command.process.send_signal(signal.SIGTERM)
        ended = await command.ended()
        assert (ended.status, "Traceback" in ended.text) == (0, False), ended.text


# -- the database ----------------------------------------------------------------------------------------------------


async def test_a_database_that_is_away_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    async with started(private(tmp_path)) as daemon:
        said = await reasons(daemon, "the database takes no rows (C")
        assert said.startswith("the database takes no rows (ConnectionRefusedError: ")
        assert said.endswith(": 0 rows are kept on disk")


async def test_an_older_schema_is_said_by_health_and_log_until_somebody_migrates(
    tmp_path: Path, pbx: Pbx, empty_dsn: str
) -> None:
    with capture_logs() as lines:
        async with started(at(pbx, private(tmp_path, dsn=empty_dsn))) as daemon:
            await outdated_until_migrated(daemon, empty_dsn)
    told = [line for line in lines if "run `ccsvc migrate`" in line.get("error", "")]
    assert [line["log_level"] for line in told] == ["warning"], "said once, not at every try"


async def outdated_until_migrated(daemon: Daemon, dsn: str) -> None:
    daemon.runner.execute([Write(call_row("a"))])
    assert "SchemaOutdated: the database lacks 0001_" in await reasons(daemon, "run `ccsvc migrate`")
    status, said = await ready(daemon)
    assert (status, "run `ccsvc migrate`" in said, "1 rows are kept on disk" in said) == (503, True, True)
    await migrate(dsn)
    await eventually(lambda: daemon.readiness() == [], "ready", deadline_s=LIMIT_S)
    assert await ready(daemon) == (200, "[]")
    await eventually(lambda: daemon.spool.pending_rows == 0, "the row written")


async def ready(daemon: Daemon) -> tuple[int, str]:
    url = f"http://127.0.0.1:{daemon.web.port}/health/ready"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()


async def test_migrating_a_database_that_is_away_ends_with_one_sentence(tmp_path: Path) -> None:
    command = Command(tmp_path, private(tmp_path))
    assert_clear(await command.run("migrate"), "PostgreSQL can't be reached: ", "check [postgres] dsn")


# -- parts that fail -------------------------------------------------------------------------------------------------


class Mortal:
    """In the heartbeat's place."""

    async def run(self) -> None:
        raise ZeroDivisionError("a fault of ours")


async def test_a_part_that_ends_by_itself_ends_the_daemon_with_its_name(tmp_path: Path) -> None:
    daemon = Daemon(private(tmp_path), AnyPrompt())
    daemon.heartbeat = Mortal()  # type: ignore[assignment]
    try:
        with pytest.raises(PartEnded, match=r"ccsvc-heartbeat has ended by itself .*a fault of ours"):
            await asyncio.wait_for(daemon.live(), LIMIT_S)
    finally:
        await daemon.stop()


async def test_a_stage_of_the_shutdown_that_fails_does_not_keep_the_spool_from_closing(tmp_path: Path) -> None:
    class Stubborn:
        async def close(self) -> None:
            raise ZeroDivisionError("a fault of ours")

    settings = private(tmp_path)
    async with started(settings) as daemon:
        web, daemon.web = daemon.web, Stubborn()  # type: ignore[assignment]
    await web.close()
    async with started(settings):
        pass
