"""The only place where the parts are put together: builds the daemon from its settings, starts it and stops it.

Order of a start: folders and prompts first; then the last life is restored from disk and the PBX's journal, so that
callers who come back find their place; then the HTTP port, the PBX, and callers last. A stop goes the other way
round, each stage with a limit. A database that is away, or has an older schema, does not keep the daemon from
starting: the spool bridges it, and `/health/ready` says so. Neither does a journal that can't be read. A part that
ends by itself while the daemon runs ends the whole daemon: whoever guards it starts a sound one.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import structlog

from ccsvc import __version__
from ccsvc.app.clock import utc_now
from ccsvc.app.heartbeat import Heartbeat
from ccsvc.app.jobs import Jobs
from ccsvc.app.ports_speech import PromptPaths
from ccsvc.app.prompts import wanted
from ccsvc.app.runner import Runner
from ccsvc.app.tape import TapedCore
from ccsvc.asterisk.fastagi import LOOPBACK, AgiServer, Network
from ccsvc.asterisk.journal import Journal
from ccsvc.asterisk.recordings import RecordingFolder
from ccsvc.asterisk.render import cel_journal
from ccsvc.asterisk.sessions import AgiSessions
from ccsvc.asterisk.switch import AsteriskSwitch
from ccsvc.config.load import zone
from ccsvc.config.secrets import PinKeeper
from ccsvc.domain.centre import Centre
from ccsvc.domain.events import Event
from ccsvc.errors import CcsvcError
from ccsvc.postgres.spool import FileSpool
from ccsvc.postgres.writer import Writer
from ccsvc.settings import PbxSettings, Settings
from ccsvc.speech.builtin import builtin_prompts
from ccsvc.speech.espeak import EspeakSynthesiser
from ccsvc.speech.library import PromptLibrary
from ccsvc.telemetry import logs, metrics
from ccsvc.watchdog import pulse
from ccsvc.web.server import WebServer

STOP_LIMIT_S = 5.0
JOURNAL_OVERLAP_S = 2.0
"""The journal is read from a little before the last thing that was written down."""


def make_prompts(settings: Settings, progress: Callable[[int, int, Any], None] | None = None) -> PromptPaths:
    """Synthesise what is missing; blocking. Raises `PromptMissing` with every fault."""
    recorded = Path(settings.prompts.recorded_dir) if settings.prompts.recorded_dir else None
    library = PromptLibrary(Path(settings.prompts.cache_dir), recorded, EspeakSynthesiser())
    return library.ensure(wanted(settings, builtin_prompts()), progress)


class PartEnded(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """A part of the daemon has ended that should run as long as the daemon."""

    code = "part_ended"

    def __init__(self, part: str, error: BaseException | None) -> None:
        super().__init__(f"{part} has ended by itself ({error!r}): the daemon can't go on; its log says more")


class _Relay:
    """The inbox as the adapters see it before there is a runner behind it."""

    def __init__(self) -> None:
        self.post: Callable[[Event], bool] = _nobody_listens


def _nobody_listens(_: Event) -> bool:
    raise RuntimeError("an adapter posted before the daemon was put together")


class Daemon:
    """Every part of one daemon. `live` (or `start`) and `stop` are called once each."""

    def __init__(self, settings: Settings, prompts: PromptPaths) -> None:
        self._settings = settings
        self._log = structlog.get_logger("ccsvc")
        self._tasks: list[asyncio.Task[None]] = []
        self._broken = asyncio.Event()
        self._fault: PartEnded | None = None
        self._is_stopping = False
        relay = _Relay()
        self.recordings = RecordingFolder(Path(settings.recording.dir))
        self.spool = FileSpool(
            Path(settings.state.dir),
            limit_mb=settings.state.spool_limit_mb,
            fsync_interval_s=settings.state.fsync_interval_s,
        )
        self.sessions = AgiSessions(
            inbox=relay,
            prompt_path=prompts.path,
            recordings_dir=Path(settings.recording.dir),
            clock=utc_now,
            log=self._log,
        )
        jobs = Jobs(self._log)
        self.switch = AsteriskSwitch(
            settings.pbx,
            queues=[queue.name for queue in settings.queue],
            inbox=relay,
            jobs=jobs,
            clock=utc_now,
            log=self._log,
        )
        self.centre = Centre(settings)
        tape = Path(settings.state.tape) if settings.state.tape else None
        self.runner = Runner(
            TapedCore(self.centre, settings, tape, self._log) if tape else self.centre,
            spool=self.spool,
            sessions=self.sessions,
            switch=self.switch,
            recordings=self.recordings,
            secrets=PinKeeper(settings),
            clock=utc_now,
            jobs=jobs,
            log=self._log,
        )
        relay.post = self.runner.post
        self.writer = Writer(
            self.spool,
            settings.postgres.dsn,
            pbx=settings.pbx.name,
            command_timeout_s=settings.postgres.command_timeout_s,
        )
        self.agi = AgiServer(
            host=settings.pbx.agi_host,
            port=settings.pbx.agi_port,
            handler=self.sessions.handle,
            allowed_peers=tuple(_peers(settings.pbx)),
        )
        self.web = WebServer(settings.http, view=self.runner.view, metrics=self.metrics, readiness=self.readiness)
        self.heartbeat = Heartbeat(
            self.runner,
            self.switch,
            interval_s=settings.pbx.heartbeat_interval_s,
            pulse=pulse,
            clock=utc_now,
            log=self._log,
        )

    async def live(self) -> None:
        """Start, then go on until a part ends that should not: raises `PartEnded`, or as `start` does."""
        await self.start()
        await self._broken.wait()
        assert self._fault is not None
        raise self._fault

    async def start(self) -> None:
        """Raises `CcsvcError` for whatever can't be had; `stop` is called all the same."""
        self.recordings.prepare()
        self._remember()
        self.writer.define(self._settings.queue, utc_now())
        await self.web.start()
        self._task("inbox", self.runner.run())
        self._task("writer", self.writer.run())
        await self.switch.start()
        await self.agi.start()
        self._task("heartbeat", self.heartbeat.run())
        self._log.info("ccsvc is up", version=__version__, http_port=self.web.port, agi_port=self.agi.port)

    def _remember(self) -> None:
        """Restore the last life: first what was written down, then what the PBX's journal tells beyond it."""
        recovered = self.spool.recover()
        for note in recovered.notes:
            self._log.warning("spool", note=note)
        commands = self.centre.restore(recovered.rows, utc_now())
        self.spool.start(recovered.rows, recovered.stats or self.spool.stats)
        self.runner.execute(commands)
        replayed = self._replay(recovered.last_at) if recovered.last_at is not None else 0
        self._log.info("last life restored", open_rows=len(recovered.rows), journal_events=replayed)

    def _replay(self, last_at: datetime) -> int:
        """Let the core take in what the PBX has written down since; how many events that were."""
        journal, replayed = Journal(cel_journal(self._settings)), 0
        for event in journal.since(last_at - timedelta(seconds=JOURNAL_OVERLAP_S), utc_now()):
            self.runner.replay(event)
            replayed += 1
        for problem in journal.problems:
            self._log.error("the PBX's journal can't be read", problem=problem)
        if journal.unreadable:
            self._log.warning("lines of the PBX's journal were passed over", lines=journal.unreadable)
        return replayed

    async def stop(self) -> None:
        """Callers first: their sessions close, and the dialplan keeps them until the next daemon is there."""
        self._is_stopping = True
        stages: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("agi", lambda: self.agi.close(0)),
            ("inbox", lambda: self.runner.close(STOP_LIMIT_S)),
            ("writer", self._close_writer),
            ("switch", self.switch.close),
            ("web", self.web.close),
            ("tasks", self._end_tasks),
        )
        for name, stage in stages:
            try:
                await asyncio.wait_for(stage(), STOP_LIMIT_S + 1)
            except TimeoutError:
                self._log.warning("stage of the shutdown is late", stage=name)
            except Exception:  # noqa: BLE001  the later stages must have their turn, the spool above all
                self._log.exception("stage of the shutdown failed", stage=name)
        self.spool.close()
        self._log.info("ccsvc has stopped")

    def metrics(self) -> bytes:
        counters = self.runner.counters
        health = metrics.Health(
            ami_connected=self.switch.connected,
            gap_s=self.switch.gap_s,
            event_lag_s=counters.lag_s if counters.handled else None,
            spool_rows=self.spool.pending_rows,
            rows_written=self.writer.rows_written,
            recordings_failed=self.spool.stats.recordings_failed,
        )
        now = utc_now()
        return metrics.render(
            self.spool.stats, self.runner.view(), health, self._settings.queue, now, zone(self._settings.timezone)
        )

    def readiness(self) -> list[str]:
        """Why this daemon should not be relied on just now; empty: it can be."""
        reasons, counters = [], self.runner.counters
        if not self.switch.connected:
            where = "callers wait with music or are in its safety-net queues"
            reasons.append(f"the PBX is not connected ({self.switch.trouble}): {where}")
        reasons += [str(error) for error in self.switch.missing]
        if not self.writer.connected:
            why = self.writer.last_error or "not connected yet"
            reasons.append(f"the database takes no rows ({why}): {self.spool.pending_rows} rows are kept on disk")
        if counters.rows_lost:
            reasons.append(f"{counters.rows_lost} rows could not be kept: {counters.last_error}")
        return reasons

    def _task(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"ccsvc-{name}")
        self._tasks.append(task)
        task.add_done_callback(self._part_ended)

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        if self._is_stopping or task.cancelled():
            return
        error = task.exception()
        self._log.error("a part of the daemon has ended", part=task.get_name(), exc_info=error)
        self._fault = self._fault or PartEnded(task.get_name(), error)
        self._broken.set()

    async def _close_writer(self) -> None:
        left = await self.writer.close(STOP_LIMIT_S)
        if left:
            self._log.info("rows are kept on disk for the next start", rows=left)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(settings: Settings) -> None:
    """The daemon from start to SIGTERM or SIGINT. Raises `CcsvcError` if it can't start, or can't go on."""
    logs.configure(settings.log.level, secrets=logs.secrets_of(settings))
    prompts = await asyncio.to_thread(make_prompts, settings)
    daemon = Daemon(settings, prompts)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    life = asyncio.create_task(daemon.live(), name="ccsvc-life")
    end = asyncio.create_task(stopped.wait(), name="ccsvc-end")
    try:
        done, _ = await asyncio.wait({life, end}, return_when=asyncio.FIRST_COMPLETED)
        if life in done:
            await life
    finally:
        for task in (life, end):
            task.cancel()
        await asyncio.gather(life, end, return_exceptions=True)
        await daemon.stop()


def _peers(pbx: PbxSettings) -> Iterator[Network]:
    """Where sessions may come from: this machine, and the PBX's."""
    yield from LOOPBACK
    try:
        yield ip_network(pbx.host)
    except ValueError:
        return  # a name: `ccsvc render` refuses it, and loopback is what it usually means
