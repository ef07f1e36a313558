"""`ccsvc status`, and the tables of the demo: a running daemon's present, as a person wants to see it.

Promises: everything comes from the daemon's own HTTP port, within a time limit; a daemon that does not answer is one
clear sentence; text that callers sent can neither style the screen, nor move its cursor, nor turn its direction.
Undefined numbers are shown as "–". Persian and Arabic names stand in their own column whichever way the terminal
writes. It knows the bodies of the API, and nothing of how they come about.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ccsvc.errors import CcsvcError
from ccsvc.settings import HttpSettings
from ccsvc.web.api import Agent, Agents, Call, Calls, Queue, Queues

ANSWER_LIMIT_S = 5.0
WINDOW = "15m"
MAX_NAME = 28
UNDEFINED = "–"

_METRIC = re.compile(r"([^{\s]+)(\{.*\})? (\S+)")
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  listened on there, asked here
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LEFT_MARK = "\u200e"
_STATE_STYLES = {"idle": "green", "ringing": "yellow", "talking": "cyan", "wrap_up": "blue", "paused": "magenta"}
_PHASE_STYLES = {"ivr": "blue", "waiting": "yellow", "ringing": "yellow", "talking": "cyan"}

_SHORT = {"ringing": "ring", "talking": "talk", "wrap_up": "wrap-up", "logged_out": "out"}
_NUMBERS = ("wait", "longest", "in", "answ.", "aband.", "ASA", "AHT", "SL", "for")
_MAY_BE_CUT = ("agents", "name", "with", "where")


class DaemonAway(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """Nobody answers on the daemon's HTTP port, or it is not a daemon that does."""

    code = "daemon_away"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no daemon answers at {url} ({reason}): start it with `ccsvc run`, or look at [http] in ccsvc.toml"
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """What the daemon says of itself at one time."""

    reasons: Sequence[str]
    """Why it is not ready; empty: it is."""
    metrics: Mapping[str, float]
    """Every sample, by its name with labels as written."""
    queues: Queues
    agents: Agents
    calls: Calls

    def metric(self, name: str, **labels: str) -> float:
        """One sample; NaN if there is none."""
        inside = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))  # as Prometheus' text has them
        return self.metrics.get(f"ccsvc_{name}{{{inside}}}" if inside else f"ccsvc_{name}", math.nan)


async def show(http: HttpSettings) -> int:
    """Print one screen about the daemon behind these settings; 0. Raises `DaemonAway`."""
    url = url_of(http)
    async with aiohttp.ClientSession() as session:
        picture = await look(session, url)
    Console(highlight=False).print(screen(picture, url))
    return 0


def url_of(http: HttpSettings) -> str:
    host = _WILDCARDS.get(http.host, http.host)
    return f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"


