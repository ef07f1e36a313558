"""Shipped stand-ins for the ports of `ccsvc.app.ports`: the same contract, without disk, network or time.

`tests/unit/test_spool_contract.py` holds the spool against the real thing. The others keep what they were asked for,
answer what a test tells them to, and fail on request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from structlog.stdlib import BoundLogger
from structlog.testing import LogCapture

from ccsvc.app.ports import Recovered
from ccsvc.domain.commands import Command
from ccsvc.domain.events import Event
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState
from ccsvc.errors import SpoolFull
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.rowtext import HeadMark, decode_head, encode_head, storable


@dataclass(slots=True)
class MemoryDisk:
    """What outlives a `MemorySpool`, as files outlive a daemon: give it to the next one."""

    head: bytes = b""
    since_head: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    drained: int = 0


class MemorySpool:
    """`ccsvc.app.ports.Spool` in memory. `limit_rows` bounds what waits for the database."""

    def __init__(self, disk: MemoryDisk | None = None, *, limit_rows: int = 1_000_000) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self._limit_rows = limit_rows
        self._fold = Fold()
        self._state = "new"
        self._listeners: list[Callable[[], None]] = []
        self.refused_rows = 0
        self.lost_records = 0

    def recover(self) -> Recovered:
        known = bool(self.disk.head)
        if known:
            _, self._fold = decode_head(self.disk.head)
        for row in self.disk.since_head:
            self._fold.add(row)
        self._state = "recovered"
        return Recovered(self.open_rows, self._fold.stats if known else None, self._fold.last_at)

    def start(self, open_rows: Sequence[Row], stats: StatsState) -> None:
        if self._state != "recovered":
            raise RuntimeError("a spool must recover before it starts: it would not know where its files end")
        self._fold = Fold.of(open_rows, stats, self._fold.last_at)
        self.disk.head, self.disk.since_head = encode_head(HeadMark("memory", len(self.rows)), self._fold), []
        self._state = "started"

    def close(self) -> None:
        self._state = "closed"

    def append(self, rows: Sequence[Row]) -> None:
        if self._state != "started":
            raise RuntimeError("a spool takes rows between start and close")
        if self.pending_rows + len(rows) > self._limit_rows:
            self.refused_rows += len(rows)
            raise SpoolFull(f"the spool in memory is at its limit of {self._limit_rows} rows")
        for row in [storable(row)[0] for row in rows]:
            self.disk.rows.append(row)
            self.disk.since_head.append(row)
            self._fold.add(row)
        for wake in self._listeners:
            wake()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """`wake` is called after every append."""
        self._listeners.append(wake)

    def drain(self, limit: int = 1_000_000) -> list[Row]:
        """As if a database had taken the next rows."""
        first = self.disk.drained
        self.disk.drained = min(len(self.rows), first + limit)
        return self.rows[first : self.disk.drained]

    @property
    def rows(self) -> list[Row]:
        """Everything that was ever appended, in order."""
        return self.disk.rows

    @property
    def stats(self) -> StatsState:
        return self._fold.stats

    @property
    def open_rows(self) -> tuple[Row, ...]:
        return self._fold.open_rows

    @property
    def last_at(self) -> datetime | None:
        return self._fold.last_at

    @property
    def total_rows(self) -> int:
        return len(self.rows)

    @property
    def pending_rows(self) -> int:
        return len(self.rows) - self.disk.drained


class ListInbox:
    """`ccsvc.app.ports.Inbox`: everything posted, in order. With `is_full` it takes nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_full = False

    def post(self, event: Event) -> bool:
        if not self.is_full:
            self.events.append(event)
        return not self.is_full


class FakeSwitch:
    """`ccsvc.app.ports.Switch`: notes what it was asked to do, in `done`; with `error` it raises that instead."""

    def __init__(self, *, connected: bool = True) -> None:
        self.connected = connected
        self.error: Exception | None = None
        self.done: list[tuple[object, ...]] = []

    def asked(self, what: str) -> list[tuple[object, ...]]:
        """What came with each request of one kind: `hang_up`, `set_safety_net`, `stamp_alive` or `look`."""
        return [request[1:] for request in self.done if request[0] == what]

    async def hang_up(self, channel: ChannelId) -> None:
        self._do("hang_up", channel)

    async def set_safety_net(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        self._do("set_safety_net", agent, device, tuple(queues), paused)

    async def stamp_alive(self, epoch_s: int) -> None:
        self._do("stamp_alive", epoch_s)

    async def look(self) -> None:
        self._do("look")

    def _do(self, *what: object) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(what)


class FakeSessions:
    """`ccsvc.app.ports.Sessions`: keeps the commands in `submitted`; with `error` it raises that instead."""

    def __init__(self) -> None:
        self.submitted: list[Command] = []
        self.error: Exception | None = None

    def submit(self, command: Command) -> None:
        if self.error is not None:
            raise self.error
        self.submitted.append(command)


class FakeRecordings:
    """`ccsvc.app.ports.Recordings`: `files` says what each path measures; with `error` it raises that instead."""

    def __init__(self, files: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.files = dict(files or {})
        self.error: Exception | None = None

    async def measure(self, path: str) -> tuple[float, int] | None:
        if self.error is not None:
            raise self.error
        return self.files.get(path)


class FakeSecrets:
    """`ccsvc.app.ports.Secrets`: `pins` by (role, person); with `error` it raises that instead."""

    def __init__(self, pins: Mapping[tuple[str, str], str] | None = None) -> None:
        self.pins = dict(pins or {})
        self.error: Exception | None = None

    async def check_pin(self, role: str, person: str, pin: str) -> bool:
        if self.error is not None:
            raise self.error
        return self.pins.get((role, person)) == pin


def captured_log() -> tuple[BoundLogger, list[Any]]:
    """A log, and the list in which each of its lines appears as a dictionary."""
    capture = LogCapture()
    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture], wrapper_class=BoundLogger)
    return log, capture.entries
