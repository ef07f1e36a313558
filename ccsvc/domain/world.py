"""The present as the core believes it: calls, their place in line, agents, devices, and the commands given so far.

Promises: plain mutable data with no behaviour beyond looking things up; everything in it can be rebuilt from the
rows that are still open (`ccsvc.domain.restore`) and from what the switch says. It knows no time of its own:
`now` is set by `Centre.handle` for the length of one event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ccsvc.domain.commands import Command, Report, StartTimer, Write
from ccsvc.domain.events import Timer, TimerKind
from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, EntryId, OfferId, QueueName, SessionId
from ccsvc.domain.records import (
    AgentSessionRow,
    AgentStateRow,
    CallRow,
    OfferRow,
    QueueEntryRow,
    RecordingRow,
    Row,
    SegmentRow,
    SupervisionRow,
)
from ccsvc.domain.resume import EPOCH
from ccsvc.domain.vocabulary import AgentActivity, AgentStatus, DeviceState, EndedBy
from ccsvc.settings import AgentSettings, QueueSettings, Settings

if TYPE_CHECKING:
    from ccsvc.domain.dialog import Dialog

Phase = Literal["ivr", "waiting", "ringing", "talking", "after", "leaving"]

End = Literal["gone", "told", "missed"]
"""A channel ended: its call was never heard of, is told of and closed, or was closed for want of the channel."""

ENDED_KEPT = 5000
"""Channels whose end is remembered, so that news of them that come late don't bring them back to life."""


