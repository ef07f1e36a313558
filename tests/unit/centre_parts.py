"""The people and things of a simulated centre: phones and what they do when rung, callers, sessions, settings."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName, SessionId
from ccsvc.domain.vocabulary import DeviceState
from ccsvc.settings import (
    AgentSettings,
    DeviceSettings,
    DidSettings,
    IvrNodeSettings,
    IvrSettings,
    QueueSettings,
    Settings,
    SupervisorSettings,
)

T0 = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
Script = Literal["answer", "no_answer", "busy", "unreachable", "drop"]
STATUSES: dict[Script, ev.DialStatus] = {
    "answer": "ANSWER",
    "no_answer": "NOANSWER",
    "busy": "BUSY",
    "unreachable": "CHANUNAVAIL",
    "drop": "ANSWER",
}


def after(seconds: float) -> datetime:
    """The instant so many seconds after the simulation's beginning."""
    return T0 + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Ring:
    """What a phone does when it is rung. `hold`: from and to, in seconds of the talk."""

    does: Script = "answer"
    after_s: float = 5.0
    talk_s: float = 60.0
    hung_up_by: Literal["agent", "customer"] = "agent"
    hold: tuple[float, float] | None = None
    transfer_to: str = ""


@dataclass
class Phone:
    device: DeviceName
    state: DeviceState = "idle"
    rings: deque[Ring] = field(default_factory=deque)
    usually: Ring = field(default_factory=Ring)


@dataclass
class Dial:
    command: cmd.DialAgent
    phone: Phone
    leg: ChannelId
    bridge: str = ""
    up: bool = False
    seen: bool = True
    """Whether there is a channel for the leg: an unreachable phone has none."""


@dataclass(eq=False)
class Caller:
    channel: ChannelId
    did: str
    keys: deque[str]
    variables: dict[str, str] = field(default_factory=dict)
    session: "Session | None" = None
    dial: Dial | None = None
    bridge: str = ""
    recorded: str = ""
    alive: bool = True
    in_safety_net: bool = False

    def __repr__(self) -> str:
        return f"Caller({self.channel})"

    @property
    def name(self) -> str:
        return f"PJSIP/trunk-{self.channel}"


@dataclass(eq=False)
class Session:
    id: SessionId
    caller: Caller | None = None
    phone: Phone | None = None
    digits: deque[str] = field(default_factory=deque)
    mailbox: deque[cmd.Command] = field(default_factory=deque)
    spying: int | None = None
    pressed: str = ""
    busy: bool = False
    open: bool = True


def settings(**changes: object) -> Settings:
    """Two queues, a menu, four agents on four phones, one supervisor."""
    ivr = IvrSettings(
        start="main",
        node={
            "main": IvrNodeSettings(
                say={"en": "x"},
                keys={"1": "queue:sales", "2": "language:fa node:more", "9": "repeat"},
                max_attempts=2,
            ),
            "more": IvrNodeSettings(say={"en": "x"}, next="queue:support"),
        },
    )
    numbers = {"100": "queue:sales", "200": "queue:support", "300": "ivr:welcome"}
    whole: dict[str, object] = {
        "queue": (QueueSettings(name="sales", wrap_up_s=30.0), QueueSettings(name="support", wrap_up_s=30.0)),
        "ivr": {"welcome": ivr},
        "did": tuple(DidSettings(number=n, target=t, safety_queue="sales") for n, t in numbers.items()),
        "agent": tuple(
            AgentSettings(number=n, name=n, pin="1234", queues=queues)
            for n, queues in {
                "1": ("sales",),
                "2": ("sales",),
                "3": ("support",),
                "4": ("sales", "support"),
            }.items()
        ),
        "device": tuple(DeviceSettings(name=f"d{n}") for n in range(1, 7)),
        "supervisor": (SupervisorSettings(number="77", name="s", device="d6", pin="7777", queues=("sales",)),),
    }
    return Settings(**{**whole, **changes})  # type: ignore[arg-type]


def quick_settings() -> Settings:
    """Queues that overflow into each other, quickly."""
    return settings(
        queue=(
            QueueSettings(name="sales", wrap_up_s=5.0, max_wait_s=40.0, retry_s=3.0, on_timeout="queue:support"),
            QueueSettings(
                name="support",
                wrap_up_s=0.0,
                max_wait_s=60.0,
                max_waiting=3,
                join_empty=True,
                on_full="queue:sales",
                on_timeout="ivr:welcome",
            ),
        )
    )
