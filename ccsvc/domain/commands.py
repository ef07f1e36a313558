"""Everything that the core can ask of the world, typed and in the imperative.

Promises: a command is data; carrying it out and saying what came of it (as an event) is the shell's part.
Commands for one session are carried out in the order given.
"""

from dataclasses import dataclass

from ccsvc.domain.events import Timer
from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, OfferId, QueueName, SessionId
from ccsvc.domain.records import Row


@dataclass(frozen=True, slots=True)
class PromptRef:
    """A prompt by name in a language; the shell knows the file."""

    name: str
    language: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Play prompts, interruptible by keys, and collect up to `max_digits` (0: play only, keys are ignored).

    Waits `timeout_s` seconds for the first key after the last prompt. Comes back as `Answered` with `token`.
    """

    session: SessionId
    token: int
    prompts: tuple[PromptRef, ...]
    max_digits: int = 0
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class PlayMusic:
    session: SessionId
    music: str


@dataclass(frozen=True, slots=True)
class RideAlong:
    """Set variables on the session's channel: what the dialplan and a next daemon need to carry on."""

    session: SessionId
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RecordCall:
    """Record the session's channel, from now to the channel's end, into a path below the recordings' folder."""

    session: SessionId
    path: str


@dataclass(frozen=True, slots=True)
class DialAgent:
    """Ring one device. Comes back as `DialFinished`."""

    session: SessionId
    offer: OfferId
    device: DeviceName
    ring_s: float
    music: str


@dataclass(frozen=True, slots=True)
class Spy:
    """Let the session's channel hear `device`'s call. Comes back as `SpyFinished` with `token`."""

    session: SessionId
    token: int
    device: DeviceName


@dataclass(frozen=True, slots=True)
class CheckPin:
    """Compare a PIN with the one kept for a person. Comes back as `PinChecked` with `token`."""

    session: SessionId
    token: int
    role: str
    person: str
    pin: str

    def __repr__(self) -> str:
        return f"CheckPin(session={self.session}, role={self.role!r}, person={self.person!r}, pin=***)"


@dataclass(frozen=True, slots=True)
class FinishSession:
    """End the session on purpose: the dialplan must not try again. The channel is hung up by the dialplan."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class HangUp:
    channel: ChannelId


@dataclass(frozen=True, slots=True)
class SetSafetyNet:
    """Make the PBX's own queues know this agent at this device (None: nowhere), paused or not."""

    agent: AgentId
    device: DeviceName | None
    queues: tuple[QueueName, ...]
    paused: bool


@dataclass(frozen=True, slots=True)
class MeasureRecording:
    """Look at a finished file. Comes back as `RecordingMeasured`."""

    recording_id: str
    path: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    timer: Timer
    after_s: float


@dataclass(frozen=True, slots=True)
class Write:
    row: Row


@dataclass(frozen=True, slots=True)
class Report:
    """One sentence for the log about what was decided. `fields` hold no secrets and no full numbers."""

    what: str
    call: CallId | None = None
    fields: tuple[tuple[str, str | int | float], ...] = ()


Command = (
    Ask
    | PlayMusic
    | RideAlong
    | RecordCall
    | DialAgent
    | Spy
    | CheckPin
    | FinishSession
    | HangUp
    | SetSafetyNet
    | MeasureRecording
    | StartTimer
    | Write
    | Report
)
