"""The telephones of the demo, and what people do with them.

Promises: whatever is noted here was seen, heard or done at a telephone: it is the ground truth that the centre's
records are held against. The centre is asked for one thing only: which sentence a caller hears just now, so that keys
are pressed at the right one, as a person would who understands it. Who talks with whom is told by tones.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ccsvc.errors import CcsvcError
from ccsvc.testing.demo.cast import Caller, Staff
from ccsvc.testing.phone import Phone, PhoneCall, PhoneLine, PhoneTimeout
from ccsvc.testing.phone_call import QUIET
from ccsvc.testing.stack import Stack
from ccsvc.testing.tones import level
from ccsvc.testing.waiting import eventually

ANSWER_LIMIT_S = 10.0
CODE_LIMIT_S = 25.0
MENU_LIMIT_S = 25.0
PATIENCE_S = 60.0
_EAR_EVERY_S = 0.1
_PAUSE_BEFORE_KEY_S = 0.3

TROUBLE = (CcsvcError, AssertionError, TimeoutError, aiohttp.ClientError)
"""What comes of a telephone, or a centre, that does not do what was waited for."""

Tell = Callable[[str, str], None]
"""(who, what they did): one line for the audience."""


@dataclass(frozen=True, slots=True)
class Press:
    """When the menu is at `node`, listen for so long, then press the key."""

    node: str
    key: str
    listen_s: float = 1.0


@dataclass(slots=True)
class Visit:
    """One call of one caller, as their telephone saw it. Instants are those of the telephones (monotonic seconds)."""

    caller: Caller
    call: PhoneCall
    pressed: list[tuple[float, Press]] = field(default_factory=list)
    agent: Staff | None = None
    """Whose tone was heard."""
    at_agent: PhoneCall | None = None
    """The same conversation at the agent's telephone."""

    @property
    def keys(self) -> str:
        return "".join(press.key for _, press in self.pressed)