async def look(session: aiohttp.ClientSession, url: str) -> Picture:
    """Ask the daemon for everything. Raises `DaemonAway` after `ANSWER_LIMIT_S` at the latest."""
    paths = ("/health/ready", "/metrics", "/api/v1/queues", "/api/v1/agents", "/api/v1/calls")
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            ready, metrics, *bodies = await asyncio.gather(*(_get(session, url + path) for path in paths))
        return Picture(
            reasons=msgspec.json.decode(ready, type=list[str]),
            metrics=_samples(metrics.decode()),
            queues=msgspec.json.decode(bodies[0], type=Queues),
            agents=msgspec.json.decode(bodies[1], type=Agents),
            calls=msgspec.json.decode(bodies[2], type=Calls),
        )
    except TimeoutError:
        raise DaemonAway(url, f"no answer within {ANSWER_LIMIT_S:g} s") from None
    except aiohttp.ClientError as error:
        raise DaemonAway(url, _reason(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DaemonAway(url, "what answers there is no daemon of this version") from error


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        return await answer.read()


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def _samples(text: str) -> dict[str, float]:
    found = (_METRIC.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return {match[1] + (match[2] or ""): float(match[3]) for match in found if match}


# -- the screen ----------------------------------------------------------------------------------------------------


def screen(picture: Picture, url: str) -> RenderableType:
    """The whole of `ccsvc status`."""
    parts = (
        _health_table(picture, url),
        queues_table(picture),
        agents_table(picture),
        calls_table(picture),
        Text("of 15 minutes: average speed of answer, average handle time, service level", "dim"),
    )
    return Group(*(part for each in parts for part in (each, Text(""))))


def _health_table(picture: Picture, url: str) -> Table:
    connected = picture.queues.connected
    away = [reason for reason in picture.reasons if "database" in reason]
    rows = picture.metric("spool_rows")
    table = Table.grid(padding=(0, 2))
    table.add_row("daemon", Text(f"{url}, {picture.queues.at:%H:%M:%S} UTC"))
    table.add_row(
        "PBX", Text(f"{picture.queues.pbx}: " + ("connected" if connected else "NOT connected"), _good(connected))
    )
    table.add_row("database", Text(safe(away[0]) if away else "takes rows", _good(not away)))
    table.add_row("rows waiting for it", Text(_number(rows)))
    table.add_row("without the PBX's events so far", Text(seconds(picture.metric("ami_gap_seconds_total"))))
    for reason in picture.reasons:
        if "database" not in reason:
            table.add_row("not ready", Text(safe(reason), "red"))
    return table


def queues_table(picture: Picture) -> Table:
    """Who waits where, who is there, and how well it goes (`WINDOW`)."""
    table = _table("queue", "wait", "longest", "agents", "in", "answ.", "aband.", "ASA", "AHT", "SL")
    for queue in picture.queues.queues:
        table.add_row(*_queue_row(picture, queue))
    return table


def _queue_row(picture: Picture, queue: Queue) -> list[Text]:
    return [
        Text(queue.name, "bold"),
        Text(str(len(queue.waiting)), "yellow" if queue.waiting else ""),
        Text(duration(queue.longest_wait_s) if queue.waiting else UNDEFINED),
        _states(queue.agents),
        Text(str(queue.entered)),
        Text(str(queue.exits.get("answered", 0))),
        Text(str(queue.exits.get("abandoned", 0))),
        Text(seconds(picture.metric("asa_seconds", queue=queue.name, window=WINDOW))),
        Text(seconds(picture.metric("aht_seconds", queue=queue.name, window=WINDOW))),
        Text(percent(picture.metric("service_level_ratio", queue=queue.name, window=WINDOW))),
    ]


def _states(agents: Mapping[str, int]) -> Text:
    there = {state: count for state, count in agents.items() if count}
    parts = [Text(f"{n} {_SHORT.get(state, state)}", _STATE_STYLES.get(state, "dim")) for state, n in there.items()]
    return _one_row(Text(" ").join(parts) if parts else Text(UNDEFINED))


def agents_table(picture: Picture) -> Table:
    """What each agent does, since when, where, with whom."""
    names = {call.call_id: call for call in picture.calls.calls}
    table = _table("agent", "name", "state", "for", "device", "with")
    for agent in picture.agents.agents:
        table.add_row(*_agent_row(agent, names.get(agent.call_id or ""), picture.agents.at))
    return table


def _agent_row(agent: Agent, call: Call | None, now: datetime) -> list[Text]:
    state = agent.activity if agent.activity != "idle" else {"ready": "idle"}.get(agent.status, agent.status)
    device = agent.device or UNDEFINED
    if agent.device and agent.device_state in ("unavailable", "unknown"):
        device += f" ({agent.device_state})"
    return [
        Text(agent.agent_id, "bold"),
        name(agent.name),
        Text(_word(state) + (f" ({safe(agent.reason)})" if agent.reason else ""), _STATE_STYLES.get(state, "dim")),
        Text(duration((now - agent.since).total_seconds()) if agent.status != "logged_out" else UNDEFINED),
        Text(device),
        who(call) if call is not None else Text(UNDEFINED),
    ]


def calls_table(picture: Picture) -> Table:
    """Who calls, in which language, where they are, and how long the call lasts."""
    table = _table("caller", "name", "", "number", "where", "for")
    for call in picture.calls.calls:
        table.add_row(
            Text(call.caller or UNDEFINED, "bold"),
            name(call.caller_name),
            Text(call.language, "dim"),
            Text(call.did),
            _one_row(Text(where(call), _PHASE_STYLES.get(call.phase, "dim"))),
            Text(duration((picture.calls.at - call.started_at).total_seconds())),
        )
    if not picture.calls.calls:
        table.add_row(Text("no call", "dim"))
    return table


def where(call: Call) -> str:
    """In words."""
    match call.phase:
        case "ivr":
            return f"menu {call.where}"
        case "waiting":
            return f"waits for {call.where}"
        case "ringing":
            return f"rings {call.agent_id or UNDEFINED} ({call.where})"
        case "talking":
            return f"talks with {call.where}"
        case phase:
            return {"after": "ending", "leaving": "moving on"}.get(phase, phase)


def who(call: Call) -> Text:
    """The caller by name, else by what is shown of the number."""
    return name(call.caller_name) if safe(call.caller_name) else Text(call.caller or UNDEFINED)


# -- words and numbers -----------------------------------------------------------------------------------------------


def safe(text: str) -> str:
    """Without controls and direction marks, one line."""
    return _UNSAFE.sub("", text).strip()


def name(text: str) -> Text:
    """A name of somebody, cut to `MAX_NAME`; one from right to left keeps to its own column."""
    shown = safe(text)
    shown = shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 1] + "…"
    if _RIGHT_TO_LEFT.search(shown):
        shown = f"{_LEFT_MARK}{shown}{_LEFT_MARK}"
    return _one_row(Text(shown or UNDEFINED))


def _one_row(text: Text) -> Text:
    """Cut at the column's end, never broken into a second row."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def duration(duration_s: float) -> str:
    """As a clock: 0:07, 1:02:03."""
    minutes, rest = divmod(int(max(0.0, duration_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds(value: float) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:.1f} s"


def percent(value: float) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:.0%}"


def _number(value: float) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:.0f}"


def _word(state: str) -> str:
    return {"wrap_up": "wrap-up", "logged_out": "logged out"}.get(state, state)


def _good(is_good: bool) -> str:
    return "green" if is_good else "bold red"


def _table(*columns: str) -> Table:
    """Numbers to the right, words to the left; nothing wraps, and on a narrow screen only `_MAY_BE_CUT` gets less."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in _NUMBERS else "left",
            no_wrap=column not in _MAY_BE_CUT,
            overflow="ellipsis",
        )
    return table
