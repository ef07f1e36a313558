"""How long telephones, PBX and daemon had to wait for a processor: live sound needs one at once.

Promises: it measures what the kernel counted for this process and all below it, and guesses nothing from a load
average. On a machine that keeps up the `slack` is 1; on one where they mostly waited it is `SLACK_BUSY`, because
telephones and PBX then no longer see the same instant. A kernel that does not count is one that keeps up.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ccsvc.testing.demo.processes import descendants

SLACK_BUSY = 3.0
BUSY_SHARE = 0.8
"""Measured on two cores: 0.5 alone, 0.75 beside one busy program, 0.98 beside three, when sound gets lost."""


class Strain:
    """`with Strain() as strain`: from entering to leaving."""

    def __init__(self) -> None:
        self._ran_s = self._waited_s = 0.0

    def __enter__(self) -> Self:
        ran_s, waited_s = _times_s()
        self._ran_s, self._waited_s = -ran_s, -waited_s
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ran_s, waited_s = _times_s()
        self._ran_s, self._waited_s = self._ran_s + ran_s, self._waited_s + waited_s

    def __str__(self) -> str:
        told = f"telephones, PBX and daemon ran {self._ran_s:.1f} s and waited {self._waited_s:.1f} s for a processor"
        return (
            f"{told}: too busy for live sound, tolerances are {SLACK_BUSY:g} times as wide" if self.is_busy else told
        )

    @property
    def is_busy(self) -> bool:
        return self._waited_s > BUSY_SHARE * (self._ran_s + self._waited_s)

    @property
    def slack(self) -> float:
        """What every tolerance is to be multiplied by."""
        return SLACK_BUSY if self.is_busy else 1.0


def _times_s() -> tuple[float, float]:
    """Ran, and waited for a processor: all threads of this process and of those below it that are there now."""
    pids = [os.getpid(), *(process.pid for process in descendants())]
    counted = [_counted_ns(thread) for pid in pids for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(ran for ran, _ in counted) / 1e9, sum(waited for _, waited in counted) / 1e9


def _counted_ns(thread: Path) -> tuple[int, int]:
    try:
        ran, waited, _ = thread.read_text().split()
    except (OSError, ValueError):  # it has ended meanwhile
        return 0, 0
    return int(ran), int(waited)
