"""The daemon's pulse: proves every second that it is alive, and has the switch looked at from time to time.

Promises: neither the pulse for the watchdog nor `CCSVC_ALIVE` on the PBX is given while the inbox is not being
worked off, because a daemon that hangs is worse than a dead one: the dialplan looks at the stamp's age before it
hands a caller over, and the watchdog outside kills a daemon whose pulse stands still. Nothing slow is waited for
here: a PBX that answers late must not make the daemon look dead.
"""

import asyncio
from collections.abc import Callable

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.ports import Switch
from ccsvc.app.runner import Runner
from ccsvc.errors import PbxError

LOOK_EVERY_BEATS = 5
STUCK_BACKLOG = 20_000
"""So many events wait only for a daemon that is of no more use to its callers."""


class Heartbeat:
    def __init__(
        self,
        runner: Runner,
        switch: Switch,
        *,
        interval_s: float,
        pulse: Callable[[], None],
        clock: Clock,
        log: BoundLogger,
    ) -> None:
        self._runner, self._switch, self._clock = runner, switch, clock
        self._interval_s, self._pulse, self._log = interval_s, pulse, log
        self._beats = 0
        self._before = (0, 0)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._interval_s)

    async def beat(self) -> None:
        """One beat. The pulse for the watchdog needs no PBX: a daemon without one is not hung."""
        if self._is_stuck():
            self._log.error("the inbox is not worked off: no heartbeat", backlog=self._runner.backlog)
            return
        self._pulse()
        if not self._switch.connected:
            return
        self._beats += 1
        if self._beats % LOOK_EVERY_BEATS == 0:
            self._runner.jobs.once("look", self._switch.look)
        try:
            await self._switch.stamp_alive(int(self._clock().timestamp()))
        except PbxError as error:
            self._log.warning("heartbeat did not reach the PBX", code=error.code, reason=str(error))

    def _is_stuck(self) -> bool:
        """Far too much waits, or nothing at all was handled since the last beat although something waited."""
        backlog, handled = self._runner.backlog, self._runner.counters.handled
        backlog_before, handled_before = self._before
        self._before = (backlog, handled)
        return backlog >= STUCK_BACKLOG or (backlog > 0 and backlog_before > 0 and handled == handled_before)
