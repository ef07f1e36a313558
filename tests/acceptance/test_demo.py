"""`ccsvc demo` as a person starts it: one pass that judges itself, and a demo that is watched, asked and ended."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ccsvc.testing.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
PASS_LIMIT_S = 110
UP_LIMIT_S = 60
END_LIMIT_S = 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets, as pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="ccsvc-demo-") as name:
        yield Path(name)


async def ccsvc(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ccsvc", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )


async def outcome(process: asyncio.subprocess.Process, limit_s: float) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    output, errors = await asyncio.wait_for(process.communicate(), limit_s)
    return process.returncode or 0, output.decode(), errors.decode()


@asynccontextmanager
async def demo(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A demo that does not outlive its test."""
    process = await ccsvc("demo", *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), END_LIMIT_S)


def processes_in(folder: Path) -> list[str]:
    """Whatever runs in the folder, or was started with a path of it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = str((entry / "cwd").readlink())
            except OSError:  # it has ended meanwhile
                continue
            if str(folder) in command or where.startswith(str(folder)):
                found.append(f"{entry.name}: {command}")
    return found


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_one_pass_of_the_demo_finds_itself_good_and_leaves_no_process(folder: Path) -> None:
    async with demo("--once", "--dir", str(folder)) as process:
        status, output, errors = await outcome(process, PASS_LIMIT_S)
    assert status == 0, output + errors
    assert "✗" not in output
    assert output.count("\n✓ ") >= 16, "fewer checks than there were"
    assert processes_in(folder) == []
    assert list((folder / "pbx/recordings").rglob("*.wav")), "the recordings are kept"


async def test_a_demo_is_up_soon_can_be_asked_and_ends_with_ctrl_c(folder: Path) -> None:
    config = folder / "pbx/ccsvc.toml"
    async with demo("--dir", str(folder)) as process:
        assert process.stdout is not None
        async with asyncio.timeout(UP_LIMIT_S):
            async for line in process.stdout:
                if line.startswith(b"up after "):
                    break
        status, screen, errors = await outcome(await ccsvc("status", "--config", str(config)), END_LIMIT_S)
        assert (status, errors) == (0, "")
        assert all(word in screen for word in ("connected", "takes rows", "sales", "support", "billing", "101"))
        assert await eventually(lambda: processes_in(folder), "its processes")

        os.kill(process.pid, signal.SIGINT)
        status, output, errors = await outcome(process, END_LIMIT_S)
    assert (status, errors) == (0, "")
    assert output.splitlines()[-1].startswith("stopped after ")
    assert processes_in(folder) == []

    status, screen, errors = await outcome(await ccsvc("status", "--config", str(config)), END_LIMIT_S)
    assert (status, screen) == (1, "")
    assert errors.count("\n") == 1
    assert "no daemon answers at http://127.0.0.1:" in errors


async def test_the_demo_removes_nothing_that_it_has_not_made(folder: Path) -> None:
    (folder / "a-thing-of-mine").touch()
    async with demo("--dir", str(folder)) as process:
        status, _, errors = await outcome(process, END_LIMIT_S)
    assert status == 1
    assert f"{folder} holds something that no demo made" in errors
    assert names_in(folder) == ["a-thing-of-mine"]
