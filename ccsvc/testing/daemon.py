"""The daemon as a process of its own: started, asked, stopped, stopped dead and killed, as an operator's would be.

Promises: it is up when `/health/live` answers and its AGI port listens; its log is kept in a file; it ends with the
process that started it. Knows the daemon only from outside: its command line, its HTTP port and its signals.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from ccsvc.errors import CcsvcError
from ccsvc.settings import Settings
from ccsvc.testing.child import bound_to_parent

START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
_LOOK_EVERY_S = 0.02


class DaemonNotRunning(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """The daemon did not come up or has ended; the message ends with its log."""

    code = "daemon_not_running"


class DaemonProcess:
    def __init__(self, settings: Settings, config: Path, log_file: Path, *, watchdog: bool = False) -> None:
        self._settings, self._config, self._log_file, self._watchdog = settings, config, log_file, watchdog
        self._process: asyncio.subprocess.Process | None = None
        self._watched: int | None = None

    def watch(self, pid: int) -> None:
        """Look at a daemon that somebody else started and will stop."""
        self._watched = pid

    @property
    def pid(self) -> int | None:
        if self._watched is not None:
            return self._watched
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def log_file(self) -> Path:
        """What it says: JSON lines, and whatever else a program that fails prints."""
        return self._log_file

    @property
    def url(self) -> str:
        return f"http://{self._settings.http.host}:{self._settings.http.port}"

    async def start(self, *, connected: bool = True) -> None:
        """Start it and wait until it serves; with `connected` also until it has seen the PBX."""
        arguments = [sys.executable, "-m", "ccsvc", "run", "--config", str(self._config)]
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *bound_to_parent([*arguments, *([] if self._watchdog else ["--no-watchdog"])]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the one who started it
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            await asyncio.wait_for(self._up(connected=connected), START_LIMIT_S)
        except TimeoutError:
            await self.kill()
            raise DaemonNotRunning(f"not up within {START_LIMIT_S:g} s:\n{self.log_tail()}") from None

    async def _up(self, *, connected: bool) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                if self.pid is None:
                    raise DaemonNotRunning(f"the daemon ended while starting:\n{self.log_tail()}")
                with contextlib.suppress(aiohttp.ClientError):  # not listening yet
                    if await self._serves(http, connected=connected):
                        return
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _serves(self, http: aiohttp.ClientSession, *, connected: bool) -> bool:
        async with http.get(f"{self.url}/health/live") as live:
            if live.status != 200:
                return False
        if not connected:
            return True
        async with http.get(f"{self.url}/health/ready") as ready:
            return ready.status == 200

    async def is_ready(self) -> bool:
        """Whether it serves, and has the PBX and the database."""
        try:
            async with aiohttp.ClientSession() as http:
                return await self._serves(http, connected=True)
        except aiohttp.ClientError:
            return False

    async def stop(self) -> int:
        """SIGTERM, and wait; returns the exit status."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
            except TimeoutError:
                await self.kill()
        return process.returncode or 0

    async def kill(self) -> None:
        """SIGKILL, as a crash or the out-of-memory killer would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: the worst that can happen to its callers."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGSTOP)

    async def get(self, path: str) -> Any:
        """JSON of the API."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as answer:
            return json.loads(await answer.read())

    async def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by its name with labels as written there."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        pairs = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def log_lines(self) -> list[dict[str, Any]]:
        """What it logged, parsed; lines that are no JSON come as {"raw": line}."""
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [_parsed(line) for line in lines]

    def log_tail(self, lines: int = 40) -> str:
        if not self._log_file.is_file():
            return "(no log)"
        return "\n".join(self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {"raw": line}
    return found if isinstance(found, dict) else {"raw": line}
