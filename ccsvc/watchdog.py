"""A small guard outside the daemon's process: a daemon that hangs is killed and started again.

A stopped process traps its callers: nothing in the dialplan gets them out of a running AGI. Five milliseconds after
the kill they are in the safety net. Under systemd its own watchdog does this; elsewhere `ccsvc run` does.

Promises: the daemon writes a byte into a pipe with every heartbeat; `STALL_LIMIT_S` without one and it is killed
with SIGKILL and started again, at most once per `RESTART_PAUSE_S`. A daemon that ends by itself before its first
heartbeat is not started again: its configuration is at fault, and its exit status is ours. SIGTERM and SIGINT are
passed on, and the guard ends with the daemon.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

STALL_LIMIT_S = 5.0
START_LIMIT_S = 120.0
"""Until the first heartbeat: prompts may have to be synthesised."""
RESTART_PAUSE_S = 0.5
PULSE_FD_VARIABLE = "CCSVC_PULSE_FD"


def pulse() -> None:
    """One heartbeat of the daemon, to whoever guards it: our own guard or systemd."""
    with suppress(BlockingIOError, BrokenPipeError):  # a full pipe means that nobody reads: not our trouble
        descriptor = os.environ.get(PULSE_FD_VARIABLE)
        if descriptor:
            os.write(int(descriptor), b".")


@dataclass
class Guard:
    command: Sequence[str]
    stall_limit_s: float = STALL_LIMIT_S
    start_limit_s: float = START_LIMIT_S
    _stopping: bool = field(default=False, init=False)
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def run(self) -> int:
        """Guard the command until it ends for good; returns its exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        while True:
            status, had_pulse = self._run_once()
            if self._stopping or not had_pulse:
                return status
            _say(f"the daemon ended with status {status}: starting it again")
            time.sleep(RESTART_PAUSE_S)

    def _run_once(self) -> tuple[int, bool]:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        environment = {**os.environ, PULSE_FD_VARIABLE: str(writer)}
        self._child = subprocess.Popen(self.command, pass_fds=(writer,), env=environment)  # noqa: S603  our own argv
        os.close(writer)
        try:
            had_pulse = self._watch(reader)
            return self._child.wait(), had_pulse
        finally:
            os.close(reader)

    def _watch(self, reader: int) -> bool:
        """Read heartbeats until the daemon's end of the pipe closes, or kill it; whether there was ever one."""
        had_pulse = False
        while True:
            limit_s = self.stall_limit_s if had_pulse else self.start_limit_s
            ready, _, _ = select.select([reader], [], [], limit_s)
            if not ready:
                _say(f"no heartbeat for {limit_s:g} s: the daemon is killed, its callers go to the safety net")
                self._kill()
                return True
            if not os.read(reader, 4096):
                return had_pulse
            had_pulse = True

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _pass_on(self, number: int, _frame: object) -> None:
        self._stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def _say(sentence: str) -> None:
    print(f"ccsvc watchdog: {sentence}", file=sys.stderr, flush=True)  # noqa: T201  before and beside any logging
