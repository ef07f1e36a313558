"""What the telephones saw of one pass, in the centre's words: what its records must say if they are true.

Promises: everything here is worked out from telephones (instants, tones, who called whom) and from the configuration
(where a key leads, how long a wrap-up is); nothing from the daemon, its database or its PBX.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ccsvc.domain.targets import GoQueue, parse_target
from ccsvc.settings import QueueSettings, Settings
from ccsvc.testing.demo.stage import Stage, Visit
from ccsvc.testing.phone import Phone, PhoneCall
from ccsvc.testing.tones import RATE_HZ, level, tones_by_second

WINDOW_S = 0.5
"""How finely a conversation is looked at."""


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring at an agent's telephone."""

    agent: str
    result: str
    """As an offer's result."""
    at: float


@dataclass(frozen=True, slots=True)
class Truth:
    """One caller's call. Durations in seconds."""

    visit: Visit
    queue: str
    """The queue that the last key led to; empty: none."""
    outcome: str
    ended_by: str
    agent: str
    """Whose tone the caller heard; empty: nobody's."""
    wait_s: float
    talk_s: float
    lasted_s: float
    rings: tuple[Ring, ...]

    @property
    def name(self) -> str:
        return self.visit.caller.device


def truths(stage: Stage, visits: Iterable[Visit], settings: Settings) -> list[Truth]:
    """One for each call, which must be over."""
    return [_truth(stage, visit, settings) for visit in visits]


def _truth(stage: Stage, visit: Visit, settings: Settings) -> Truth:
    queue = queue_of(visit, settings)
    wait_s = _wait_s(visit) if queue else 0.0
    return Truth(
        visit=visit,
        queue=queue,
        outcome=_outcome(visit, queue, wait_s, settings),
        ended_by=_ended_by(visit),
        agent=visit.agent.number if visit.agent else "",
        wait_s=wait_s,
        talk_s=_up_s(visit.at_agent),
        lasted_s=_up_s(visit.call),
        rings=tuple(rings_for(stage, visit)),
    )


def queue_of(visit: Visit, settings: Settings) -> str:
    """Where the last key led, by the configuration; the menu is the one that the caller's number leads to."""
    if not visit.pressed:
        return ""
    target = next(did.target for did in settings.did if did.number == visit.caller.did)
    press = visit.pressed[-1][1]
    node = settings.ivr[target.removeprefix("ivr:")].node[press.node]
    match parse_target(node.keys.get(press.key, "hangup"))[-1]:
        case GoQueue(name):
            return name
        case _:
            return ""


def settings_of(queue: str, settings: Settings) -> QueueSettings:
    return next(each for each in settings.queue if each.name == queue)


def _wait_s(visit: Visit) -> float:
    """From the key to the agent's answer, or to the end."""
    until = visit.at_agent.established_at if visit.at_agent else visit.call.ended_at
    assert until is not None, "the call is not over"
    return until - visit.pressed[-1][0]


def _up_s(call: PhoneCall | None) -> float:
    """How long a call stood."""
    if call is None or call.established_at is None or call.ended_at is None:
        return 0.0
    return call.ended_at - call.established_at


def _outcome(visit: Visit, queue: str, wait_s: float, settings: Settings) -> str:
    if visit.at_agent is not None:
        return "answered"
    if not queue:
        return "self_served"
    return "short_abandoned" if wait_s <= settings_of(queue, settings).short_abandon_s else "abandoned"


def _ended_by(visit: Visit) -> str:
    if visit.call.end is not None and visit.call.end.by == "local":
        return "customer"
    if visit.at_agent is not None and visit.at_agent.end is not None and visit.at_agent.end.by == "local":
        return "agent"
    return "system"


def rings_for(stage: Stage, visit: Visit) -> list[Ring]:
    """Every ring of this caller at any agent's telephone, in order."""
    found = [
        Ring(staff.number, _result(call, visit), call.created_at)
        for staff in stage.staff.values()
        for call in _rang(stage.phones[staff.device], visit)
    ]
    return sorted(found, key=lambda ring: ring.at)


def _rang(phone: Phone, visit: Visit) -> list[PhoneCall]:
    return [call for call in phone.calls if call.inbound and call.peer == visit.caller.number]


def _result(call: PhoneCall, visit: Visit) -> str:
    if call.established_at is not None:
        return "accepted"
    caller_end = visit.call.ended_at
    gone = caller_end is not None and call.ended_at is not None and caller_end <= call.ended_at + WINDOW_S
    return "caller_gone" if gone else "no_answer"


# -- what was heard ------------------------------------------------------------------------------------------------


def share_heard(call: PhoneCall, since: float, until: float) -> float:
    """In which share of the time between two instants anything was to be heard at all, 0 to 1."""
    samples = call.heard.between(since, until)
    size = round(WINDOW_S * RATE_HZ)
    parts = [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]
    return sum(level(part) >= _AUDIBLE for part in parts) / len(parts) if parts else 0.0


_AUDIBLE = 0.003  # of full scale: above the noise of a silent line


def tones_heard(call: PhoneCall, tones_hz: Sequence[int]) -> set[int]:
    """Which of these tones were heard for a second or longer in all."""
    windows = tones_by_second(call.heard.samples(), tones_hz, window_s=WINDOW_S)
    return {hz for hz in tones_hz if sum(hz in window for window in windows) * WINDOW_S >= 1.0}
