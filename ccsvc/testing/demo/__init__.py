"""`make demo`: a whole contact centre on this machine, with people at real SIP telephones, to watch or to be judged.

Promises: everything runs on loopback as this user, inside the demo's folder and the user's cache folder; whichever
way it ends nothing stays running. What is missing on the machine is said with what brings it.
"""

import asyncio
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ccsvc.errors import CcsvcError

if TYPE_CHECKING:
    from ccsvc.testing.demo.run import Demo

__all__ = ["DemoIncomplete", "main"]

INTERRUPTED = 130


class DemoIncomplete(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """A Python package that only the demo needs is not installed, or does not work here."""

    code = "demo_incomplete"


def main(*, once: bool, directory: Path | None) -> int:
    """Run the demo; returns the exit status.

    0: the one pass (`once`) was good, or the demo was up and was ended by Ctrl-C (SIGTERM, SIGHUP); 1: a check of the
    pass failed; 130: ended by a signal before it was up, or before the one pass was judged. `directory` (default:
    `run/demo` below the current one) is made afresh now and kept afterwards. Raises `CcsvcError` if the set-up can't
    have what it needs. Nothing is expected to follow it in this process: it leaves Ctrl-C ignored.
    """
    console = _console()
    try:
        return asyncio.run(_demo(console, once=once, directory=directory).run())
    except KeyboardInterrupt:
        console.print("stopped before anything was started")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is over: an impatient second one would kill a good end


def _console() -> Console:
    """Of stdout as it is; a letter that its encoding does not have becomes a question mark."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(force_terminal=sys.stdout.isatty(), highlight=False)


def _demo(console: Console, *, once: bool, directory: Path | None) -> "Demo":
    """Put it together. The import takes a second: telephones, database, sound. Raises `DemoIncomplete`."""
    try:
        from ccsvc.testing.demo.run import Demo
    except ImportError as missing:
        if (missing.name or "").partition(".")[0] == "ccsvc":
            raise  # not missing: broken
        raise DemoIncomplete(
            f"the demo needs a Python package that is not here ({missing}): `make setup`"
        ) from missing
    return Demo(console, once=once, directory=directory)
