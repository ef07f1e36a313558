"""What happens, in sentences: what people do at their telephones, and what the daemon's log says came of it.

Promises: one short line for each thing that a person cares about, in the order in which it was learnt; the log is
followed to its end, whole lines only; whatever the daemon warns of or fails at is a line too. Only the last
`KEPT` lines are kept. It does not know where the lines are shown.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from ccsvc.status import name, safe

KEPT = 200
_LOOK_EVERY_S = 0.1
_LANGUAGES = {"fa": "Persian", "ar": "Arabic", "en": "English"}
_RESULTS = {
    "no_answer": "did not answer",
    "rejected": "rejected",
    "unreachable": "could not be reached",
    "caller_gone": "no longer rings: the caller is gone",
    "lost_race": "was taken meanwhile",
    "agent_dropped": "dropped the call",
}

Fields = Mapping[str, Any]
NameOf = Callable[[str], Awaitable[str]]
"""The name of the caller of a call."""


@dataclass(frozen=True, slots=True)
class Line:
    """`by` is "phone", "centre" or "trouble": who says so."""

    at: datetime
    who: str
    what: str
    by: str

    def text(self) -> Text:
        style = {"phone": "dim", "trouble": "red"}.get(self.by, "")
        parts = [Text(f"{self.at:%H:%M:%S} ", "dim"), *([name(self.who), Text(" ")] if self.who else [])]
        return Text.assemble(*parts, Text(self.what, style))


class News:
    """`staff` are the names of agents and supervisors by number, `name_of` knows callers'; `show` gets each line."""

    def __init__(self, staff: Mapping[str, str], name_of: NameOf, show: Callable[[Line], None] | None = None) -> None:
        self.lines: deque[Line] = deque(maxlen=KEPT)
        self._staff, self._name_of, self._show = staff, name_of, show
        self._callers: dict[str, str] = {}
        self.calls_over = 0

    def tell(self, who: str, what: str) -> None:
        """Somebody did something at their telephone."""
        self._add(Line(datetime.now(UTC).astimezone(), who, what, "phone"))

    def trouble(self, what: str) -> None:
        """Something did not go as it should."""
        self._add(Line(datetime.now(UTC).astimezone(), "", safe(what), "trouble"))

    async def follow(self, log_file: Path) -> None:
        """Read the daemon's log as it grows; runs until cancelled."""
        rest = b""
        with log_file.open("rb") as log:
            while True:
                *lines, rest = (rest + log.read()).split(b"\n")
                for line in lines:
                    await self._take(line)
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _take(self, raw: bytes) -> None:
        try:
            fields = json.loads(raw)
        except ValueError:
            return  # what is no JSON comes from a program that fails: the log itself has it
        if not isinstance(fields, dict):
            return
        at = _instant(str(fields.get("timestamp", "")))
        call_id = str(fields.get("call_id", ""))
        if fields.get("level") in ("warning", "error", "critical"):
            self._add(Line(at, "", f"{fields.get('event')}: {fields.get('reason', '')}", "trouble"))
        elif (what := self._sentence(str(fields.get("event")), fields)) is not None:
            self._add(Line(at, await self._caller(call_id) if call_id else "", what, "centre"))
        if fields.get("event") == "call ended":
            self.calls_over += 1
            self._callers.pop(call_id, None)

    async def _caller(self, call_id: str) -> str:
        if call_id not in self._callers:
            self._callers[call_id] = await self._name_of(call_id)
        return self._callers[call_id]

    def _sentence(self, event: str, fields: Fields) -> str | None:
        maker = _SENTENCES.get(event)
        return maker(self, fields) if maker is not None else None

    def _agent(self, fields: Fields) -> str:
        number = str(fields.get("agent", ""))
        return f"{number} {name(self._staff.get(number, '')).plain}"

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        if self._show is not None:
            self._show(line)


def _instant(text: str) -> datetime:
    """A line whose time can't be read is told as of now."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return datetime.now(UTC).astimezone()


def _audit(news: News, fields: Fields) -> str | None:
    """Logging in and out have lines of their own."""
    refused, verb = fields.get("refused"), str(fields.get("verb"))
    actor, target = (str(fields.get(key)).replace(":", " ") for key in ("actor", "target"))
    if refused != "no":
        return f"{actor} asks for {verb} at {target} and is refused: {refused}"
    if verb == "listen":
        return f"{actor} listens to {target}"
    if verb in ("pause", "ready", "end_wrap_up"):
        number = actor.rpartition(" ")[2]
        return f"agent {news._agent({'agent': number})} asks for {verb.replace('_', ' ')}"
    return None


def _left(_news: News, fields: Fields) -> str:
    return f"leaves the line for {fields.get('queue')}: {fields.get('exit')} after {fields.get('wait_s', 0.0):.1f} s"


def _offer_ended(news: News, fields: Fields) -> str | None:
    result = str(fields.get("result"))
    return None if result == "accepted" else f"agent {news._agent(fields)} {_RESULTS.get(result, result)}"


def _arrived(_news: News, fields: Fields) -> str:
    language = str(fields.get("language"))
    return f"arrives at {fields.get('did')} and is greeted in {_LANGUAGES.get(language, language)}"


_SENTENCES: dict[str, Callable[[News, Fields], str | None]] = {
    "call arrived": _arrived,
    "caller came back": lambda _, f: f"is back, still {f.get('phase')}",
    "caller refused": lambda _, f: f"is not let into {f.get('queue')}: {f.get('reason')}",
    "caller entered queue": lambda _, f: f"waits in line for {f.get('queue')}, with music; {f.get('waiting')} there",
    "offered": lambda n, f: f"rings at agent {n._agent(f)}",
    "offer ended": _offer_ended,
    "agent connected": lambda n, f: f"talks with agent {n._agent(f)}",
    "caller left queue": _left,
    "call ended": lambda _, f: f"call over: {f.get('outcome')}, ended by {f.get('ended_by')}",
    "agent logged in": lambda n, f: f"agent {n._agent(f)} has logged in at {f.get('device')}",
    "agent logged out": lambda n, f: f"agent {n._agent(f)} has logged out: {f.get('reason')}",
    "recording checked": lambda _, f: f"a recording was measured: {f.get('verdict')}",
    "audit": _audit,
}
