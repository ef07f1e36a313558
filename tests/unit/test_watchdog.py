"""The guard with real processes: what hangs is killed and started again, what ends by itself tells why."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from ccsvc.testing.child import bound_to_parent
from ccsvc.testing.waiting import eventually
from ccsvc.watchdog import NOTIFY_VARIABLE, PULSE_FD_VARIABLE, SYSTEMD_GUARDS_VARIABLE

GUARD = """
import os, sys
from ccsvc.watchdog import Guard
start_limit_s = float(os.environ.get("START_LIMIT_S", "10"))
sys.exit(Guard([sys.executable, *sys.argv[1:]], stall_limit_s=0.8, start_limit_s=start_limit_s).run())
"""
CHILD = """
import os, pathlib, signal, sys, time
from ccsvc.watchdog import pulse
life = len(list(pathlib.Path(sys.argv[1]).glob("life-*"))) + 1
pathlib.Path(sys.argv[1], f"life-{life}").write_text(str(os.getpid()))
def note(what):
    with open(pathlib.Path(sys.argv[1], "notes"), "a") as notes:
        notes.write(what + "\\n")
def beat_for_ever():
    while True:
        pulse()
        time.sleep(0.05)
"""


@dataclass
class Kennel:
    """A guard, what it guards, and what was said."""

    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self, body: str, **environment: str) -> None:
        child = self.folder / "child.py"
        child.write_text(CHILD + body)
        guards = {PULSE_FD_VARIABLE, NOTIFY_VARIABLE, SYSTEMD_GUARDS_VARIABLE}
        kept = {name: value for name, value in os.environ.items() if name not in guards}
        with (self.folder / "said").open("wb") as said:
            self.process = await asyncio.create_subprocess_exec(
                *bound_to_parent([sys.executable, "-c", GUARD, str(child), str(self.folder)]),
                stderr=said,
                env={**kept, **environment},
            )

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def notes(self) -> list[str]:
        file = self.folder / "notes"
        return file.read_text().split() if file.exists() else []

    def pid(self, life: int) -> int:
        """The process of that life; 0 while there is none yet."""
        file = self.folder / f"life-{life}"
        return int(file.read_text() or 0) if file.exists() else 0

    async def in_life(self, life: int) -> int:
        return await eventually(lambda: self.pid(life), f"life {life}: {self.said}")

    async def noted(self, what: str) -> None:
        await eventually(lambda: what in self.notes, f"{what}: {self.said}")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def status(self) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), 10)

    def nobody_left(self) -> bool:
        return not any(is_alive(self.pid(life)) for life in range(1, 10))


def is_alive(pid: int) -> bool:
    return bool(pid) and Path(f"/proc/{pid}").exists()


@pytest_asyncio.fixture
async def kennel(tmp_path: Path) -> AsyncIterator[Kennel]:
    kennel = Kennel(tmp_path)
    try:
        yield kennel
        assert kennel.nobody_left()
    finally:
        if kennel.process is not None and kennel.process.returncode is None:
            kennel.process.kill()
            await kennel.process.wait()
        for life in range(1, 10):
            if is_alive(kennel.pid(life)):
                os.kill(kennel.pid(life), signal.SIGKILL)


async def test_a_daemon_that_hangs_is_killed_and_started_again(kennel: Kennel) -> None:
    await kennel.start("beat_for_ever() if life == 2 else (pulse(), note('hangs'), time.sleep(60))")
    first = await kennel.in_life(1)
    await kennel.in_life(2)
    assert not is_alive(first)
    assert "no heartbeat for 0.8 s: the daemon is killed" in kennel.said
    kennel.signal(signal.SIGTERM)
    assert await kennel.status() == 128 + signal.SIGTERM


async def test_a_daemon_that_is_stopped_dead_is_killed_and_started_again(kennel: Kennel) -> None:
    await kennel.start("note('up') if life == 1 else None; beat_for_ever()")
    first = await kennel.in_life(1)
    await kennel.noted("up")
    os.kill(first, signal.SIGSTOP)
    await kennel.in_life(2)
    assert not is_alive(first)
    kennel.signal(signal.SIGTERM)
    await kennel.status()


async def test_a_daemon_that_crashes_while_it_runs_is_started_again(kennel: Kennel) -> None:
    await kennel.start("beat_for_ever() if life == 2 else (pulse(), os.kill(os.getpid(), signal.SIGSEGV))")
    await kennel.in_life(2)
    assert f"ended with status {128 + signal.SIGSEGV}: starting it again" in kennel.said
    kennel.signal(signal.SIGTERM)
    await kennel.status()


async def test_a_daemon_that_ends_before_its_first_heartbeat_is_not_started_again(kennel: Kennel) -> None:
    await kennel.start("sys.exit(7)")
    assert await kennel.status() == 7
    assert kennel.pid(2) == 0


async def test_a_daemon_that_never_gets_to_its_first_heartbeat_is_killed(kennel: Kennel) -> None:
    await kennel.start("time.sleep(60) if life == 1 else sys.exit(3)", START_LIMIT_S="0.7")
    assert await kennel.status() == 3
    assert "no heartbeat for 0.7 s" in kennel.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
async def test_a_signal_to_end_is_passed_on_and_the_daemon_s_own_status_is_ours(
    kennel: Kennel, number: signal.Signals
) -> None:
    await kennel.start(
        f"signal.signal({int(number)}, lambda *_: (note('asked'), sys.exit(5)))\npulse()\nnote('up')\nbeat_for_ever()"
    )
    await kennel.noted("up")
    kennel.signal(number)
    assert await kennel.status() == 5
    assert kennel.notes == ["up", "asked"]


async def test_a_daemon_that_does_not_end_when_asked_to_and_does_not_beat_is_killed(kennel: Kennel) -> None:
    await kennel.start("signal.signal(15, lambda *_: note('asked'))\npulse()\nnote('up')\nwhile True: time.sleep(60)")
    await kennel.noted("up")
    kennel.signal(signal.SIGTERM)
    assert await kennel.status() == 128 + signal.SIGKILL
    assert kennel.pid(2) == 0


async def test_a_signal_between_two_lives_ends_the_guard(kennel: Kennel) -> None:
    await kennel.start("pulse(); sys.exit(4)")
    await eventually(lambda: "starting it again" in kennel.said, "the pause before the next life")
    kennel.signal(signal.SIGTERM)
    assert await kennel.status() in (4, 128 + signal.SIGTERM)


async def test_systemd_is_told_of_the_first_heartbeat_by_the_guard_itself(kennel: Kennel) -> None:
    """Only from the process that it started does systemd believe it."""
    address = str(kennel.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.setblocking(False)
        await kennel.start(
            "note(str(len(os.environ.get('NOTIFY_SOCKET', '')))); beat_for_ever()", NOTIFY_SOCKET=address
        )
        await kennel.noted("0")
        told = await eventually(lambda: received(systemd), "word to systemd")
        kennel.signal(signal.SIGTERM)
        await kennel.status()
    assert told == b"READY=1"


async def test_a_daemon_that_systemd_guards_tells_it_with_every_heartbeat(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        await run_pulse(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {PULSE_FD_VARIABLE: "99"},
        {PULSE_FD_VARIABLE: "nonsense"},
        {NOTIFY_VARIABLE: "/nowhere/at/all"},
        {NOTIFY_VARIABLE: "@nobody-listens-here"},
    ],
    ids=str,
)
async def test_a_pulse_that_nobody_feels_is_no_error(environment: dict[str, str]) -> None:
    await run_pulse(**environment)


async def run_pulse(**environment: str) -> None:
    code = "from ccsvc.watchdog import pulse; pulse()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, **environment}, cwd=Path(__file__).parents[2]
    )
    assert await asyncio.wait_for(process.wait(), 10) == 0


def received(link: socket.socket) -> bytes:
    try:
        return link.recv(100)
    except BlockingIOError:
        return b""
