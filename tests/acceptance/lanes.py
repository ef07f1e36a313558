"""Lanes: parts of one contact centre that do not touch each other, so that tests can use one PBX side by side.

A lane has two queues of its own (the second one has little patience), three agents with their devices, a supervisor,
four callers and two numbers: one leads into the lane's menu in English, one in Persian straight into its first queue.
Every phone plays a tone of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ccsvc.settings import (
    AgentSettings,
    DeviceSettings,
    DidSettings,
    IvrNodeSettings,
    IvrSettings,
    PbxSettings,
    QueueSettings,
    Settings,
    SupervisorSettings,
    Texts,
    TrunkSettings,
)
from ccsvc.testing.phone import Answer, Phone, PhoneCall, PhoneLine
from ccsvc.testing.stack import Stack
from ccsvc.testing.tones import PALETTE
from ccsvc.testing.waiting import eventually

LANES = 60
PIN = "2580"
TRUNK_HOST = "127.0.0.2"
"""Calls from this address come from the provider."""
AGENTS = (1, 2, 3)
CALLERS = (1, 2, 3, 4)


def lanes_settings(lanes: int = LANES, *, menu_attempts: int = 3, **queue: Any) -> Settings:
    """A contact centre of so many lanes. `queue` changes every queue's settings."""
    numbers = range(10, 10 + lanes)
    return Settings(
        trunk=(TrunkSettings(name="outside", host=TRUNK_HOST, match=(TRUNK_HOST,)),),
        pbx=PbxSettings(ami_secret="a-secret-for-tests"),
        queue=tuple(q for n in numbers for q in (_queue(f"q{n}a", **queue), _queue(f"q{n}b", **queue, max_wait_s=3))),
        agent=tuple(_agent(n, k) for n in numbers for k in AGENTS),
        device=tuple(_device(name) for n in numbers for name in _devices(n)),
        supervisor=tuple(_supervisor(n) for n in numbers),
        did=tuple(did for n in numbers for did in _dids(n)),
        ivr={f"menu{n}": _menu(n, menu_attempts) for n in numbers},
    )


def _queue(name: str, **changes: Any) -> QueueSettings:
    defaults: dict[str, Any] = {"ring_timeout_s": 3, "wrap_up_s": 1, "retry_s": 1, "max_wait_s": 60}
    return QueueSettings(name=name, **{**defaults, **changes})


def _agent(n: int, k: int) -> AgentSettings:
    return AgentSettings(number=f"1{n}{k}", name=f"Agent {n}-{k}", pin=PIN, queues=(f"q{n}a", f"q{n}b"))


def _supervisor(n: int) -> SupervisorSettings:
    return SupervisorSettings(number=f"9{n}1", name=f"Supervisor {n}", device=f"s{n}", pin=PIN, queues=(f"q{n}a",))


def _devices(n: int) -> list[str]:
    return [*(f"a{n}{k}" for k in AGENTS), *(f"c{n}{k}" for k in CALLERS), f"s{n}"]


def _device(name: str) -> DeviceSettings:
    number = f"0912{name[1:]:0>7}" if name.startswith("c") else ""
    return DeviceSettings(name=name, secret=f"secret-of-{name}", caller_id=number)


def _dids(n: int) -> tuple[DidSettings, ...]:
    return (
        DidSettings(number=f"2{n}1", target=f"queue:q{n}a", safety_queue=f"q{n}a", language="fa"),
        DidSettings(number=f"2{n}2", target=f"ivr:menu{n}", safety_queue=f"q{n}a"),
    )


def _menu(n: int, attempts: int) -> IvrSettings:
    say: Texts = {"en": "One.", "fa": "یک.", "ar": "واحد."}
    return IvrSettings(
        start="hello",
        node={
            "hello": IvrNodeSettings(say={"en": "Hello.", "fa": "سلام.", "ar": "مرحبا."}, next="node:main"),
            "main": IvrNodeSettings(
                say=say,
                keys={
                    "1": f"queue:q{n}a",
                    "2": "node:more",
                    "3": "language:fa node:main",
                    "9": "repeat",
                    "0": "hangup",
                },
                input_timeout_s=1.5,
                max_attempts=attempts,
                on_failure="hangup",
            ),
            "more": IvrNodeSettings(
                say=say,
                keys={"1": f"queue:q{n}b", "#": "node:main"},
                input_timeout_s=1.5,
                max_attempts=2,
                on_failure="node:bye",
            ),
            "bye": IvrNodeSettings(say=say, next="hangup"),
        },
    )


