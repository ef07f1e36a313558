"""One real Asterisk, private to this process: its own folder, ports, configuration and end.

Promises: inside `async with Pbx() as pbx` a whole PBX runs, configured as `ccsvc render` would, on loopback only;
afterwards no process, port or folder is left, and no process or port if this one is killed. Several can run at the
same time. Everything waits for a condition with a limit, and an error shows the end of the PBX's log. It needs what
`ccsvc.testing.prefix` finds, which the first time takes half a minute and the network. It knows no phones and no
daemon.
"""

import array
import asyncio
import contextlib
import math
import os
import shutil
import signal
import tempfile
import wave
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from ccsvc.app.ports_speech import PromptPaths
from ccsvc.asterisk.render import make_directories, render
from ccsvc.errors import PbxError
from ccsvc.settings import PbxSettings, Settings
from ccsvc.testing.child import bound_to_parent
from ccsvc.testing.debian import Progress
from ccsvc.testing.ports import PortBlock, claim_ports
from ccsvc.testing.prefix import AsteriskInstall, find_asterisk
from ccsvc.testing.sample import sample_settings

BOOT_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
CLI_LIMIT_S = 15.0
LOOPBACK = "127.0.0.1"
MUSIC_HZ = 350.0  # what the default music on hold sounds like: a low, soft sine
SOCKET_PATH_LIMIT = 100  # bytes; the kernel's is 108, and the PBX adds a little
_LOOK_EVERY_S = 0.02
_TAIL_LINES = 40

# For the command line of tests (`channel originate`); a production PBX does without.
_TEST_MODULES = {"modules.d/testing.conf": "load = res_clioriginate.so\n"}


