"""What the demo says of itself: where to look, how it went, that it is over. Texts only."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from ccsvc.testing.demo.evidence import Check
from ccsvc.testing.stack import Stack


def where_to_look(stack: Stack, up_after_s: float, *, once: bool) -> list[Text]:
    """For whoever wants to see more than the picture."""
    lines = {
        "metrics": f"{stack.daemon.url}/metrics",
        "API": f"{stack.daemon.url}/api/v1/calls, /agents, /queues, /openapi.json",
        "database": f"{stack.postgres.psql_line} -c 'SELECT * FROM ccsvc.call_detail'",
        "recordings": str(shown(Path(stack.settings.recording.dir))),
        "logs": f"{shown(stack.daemon.log_file)} (the daemon), {shown(Path(stack.settings.pbx.log_dir))} (Asterisk)",
        "status": f"{shown(Path(sys.executable).with_name('ccsvc'))} status --config {shown(stack.config)}",
    }
    end = "one pass, then the checks" if once else "Ctrl-C ends it"
    title = Text.assemble((f"up after {up_after_s:.1f} s", "bold green"), f"; {end}. Where to look:")
    return [title, *(Text.assemble((f"  {what:<11}", "dim"), where) for what, where in lines.items())]


def foot(stack: Stack) -> str:
    """The last row of the live view."""
    return f"{stack.daemon.url}/metrics · {shown(Path(stack.settings.recording.dir))} · Ctrl-C ends it"


def summary(checks: Sequence[Check], lasted_s: float, folder: Path) -> Text:
    failed = sum(bool(check.problems) for check in checks)
    kept = f"recordings and logs: {shown(folder)}"
    if failed:
        return Text(f"{failed} of {len(checks)} checks failed after {lasted_s:.0f} s; {kept}", "bold red")
    return Text(f"all {len(checks)} checks are good, after {lasted_s:.0f} s; {kept}", "bold green")


def farewell(gone: Check, lasted_s: float, calls: int | None, folder: Path) -> Text:
    """`calls` is None when the demo was stopped before it was up."""
    what = f"after {lasted_s:.0f} s of set-up" if calls is None else f"after {calls} calls in {lasted_s:.0f} s"
    left = f"still there: {', '.join(gone.problems)}" if gone.problems else "no process is left"
    text = f"stopped {what}; {left}; recordings and logs: {shown(folder)}"
    return Text(text, "red" if gone.problems else "")


def shown(path: Path) -> Path:
    """As short as it can be said here."""
    here = Path.cwd()
    return Path(os.path.relpath(path, here)) if path.is_relative_to(here) else path
