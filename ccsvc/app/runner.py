"""The engine room: one bounded inbox, one consumer, and an executor for what the core decides.

Promises: events are handled one at a time in the order in which they were posted; the rows of an event are on the
spool before anything else of it happens; a handler that fails loses its one event, says so, and does not stop the
centre. Limits: `INBOX_LIMIT` events wait at most; at the limit `post` refuses and asks for a fresh look at the
switch, because from then on something is missing.

Does not know AMI, AGI, SQL or Prometheus: only the ports.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.jobs import Jobs
from ccsvc.app.ports import Recordings, Secrets, Sessions, Spool, Switch
from ccsvc.domain.centre import Centre
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
from ccsvc.domain.view import CentreView
from ccsvc.errors import CcsvcError, SpoolBroken, SpoolFull

INBOX_LIMIT = 50_000
BATCH = 200
"""Events handled before the loop lets others run."""


@dataclass
class Counters:
    """What happened to the engine itself; shown on /metrics and /health."""

    handled: int = 0
    refused: int = 0
    failed: int = 0
    rows_lost: int = 0
    lag_s: float = 0.0
    """Age of the last handled event: from its own stamp to its handling."""
    last_error: str = ""
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=20))


class Runner:
    def __init__(
        self,
        centre: Centre,
        *,
        spool: Spool,
        sessions: Sessions,
        switch: Switch,
        recordings: Recordings,
        secrets: Secrets,
        clock: Clock,
        jobs: Jobs,
        log: BoundLogger,
    ) -> None:
        self._centre, self._spool, self._sessions, self._switch = centre, spool, sessions, switch
        self._recordings, self._secrets, self._clock, self._log = recordings, secrets, clock, log
        self._inbox: asyncio.Queue[Event] = asyncio.Queue(INBOX_LIMIT)
        self._timers: set[asyncio.TimerHandle] = set()
        self.counters = Counters()
        self.jobs = jobs

    def post(self, event: Event) -> None:
        """Put a fact in. At the limit it is dropped and counted, and the switch is asked what is true."""
        try:
            self._inbox.put_nowait(event)
        except asyncio.QueueFull:
            self.counters.refused += 1
            self.jobs.once("resynchronise", self._switch.look)

    @property
    def backlog(self) -> int:
        return self._inbox.qsize()

    def view(self) -> CentreView:
        return self._centre.view(self._clock(), self._spool.stats)

    def execute(self, commands: list[Command]) -> None:
        """Carry commands out: rows first, then the rest in order."""
        rows = [command.row for command in commands if isinstance(command, Write)]
        if rows:
            self._append(rows)
        for command in commands:
            self._carry_out(command)

    def replay(self, event: Event) -> None:
        """Handle a fact of the past: what it tells is written, what it would have asked for is not done any more."""
        kept = (Write, Report, StartTimer)
        self.execute([command for command in self._centre.handle(event) if isinstance(command, kept)])

    async def run(self) -> None:
        """Handle events until cancelled."""
        while True:
            event = await self._inbox.get()
            for _ in range(BATCH):
                self._handle(event)
                if self._inbox.empty():
                    break
                event = self._inbox.get_nowait()
            else:
                self._handle(event)
            await asyncio.sleep(0)

    async def close(self, deadline_s: float) -> None:
        """Handle what is already in the inbox, then stop timers and jobs."""
        while not self._inbox.empty():
            self._handle(self._inbox.get_nowait())
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self.jobs.close(deadline_s)

    def _handle(self, event: Event) -> None:
        self.counters.handled += 1
        self.counters.lag_s = max(0.0, (self._clock() - event.at) / timedelta(seconds=1))
        try:
            self.execute(self._centre.handle(event))
        except Exception as error:  # noqa: BLE001  one fact that can't be handled must not end all calls
            self.counters.failed += 1
            self._note(error)
            self._log.exception("event could not be handled", event_type=type(event).__name__)

    def _append(self, rows: list) -> None:  # type: ignore[type-arg]
        try:
            self._spool.append(rows)
        except (SpoolFull, SpoolBroken) as error:
            self.counters.rows_lost += len(rows)
            self._note(error)
            self._log.error("rows could not be kept", rows=len(rows), reason=str(error))

    def _note(self, error: Exception) -> None:
        self.counters.last_error = str(error)
        self.counters.errors.append(str(error))

    def _carry_out(self, command: Command) -> None:
        match command:
            case Write():
                pass
            case Report(what, call, fields):
                self._log.info(what, **({"call_id": call} if call else {}), **dict(fields))
            case StartTimer(timer, after_s):
                self._start_timer(timer, after_s)
            case CheckPin():
                self.jobs.start(f"check-pin-{command.session}", self._check_pin(command))
            case MeasureRecording(recording_id, path):
                self.jobs.start(f"measure-{recording_id}", self._measure(recording_id, path))
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
            self.post(TimerFired(self._clock(), timer))

        handle = loop.call_later(after_s, fire)
        self._timers.add(handle)

    async def _check_pin(self, command: CheckPin) -> None:
        ok = await self._secrets.check_pin(command.role, command.person, command.pin)
        self.post(PinChecked(self._clock(), command.session, command.token, ok))

    async def _measure(self, recording_id: str, path: str) -> None:
        found: tuple[float | None, int | None] = (None, None)
        try:
            found = await self._recordings.measure(path) or (None, None)
        except (CcsvcError, OSError) as error:
            self._log.warning("recording could not be read", recording=recording_id, reason=str(error))
        self.post(RecordingMeasured(self._clock(), recording_id, *found))