class PbxNotRunning(PbxError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """The private PBX did not come up, ended, or does not answer. The message ends with the tail of its log."""

    code = "pbx_not_running"


class Pbx:
    """`site` holds files to add to the configuration (path below it -> text), as in `manager.d/witness.conf`.

    `settings` is the contact centre; its folders, ports and addresses are replaced by private ones. `folder` is kept
    afterwards if given (make it short: a socket lies in it), else one is made and removed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        folder: Path | None = None,
        site: Mapping[str, str] | None = None,
        prompts: PromptPaths | None = None,
        music_dir: Path | None = None,
        install: AsteriskInstall | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._wanted = settings or sample_settings()
        self._site = {**_TEST_MODULES, **(site or {})}
        self._prompts = prompts
        self._music_dir = music_dir
        self._install = install
        self._progress = progress
        self._folder = folder.absolute() if folder else None
        self._made: list[Path] = []
        self._settings: Settings | None = None
        self._ports: PortBlock | None = None
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    async def at(cls, settings: Settings, folder: Path) -> Self:
        """The one that somebody else started there and will stop: for its console."""
        pbx = cls(settings, folder=folder)
        pbx._install, pbx._settings = await asyncio.to_thread(find_asterisk), settings
        return pbx

    @property
    def settings(self) -> Settings:
        """With the private ports and folders. Known once prepared or started."""
        assert self._settings is not None, "the PBX was not prepared"
        return self._settings

    @property
    def dir(self) -> Path:
        """Everything of this PBX is below it: etc, log, run, spool, state, recordings, moh."""
        assert self._folder is not None, "the PBX was not prepared"
        return self._folder

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def prepare(self) -> Settings:
        """Find an Asterisk, take ports, write the configuration; nothing runs yet. Again: does nothing."""
        if self._settings is None:
            self._install = self._install or await asyncio.to_thread(find_asterisk, self._progress)
            self._ports = claim_ports()
            self._folder = self._folder or self._make_folder("ccsvc-")
            self._settings = self._private(self._wanted)
            self._write()
        return self._settings

    async def start(self) -> None:
        """Start, and return when it has fully booted and AMI answers. Raises `PbxNotRunning`, `AsteriskMissing`."""
        await self.prepare()
        assert self.pid is None, "the PBX is running already"
        with (self.dir / "log/console.txt").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                *bound_to_parent(self._command("-f")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env=self._environment(),
            )
        try:
            await asyncio.wait_for(self._booted(), BOOT_LIMIT_S)
        except TimeoutError:
            await self.kill()
            raise PbxNotRunning(self._with_log(f"not up within {BOOT_LIMIT_S:g} s")) from None

    async def stop(self) -> None:
        """Ask it to end; kill it if it has not after `STOP_LIMIT_S`. A PBX that does not run is fine."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """As a crash would: SIGKILL to the whole process group. Folder and ports stay, for a `start()`."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def restart(self) -> None:
        """Stop and start on the same ports with the same state. Raises as `start` does."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """Stop, and leave nothing behind."""
        await self.stop()
        if self._ports is not None:
            self._ports.release()
        for folder in self._made:
            shutil.rmtree(folder, ignore_errors=True)
        self._made.clear()

    async def cli(self, command: str) -> str:
        """Run a command on the PBX's console and return what it prints. Raises `PbxNotRunning`."""
        process = await asyncio.create_subprocess_exec(
            *self._command("-rx", command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment(),
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), CLI_LIMIT_S)
        except BaseException as interrupted:
            with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                process.kill()
            await process.wait()
            if isinstance(interrupted, TimeoutError):
                raise PbxNotRunning(self._with_log(f"{command!r} not done within {CLI_LIMIT_S:g} s")) from None
            raise
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise PbxNotRunning(self._with_log(f"{command!r}: {text.strip()}"))
        return text

    async def reload(self, module: str = "") -> str:
        """Let it read its configuration again: all of it, or one module's, as in `app_queue.so`."""
        return await self.cli(f"module reload {module}".strip())

    def configure(self, settings: Settings) -> list[Path]:
        """Write the configuration for other settings (with this PBX's ports) and return what changed. No reload."""
        self._settings = self._private(settings)
        return self._write()

    def log(self) -> str:
        """All notices, warnings and errors so far."""
        path = self.dir / "log/messages.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines of the log, and of what the process printed before it had one."""
        console = self.dir / "log/console.txt"
        printed = console.read_text(encoding="utf-8", errors="replace") if console.is_file() else ""
        return "\n".join([*printed.splitlines()[-lines:], *self.log().splitlines()[-lines:]])

    async def _booted(self) -> None:
        """`core waitfullybooted` answers when every module has started; before that there is no socket to ask on."""
        control = Path(self.settings.pbx.run_dir) / "asterisk.ctl"
        while True:
            process = self._process
            assert process is not None
            if process.returncode is not None:
                raise PbxNotRunning(self._with_log(f"ended with {process.returncode} while starting"))
            with contextlib.suppress(PbxNotRunning):  # a socket left from before, or not listened on yet
                if control.exists() and "fully booted" in await self.cli("core waitfullybooted"):
                    break
            await asyncio.sleep(_LOOK_EVERY_S)
        await self._manager_answers()

    async def _manager_answers(self) -> None:
        pbx = self.settings.pbx
        try:
            reader, writer = await asyncio.open_connection(pbx.host, pbx.ami_port)
        except OSError as refused:
            raise PbxNotRunning(self._with_log(f"no AMI on {pbx.host} port {pbx.ami_port}: {refused}")) from refused
        banner = await reader.readline()
        writer.close()
        if not banner.startswith(b"Asterisk Call Manager/"):
            raise PbxNotRunning(self._with_log(f"on the AMI port somebody says {banner!r}"))

    def _command(self, *arguments: str) -> tuple[str, ...]:
        assert self._install is not None
        return (*self._install.argv, "-C", f"{self.settings.pbx.config_dir}/asterisk.conf", *arguments)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TZ", "TMPDIR"}}
        return {**kept, "HOME": str(self.dir), "LANG": "C.UTF-8"}

    def _with_log(self, problem: str) -> str:
        return f"the PBX in {self.dir}: {problem}; the end of its log:\n{self.log_tail()}"

    def _make_folder(self, prefix: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._made.append(folder)
        return folder

    def _private(self, settings: Settings) -> Settings:
        """The same contact centre with this PBX's folders, ports and addresses."""
        here = self.dir
        return replace(
            settings,
            pbx=self._private_pbx(settings.pbx),
            http=replace(settings.http, host=LOOPBACK, port=self._port(3)),
            recording=replace(settings.recording, dir=str(here / "recordings")),
            state=replace(settings.state, dir=str(here / "daemon")),
        )

    def _private_pbx(self, pbx: PbxSettings) -> PbxSettings:
        assert self._install is not None
        assert self._ports is not None
        first_rtp, last_rtp = self._ports.sound
        return replace(
            pbx,
            host=LOOPBACK,
            ami_port=self._port(1),
            agi_host=LOOPBACK,
            agi_port=self._port(2),
            sip_bind=LOOPBACK,
            sip_port=self._port(0),
            rtp_first_port=first_rtp,
            rtp_last_port=last_rtp,
            media_address=LOOPBACK,
            config_dir=str(self.dir / "etc"),
            modules_dir=str(self._install.modules_dir),
            data_dir=str(self._install.data_dir),
            state_dir=str(self.dir / "state"),
            spool_dir=str(self.dir / "spool"),
            log_dir=str(self.dir / "log"),
            run_dir=str(self._run_dir()),
        )

    def _run_dir(self) -> Path:
        """Its control socket has a short path, or none."""
        inside = self.dir / "run"
        if len(os.fsencode(inside / "asterisk.ctl")) <= SOCKET_PATH_LIMIT:
            return inside
        if self._settings is not None:
            return Path(self._settings.pbx.run_dir)
        return self._make_folder("ccsvc-run-")

    def _port(self, number: int) -> int:
        assert self._ports is not None
        return self._ports.single(number)

    def _write(self) -> list[Path]:
        make_directories(self.settings)
        music = self._music_dir or self.dir / "moh"
        if self._music_dir is None and not music.is_dir():
            music.mkdir()
            _write_sine(music / "sine.wav")
        target = Path(self.settings.pbx.config_dir)
        changed = render(self.settings, target, prompts=self._prompts, music_dir=music)
        for name, text in self._site.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return changed


def _write_sine(path: Path, seconds: int = 2, rate_hz: int = 8000, amplitude: int = 3000) -> None:
    """A loop without a seam: whole periods, mono, 16 bits."""
    wanted = (amplitude * math.sin(2 * math.pi * MUSIC_HZ * n / rate_hz) for n in range(seconds * rate_hz))
    samples = array.array("h", (round(value) for value in wanted))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
