"""The set-up on the terminal: what is being done, how far it is, how long it took.

Promises: one line for each step when it is done; on a terminal the step under way is shown with its seconds,
elsewhere it is told every few seconds, so that a download of a minute is not a minute of silence. After `stop`
whatever asks to show more is ended by an exception: that is how work in another thread learns that nobody waits
for it any more.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ccsvc.errors import CcsvcError

TELL_EVERY_S = 5.0
_REFRESHES_PER_S = 5


class Interrupted(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """The set-up was ended from outside while it went on in another thread."""

    code = "interrupted"


class SetUp:
    """Implements `ccsvc.testing.stack.Progress` for `total` steps."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._moves = console.is_terminal and not console.is_dumb_terminal
        self._done = 0
        self._what, self._detail = "", ""
        self._began = self._told_at = time.monotonic()
        self._stopped = False

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that this is being done, and that it is done; a step that fails leaves its unfinished line."""
        self._done += 1
        self._what, self._detail = what, ""
        self._began = self._told_at = time.monotonic()
        with self._shown():
            yield
        self._console.print(Text(f"{self._label()}: {time.monotonic() - self._began:.1f} s"))

    def detail(self, what: str, done: int, total: int, seconds: float) -> None:
        """May be called from any thread. Raises `Interrupted` after `stop`."""
        if self._stopped:
            raise Interrupted("the set-up was interrupted")
        count = f" {done}/{total}" if total else ""
        self._detail = f"{what}{count}"
        if not self._moves and time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._console.print(Text(f"{self._label()} … {self._detail}, {seconds:.0f} s"))

    def stop(self) -> None:
        """Let nothing go on that still reports here."""
        self._stopped = True

    def _shown(self) -> AbstractContextManager[object]:
        if not self._moves:
            return nullcontext()
        return Live(
            console=self._console, get_renderable=self._now, refresh_per_second=_REFRESHES_PER_S, transient=True
        )

    def _label(self) -> str:
        return f"[{self._done}/{self._total}] {self._what}"

    def _now(self) -> Text:
        detail = f" {self._detail}," if self._detail else ""
        return Text(f"{self._label()} …{detail} {time.monotonic() - self._began:.0f} s", style="dim")
