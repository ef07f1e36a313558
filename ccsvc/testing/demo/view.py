"""What the audience sees: on a terminal a live picture, elsewhere plain lines.

Promises: the picture is the daemon's own, asked for twice a second, and fits the terminal's height: the lines of what
happened take what the tables leave. A daemon that does not answer is said, and asked again. Where stdout is no
terminal each line is printed once, with its time, and nothing moves.
"""

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ccsvc.status import DaemonAway, Picture, agents_table, calls_table, look, queues_table
from ccsvc.testing.demo.news import Line, News
from ccsvc.web.api import Calls

LOOK_EVERY_S = 0.5
_LEAST_LINES, _MOST_LINES = 2, 25


class Eyes:
    """Asks the daemon: for pictures, and for who a call is from."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def look(self) -> Picture:
        """Raises `DaemonAway`."""
        return await look(self._http, self._url)

    async def name_of(self, call_id: str) -> str:
        """The caller's name; empty if the call is gone, or the daemon is."""
        try:
            async with self._http.get(f"{self._url}/api/v1/calls") as answer:
                calls = msgspec.json.decode(await answer.read(), type=Calls).calls
        except (aiohttp.ClientError, TimeoutError):
            return ""
        return next((call.caller_name for call in calls if call.call_id == call_id), "")


def can_move(console: Console) -> bool:
    """Whether stdout is a terminal that can show a picture anew in its place."""
    return console.is_terminal and not console.is_dumb_terminal


def say(console: Console, text: str | Text) -> None:
    """One line, however long: never broken, never taken for markup."""
    console.print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def show_line(console: Console, line: Line) -> None:
    """The plain view."""
    say(console, line.text())


async def live_view(console: Console, eyes: Eyes, news: News, foot: str) -> None:
    """The moving picture; runs until cancelled, and leaves its last picture standing."""
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(await _frame(console, eyes, news, foot), refresh=True)
            await asyncio.sleep(LOOK_EVERY_S)


async def _frame(console: Console, eyes: Eyes, news: News, foot: str) -> RenderableType:
    try:
        return frame(await eyes.look(), list(news.lines), foot, console.size.height)
    except DaemonAway as away:
        return Text(str(away), "red")


def frame(picture: Picture, lines: Sequence[Line], foot: str, height: int) -> RenderableType:
    """One picture, for a terminal of so many rows."""
    tables = (queues_table(picture), agents_table(picture), calls_table(picture))
    taken = sum(table.row_count + 2 for table in tables) + 2
    room = max(_LEAST_LINES, min(_MOST_LINES, height - taken - 1))
    latest = [_one_row(line.text()) for line in lines[-room:]]
    return Group(*(part for table in tables for part in (table, Text(""))), *latest, _one_row(Text(foot, "dim")))


def _one_row(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