class Stage:
    """`line` is where all telephones live."""

    def __init__(self, stack: Stack, line: PhoneLine) -> None:
        self.stack = stack
        self.tell: Tell = _nobody_hears
        """Who hears what people do; set it at any time."""
        self.phones: dict[str, Phone] = {}
        self.staff: dict[str, Staff] = {}
        self._line = line

    async def plug_in(self, who: Caller | Staff) -> None:
        """Register this person's telephone."""
        self.phones[who.device] = await self._line.phone(
            who.device, domain=self.stack.sip, password=self.stack.secret_of(who.device), tone_hz=who.tone_hz
        )
        if isinstance(who, Staff):
            self.staff[who.device] = who

    # -- staff ---------------------------------------------------------------------------------------------------

    def pin_of(self, number: str) -> str:
        agents, supervisors = self.stack.settings.agent, self.stack.settings.supervisor
        return {**{a.number: a.pin for a in agents}, **{s.number: s.pin for s in supervisors}}[number]

    async def feature(self, who: Staff, code: str, *inputs: str) -> None:
        """Dial a feature code, give what it asks for, and hear it out."""
        call = await self.phones[who.device].dial(code)
        await call.wait_established(ANSWER_LIMIT_S)
        for keys in inputs:
            await spoken_to(call)
            await asyncio.sleep(_PAUSE_BEFORE_KEY_S)
            await call.press(keys)
        await call.wait_ended(CODE_LIMIT_S)

    async def log_in(self, who: Staff) -> None:
        """At their own telephone, with number and PIN; until the centre calls them ready."""
        await self.feature(who, "*10", f"{who.number}#", f"{self.pin_of(who.number)}#")

        async def ready() -> bool:
            agents = (await self.stack.daemon.get("/api/v1/agents"))["agents"]
            mine = next(agent for agent in agents if agent["agent_id"] == who.number)
            return bool(mine["status"] == "ready")

        await eventually(ready, f"agent {who.number} is logged in")

    async def listen(self, who: Staff, agent: Staff, tones_hz: Iterable[int], for_s: float) -> PhoneCall:
        """Listen in on an agent until all these tones are heard, and `for_s` longer; or until the centre ends it."""
        self.tell(who.name, f"dials *20{agent.number}")
        call = await self.phones[who.device].dial(f"*20{agent.number}")
        await call.wait_established(ANSWER_LIMIT_S)
        await spoken_to(call)
        await asyncio.sleep(_PAUSE_BEFORE_KEY_S)
        await call.press(f"{self.pin_of(who.number)}#")
        try:
            await _heard_all(call, set(tones_hz))
            with contextlib.suppress(PhoneTimeout):  # still there: all is well
                await call.wait_ended(for_s)
        finally:
            await call.hang_up()
        return call

    # -- callers -------------------------------------------------------------------------------------------------

    async def dial(self, caller: Caller) -> Visit:
        """Call the centre and be answered by it."""
        self.tell(caller.name, f"dials {caller.did}")
        visit = Visit(caller, await self.phones[caller.device].dial(caller.did))
        await visit.call.wait_established(ANSWER_LIMIT_S)
        await spoken_to(visit.call)
        return visit

    async def choose(self, visit: Visit, presses: Iterable[Press]) -> None:
        """Go through the menu."""
        for press in presses:
            await self.at_node(visit, press.node)
            await asyncio.sleep(press.listen_s)
            self.tell(visit.caller.name, f"presses {press.key}")
            await visit.call.press(press.key)
            visit.pressed.append((time.monotonic(), press))

    async def at_node(self, visit: Visit, node: str) -> None:
        """Until the caller is at that node of the menu."""

        async def there() -> bool:
            mine = await self.call_now(visit.caller)
            return mine is not None and (mine["phase"], mine["where"]) == ("ivr", node)

        await eventually(there, f"{visit.caller.device} at {node} of the menu", deadline_s=MENU_LIMIT_S, every_s=0.05)

    async def call_now(self, caller: Caller) -> dict[str, Any] | None:
        """What the centre says of this caller's call; None if there is none."""
        calls: list[dict[str, Any]] = (await self.stack.daemon.get("/api/v1/calls"))["calls"]
        return next((call for call in calls if call["caller_name"] == caller.name), None)

    async def wait_for_agent(self, visit: Visit, patience_s: float = PATIENCE_S) -> bool:
        """Hold the line until an agent's tone is heard. False: the patience is at its end, or the call is."""
        give_up_at = time.monotonic() + patience_s
        by_tone = {staff.tone_hz: staff for staff in self.staff.values()}
        while time.monotonic() < give_up_at and visit.call.ended_at is None:
            heard = visit.call.heard.tones(by_tone)
            if len(heard) == 1:
                visit.agent = by_tone[heard.pop()]
                visit.at_agent = self._other_end(visit)
                return True
            await asyncio.sleep(_EAR_EVERY_S)
        return False

    def _other_end(self, visit: Visit) -> PhoneCall | None:
        assert visit.agent is not None
        calls = self.phones[visit.agent.device].live_calls
        return next((call for call in calls if call.inbound and call.peer == visit.caller.number), None)

    async def give_up(self, visit: Visit) -> None:
        self.tell(visit.caller.name, "gives up")
        await visit.call.hang_up()

    async def say_goodbye(self, visit: Visit, by: str) -> None:
        """One of the two hangs up, `by` "caller" or "agent"; until both telephones are free."""
        if by == "agent" and visit.at_agent is not None:
            await visit.at_agent.hang_up()
        else:
            await visit.call.hang_up()
        await visit.call.wait_ended()
        if visit.at_agent is not None:
            await visit.at_agent.wait_ended()


def _nobody_hears(_who: str, _what: str) -> None:
    pass


async def _heard_all(call: PhoneCall, tones_hz: set[int]) -> None:
    """Until each of these tones was heard once, or the call is over."""
    missing = set(tones_hz)

    def over() -> bool:
        missing.difference_update(call.heard.tones(tones_hz))
        return not missing or call.ended_at is not None

    await eventually(over, f"tones at {call!r}", deadline_s=CODE_LIMIT_S, every_s=_EAR_EVERY_S)


async def spoken_to(call: PhoneCall, deadline_s: float = ANSWER_LIMIT_S) -> None:
    """Until something is to be heard."""
    await eventually(
        lambda: level(call.heard.last(_EAR_EVERY_S)) >= QUIET, f"sound at {call!r}", deadline_s=deadline_s
    )