@dataclass(slots=True, eq=False)
class Agent:
    """A person. `idle_since` is the start of the present idleness: the longest-idle strategy orders by it.

    `offered` is the entry whose offer is open at this agent, whatever else calls do to them meanwhile.
    """

    id: AgentId
    settings: AgentSettings
    status: AgentStatus = "logged_out"
    activity: AgentActivity = "idle"
    reason: str = ""
    device: DeviceName | None = None
    idle_since: datetime = EPOCH
    since: datetime = EPOCH
    call: CallId | None = None
    offered: "Entry | None" = None
    session_row: AgentSessionRow | None = None
    state_row: AgentStateRow | None = None
    pages: int = 0
    wrapping: SegmentRow | None = None
    queues: tuple[QueueName, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.queues = tuple(QueueName(queue) for queue in self.settings.queues)


@dataclass(slots=True, eq=False)
class Channel:
    """One of Asterisk's channels, as far as it matters here."""

    id: ChannelId
    name: str
    device: DeviceName | None
    bridge: str = ""
    started_at: datetime = EPOCH
    changed_at: datetime = EPOCH
    """The last time its bridge changed: an older look at the switch does not undo it."""


@dataclass(slots=True, eq=False)
class Leg:
    """One party's channel in a call, for its CDR."""

    channel: ChannelId
    name: str
    role: Literal["customer", "agent"]
    started_at: datetime
    device: DeviceName | None = None
    bridged_at: datetime | None = None
    dial_result: Literal["ANSWERED", "NO ANSWER", "BUSY", "FAILED"] = "NO ANSWER"
    ended: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """One stay in one queue. `tried` says when each agent was last offered this entry in vain.

    `stranded`: the queue's last agent left while the caller could not be told; they are told when they next wait.
    """

    row: QueueEntryRow
    call: "Call"
    offers: int = 0
    offer: OfferRow | None = None
    tried: dict[AgentId, datetime] = field(default_factory=dict)
    retry_armed: bool = False
    stranded: bool = False

    @property
    def id(self) -> EntryId:
        return self.row.entry_id

    @property
    def queue(self) -> QueueName:
        return self.row.queue

    @property
    def order(self) -> tuple[int, datetime, EntryId]:
        return (-self.row.priority, self.row.entered_at, self.row.entry_id)


@dataclass(slots=True, eq=False)
class Talk:
    """A segment while its agent talks. `held_since` is set while the caller is on hold."""

    row: SegmentRow
    held_since: datetime | None = None
    hold_s: float = 0.0


@dataclass(slots=True, eq=False)
class Call:
    """One customer's contact. `did` is the number that they were last sent to, `entry_count` how often they queued.

    `dialling` is the offer for which their session runs a Dial: it takes no other until that one is over.
    `away_since` is when their session ended; `transferred_by` what was last told of a transfer, to know a new one.
    """

    row: CallRow
    channel: ChannelId
    session: SessionId | None = None
    phase: Phase = "ivr"
    language: str = "en"
    ivr: str = ""
    node: str = ""
    in_node: bool = False
    did: str = ""
    steps: int = 0
    hops: int = 0
    dialog: "Dialog | None" = None
    entry: Entry | None = None
    entry_count: int = 0
    dialling: OfferId | None = None
    entries: list[QueueEntryRow] = field(default_factory=list)
    talks: dict[ChannelId, Talk] = field(default_factory=dict)
    segments: list[SegmentRow] = field(default_factory=list)
    legs: dict[ChannelId, Leg] = field(default_factory=dict)
    recording: RecordingRow | None = None
    hung_up_by: EndedBy | None = None
    hung_up_at: datetime | None = None
    away_since: datetime | None = None
    transferred_by: str = ""
    refused: bool = False
    repaired: bool = False

    @property
    def id(self) -> CallId:
        return self.row.call_id

    @property
    def served(self) -> bool:
        return bool(self.segments or self.talks)


@dataclass(slots=True, eq=False)
class Desk:
    """A feature code's session: somebody at a device talks to the daemon."""

    session: SessionId
    channel: ChannelId
    device: DeviceName
    dialog: "Dialog | None" = None
    supervision: SupervisionRow | None = None


@dataclass(slots=True, eq=False)
class World:
    settings: Settings
    now: datetime = EPOCH
    out: list[Command] = field(default_factory=list)
    connected: bool = False
    calls: dict[CallId, Call] = field(default_factory=dict)
    by_channel: dict[ChannelId, Call] = field(default_factory=dict)
    """Customers' and agents' channels alike."""
    sessions: dict[SessionId, Call | Desk] = field(default_factory=dict)
    tokens: dict[SessionId, int] = field(default_factory=dict)
    channels: dict[ChannelId, Channel] = field(default_factory=dict)
    bridges: dict[str, set[ChannelId]] = field(default_factory=dict)
    agents: dict[AgentId, Agent] = field(default_factory=dict)
    seats: dict[DeviceName, AgentId] = field(default_factory=dict)
    devices: dict[DeviceName, DeviceState] = field(default_factory=dict)
    device_heard_at: dict[DeviceName, datetime] = field(default_factory=dict)
    queues: dict[QueueName, QueueSettings] = field(default_factory=dict)
    crews: dict[QueueName, list[Agent]] = field(default_factory=dict)
    lines: dict[QueueName, list[Entry]] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    """Everybody in all lines, by entry id."""
    recordings: dict[str, RecordingRow] = field(default_factory=dict)
    """Not yet measured."""
    recorded_channels: dict[ChannelId, str] = field(default_factory=dict)
    closed_files: set[str] = field(default_factory=set)
    ended: dict[ChannelId, End] = field(default_factory=dict)
    """How the last `ENDED_KEPT` channels ended, oldest first."""
    freed: dict[AgentId, None] = field(default_factory=dict)
    """Agents who may have become free during this event: they are offered to callers at its end."""
    somebody_left: bool = False
    """An agent logged out during this event: a queue may be deserted now."""
    audit_n: int = 0

    def emit(self, *commands: Command) -> None:
        self.out.extend(commands)

    def write(self, row: Row) -> None:
        self.out.append(Write(row))

    def report(self, what: str, call: Call | None = None, **fields: str | float) -> None:
        self.out.append(Report(what, call.id if call else None, tuple(fields.items())))

    def timer(self, kind: TimerKind, subject: str, after_s: float) -> None:
        self.out.append(StartTimer(Timer(kind, subject), max(0.0, after_s)))

    def members(self, queue: QueueName) -> Sequence[Agent]:
        return self.crews.get(queue, ())

    def is_gone(self, channel: ChannelId) -> bool:
        """Whether the switch said that this channel ended: what still comes of it is old news."""
        return self.ended.get(channel, "missed") != "missed"

    def bury(self, channel: ChannelId, end: End) -> None:
        """Remember that this channel is gone, and the most that is known of its call."""
        self.ended[channel] = "told" if self.ended.get(channel) == "told" else end
        if len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    def agent_at(self, device: DeviceName | None) -> Agent | None:
        agent = self.seats.get(device) if device is not None else None
        return self.agents[agent] if agent is not None else None

    def customer(self, channel: ChannelId) -> Call | None:
        """The call whose customer is on this channel."""
        call = self.by_channel.get(channel)
        return call if call is not None and call.channel == channel else None


def new_world(settings: Settings) -> World:
    """A world in which nobody has called yet and nobody is logged in."""
    world = World(settings)
    for queue in settings.queue:
        world.queues[QueueName(queue.name)] = queue
        world.lines[QueueName(queue.name)], world.crews[QueueName(queue.name)] = [], []
    for person in settings.agent:
        agent = world.agents[AgentId(person.number)] = Agent(AgentId(person.number), person)
        for name in agent.queues:
            world.crews.setdefault(name, []).append(agent)
    return world


def seconds(start: datetime, end: datetime) -> float:
    """The duration in seconds, never negative: two clocks may disagree by a hair."""
    return max(0.0, (end - start) / timedelta(seconds=1))