@dataclass
class Lane:
    """What one test uses. Phones are made when they are first asked for and closed by the fixture."""

    stack: Stack
    line: PhoneLine
    n: int
    phones: dict[str, Phone] = field(default_factory=dict)

    @property
    def to_queue(self) -> str:
        return f"2{self.n}1"

    @property
    def to_menu(self) -> str:
        return f"2{self.n}2"

    @property
    def queue(self) -> str:
        return f"q{self.n}a"

    @property
    def second_queue(self) -> str:
        return f"q{self.n}b"

    def agent_number(self, k: int = 1) -> str:
        return f"1{self.n}{k}"

    def caller_number(self, k: int = 1) -> str:
        return f"0912{f'{self.n}{k}':0>7}"

    async def phone(self, device: str, tone_hz: int) -> Phone:
        if device not in self.phones:
            self.phones[device] = await self.line.phone(
                device, domain=self.stack.sip, password=self.stack.secret_of(device), tone_hz=tone_hz
            )
        return self.phones[device]

    async def caller(self, k: int = 1) -> Phone:
        return await self.phone(f"c{self.n}{k}", PALETTE[k])

    async def agent_phone(self, k: int = 1) -> Phone:
        return await self.phone(f"a{self.n}{k}", PALETTE[10 + k])

    async def supervisor(self) -> Phone:
        return await self.phone(f"s{self.n}", PALETTE[20])

    async def agent(self, k: int = 1, answering: Any = None) -> Phone:
        """A phone at which agent k has logged in with `*10`, number and PIN."""
        phone = await self.agent_phone(k)
        phone.answering = answering if answering is not None else Answer(after_s=0.3)
        await self.feature(phone, "*10", f"{self.agent_number(k)}#", f"{PIN}#")
        await self.until_agent(k, lambda a: a["status"] == "ready" and a["device_state"] == "idle")
        return phone

    async def feature(self, phone: Phone, code: str, *inputs: str) -> PhoneCall:
        """Dial a feature code, give what it asks for, and hear it out."""
        call = await phone.dial(code)
        await call.wait_established(5)
        for keys in inputs:
            await until_spoken_to(call)
            await call.press(keys)
        await call.wait_ended(20)
        return call

    async def agent_now(self, k: int = 1) -> dict[str, Any]:
        body = await self.stack.daemon.get("/api/v1/agents")
        return next(a for a in body["agents"] if a["agent_id"] == self.agent_number(k))

    async def queue_now(self, name: str = "") -> dict[str, Any]:
        body = await self.stack.daemon.get("/api/v1/queues")
        return next(q for q in body["queues"] if q["name"] == (name or self.queue))

    async def until_agent(self, k: int, seen: Callable[[dict[str, Any]], bool], deadline_s: float = 10.0) -> None:
        async def look() -> bool:
            return seen(await self.agent_now(k))

        await eventually(look, f"agent {self.agent_number(k)} as expected", deadline_s=deadline_s)

    async def until_waiting(self, count: int, name: str = "", deadline_s: float = 10.0) -> None:
        async def look() -> bool:
            return len((await self.queue_now(name))["waiting"]) == count

        await eventually(look, f"{count} callers waiting in {name or self.queue}", deadline_s=deadline_s)

    async def call_of(self, k: int = 1, **how: Any) -> dict[str, Any]:
        return await self.stack.call_of(self.caller_number(k), **how)


async def until_spoken_to(call: PhoneCall, deadline_s: float = 5.0) -> None:
    """Wait until something is to be heard that was not before."""
    await eventually(lambda: not call.is_silent(last_s=0.1), f"sound at {call!r}", deadline_s=deadline_s)


def seconds(start: float | None, end: float | None) -> float:
    """Between two instants of a phone, both of which must have come."""
    assert start is not None
    assert end is not None
    return end - start


def talked_s(call: PhoneCall) -> float:
    """From answer to end, as this phone saw it."""
    return seconds(call.established_at, call.ended_at)
