"""The daemon's pulse: proves every second that it is alive, and looks at the switch from time to time.

Promises: `CCSVC_ALIVE` is stamped only while the inbox is being worked off and the spool can be written, because a
daemon that hangs is worse than a dead one: the dialplan looks at the stamp's age before it hands a caller over, and
the watchdog outside kills a daemon whose pulse stands still.
"""

import asyncio
import time
from collections.abc import Callable

from structlog.stdlib import BoundLogger

from ccsvc.app.ports import Switch
from ccsvc.app.runner import Runner
from ccsvc.errors import PbxError

LOOK_EVERY_BEATS = 5
STUCK_BACKLOG = 20_000


class Heartbeat:
    def __init__(
        self, runner: Runner, switch: Switch, *, interval_s: float, pulse: Callable[[], None], log: BoundLogger
    ) -> None:
        self._runner, self._switch = runner, switch
        self._interval_s, self._pulse, self._log = interval_s, pulse, log
        self._beats = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._interval_s)

    async def beat(self) -> None:
        """One beat. The pulse for the watchdog needs no PBX: a daemon without one is not hung."""
        if self._runner.backlog < STUCK_BACKLOG:
            self._pulse()
        if not self._switch.connected:
            return
        self._beats += 1
        try:
            await self._switch.stamp_alive(int(time.time()))
            if self._beats % LOOK_EVERY_BEATS == 0:
                await self._switch.look()
        except PbxError as error:
            self._log.warning("heartbeat did not reach the PBX", code=error.code, reason=str(error))
