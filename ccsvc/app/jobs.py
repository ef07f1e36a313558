"""Background work with names, owners and ends: short jobs beside the consumer of the inbox.

Promises: every task has a name and is awaited or cancelled by `close`; a job that fails is logged, never lost
silently; jobs of one lane run in the order given, at most `LANE_LIMIT` waiting. What is too much, or comes after
`close`, is dropped, counted and said.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from structlog.stdlib import BoundLogger

from ccsvc.errors import CcsvcError

JOB_LIMIT = 1000
LANE_LIMIT = 10_000

Job = Callable[[], Awaitable[None]]


class Jobs:
    """Whoever starts a job is told by False that it was dropped."""

    def __init__(self, log: BoundLogger) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, asyncio.Queue[Job]] = {}
        self._closed = False
        self.dropped = 0

    def start(self, name: str, job: Job) -> bool:
        """Run a job by itself. Beyond `JOB_LIMIT` at once it is dropped and counted."""
        if self._closed or len(self._tasks) - len(self._lanes) >= JOB_LIMIT:
            return self._drop(name)
        self._begin(name, self._guard(name, job))
        return True

    def once(self, name: str, job: Job) -> bool:
        """Run a job unless one of that name is still running; True as well if one is."""
        if any(task.get_name() == _task_name(name) and not task.done() for task in self._tasks):
            return True
        return self.start(name, job)

    def in_order(self, lane: str, job: Job) -> bool:
        """Run a job after all earlier ones of its lane."""
        if self._closed:
            return self._drop(lane)
        if lane not in self._lanes:
            self._lanes[lane] = asyncio.Queue(LANE_LIMIT)
            self._begin(f"lane-{lane}", self._run_lane(lane))
        try:
            self._lanes[lane].put_nowait(job)
        except asyncio.QueueFull:
            return self._drop(lane)
        return True

    async def close(self, deadline_s: float) -> None:
        """Cancel what runs and wait for it, at most `deadline_s`; whoever is late is named in the log."""
        self._closed = True
        for lane, waiting in self._lanes.items():
            if waiting.qsize():
                self._log.warning("jobs given up at shutdown", lane=lane, jobs=waiting.qsize())
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline_s)
            for task in late:
                self._log.warning("job is late at shutdown", job=task.get_name())
        self._lanes.clear()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=_task_name(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_lane(self, lane: str) -> None:
        waiting = self._lanes[lane]
        while True:
            await self._guard(lane, await waiting.get())

    async def _guard(self, name: str, job: Job) -> None:
        try:
            await job()
        except CcsvcError as error:
            self._log.warning("job failed", job=name, code=error.code, reason=str(error))
        except Exception:  # noqa: BLE001  the border of a task
            self._log.exception("job failed", job=name)

    def _drop(self, name: str) -> bool:
        self.dropped += 1
        self._log.error("a job was dropped", job=name, reason="shutdown" if self._closed else "too many jobs")
        return False


def _task_name(name: str) -> str:
    return f"ccsvc-{name}"
