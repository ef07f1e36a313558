"""Whether the parts of the settings agree with each other: everything that one value alone can't show.

Promises: `faults` is pure and total: for any `Settings` it returns every fault it can see, each with the place
in the file, what belongs there, what is there and what to do; never raises, never stops at the first.
This module does not know files, secrets or time zones: see `ccsvc.config`. What a menu means when a call is
in it is `ccsvc.domain.ivr`'s; the checks here follow the same paths without walking them.
"""

import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from ccsvc.domain.targets import GoIvr, GoNode, GoQueue, HangUp, Repeat, SetLanguage, Step, parse_target
from ccsvc.settings import IvrNodeSettings, IvrSettings, QueueSettings, Settings

LABELS = {
    "queue": "name",
    "agent": "number",
    "device": "name",
    "supervisor": "number",
    "did": "number",
    "trunk": "name",
}
"""The key by which an item of each list is known, unique within its list."""

MIN_RTP_PORTS = 20
KNOWN_SHOWN = 12
"""How many of the known names a remedy lists."""

_LABEL = re.compile(r"\+?[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NODE_STEPS = (GoNode, GoQueue, Repeat, HangUp, SetLanguage)
_QUEUE_STEPS = (GoQueue, GoIvr, HangUp)
_DID_STEPS = (GoQueue, GoIvr)
_WORDS = {
    GoNode: "`node:<name>`",
    GoQueue: "`queue:<name>`",
    GoIvr: "`ivr:<name>`",
    Repeat: "`repeat`",
    HangUp: "`hangup`",
    SetLanguage: "`language:<fa|ar|en>`",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the configuration. `path` is dotted, as in `queue.sales.max_wait_s`."""

    path: str
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}; {self.remedy}"


def faults(settings: Settings) -> list[Fault]:
    """Everything about the settings that does not fit together, in the order of the file's sections."""
    return [
        *_ports(settings),
        *_heartbeat(settings),
        *_duplicates(settings),
        *_queues(settings),
        *_people(settings),
        *_dids(settings),
        *_menus(settings),
        *_silent_rings(settings),
        *_missing_texts(settings),
    ]


def item_paths(section: str, labels: Sequence[str]) -> list[str]:
    """The path of each item of a list: by its label where that is unambiguous, else by its index from 0."""
    counts = Counter(labels)
    return [
        f"{section}.{label}" if counts[label] == 1 and _LABEL.fullmatch(label) else f"{section}[{index}]"
        for index, label in enumerate(labels)
    ]


def suggestion(name: str, known: Collection[str]) -> str:
    """A remedy for a name that is not among the known ones: the nearest of them, or all of them."""
    if not known:
        return "there is none in this file: add it"
    near = get_close_matches(name[:64], list(known), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    more = ", …" if len(known) > KNOWN_SHOWN else ""
    return f"known: {', '.join(sorted(known)[:KNOWN_SHOWN])}{more}"


# -- numbers and names ---------------------------------------------------------------------------------------


def _ports(settings: Settings) -> Iterator[Fault]:
    pbx = settings.pbx
    count = pbx.rtp_last_port - pbx.rtp_first_port + 1
    least = max(MIN_RTP_PORTS, 2 * len(settings.device))
    if pbx.rtp_first_port % 2:
        yield Fault(
            "pbx.rtp_first_port", "an even port", str(pbx.rtp_first_port), "audio takes the even, control the odd"
        )
    if not pbx.rtp_last_port % 2:
        yield Fault("pbx.rtp_last_port", "an odd port", str(pbx.rtp_last_port), "the last pair ends with an odd port")
    if count < least:
        expected = f"at least {least} ports (two a phone)"
        yield Fault("pbx.rtp_last_port", expected, f"{max(0, count)}", "choose a later last port")
    if pbx.rtp_first_port <= pbx.sip_port <= pbx.rtp_last_port:
        yield Fault("pbx.sip_port", "a port outside the audio's range", str(pbx.sip_port), "move one of the two")
    yield from _equal_ports(settings)


def _equal_ports(settings: Settings) -> Iterator[Fault]:
    """Ports of one machine differ: the PBX's own, the daemon's own, or all of them where both are on one."""
    pbx = [("pbx.ami_port", settings.pbx.ami_port), ("pbx.sip_port", settings.pbx.sip_port)]
    own = [("pbx.agi_port", settings.pbx.agi_port), ("http.port", settings.http.port)]
    for group in [pbx + own] if settings.pbx.host in _LOOPBACK else [pbx, own]:
        first: dict[int, str] = {}
        for path, port in group:
            if port and first.setdefault(port, path) != path:
                yield Fault(
                    path, "a port of its own", f"{port}, also in {first[port]}", "choose another for one of them"
                )


def _heartbeat(settings: Settings) -> Iterator[Fault]:
    interval, stale = settings.pbx.heartbeat_interval_s, settings.pbx.heartbeat_stale_s
    if stale < 2 * interval:
        expected = f"at least twice heartbeat_interval_s ({interval:g})"
        yield Fault(
            "pbx.heartbeat_stale_s", expected, f"{stale:g}", "one late stamp must not look like a dead daemon"
        )


def _duplicates(settings: Settings) -> Iterator[Fault]:
    for section, key in LABELS.items():
        first: dict[str, int] = {}
        for index, item in enumerate(getattr(settings, section)):
            label = getattr(item, key)
            if first.setdefault(label, index) != index:
                found = f"{label!r}, already used by {section}[{first[label]}]"
                yield Fault(
                    f"{section}[{index}].{key}", f"a {key} used once", found, f"give one of them another {key}"
                )


def _paths(settings: Settings, section: str) -> list[str]:
    return item_paths(section, [getattr(item, LABELS[section]) for item in getattr(settings, section)])


def _queue_names(settings: Settings) -> set[str]:
    return {queue.name for queue in settings.queue}


def _unknown(path: str, kind: str, name: str, known: Collection[str]) -> Iterator[Fault]:
    if name not in known:
        yield Fault(path, f"the name of {kind}", repr(name), suggestion(name, known))


def _people(settings: Settings) -> Iterator[Fault]:
    agents = {agent.number for agent in settings.agent}
    devices = {device.name for device in settings.device}
    desks: dict[str, str] = {}
    for path, agent in zip(_paths(settings, "agent"), settings.agent, strict=True):
        yield from _memberships(settings, path, agent.queues)
    for path, supervisor in zip(_paths(settings, "supervisor"), settings.supervisor, strict=True):
        yield from _memberships(settings, path, supervisor.queues)
        yield from _unknown(f"{path}.device", "a [[device]]", supervisor.device, devices)
        if desks.setdefault(supervisor.device, path) != path:
            found = f"{supervisor.device!r}, also of {desks[supervisor.device]}"
            yield Fault(f"{path}.device", "a device of their own", found, "a supervisor is known by their device")
        if supervisor.number in agents:
            found = f"{supervisor.number!r}, also an agent's"
            yield Fault(f"{path}.number", "a number that no agent has", found, "give one of them another number")


def _memberships(settings: Settings, path: str, queues: Sequence[str]) -> Iterator[Fault]:
    known = _queue_names(settings)
    for index, name in enumerate(queues):
        yield from _unknown(f"{path}.queues[{index}]", "a [[queue]]", name, known)
        if name in queues[:index]:
            yield Fault(f"{path}.queues[{index}]", "each queue once", f"{name!r} again", "take it out")


# -- targets -------------------------------------------------------------------------------------------------


def _queues(settings: Settings) -> Iterator[Fault]:
    for path, queue in zip(_paths(settings, "queue"), settings.queue, strict=True):
        for key in ("on_timeout", "on_empty", "on_full"):
            yield from _target(settings, f"{path}.{key}", getattr(queue, key), _QUEUE_STEPS)


def _dids(settings: Settings) -> Iterator[Fault]:
    for path, did in zip(_paths(settings, "did"), settings.did, strict=True):
        yield from _target(settings, f"{path}.target", did.target, _DID_STEPS)
        yield from _unknown(f"{path}.safety_queue", "a [[queue]]", did.safety_queue, _queue_names(settings))


def _target(
    settings: Settings, path: str, text: str, allowed: tuple[type[Step], ...], nodes: Collection[str] = ()
) -> Iterator[Fault]:
    expected = " or ".join(_WORDS[step] for step in allowed)
    try:
        steps = parse_target(text)
    except ValueError as error:
        yield Fault(path, expected, repr(text), str(error))
        return
    for step in steps:
        if not isinstance(step, allowed):
            yield Fault(path, expected, repr(text), f"{_WORDS[type(step)]} can't be used here")
        else:
            yield from _step(settings, path, step, nodes)


def _step(settings: Settings, path: str, step: Step, nodes: Collection[str]) -> Iterator[Fault]:
    match step:
        case GoNode(name):
            yield from _unknown(path, "a node of this menu", name, nodes)
        case GoQueue(name):
            yield from _unknown(path, "a [[queue]]", name, _queue_names(settings))
        case GoIvr(name):
            yield from _unknown(path, "a menu [ivr.<name>]", name, settings.ivr)
        case _:
            pass


# -- menus ---------------------------------------------------------------------------------------------------


def _menus(settings: Settings) -> Iterator[Fault]:
    exits = _exits(settings)
    for name, ivr in settings.ivr.items():
        yield from _unknown(f"ivr.{name}.start", "a node of this menu", ivr.start, ivr.node)
        for node_name, node in ivr.node.items():
            yield from _node(settings, f"ivr.{name}.node.{node_name}", node, ivr)
        yield from _unreachable(settings, exits, name)


def _node(settings: Settings, path: str, node: IvrNodeSettings, ivr: IvrSettings) -> Iterator[Fault]:
    if not node.keys and not node.next:
        yield Fault(path, "`keys` or `next`", "neither", 'say where the call goes, if only `next = "hangup"`')
    if node.keys and node.next:
        yield Fault(
            f"{path}.next", "`keys` or `next`, not both", "both", "use `on_failure` for a caller who presses nothing"
        )
    targets = {f"keys.{key}": target for key, target in node.keys.items()} | {"on_failure": node.on_failure}
    if node.next:
        targets["next"] = node.next
    for key, target in targets.items():
        yield from _target(settings, f"{path}.{key}", target, _NODE_STEPS, ivr.node)


class _Place(NamedTuple):
    """Where a call can be: in a queue (`ivr` empty) or at a node of a menu."""

    ivr: str
    name: str

    def __str__(self) -> str:
        return f"node {self.ivr}.{self.name}" if self.ivr else f"queue {self.name}"


class _Exit(NamedTuple):
    """A way out of a place. `silent`: it is taken without a key pressed and without waiting for an agent."""

    path: str
    steps: tuple[Step, ...]
    silent: bool


def _steps(text: str) -> tuple[Step, ...]:
    """The steps of a target, or none: that it can't be read is reported elsewhere."""
    try:
        return parse_target(text)
    except ValueError:
        return ()


def _exits(settings: Settings) -> dict[_Place, list[_Exit]]:
    exits = {}
    for path, queue in zip(_paths(settings, "queue"), settings.queue, strict=True):
        exits[_Place("", queue.name)] = _queue_exits(path, queue)
    for name, ivr in settings.ivr.items():
        for node_name, node in ivr.node.items():
            exits[_Place(name, node_name)] = _node_exits(f"ivr.{name}.node.{node_name}", node)
    return exits


def _queue_exits(path: str, queue: QueueSettings) -> list[_Exit]:
    exits = [_Exit(f"{path}.on_timeout", _steps(queue.on_timeout), silent=False)]
    exits.append(_Exit(f"{path}.on_full", _steps(queue.on_full), silent=True))
    if queue.leave_empty or not queue.join_empty:
        exits.append(_Exit(f"{path}.on_empty", _steps(queue.on_empty), silent=True))
    return exits


def _node_exits(path: str, node: IvrNodeSettings) -> list[_Exit]:
    if node.keys:
        exits = [_Exit(f"{path}.keys.{key}", _steps(target), silent=False) for key, target in node.keys.items()]
        return [*exits, _Exit(f"{path}.on_failure", _steps(node.on_failure), silent=True)]
    key = "next" if node.next else "on_failure"
    return [_Exit(f"{path}.{key}", _steps(node.next or node.on_failure), silent=True)]


def _lands(settings: Settings, here: _Place, steps: tuple[Step, ...]) -> _Place | None:
    """The place that the steps lead to; None where the call ends or the target is wrong."""
    match steps[-1] if steps else None:
        case Repeat():
            return here
        case GoNode(name):
            return _Place(here.ivr, name)
        case GoQueue(name):
            return _Place("", name)
        case GoIvr(name) if name in settings.ivr:
            return _Place(name, settings.ivr[name].start)
        case _:
            return None


def _unreachable(settings: Settings, exits: dict[_Place, list[_Exit]], name: str) -> Iterator[Fault]:
    ivr = settings.ivr[name]
    start = _Place(name, ivr.start)
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for way in exits.get(here, ()):
            there = _lands(settings, here, way.steps)
            if there is not None and there.ivr == name and there not in seen:
                seen.add(there)
                todo.append(there)
    if ivr.start in ivr.node:
        for node in ivr.node:
            if _Place(name, node) not in seen:
                found = f"no way to it from {ivr.start!r}"
                yield Fault(
                    f"ivr.{name}.node.{node}", "a node that can be reached", found, "lead a key to it, or take it out"
                )


def _silent_rings(settings: Settings) -> Iterator[Fault]:
    """Ways that lead back to where they began although the caller does nothing: a dead line would turn for ever."""
    left = {
        here: {there: way.path for way in ways if way.silent and (there := _lands(settings, here, way.steps))}
        for here, ways in _exits(settings).items()
    }
    while left := _turning(left):
        ring = _ring(left)
        round_trip = " → ".join(str(place) for place in [*ring, ring[0]])
        path = left[ring[0]][ring[1 % len(ring)]]
        yield Fault(
            path, "a way that ends when the caller does nothing", round_trip, "lead one of them out of the circle"
        )
        left = {place: ways for place, ways in left.items() if place not in ring}


def _turning(left: dict[_Place, dict[_Place, str]]) -> dict[_Place, dict[_Place, str]]:
    """Without the places from which every way ends."""
    while True:
        alive = {here: kept for here, ways in left.items() if (kept := {t: p for t, p in ways.items() if t in left})}
        if len(alive) == len(left):
            return alive
        left = alive


def _ring(left: dict[_Place, dict[_Place, str]]) -> list[_Place]:
    """One circle: every place in `left` has a way to another place in it, so following one long enough returns."""
    walked: dict[_Place, None] = {}
    here = next(iter(left))
    while here not in walked:
        walked[here] = None
        here = next(iter(left[here]))
    order = list(walked)
    return order[order.index(here) :]


def _missing_texts(settings: Settings) -> Iterator[Fault]:
    """Every node must be written in each language in which a caller can come to it."""
    exits = _exits(settings)
    dids = ((did.language, _lands(settings, _Place("", ""), _steps(did.target))) for did in settings.did)
    todo = deque((place, language) for language, place in dids if place is not None)
    seen = set(todo)
    while todo:
        here, language = todo.popleft()
        yield from _missing_text(settings, here, language)
        for way in exits.get(here, ()):
            chosen = [step.language for step in way.steps if isinstance(step, SetLanguage)]
            there = _lands(settings, here, way.steps)
            state = (there, chosen[-1] if chosen else language) if there is not None else None
            if state is not None and state not in seen:
                seen.add(state)
                todo.append(state)


def _missing_text(settings: Settings, here: _Place, language: str) -> Iterator[Fault]:
    node = settings.ivr[here.ivr].node.get(here.name) if here.ivr in settings.ivr else None
    if node is not None and language not in node.say:
        found = f"only {', '.join(sorted(node.say))}" if node.say else "no text"
        remedy = f"write `{language} = …`: a caller can come here in this language"
        yield Fault(f"ivr.{here.ivr}.node.{here.name}.say.{language}", "a text", found, remedy)
