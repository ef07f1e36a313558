"""Background work with names, owners and ends: short jobs beside the consumer of the inbox.

Promises: every task has a name and is awaited or cancelled by `close`; a job that fails is logged, never lost
silently; jobs of one lane run in the order given, at most `LANE_LIMIT` waiting (more are dropped, counted and said).
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
    def __init__(self, log: BoundLogger) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, asyncio.Queue[Job]] = {}
        self.dropped = 0

    def start(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """Run a job by itself. Beyond `JOB_LIMIT` at once it is dropped and counted."""
        if len(self._tasks) >= JOB_LIMIT:
            job.close()
            self._drop(name)
            return
        task = asyncio.create_task(self._guard(name, job), name=f"ccsvc-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def once(self, name: str, job: Job) -> None:
        """Run a job unless one of that name is still running."""
        if not any(task.get_name() == f"ccsvc-{name}" for task in self._tasks):
            self.start(name, _call(job))

    def in_order(self, lane: str, job: Job) -> None:
        """Run a job after all earlier ones of its lane."""
        if lane not in self._lanes:
            self._lanes[lane] = asyncio.Queue(LANE_LIMIT)
            self.start(f"lane-{lane}", self._run_lane(lane))
        try:
            self._lanes[lane].put_nowait(job)
        except asyncio.QueueFull:
            self._drop(lane)

    async def close(self, deadline_s: float) -> None:
        """Cancel what runs and wait for it; whoever is late is named in the log."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline_s)
            for task in late:
                self._log.warning("job is late at shutdown", job=task.get_name())
        self._lanes.clear()

    async def _run_lane(self, lane: str) -> None:
        queue = self._lanes[lane]
        while True:
            job = await queue.get()
            await self._guard(lane, _call(job))

    async def _guard(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except CcsvcError as error:
            self._log.warning("job failed", job=name, code=error.code, reason=str(error))
        except Exception:  # noqa: BLE001  the border of a task
            self._log.exception("job failed", job=name)

    def _drop(self, name: str) -> None:
        self.dropped += 1
        self._log.error("too many jobs: one was dropped", job=name)


async def _call(job: Job) -> None:
    await job()
