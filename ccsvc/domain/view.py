"""What a person or a program may see of the present: an immutable picture taken between two events.

Promises: one picture is consistent in itself (waiting + all exits = entered). It holds full caller numbers:
whoever shows it decides how much of them is shown.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ccsvc.domain.vocabulary import AgentActivity, AgentStatus, DeviceState


@dataclass(frozen=True, slots=True)
class WaitingView:
    call_id: str
    caller: str
    caller_name: str
    since: datetime
    position: int
    ringing_agent: str | None


@dataclass(frozen=True, slots=True)
class QueueView:
    name: str
    waiting: tuple[WaitingView, ...]
    longest_wait_s: float
    agents: dict[str, int]
    """Members by state: idle, ringing, talking, wrap_up, paused, logged_out."""
    entered: int
    exits: dict[str, int]
    unexplained: int


@dataclass(frozen=True, slots=True)
class AgentView:
    agent_id: str
    name: str
    status: AgentStatus
    activity: AgentActivity
    reason: str
    since: datetime
    device: str | None
    device_state: DeviceState
    call_id: str | None
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallView:
    call_id: str
    caller: str
    caller_name: str
    did: str
    language: str
    started_at: datetime
    phase: Literal["ivr", "waiting", "ringing", "talking", "after", "leaving"]
    where: str
    """The menu's node, the queue or the agent."""
    agent_id: str | None


@dataclass(frozen=True, slots=True)
class CentreView:
    at: datetime
    pbx: str
    connected: bool
    queues: tuple[QueueView, ...]
    agents: tuple[AgentView, ...]
    calls: tuple[CallView, ...]
