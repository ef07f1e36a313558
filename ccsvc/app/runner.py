"""The engine room: one bounded inbox, one consumer, and an executor for what the core decides.

Promises: events are handled one at a time in the order in which they were posted; the rows of an event are on the
spool before anything else of it happens; a handler that fails loses its one event, a command that fails only itself,
both are said, and neither stops the centre. Rows that can't be kept are counted, and calls go on. Limits:
`INBOX_LIMIT` events wait at most; at the limit `post` refuses and asks for a fresh look at the switch, because from
then on something is missing.

Does not know AMI, AGI, SQL or Prometheus: only the ports.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.jobs import Jobs
from ccsvc.app.ports import Core, Recordings, Secrets, Sessions, Spool, Switch
from ccsvc.domain.commands import (
    CheckPin,
    Command,
    HangUp,
    MeasureRecording,
    Report,
    SetSafetyNet,
    StartTimer,
    Write,
)
from ccsvc.domain.events import Event, PinChecked, RecordingMeasured, Timer, TimerFired
from ccsvc.domain.records import Row
from ccsvc.domain.view import CentreView
from ccsvc.errors import SpoolBroken, SpoolFull

INBOX_LIMIT = 50_000
BATCH = 200
"""Events handled before the loop lets others run."""
TIMER_RETRY_S = 0.2
"""A timer that finds the inbox full comes again after so long."""


@dataclass
class Counters:
    """What happened to the engine itself since it began."""

    handled: int = 0
    refused: int = 0
    """Events for which there was no room."""
    failed: int = 0
    """Events and commands that ended in an error of ours."""
    rows_lost: int = 0
    lag_s: float = 0.0
    """Age of the last handled event: from its own stamp to its handling."""
    last_error: str = ""


class Runner:
    def __init__(  # noqa: PLR0913  each is needed, all are named
        self,
        centre: Core,
        *,
        spool: Spool,
        sessions: Sessions,
        switch: Switch,
        recordings: Recordings,
        secrets: Secrets,
        clock: Clock,
        jobs: Jobs,
        log: BoundLogger,
        inbox_limit: int = INBOX_LIMIT,
    ) -> None:
        self._centre, self._spool, self._sessions, self._switch = centre, spool, sessions, switch
        self._recordings, self._secrets, self._clock, self._log = recordings, secrets, clock, log
        self._inbox: asyncio.Queue[Event] = asyncio.Queue(inbox_limit)
        self._timers: set[asyncio.TimerHandle] = set()
        self._is_full = self._loses_rows = False
        self.counters = Counters()
        self.jobs = jobs

    def post(self, event: Event) -> bool:
        """Put a fact in. False: no room, it is lost and counted, and the switch is asked what is true."""
        try:
            self._inbox.put_nowait(event)
        except asyncio.QueueFull:
            self._refuse(event)
            return False
        self._is_full = False
        return True

    @property
    def backlog(self) -> int:
        """Events that wait."""
        return self._inbox.qsize()

    def view(self) -> CentreView:
        return self._centre.view(self._clock(), self._spool.stats)

    def execute(self, commands: Sequence[Command]) -> None:
        """Carry commands out: rows first, then the rest in order."""
        rows = [command.row for command in commands if isinstance(command, Write)]
        if rows:
            self._append(rows)
        for command in commands:
            try:
                self._carry_out(command)
            except Exception as error:  # noqa: BLE001  the next command may be what lets a caller go on
                self._fail("command could not be carried out", type(command), error)

    def replay(self, event: Event) -> None:
        """Handle a fact of the past: what it tells is written, what it would have asked for is not done any more."""
        kept = (Write, Report, StartTimer)
        self.execute([command for command in self._decide(event) if isinstance(command, kept)])

    async def run(self) -> None:
        """Handle events until cancelled."""
        while True:
            self._handle(await self._inbox.get())
            for _ in range(min(self._inbox.qsize(), BATCH - 1)):
                self._handle(self._inbox.get_nowait())
            await asyncio.sleep(0)

    async def close(self, deadline_s: float) -> None:
        """Handle what is already in the inbox, then stop timers and jobs; all of it within `deadline_s`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + deadline_s
        while not self._inbox.empty() and loop.time() < end_s:
            self._handle(self._inbox.get_nowait())
        if not self._inbox.empty():
            self._log.error("events were not handled before the end", events=self._inbox.qsize())
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self.jobs.close(max(0.0, end_s - loop.time()))

    def _handle(self, event: Event) -> None:
        self.counters.handled += 1
        self.execute(self._decide(event))

    def _decide(self, event: Event) -> list[Command]:
        """What the core makes of it; nothing if it fails: one fact that can't be handled must not end all calls."""
        try:
            self.counters.lag_s = max(0.0, (self._clock() - event.at) / timedelta(seconds=1))
            return self._centre.handle(event)
        except Exception as error:  # noqa: BLE001  see above
            self._fail("event could not be handled", type(event), error)
            return []

    def _append(self, rows: Sequence[Row]) -> None:
        try:
            self._spool.append(rows)
        except Exception as error:  # noqa: BLE001  calls go on without their records
            self.counters.rows_lost += len(rows)
            self.counters.last_error = str(error)
            self._say_lost(error)
            return
        if self._loses_rows:
            self._loses_rows = False
            self._log.info("rows are kept again", lost_so_far=self.counters.rows_lost)

    def _say_lost(self, error: Exception) -> None:
        """Once, until rows are kept again: a full disk must not be filled further by the log."""
        known = isinstance(error, (SpoolFull, SpoolBroken))
        if not known or not self._loses_rows:
            trace = None if known else error
            self._log.error("rows could not be kept", reason=str(error), exc_info=trace)
        self._loses_rows = True

    def _refuse(self, event: Event) -> None:
        self.counters.refused += 1
        if not self._is_full:
            self._is_full = True
            self._log.error("the inbox is full: events are lost", first=type(event).__name__)
        self.jobs.once("look", self._switch.look)

    def _fail(self, what: str, kind: type[object], error: Exception) -> None:
        self.counters.failed += 1
        self.counters.last_error = str(error)
        self._log.error(what, of=kind.__name__, exc_info=error)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Write():
                pass  # its row is on the spool already
            case Report(what, call, fields):
                self._log.info(what, **({"call_id": call} if call else {}), **dict(fields))
            case StartTimer(timer, after_s):
                self._start_timer(timer, after_s)
            case CheckPin():
                self._start_check(command)
            case MeasureRecording(recording_id, path):
                self.jobs.in_order("measure", lambda: self._measure(recording_id, path))
            case SetSafetyNet(agent, device, queues, paused):
                self.jobs.in_order(
                    "safety-net", lambda: self._switch.set_safety_net(agent, device, queues, paused=paused)
                )
            case HangUp(channel):
                self.jobs.in_order("hang-up", lambda: self._switch.hang_up(channel))
            case _:
                self._sessions.submit(command)

    def _start_timer(self, timer: Timer, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def fire() -> None:
            self._timers.discard(handle)
            if not self.post(TimerFired(self._clock(), timer)):
                self._start_timer(timer, TIMER_RETRY_S)

        handle = loop.call_later(after_s, fire)
        self._timers.add(handle)

    def _start_check(self, command: CheckPin) -> None:
        """A check that fails is a wrong PIN: the session that asked must not wait for ever."""

        async def check() -> None:
            try:
                ok = await self._secrets.check_pin(command.role, command.person, command.pin)
            except Exception:
                self._checked(command, ok=False)
                raise
            self._checked(command, ok=ok)

        if not self.jobs.start(f"check-pin-{command.session}", check):
            self._checked(command, ok=False)

    def _checked(self, command: CheckPin, *, ok: bool) -> None:
        self.post(PinChecked(self._clock(), command.session, command.token, ok))

    async def _measure(self, recording_id: str, path: str) -> None:
        """A file that can't be looked at counts as one that is not there."""
        try:
            duration_s, size_bytes = await self._recordings.measure(path) or (None, None)
        except Exception:
            self._measured(recording_id, None, None)
            raise
        self._measured(recording_id, duration_s, size_bytes)

    def _measured(self, recording_id: str, duration_s: float | None, size_bytes: int | None) -> None:
        self.post(RecordingMeasured(self._clock(), recording_id, duration_s, size_bytes))
