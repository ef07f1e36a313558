"""Which processes this one has started, and whether they are gone.

Promises: a process is told from a later one with the same number by its start; one that has ended and was not fetched
by its parent yet counts as gone. Linux only.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """`started` is in ticks since the machine's start."""

    pid: int
    parent: int
    started: int
    command: str


def descendants() -> set[Process]:
    """Every process below this one, children of children included."""
    everybody = running()
    found, generation = set[Process](), {os.getpid()}
    while generation:
        children = {process for process in everybody if process.parent in generation} - found
        found |= children
        generation = {process.pid for process in children}
    return found


def still_there(known: set[Process]) -> list[Process]:
    """Those of `known` that have not ended."""
    now = {(process.pid, process.started) for process in running()}
    return sorted((p for p in known if (p.pid, p.started) in now), key=lambda process: process.pid)


async def wait_until_gone(known: set[Process], limit_s: float) -> list[Process]:
    """What of `known` is still there when all have ended, or after the limit."""
    give_up_at = time.monotonic() + limit_s
    left = still_there(known)
    while left and time.monotonic() < give_up_at:
        await asyncio.sleep(_LOOK_EVERY_S)
        left = still_there(known)
    return left


def running() -> list[Process]:
    """All that this user may see."""
    found = (_read(entry) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return [process for process in found if process is not None]


def _read(entry: Path) -> Process | None:
    try:
        stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # it has ended meanwhile
        return None
    head, _, rest = stat.rpartition(")")
    state, parent, *numbers = rest.split()
    if state in "ZX":
        return None
    return Process(int(entry.name), int(parent), int(numbers[17]), command or head.partition("(")[2])
