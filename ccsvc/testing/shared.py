"""One stack for several test processes: one of them starts it, the others use it by what it says of itself.

Promises: whoever attaches can call, look and ask, but neither stops nor kills anything, and leaves the stack as it
was. The way to it travels in the environment (`VARIABLE`), so a test process needs no other knowledge.
"""

import asyncio
import os
from pathlib import Path

import asyncpg
import msgspec

from ccsvc.config.load import load
from ccsvc.testing.daemon import DaemonProcess
from ccsvc.testing.pbx import Pbx
from ccsvc.testing.stack import Stack

VARIABLE = "CCSVC_SHARED_STACK"


class Address(msgspec.Struct, frozen=True):
    """Where a running stack is."""

    config: str
    pbx_dir: str
    dsn: str
    daemon_pid: int


def address_of(stack: Stack) -> str:
    """What goes into the environment of those who attach."""
    pid = stack.daemon.pid
    assert pid is not None, "the daemon does not run"
    return msgspec.json.encode(Address(str(stack.config), str(stack.pbx.dir), stack.postgres.dsn, pid)).decode()


class AttachedStack(Stack):
    """Somebody else's stack. `postgres` is not there: it is not ours to stop."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def start(self) -> None:
        config = Path(self._address.config)
        self.settings = await asyncio.to_thread(load, config)
        self.pbx = await Pbx.at(self.settings, Path(self._address.pbx_dir))
        self.daemon = DaemonProcess(self.settings, config, self.pbx.dir / "ccsvc.log")
        self.daemon.watch(self._address.daemon_pid)
        self.db = await asyncpg.create_pool(self._address.dsn, min_size=0, max_size=4)

    async def close(self) -> None:
        await self.db.close()


def attached() -> AttachedStack | None:
    """The stack that the environment names, if it names one."""
    address = os.environ.get(VARIABLE)
    return AttachedStack(msgspec.json.decode(address, type=Address)) if address else None
