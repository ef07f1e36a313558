"""What the use cases need from the outside, as small Protocols owned here and implemented one floor up.

Each has a real implementation (in `asterisk/`, `postgres/`, `speech/`) and a shipped one in memory
(`ccsvc.testing.fakes`); both pass the same contract tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ccsvc.domain.commands import Command
from ccsvc.domain.events import Event
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState


class Inbox(Protocol):
    """Where facts are put. Bounded: `post` raises `InboxFull` at the limit, and the source must resynchronise."""

    def post(self, event: Event) -> None: ...


class Switch(Protocol):
    """The PBX, apart from the callers' own sessions."""

    async def hang_up(self, channel: ChannelId) -> None: ...

    async def set_safety_net(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None: ...

    async def stamp_alive(self, epoch_s: int) -> None: ...

    async def look(self) -> None:
        """Ask what the switch carries; the answer is posted to the inbox as `SwitchSeen`."""

    @property
    def connected(self) -> bool: ...


class Sessions(Protocol):
    """The AGI sessions: takes a command for one of them, in order. A session that is gone takes nothing."""

    def submit(self, command: Command) -> None: ...


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the disk remembers of the last life: rows still open, the counters, and where the journal was read to."""

    rows: tuple[Row, ...] = ()
    stats: StatsState | None = None
    last_at: datetime | None = None
    lost_records: int = 0
    notes: tuple[str, ...] = field(default=())


class Spool(Protocol):
    """The daemon's memory on its own disk: appended to before anything else, drained to the database later."""

    def recover(self) -> Recovered: ...

    def start(self, open_rows: Sequence[Row], stats: StatsState) -> None:
        """Begin a new file whose head holds the whole present state, so that older files may go."""

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows so that a killed process has not lost them. Raises `SpoolFull`, `SpoolBroken`."""

    @property
    def stats(self) -> StatsState:
        """The counters over everything that was ever appended."""

    @property
    def pending_rows(self) -> int:
        """Rows not yet acknowledged by the database."""


class Recordings(Protocol):
    async def measure(self, path: str) -> tuple[float, int] | None:
        """(seconds of audio, bytes) of a path below the recordings' folder, or None if there is no readable file."""


class Secrets(Protocol):
    async def check_pin(self, role: str, person: str, pin: str) -> bool:
        """Whether this is the PIN of that person. Costs about 0.1 s of a worker thread."""
