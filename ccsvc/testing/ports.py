"""Ports for programs that are told theirs before they start, shared out among all test processes of this user.

Promises: while a block is held no other holder has a port of it; it is free again when the holder lets go or dies,
whichever way. Blocks lie below the ports that the kernel gives out by itself. A program of somebody else may still
come later: whoever starts a server looks at whether it came up.
"""

import fcntl
import os
import socket
import tempfile
from contextlib import closing
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from ccsvc.errors import CcsvcError

BLOCK_PORTS = 1000
SINGLE_PORTS = 10  # the first ones of a block: servers; above them, sound
_FIRST, _LAST = 10_000, 32_000


class NoPorts(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """Every block of ports is in use."""

    code = "no_ports"


@dataclass(slots=True)
class PortBlock:
    """`BLOCK_PORTS` ports from `first` on: `single(n)` for servers, `sound` for RTP."""

    first: int
    _lock: TextIOWrapper

    def single(self, number: int) -> int:
        """A port for one server, UDP and TCP."""
        if not 0 <= number < SINGLE_PORTS:
            raise ValueError(f"a block has {SINGLE_PORTS} single ports, asked for number {number}")
        return self.first + number

    @property
    def sound(self) -> tuple[int, int]:
        """First and last port for RTP: room for 495 streams."""
        return self.first + SINGLE_PORTS, self.first + BLOCK_PORTS - 1

    def release(self) -> None:
        """Let others have it."""
        self._lock.close()


def claim_ports() -> PortBlock:
    """Take a block that nobody holds and whose single ports are free. Raises `NoPorts`."""
    blocks = range(_FIRST, _LAST, BLOCK_PORTS)
    start = os.getpid() % len(blocks)  # so that neighbours seldom try the same one first
    for first in [*blocks[start:], *blocks[:start]]:
        lock = _lock(first)
        if lock is not None and all(_is_free(first + number) for number in range(SINGLE_PORTS)):
            return PortBlock(first, lock)
        if lock is not None:
            lock.close()
    raise NoPorts(
        f"all {len(blocks)} blocks of ports from {_FIRST} to {_LAST} are in use: end some of those programs"
    )


def _lock(first: int) -> TextIOWrapper | None:
    folder = Path(tempfile.gettempdir()) / f"ccsvc-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / f"{first}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_free(port: int) -> bool:
    return all(_can_bind(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))


def _can_bind(port: int, kind: socket.SocketKind) -> bool:
    with closing(socket.socket(socket.AF_INET, kind)) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports of closed connections are free
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
