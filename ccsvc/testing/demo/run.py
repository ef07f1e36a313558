"""One demo from the first line on the terminal to the last.

Promises: whatever ends it (a signal, an error, the end of the pass) ends everything that it started, in a few
seconds, and says so in one line; further signals while it ends change nothing. A set-up error is raised as it is.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from rich.console import Console

from ccsvc.testing.demo import INTERRUPTED, processes, words
from ccsvc.testing.demo.cast import AGENTS, CALLERS, SUPERVISOR, Caller, Staff, demo_settings
from ccsvc.testing.demo.checks import judge, verdict
from ccsvc.testing.demo.evidence import Check, Evidence
from ccsvc.testing.demo.news import News
from ccsvc.testing.demo.opening import EARLY, Opening, all_at_rest, come_in
from ccsvc.testing.demo.progress import SetUp
from ccsvc.testing.demo.repertoire import Repertoire
from ccsvc.testing.demo.stage import TROUBLE, Stage
from ccsvc.testing.demo.strain import Strain
from ccsvc.testing.demo.view import Eyes, can_move, live_view, say, show_line
from ccsvc.testing.demo.workplace import workplace
from ccsvc.testing.phone import PhoneLine
from ccsvc.testing.stack import Stack

_STEPS = Stack.STEPS + 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GONE_LIMIT_S = 10.0
_KEEP_HEARD_S, _KEEP_CALLS = 60.0, 10  # of a demo that goes on for hours; one pass keeps everything

T = TypeVar("T")


class Demo:
    """`run` is called once."""

    def __init__(self, console: Console, *, once: bool, directory: Path | None) -> None:
        self._console, self._once, self._directory = console, once, directory
        self._set_up = SetUp(console, _STEPS)
        self._began = time.monotonic()
        self._ours: set[processes.Process] = set()
        self._interrupted = self._is_up = False
        self._calls = 0
        self._folder = Path()

    async def run(self) -> int:
        """The exit status; see `ccsvc.testing.demo.main`. Raises `CcsvcError` for what the set-up can't have."""
        task = asyncio.current_task()
        assert task is not None
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, task)
        try:
            with workplace(self._directory) as (self._folder, instead_because):
                if instead_because:
                    say(self._console, f"the demo's folder is {self._folder}: of the one wanted, {instead_because}")
                return await self._one_demo()
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            task.uncancel()
            return await self._stopped()

    def _interrupt(self, task: "asyncio.Task[Any]") -> None:
        """SIGNAL. The first one counts."""
        if not self._interrupted:
            self._interrupted = True
            self._note_processes()
            self._set_up.stop()
            task.cancel()

    async def _one_demo(self) -> int:
        async with AsyncExitStack() as house:
            stage = await self._make_stage(house)
            checks = await self._evening(stage)
        gone = await self._nobody_left()
        self._show(gone)
        checks.append(gone)
        say(self._console, words.summary(checks, time.monotonic() - self._began, self._folder))
        return 1 if any(check.problems for check in checks) else 0

    async def _make_stage(self, house: AsyncExitStack) -> Stage:
        """The centre, then the telephones, then the first agents."""
        settings = demo_settings(self._folder)
        stack = await house.enter_async_context(Stack(settings, folder=self._folder, progress=self._set_up))
        line = PhoneLine() if self._once else PhoneLine(keep_heard_s=_KEEP_HEARD_S, keep_calls=_KEEP_CALLS)
        stage = Stage(stack, await house.enter_async_context(line))
        house.callback(self._note_processes)
        people: tuple[Caller | Staff, ...] = (*AGENTS, SUPERVISOR, *CALLERS)
        with self._set_up.step("telephones"):
            for n, who in enumerate(people, 1):
                await stage.plug_in(who)
                self._set_up.detail("registered", n, len(people), 0.0)
        with self._set_up.step(f"agents {', '.join(agent.number for agent in EARLY)} log in with *10"):
            await come_in(stage, EARLY)
        self._is_up = True
        for text in words.where_to_look(stack, time.monotonic() - self._began, once=self._once):
            say(self._console, text)
        return stage

    async def _evening(self, stage: Stage) -> list[Check]:
        """Play, with an audience; a single pass is then judged."""
        opening = Opening(stage)
        async with aiohttp.ClientSession() as http:
            with Strain() as strain:
                problems = await self._before_an_audience(stage, opening, Eyes(http, stage.stack.daemon.url))
        checks = [Check("the pass was played to its end", str(strain), problems)]
        self._show(*checks)
        async for check in judge(Evidence(stage, opening.played, strain.slack)):
            self._show(check)
            checks.append(check)
        return checks

    async def _before_an_audience(self, stage: Stage, opening: Opening, eyes: Eyes) -> tuple[str, ...]:
        """What went wrong in the opening. Does not return if there is more to play than that."""
        live = can_move(self._console)
        names = {staff.number: staff.name for staff in (*AGENTS, SUPERVISOR)}
        news = News(names, eyes.name_of, None if live else lambda line: show_line(self._console, line))
        stage.tell = news.tell
        watchers: list[Coroutine[Any, Any, None]] = [news.follow(stage.stack.daemon.log_file)]
        if live:
            watchers.append(live_view(self._console, eyes, news, words.foot(stage.stack)))
        try:
            return await alongside(self._play(stage, opening, news), *watchers)
        finally:
            self._calls = news.calls_over

    async def _play(self, stage: Stage, opening: Opening, news: News) -> tuple[str, ...]:
        problems = await _played(opening, stage)
        if self._once:
            return problems
        for problem in problems:
            news.trouble(problem)
        return await Repertoire(stage, news).play()

    # -- the end -------------------------------------------------------------------------------------------------

    def _note_processes(self) -> None:
        self._ours |= processes.descendants()

    async def _nobody_left(self) -> Check:
        """Everything that was started has ended, after a moment's patience."""
        left = await processes.wait_until_gone(self._ours, _GONE_LIMIT_S)
        told = f"{len(self._ours)} were started"
        return Check("no process is left", told, tuple(f"{each.pid}: {each.command}" for each in left))

    async def _stopped(self) -> int:
        gone = await self._nobody_left()
        lasted_s = time.monotonic() - self._began
        say(self._console, words.farewell(gone, lasted_s, self._calls if self._is_up else None, self._folder))
        return 0 if self._is_up and not self._once and not gone.problems else INTERRUPTED

    def _show(self, *checks: Check) -> None:
        for check in checks:
            for text in verdict(check):
                say(self._console, text)


async def alongside(play: Coroutine[Any, Any, T], *watchers: Coroutine[Any, Any, None]) -> T:
    """Run the play while others watch who have no end of their own; one of those that fails ends it all."""
    main = asyncio.create_task(play, name="demo-play")
    others = [asyncio.create_task(each, name=f"demo-watcher-{n}") for n, each in enumerate(watchers)]
    try:
        done, _ = await asyncio.wait([main, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return main.result()
    finally:
        for task in (main, *others):
            task.cancel()
        await asyncio.gather(main, *others, return_exceptions=True)


async def _played(opening: Opening, stage: Stage) -> tuple[str, ...]:
    """What telephones could not do in the opening, in sentences. Whatever else goes wrong is raised."""
    try:
        await opening.play()
        await all_at_rest(stage)
    except ExceptionGroup as group:
        known, unknown = group.split(TROUBLE)
        if unknown is not None:
            raise unknown from None
        return tuple(_sentence(error) for error in _leaves(known))
    except TROUBLE as trouble:
        return (_sentence(trouble),)
    return ()


def _leaves(group: BaseExceptionGroup[Any] | None) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions if group else ():
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__
