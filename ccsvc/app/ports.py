"""What the use cases need from the outside, as small Protocols owned here and implemented one floor up.

Each has a real implementation (in `asterisk/`, `postgres/`, `config/`) and a shipped one in memory
(`ccsvc.testing.fakes`); where state is kept (`Spool`) both pass the same contract test.
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
from ccsvc.domain.view import CentreView


class Core(Protocol):
    """What decides: events in, commands out. Never waits and does nothing itself."""

    def handle(self, event: Event) -> list[Command]:
        """What is to be done about it, in order."""

    def view(self, at: datetime, stats: StatsState) -> CentreView:
        """A picture of the present."""


class Inbox(Protocol):
    """Where facts are put. Bounded."""

    def post(self, event: Event) -> bool:
        """Put a fact in. False: there is no room, the fact is lost; it is counted and the switch is looked at.

        Whoever waits for what follows from the fact must end their wait.
        """


class Switch(Protocol):
    """The PBX, apart from the callers' own sessions."""

    async def hang_up(self, channel: ChannelId) -> None:
        """End a channel. Raises `PbxError`, also if it is gone already."""

    async def set_safety_net(
        self, agent: AgentId, device: DeviceName | None, queues: Sequence[QueueName], *, paused: bool
    ) -> None:
        """Make the PBX's own queues know this agent at this device (None: nowhere). Raises `PbxError`."""

    async def stamp_alive(self, epoch_s: int) -> None:
        """Write the time of day (s since 1970) where the dialplan looks for a living daemon. Raises `PbxError`."""

    async def look(self) -> None:
        """Ask what the switch carries; the answer is posted to the inbox as `SwitchSeen`. Raises `PbxError`."""

    @property
    def connected(self) -> bool:
        """Events arrive, and actions can be sent."""


class Sessions(Protocol):
    """The AGI sessions: takes a command for one of them, in order. A session that is gone takes nothing."""

    def submit(self, command: Command) -> None:
        """Hand the command over; returns at once."""


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

    def recover(self) -> Recovered:
        """Read what the last life left. Raises `SpoolTaken`, `SpoolBroken`."""

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
    """The files of recorded conversations."""

    async def measure(self, path: str) -> tuple[float, int] | None:
        """(seconds of audio, bytes) of a path below the recordings' folder, or None if there is no readable file."""


class Secrets(Protocol):
    """The PINs of agents and supervisors, kept where they can only be compared."""

    async def check_pin(self, role: str, person: str, pin: str) -> bool:
        """Whether this is the PIN of that person. Costs about 0.1 s of a worker thread."""
