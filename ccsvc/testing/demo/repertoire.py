"""After the opening: callers come and go, agents take breaks, a supervisor listens, until the audience leaves.

Promises: at most `CALLS_AT_ONCE` calls at a time; what is played follows from the seed, when it is played does not;
what a telephone could not do is told as a line and the play goes on.
"""

import asyncio
from collections.abc import Awaitable
from random import Random
from typing import NoReturn

from ccsvc.testing.demo.cast import AGENTS, CALLERS, RING_S, SUPERVISOR, Caller, Staff
from ccsvc.testing.demo.news import News
from ccsvc.testing.demo.stage import TROUBLE, Press, Stage
from ccsvc.testing.phone import Answer, NeverAnswer

SEED = 20
CALLS_AT_ONCE = 6
_PAUSE_S = (2.0, 12.0)
_TALK_S = (3.0, 8.0)
_PATIENCE_S = (4.0, 9.0)
_LISTEN_EVERY_S = (15.0, 30.0)
_STEP_OUT_EVERY_S = (20.0, 45.0)
_PICK_UP_S = (0.5, 2.5)
_IMPATIENT, _AWAY, _BY_AGENT = 0.25, 0.12, 0.5

_WAYS: tuple[tuple[Press, ...], ...] = (
    (Press("start", "1", 2.0),),
    (Press("start", "1", 3.5),),
    (Press("start", "3", 2.5),),
    (Press("start", "2", 2.0), Press("support", "1", 1.5)),
    (Press("start", "2", 2.5), Press("support", "2", 2.0)),
    (Press("start", "9", 1.5), Press("language", "2", 1.5), Press("start", "3", 1.5)),
)


class Repertoire:
    """Runs until cancelled."""

    def __init__(self, stage: Stage, news: News, seed: int = SEED) -> None:
        self._stage, self._news, self._seed = stage, news, seed
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)

    async def play(self) -> NoReturn:
        async with asyncio.TaskGroup() as group:
            for n, caller in enumerate(CALLERS):
                group.create_task(self._calls(caller, Random(self._seed + n)), name=f"demo-caller-{n}")
            for n, agent in enumerate(AGENTS):
                group.create_task(self._works(agent, Random(self._seed + 100 + n)), name=f"demo-agent-{n}")
            group.create_task(self._listens(Random(self._seed + 200)), name="demo-supervisor")
        raise AssertionError("the play has no end")

    async def _calls(self, caller: Caller, chance: Random) -> NoReturn:
        while True:
            await asyncio.sleep(chance.uniform(*_PAUSE_S))
            async with self._room:
                await self._told(self._one_call(caller, chance))

    async def _one_call(self, caller: Caller, chance: Random) -> None:
        way, talk_s = chance.choice(_WAYS), chance.uniform(*_TALK_S)
        impatient = chance.random() < _IMPATIENT
        patience_s = chance.uniform(*_PATIENCE_S)
        by = "agent" if chance.random() < _BY_AGENT else "caller"
        try:
            visit = await self._stage.dial(caller)
            await self._stage.choose(visit, way)
            patience = {"patience_s": patience_s} if impatient else {}
            if await self._stage.wait_for_agent(visit, **patience):
                await asyncio.sleep(talk_s)
                await self._stage.say_goodbye(visit, by)
            else:
                await self._stage.give_up(visit)
        finally:
            await self._on_hook(caller)

    async def _on_hook(self, caller: Caller) -> None:
        for call in self._stage.phones[caller.device].live_calls:
            await call.hang_up()

    async def _works(self, agent: Staff, chance: Random) -> NoReturn:
        """Picks up sooner or later, now and then not at all, and takes a break from time to time."""
        phone = self._stage.phones[agent.device]
        while True:
            phone.answering = Answer(chance.uniform(*_PICK_UP_S))
            await asyncio.sleep(chance.uniform(*_STEP_OUT_EVERY_S))
            if chance.random() < _AWAY:
                phone.answering = NeverAnswer()
                await asyncio.sleep(3 * RING_S)
            elif not phone.live_calls:
                await self._told(self._break(agent, chance))

    async def _break(self, agent: Staff, chance: Random) -> None:
        await self._stage.feature(agent, "*12", chance.choice("123"))
        await asyncio.sleep(chance.uniform(*_PAUSE_S))
        await self._stage.feature(agent, "*13")

    async def _listens(self, chance: Random) -> NoReturn:
        while True:
            await asyncio.sleep(chance.uniform(*_LISTEN_EVERY_S))
            since = {agent: at for agent in AGENTS if (at := self._talks_since(agent)) is not None}
            if since:
                agent = max(since, key=lambda each: since[each])
                await self._told(self._stage.listen(SUPERVISOR, agent, (agent.tone_hz,), 3.0))

    def _talks_since(self, agent: Staff) -> float | None:
        calls = [call for call in self._stage.phones[agent.device].live_calls if call.inbound]
        return next((call.established_at for call in calls if call.established_at is not None), None)

    async def _told(self, scene: Awaitable[object]) -> None:
        """Play it; whatever a person could not do is a line for the audience."""
        try:
            await scene
        except TROUBLE as trouble:
            self._news.trouble(str(trouble))
