"""Where a call goes next, as an operator writes it: `language:fa node:main`, `queue:sales`, `repeat`, `hangup`.

Promises: a parsed target is one or more steps of which exactly the last one is terminal (it says where the
call is), everything before only changes how the call goes there. This module does not know whether the
node, queue or menu exists: see `ccsvc.domain.consistency`.
"""

import re
from dataclasses import dataclass

from ccsvc.settings import Language

LANGUAGES: tuple[Language, ...] = ("fa", "ar", "en")
MAX_STEPS = 8

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GoNode:
    """To a node of the menu that the caller is in."""

    name: str


@dataclass(frozen=True, slots=True)
class GoQueue:
    name: str


@dataclass(frozen=True, slots=True)
class GoIvr:
    """To the start of a menu."""

    name: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same node again."""


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


@dataclass(frozen=True, slots=True)
class SetLanguage:
    """Speak this language from now on; the call stays where it is."""

    language: Language


Step = GoNode | GoQueue | GoIvr | Repeat | HangUp | SetLanguage

_GO: dict[str, type[GoNode] | type[GoQueue] | type[GoIvr]] = {"node": GoNode, "queue": GoQueue, "ivr": GoIvr}
_PLAIN: dict[str, Step] = {"repeat": Repeat(), "hangup": HangUp()}
_FORMS = "`language:<fa|ar|en>`, `node:<name>`, `queue:<name>`, `ivr:<name>`, `repeat` or `hangup`"


def parse_target(text: str) -> tuple[Step, ...]:
    """The steps of a target in the order in which they are taken; never empty.

    Raises `ValueError` with a sentence that says which word is wrong and what it should be.
    """
    words = text.split()
    if not words:
        raise ValueError(f"a target is empty: write {_FORMS}")
    if len(words) > MAX_STEPS:
        raise ValueError(f"a target has {len(words)} steps: {MAX_STEPS} are the most")
    steps = tuple(_step(word) for word in words)
    _check_order(words, steps)
    return steps


def _step(word: str) -> Step:
    if word in _PLAIN:
        return _PLAIN[word]
    kind, _, name = word.partition(":")
    if kind == "language":
        return _language(name)
    if kind not in _GO:
        raise ValueError(f"{word!r} is not a step: write {_FORMS}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{word!r} names nothing: after `{kind}:` comes a name of a-z, 0-9, `_` and `-`")
    return _GO[kind](name)


def _language(name: str) -> SetLanguage:
    for language in LANGUAGES:
        if name == language:
            return SetLanguage(language)
    raise ValueError(f"'language:{name}' is not a language that is spoken here: write fa, ar or en")


def _check_order(words: list[str], steps: tuple[Step, ...]) -> None:
    terminal = [not isinstance(step, SetLanguage) for step in steps]
    if True in terminal[:-1]:
        raise ValueError(f"nothing may follow {words[terminal.index(True)]!r}: it already says where the call goes")
    if not terminal[-1]:
        raise ValueError(
            f"{words[-1]!r} does not say where the call goes: let `node:…`, `queue:…` or `hangup` follow"
        )
