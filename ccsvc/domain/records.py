"""What is remembered: one frozen row per thing that METRICS counts, written when it opens and when it closes.

Promises: a row is always whole (writing it again changes nothing), carries its natural key, and speaks of
instants as aware UTC datetimes and of durations as seconds. The same rows feed PostgreSQL, Prometheus and the
live view. This module does not know tables' indexes, SQL or files; `table` and `key` are only names.

Optional fields are None while the thing is open. `repaired` says that a fact came from the PBX's own journal
or from a later look at the switch instead of from the live stream.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from ccsvc.domain.ids import (
    AgentId,
    CallId,
    ChannelId,
    DeviceName,
    EntryId,
    OfferId,
    QueueName,
    SegmentId,
    SupervisorId,
)
from ccsvc.domain.vocabulary import (
    AgentActivity,
    AgentStatus,
    CallOutcome,
    EndedBy,
    IvrResult,
    OfferResult,
    QueueExit,
    RecordingVerdict,
    RefusalReason,
    SessionEnd,
    SpyMode,
)


@dataclass(frozen=True, slots=True)
class CallRow:
    """One customer's contact, first ring to last hangup. The sums are filled when it closes."""

    table: ClassVar[str] = "call"
    key: ClassVar[tuple[str, ...]] = ("call_id",)

    call_id: CallId
    pbx: str
    channel: ChannelId
    direction: Literal["inbound", "outbound", "internal"]
    started_at: datetime
    caller: str
    caller_name: str
    did: str
    language: str
    ivr_path: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    ended_at: datetime | None = None
    outcome: CallOutcome | None = None
    ended_by: EndedBy | None = None
    answered_at: datetime | None = None
    wait_s: float | None = None
    talk_s: float | None = None
    hold_s: float | None = None
    first_agent_id: AgentId | None = None
    segment_count: int = 0
    transfers_attempted: int = 0
    transfers_completed: int = 0
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class QueueEntryRow:
    """One stay of a call in one queue; ends exactly once. Target and threshold are those in force then."""

    table: ClassVar[str] = "queue_entry"
    key: ClassVar[tuple[str, ...]] = ("entry_id",)

    entry_id: EntryId
    call_id: CallId
    pbx: str
    queue: QueueName
    entered_at: datetime
    priority: int
    target_s: float
    short_abandon_s: float
    left_at: datetime | None = None
    exit: QueueExit | None = None
    wait_s: float | None = None
    in_target: bool | None = None
    short: bool | None = None
    agent_id: AgentId | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class QueueRefusalRow:
    """A call that asked for a queue and was never let in."""

    table: ClassVar[str] = "queue_refusal"
    key: ClassVar[tuple[str, ...]] = ("call_id", "queue", "at")

    call_id: CallId
    pbx: str
    queue: QueueName
    at: datetime
    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class OfferRow:
    """One ring of one queue entry at one agent."""

    table: ClassVar[str] = "offer"
    key: ClassVar[tuple[str, ...]] = ("offer_id",)

    offer_id: OfferId
    entry_id: EntryId
    call_id: CallId
    pbx: str
    queue: QueueName
    agent_id: AgentId
    device: DeviceName
    offered_at: datetime
    ended_at: datetime | None = None
    result: OfferResult | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One agent's handling inside a call. Written at answer, at the end of talk and at the end of wrap-up."""

    table: ClassVar[str] = "segment"
    key: ClassVar[tuple[str, ...]] = ("segment_id",)

    segment_id: SegmentId
    call_id: CallId
    entry_id: EntryId | None
    pbx: str
    queue: QueueName | None
    agent_id: AgentId
    device: DeviceName
    channel: ChannelId
    started_at: datetime
    ended_at: datetime | None = None
    talk_s: float | None = None
    hold_s: float | None = None
    wrap_up_ended_at: datetime | None = None
    wrap_up_s: float | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class AgentSessionRow:
    """Attendance: from login to logout. Sessions of one agent never overlap."""

    table: ClassVar[str] = "agent_session"
    key: ClassVar[tuple[str, ...]] = ("agent_id", "started_at")

    agent_id: AgentId
    pbx: str
    device: DeviceName
    started_at: datetime
    ended_at: datetime | None = None
    end_reason: SessionEnd | None = None


