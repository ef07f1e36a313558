"""Talking with a person by prompts and keys, written as it reads: a generator that yields what it wants.

A dialog yields one of the requests below and gets its answer sent in; what it returns is the outcome. It holds
no session, no clock and no prompt files, so a test drives it with `next` and `send`.

    digits = yield AskFor(("agent_ask_number",), max_digits=8)     # str, empty when nothing was pressed
    ok = yield Verify("agent", digits, pin)                        # bool
    yield Tell(("agent_logged_in",))                               # None, when it has been said
"""

from collections.abc import Generator
from dataclasses import dataclass, field

from ccsvc.domain.ids import DeviceName
from ccsvc.domain.targets import Step
from ccsvc.domain.vocabulary import IvrResult


@dataclass(frozen=True, slots=True)
class AskFor:
    prompts: tuple[str, ...]
    max_digits: int = 1
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Tell:
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verify:
    """The PIN never shows: neither in a repr nor in a log."""

    role: str
    person: str
    pin: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listen:
    """Hear the device's call until one of the two hangs up."""

    device: DeviceName


@dataclass(frozen=True, slots=True)
class At:
    """A menu's node was entered; answered at once."""

    node: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A menu's node was left with this result; answered at once."""

    node: str
    pressed: str
    result: IvrResult


@dataclass(frozen=True, slots=True)
class Speak:
    """From now on speak this language; answered at once."""

    language: str


Request = AskFor | Tell | Verify | Listen | At | Passed | Speak
Answer = str | bool | None
Dialog = Generator[Request, Answer, Step | None]
"""Returns where to go next, or None to end the session."""


def asked(answer: Answer) -> str:
    """The digits of an `AskFor`; anything else means that nothing was pressed."""
    return answer if isinstance(answer, str) else ""
