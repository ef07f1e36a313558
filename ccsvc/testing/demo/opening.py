"""The first pass, the same every time: what a contact centre must be able to do, in half a minute.

Three agents are there when the doors open, one for each queue. Eight callers come: one is served while a supervisor
listens in, one rings at an agent who doesn't answer, one gives up, one chooses another language, one presses a wrong
key, one only wants to hear the opening hours. Three more agents log in while callers wait.

Promises: everything waits for what must have happened before, never for time alone, so that a slow machine plays the
same piece, only slower. What was seen is in `Played`; how it is judged is `checks`' matter.
"""

import asyncio
from dataclasses import dataclass, field

from ccsvc.testing.demo.cast import AGENTS, CALLERS, SUPERVISOR, Staff
from ccsvc.testing.demo.stage import Press, Stage, Visit
from ccsvc.testing.phone import Answer, NeverAnswer, PhoneCall
from ccsvc.testing.waiting import eventually

EARLY = tuple(agent for agent in AGENTS if agent.number in ("101", "103", "105"))
LATE = tuple(agent for agent in AGENTS if agent not in EARLY)
ABSENT_MINDED = next(agent for agent in AGENTS if agent.number == "103")
LISTENED_TO = next(agent for agent in AGENTS if agent.number == "101")

PICK_UP_S = 0.8
GIVES_UP_AFTER_S = 5.0
LISTENS_FOR_S = 2.5
TALK_S = 3.5
SCENE_LIMIT_S = 60.0

_SALES, _BILLING = (Press("start", "1", 2.0),), (Press("start", "3", 2.0),)
_SUPPORT = (Press("start", "2", 2.0), Press("support", "1", 1.5))
_WRONG_KEY_FIRST = (Press("start", "7", 1.5), Press("start", "1", 2.5))
_IN_PERSIAN = (Press("start", "9", 1.5), Press("language", "1", 1.5), Press("start", "2", 1.5), Press("support", "1"))


@dataclass(slots=True)
class Played:
    """What was seen. `visits` by the caller's telephone, c1 to c8."""

    visits: dict[str, Visit] = field(default_factory=dict)
    listening: PhoneCall | None = None
    """The supervisor's call."""
    missed: PhoneCall | None = None
    """What rang at the agent who doesn't answer."""


class Opening:
    """Plays once."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self.played = stage, Played()
        self._served, self._heard_by_supervisor = asyncio.Event(), asyncio.Event()
        self._billing_busy, self._gave_up = asyncio.Event(), asyncio.Event()

    async def play(self) -> None:
        """Raises `ExceptionGroup` with whatever a telephone could not do, once everybody has stopped."""
        async with asyncio.timeout(SCENE_LIMIT_S), asyncio.TaskGroup() as scenes:
            for n, scene in enumerate(
                (
                    self._listened_to(),
                    self._missed(),
                    self._keeps_billing_busy(),
                    self._gives_up(),
                    self._only_asks(),
                    self._supervisor(),
                    self._plain(4, _WRONG_KEY_FIRST, after_s=7.0, ends="agent"),
                    self._plain(5, _IN_PERSIAN, after_s=8.0, ends="caller"),
                    self._plain(6, _SALES, after_s=11.0, ends="agent"),
                    self._late_shift(),
                )
            ):
                scenes.create_task(scene, name=f"demo-scene-{n}")

    async def _call(self, n: int, presses: tuple[Press, ...], after_s: float) -> Visit:
        """Caller n (from 0) comes, goes through the menu, and waits in line."""
        await asyncio.sleep(after_s)
        visit = await self._stage.dial(CALLERS[n])
        self.played.visits[visit.caller.device] = visit
        await self._stage.choose(visit, presses)
        return visit

    async def _plain(self, n: int, presses: tuple[Press, ...], *, after_s: float, ends: str) -> None:
        visit = await self._call(n, presses, after_s)
        if await self._stage.wait_for_agent(visit):
            await asyncio.sleep(TALK_S)
        await self._stage.say_goodbye(visit, ends)

    async def _listened_to(self) -> None:
        visit = await self._call(0, _SALES, 0.0)
        if await self._stage.wait_for_agent(visit):
            self._served.set()
            await self._heard_by_supervisor.wait()
        await self._stage.say_goodbye(visit, "caller")

    async def _supervisor(self) -> None:
        await self._served.wait()
        tones = (LISTENED_TO.tone_hz, CALLERS[0].tone_hz)
        try:
            self.played.listening = await self._stage.listen(SUPERVISOR, LISTENED_TO, tones, LISTENS_FOR_S)
        finally:
            self._heard_by_supervisor.set()

    async def _missed(self) -> None:
        """Nobody picks up at the first agent; the caller keeps their place and is served by who comes next."""
        self._stage.phones[ABSENT_MINDED.device].answering = NeverAnswer()
        await self._plain(1, _SUPPORT, after_s=0.4, ends="agent")

    async def _keeps_billing_busy(self) -> None:
        visit = await self._call(2, _BILLING, 0.8)
        if await self._stage.wait_for_agent(visit):
            self._billing_busy.set()
            await self._gave_up.wait()
        await self._stage.say_goodbye(visit, "caller")

    async def _gives_up(self) -> None:
        await self._billing_busy.wait()
        visit = await self._call(3, _BILLING, 0.0)
        await self._stage.wait_for_agent(visit, GIVES_UP_AFTER_S)
        await self._stage.give_up(visit)
        self._gave_up.set()

    async def _only_asks(self) -> None:
        """The opening hours are all that this caller wants to know: nobody is asked for."""
        visit = await self._call(7, (Press("start", "4", 2.0),), 3.0)
        await self._stage.at_node(visit, "hours")
        await asyncio.sleep(2.0)
        await self._stage.say_goodbye(visit, "caller")

    async def _late_shift(self) -> None:
        """Who missed a call looks up; the others log in once the impatient caller has gone."""
        phone = self._stage.phones[ABSENT_MINDED.device]
        self.played.missed = await phone.wait_for_call(SCENE_LIMIT_S)
        await self.played.missed.wait_ended(SCENE_LIMIT_S)
        phone.answering = Answer(PICK_UP_S)
        self._stage.tell(ABSENT_MINDED.name, "let it ring")
        await self._gave_up.wait()
        await come_in(self._stage, LATE)


async def come_in(stage: Stage, agents: tuple[Staff, ...]) -> None:
    """Agents sit down and log in, all at once."""
    for agent in agents:
        stage.phones[agent.device].answering = Answer(PICK_UP_S)
    await asyncio.gather(*(stage.log_in(agent) for agent in agents))


async def all_at_rest(stage: Stage) -> None:
    """Until nobody talks, rings or writes up any more."""

    async def rest() -> bool:
        calls = (await stage.stack.daemon.get("/api/v1/calls"))["calls"]
        agents = (await stage.stack.daemon.get("/api/v1/agents"))["agents"]
        return not calls and all(agent["activity"] == "idle" for agent in agents)

    await eventually(rest, "everybody at rest", deadline_s=30, every_s=0.1)