@dataclass(frozen=True, slots=True)
class AgentStateRow:
    """One stretch of time in which an agent's status and activity stayed the same."""

    table: ClassVar[str] = "agent_state"
    key: ClassVar[tuple[str, ...]] = ("agent_id", "started_at", "seq")

    agent_id: AgentId
    pbx: str
    started_at: datetime
    seq: int
    status: AgentStatus
    activity: AgentActivity
    reason: str = ""
    call_id: CallId | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """One recording of one call. `verdict` compares the file with the talk that it must hold."""

    table: ClassVar[str] = "recording"
    key: ClassVar[tuple[str, ...]] = ("recording_id",)

    recording_id: str
    call_id: CallId
    pbx: str
    path: str
    started_at: datetime
    talk_offset_s: float | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    size_bytes: int | None = None
    talk_s: float | None = None
    verdict: RecordingVerdict | None = None


@dataclass(frozen=True, slots=True)
class SupervisionRow:
    """One supervisor's listening, whispering or barging: supervision time, no talk and no call."""

    table: ClassVar[str] = "supervision"
    key: ClassVar[tuple[str, ...]] = ("supervisor_id", "started_at")

    supervisor_id: SupervisorId
    pbx: str
    agent_id: AgentId
    call_id: CallId | None
    mode: SpyMode
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An act that somebody asked for, written before it takes effect, allowed or not."""

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("pbx", "at", "seq")

    pbx: str
    at: datetime
    seq: int
    actor: str
    verb: str
    target: str
    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IvrStepRow:
    """One node of a menu that a caller went through, and what came of it."""

    table: ClassVar[str] = "ivr_step"
    key: ClassVar[tuple[str, ...]] = ("call_id", "n")

    call_id: CallId
    n: int
    pbx: str
    ivr: str
    node: str
    at: datetime
    pressed: str
    result: IvrResult


@dataclass(frozen=True, slots=True)
class CdrRow:
    """One leg, in the words of Asterisk's own call detail records. Durations in seconds."""

    table: ClassVar[str] = "cdr"
    key: ClassVar[tuple[str, ...]] = ("pbx", "uniqueid")

    pbx: str
    uniqueid: ChannelId
    linkedid: str
    call_id: CallId
    calldate: datetime
    clid: str
    src: str
    dst: str
    channel: str
    dstchannel: str
    duration: float
    billsec: float
    dial_result: Literal["ANSWERED", "NO ANSWER", "BUSY", "FAILED"]
    role: Literal["customer", "agent", "supervisor", "external"]


Row = (
    CallRow
    | QueueEntryRow
    | QueueRefusalRow
    | OfferRow
    | SegmentRow
    | AgentSessionRow
    | AgentStateRow
    | RecordingRow
    | SupervisionRow
    | AuditRow
    | IvrStepRow
    | CdrRow
)

ROW_TYPES: tuple[type[Row], ...] = (
    CallRow,
    QueueEntryRow,
    QueueRefusalRow,
    OfferRow,
    SegmentRow,
    AgentSessionRow,
    AgentStateRow,
    RecordingRow,
    SupervisionRow,
    AuditRow,
    IvrStepRow,
    CdrRow,
)


def key_of(row: Row) -> tuple[object, ...]:
    """The row's identity across all tables: `(table, *key values)`."""
    return (row.table, *(getattr(row, name) for name in row.key))


def is_open(row: Row) -> bool:
    """Whether something more will be written about this row's thing."""
    match row:
        case CallRow() | AgentSessionRow() | AgentStateRow() | SupervisionRow():
            return row.ended_at is None
        case QueueEntryRow():
            return row.exit is None
        case OfferRow():
            return row.result is None
        case SegmentRow():
            return row.wrap_up_s is None
        case RecordingRow():
            return row.verdict is None
        case _:
            return False
