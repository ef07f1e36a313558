"""A whole contact centre, private to this process: PBX, database, daemon, phones.

Promises: inside `async with Stack(settings) as stack` everything runs on loopback with ports and folders of its own,
and afterwards nothing is left. Each part can be stopped, killed and started again by itself, on the same ports.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import asyncpg
from msgspec.structs import replace

from ccsvc.bootstrap import make_prompts
from ccsvc.postgres.migrate import migrate
from ccsvc.settings import Settings
from ccsvc.speech.music import ensure_music
from ccsvc.testing.daemon import DaemonProcess
from ccsvc.testing.pbx import Pbx
from ccsvc.testing.postgres_server import PostgresServer
from ccsvc.testing.prefix import cache_root
from ccsvc.testing.tomltext import toml_of
from ccsvc.testing.waiting import eventually


class Progress(Protocol):
    """Who wants to know how far a start is. `detail` may come from another thread; raising there ends the start."""

    def step(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Inside it this is being done."""

    def detail(self, what: str, done: int, total: int, seconds: float) -> None:
        """How far that is; `total` 0: nobody knows."""


class NoProgress:
    """Nobody wants to know."""

    def step(self, _what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def detail(self, what: str, done: int, total: int, seconds: float) -> None:
        pass


WITNESS = """[witness]
secret = witness
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
read = call,agent,user,dialplan
write = call,originate,reporting,system
"""


class Stack:
    """`settings` is the contact centre; folders, ports and addresses in it are replaced by private ones.

    `folder` is kept afterwards if given: make it short, sockets lie in it.
    """

    STEPS = 5
    """How many steps `progress` is told of."""

    def __init__(
        self,
        settings: Settings,
        *,
        folder: Path | None = None,
        daemon: bool = True,
        watchdog: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._wanted, self._folder, self._with_daemon, self._watchdog = settings, folder, daemon, watchdog
        self._progress: Progress = progress or NoProgress()
        self._resources = AsyncExitStack()
        self.pbx: Pbx
        self.postgres: PostgresServer
        self.daemon: DaemonProcess
        self.settings: Settings
        self.db: asyncpg.Pool[Any]

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
        """Everything up, in the order in which one part needs another."""
        await self._step("PostgreSQL", self._start_postgres)
        await self._step("spoken sentences and music", self._make_sounds)
        await self._step("finding Asterisk", self._prepare_pbx)
        await self._step("starting Asterisk", self._start_pbx)
        if self._with_daemon:
            await self._step("the daemon", self.daemon.start)

    async def close(self) -> None:
        await self._resources.aclose()

    async def _step(self, what: str, do: Callable[[], Any]) -> None:
        with self._progress.step(what):
            await do()

    async def _start_postgres(self) -> None:
        self.postgres = PostgresServer(self._folder / "postgres" if self._folder else None, durable=False)
        self._resources.push_async_callback(self.postgres.close)
        await self.postgres.start()
        await migrate(self.postgres.dsn, lambda _: None)
        self.db = await asyncpg.create_pool(self.postgres.dsn, min_size=0, max_size=4)
        self._resources.push_async_callback(self.db.close)

    async def _make_sounds(self) -> None:
        self._sounds = cache_root() / "sounds"
        self._music = self._sounds / "music"
        prompts = replace(self._wanted.prompts, cache_dir=str(self._sounds / "prompts"))
        self._wanted = replace(self._wanted, prompts=prompts)
        began = time.monotonic()

        def made(done: int, total: int, _prompt: object) -> None:
            self._progress.detail("sentences", done, total, time.monotonic() - began)

        self._prompts = await asyncio.to_thread(make_prompts, self._wanted, made)
        await asyncio.to_thread(ensure_music, self._music)

    async def _prepare_pbx(self) -> None:
        wanted = replace(self._wanted, postgres=replace(self._wanted.postgres, dsn=self.postgres.dsn))
        self.pbx = Pbx(
            wanted,
            folder=self._folder / "pbx" if self._folder else None,
            site={"manager.d/witness.conf": WITNESS},
            prompts=self._prompts,
            music_dir=self._music,
            progress=self._progress.detail,
        )
        self._resources.push_async_callback(self.pbx.close)
        self.settings = await self.pbx.prepare()
        self.config.write_text(toml_of(self.settings), encoding="utf-8")
        self.daemon = DaemonProcess(self.settings, self.config, self.pbx.dir / "ccsvc.log", watchdog=self._watchdog)

    async def _start_pbx(self) -> None:
        await self.pbx.start()
        self._resources.push_async_callback(self.daemon.stop)

    @property
    def config(self) -> Path:
        return self.pbx.dir / "ccsvc.toml"

    @property
    def sip(self) -> str:
        """Where phones register: host:port."""
        return f"127.0.0.1:{self.settings.pbx.sip_port}"

    def secret_of(self, device: str) -> str:
        return next(d.secret for d in self.settings.device if d.name == device)

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.db.fetch(query, *arguments)]

    async def call_of(self, caller: str, *, closed: bool = True, deadline_s: float = 10.0) -> dict[str, Any]:
        """The latest call of this caller, from `call_detail`, once it has ended (or at all)."""

        async def look() -> list[dict[str, Any]]:
            query = "SELECT * FROM ccsvc.call_detail WHERE caller = $1 ORDER BY started_at DESC LIMIT 1"
            rows = await self.rows(query, caller)
            return rows if rows and (rows[0]["ended_at"] is not None or not closed) else []

        rows: list[dict[str, Any]] = await eventually(look, f"a call of {caller} in SQL", deadline_s=deadline_s)
        return rows[0]

    async def channels(self) -> int:
        """How many channels the PBX has up."""
        output = await self.pbx.cli("core show channels count")
        return int(output.split()[0])
