"""Child processes that end with the process that started them, even if that is killed.

Promises: between the start and the kernel's knowledge of the bond there is no gap; nothing runs in the fork of a
threaded process (no `preexec_fn`). The bond is to the *thread* that starts the child: start it from one that lasts
(the event loop's, not a worker's). Linux only.
"""

import sys
from collections.abc import Sequence
from os import getpid
from signal import SIGKILL, Signals

_PR_SET_PDEATHSIG = 1
_LAUNCHER = f"""
import ctypes, os, sys
parent, number, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if ctypes.CDLL(None, use_errno=True).prctl({_PR_SET_PDEATHSIG}, number, 0, 0, 0) != 0:
    sys.exit("the kernel refused to bind this process to its parent")
if os.getppid() != parent:
    sys.exit("the parent is gone already")
os.execv(argv[0], argv)
"""


def bound_to_parent(argv: Sequence[str], signal: Signals = SIGKILL) -> tuple[str, ...]:
    """The command that becomes `argv` (with an absolute program) and gets `signal` when this process ends."""
    return (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(getpid()), str(int(signal)), *argv)
