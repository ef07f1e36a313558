"""A small guard outside the daemon's process: a daemon that hangs is killed and started again.

A stopped process traps its callers: nothing in the dialplan gets them out of a running AGI. Five milliseconds after
the kill they are in the safety net. Under systemd with `WatchdogSec` its own watchdog does this; elsewhere
`ccsvc run` does.

Promises: the daemon writes a byte into a pipe with every heartbeat; `STALL_LIMIT_S` without one and it is killed
with SIGKILL and started again, at most once per `RESTART_PAUSE_S`. A daemon that ends by itself before its first
heartbeat is not started again: its configuration is at fault, and its exit status is ours. SIGTERM, SIGINT and
SIGHUP are passed on, and the guard ends with the daemon. Who started us with `NOTIFY_SOCKET` hears of the first
heartbeat.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

STALL_LIMIT_S = 5.0
START_LIMIT_S = 120.0
"""Until the first heartbeat: prompts may have to be synthesised."""
RESTART_PAUSE_S = 0.5
PULSE_FD_VARIABLE = "CCSVC_PULSE_FD"
NOTIFY_VARIABLE = "NOTIFY_SOCKET"
SYSTEMD_GUARDS_VARIABLE = "WATCHDOG_USEC"


def is_guarded() -> bool:
    """Whether somebody watches this process already: our own guard, or systemd."""
    return PULSE_FD_VARIABLE in os.environ or SYSTEMD_GUARDS_VARIABLE in os.environ


def pulse() -> None:
    """One heartbeat of the daemon, to whoever guards it: our own guard or systemd."""
    descriptor = os.environ.get(PULSE_FD_VARIABLE, "")
    try:
        if descriptor.isdecimal():
            os.write(int(descriptor), b".")
        _notify(b"READY=1\nWATCHDOG=1")
    except OSError:
        return  # a full pipe, or nobody there who reads: whoever guards us has seen enough, or is gone


def _notify(state: bytes) -> None:
    """Tell systemd, if it asked to be told (sd_notify's protocol). Raises `OSError`."""
    address = os.environ.get(NOTIFY_VARIABLE, "")
    if address:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) as link:
            link.sendto(state, "\0" + address[1:] if address.startswith("@") else address)


@dataclass
class Guard:
    """Runs a command that calls `pulse` again and again."""

    command: Sequence[str]
    stall_limit_s: float = STALL_LIMIT_S
    start_limit_s: float = START_LIMIT_S
    _stopped_by: int = field(default=0, init=False)
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def run(self) -> int:
        """Guard the command until it ends for good; returns its exit status, 128 + n if signal n ended it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        status = 0
        while not self._stopped_by:
            status, had_pulse = self._run_once()
            if self._stopped_by or not had_pulse:
                break
            _say(f"the daemon ended with status {status}: starting it again")
            time.sleep(RESTART_PAUSE_S)
        return status

    def _run_once(self) -> tuple[int, bool]:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        kept = {name: value for name, value in os.environ.items() if name != NOTIFY_VARIABLE}
        environment = {**kept, PULSE_FD_VARIABLE: str(writer)}
        try:
            self._child = subprocess.Popen(self.command, pass_fds=(writer,), env=environment)  # noqa: S603  our own
        finally:
            os.close(writer)
        if self._stopped_by:  # told to while there was nobody to pass it on to
            self._child.send_signal(self._stopped_by)
        try:
            had_pulse = self._watch(reader)
            status = self._child.wait()
        finally:
            os.close(reader)
        return (status if status >= 0 else 128 - status), had_pulse

    def _watch(self, reader: int) -> bool:
        """Read heartbeats until the daemon's end of the pipe closes, or kill it; whether to start it again."""
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
            if not had_pulse:
                had_pulse = True
                self._say_ready()

    def _say_ready(self) -> None:
        try:
            _notify(b"READY=1")
        except OSError as error:
            _say(f"systemd could not be told that the daemon is ready: {error}")

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _pass_on(self, number: int, _frame: object) -> None:
        self._stopped_by = number
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def _say(sentence: str) -> None:
    print(f"ccsvc watchdog: {sentence}", file=sys.stderr, flush=True)  # noqa: T201  before and beside any logging
