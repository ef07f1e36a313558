"""The menu walker: a caller goes from node to node by keys.

A node is said (interruptible); then a key is awaited for `input_timeout_s`. A key that the node knows is
followed, an unknown key says `invalid_choice`, silence says `no_input`; after `max_attempts` of both together
`on_failure` is followed. A node without keys goes on to `next`. Targets are steps: a language may be set on the
way, the last step leads to a node, a queue, back (`repeat`) or out (`hangup`).

Bound: `MAX_VISITS` nodes per walk; then the caller is let go.
"""

from collections.abc import Generator

from ccsvc.domain.dialog import Answer, AskFor, At, Dialog, Passed, Request, Speak, Tell, asked
from ccsvc.domain.targets import GoNode, HangUp, Repeat, SetLanguage, Step, parse_target
from ccsvc.settings import IvrNodeSettings, IvrSettings

MAX_VISITS = 200


def prompt_name(ivr: str, node: str) -> str:
    """The name under which a node's text is synthesised, or a recorded file looked for."""
    return f"{ivr}.{node}"


def walk(name: str, ivr: IvrSettings, node_name: str) -> Dialog:
    """Walk the menu from a node; returns the step that leads out of it."""
    for _ in range(MAX_VISITS):
        yield At(node_name)
        leads_to = yield from _visit(name, node_name, ivr.node[node_name])
        step = yield from _follow(leads_to)
        if isinstance(step, GoNode):
            node_name = step.name
        elif not isinstance(step, Repeat):
            return step
    return HangUp()


def _visit(name: str, node_name: str, node: IvrNodeSettings) -> Generator[Request, Answer, str]:
    prompts: tuple[str, ...] = (prompt_name(name, node_name),)
    if not node.keys:
        yield Tell(prompts)
        yield Passed(node_name, "", "next")
        return node.next or node.on_failure
    for _ in range(node.max_attempts):
        key = asked((yield AskFor(prompts, 1, node.input_timeout_s)))
        if key in node.keys:
            yield Passed(node_name, key, "key")
            return node.keys[key]
        yield Passed(node_name, key, "invalid" if key else "no_input")
        prompts = ("invalid_choice" if key else "no_input", prompt_name(name, node_name))
    yield Passed(node_name, "", "failed")
    return node.on_failure


def _follow(target: str) -> Generator[Request, Answer, Step]:
    """Take the steps on the way and return the last one."""
    steps = parse_target(target)
    for step in steps:
        if isinstance(step, SetLanguage):
            yield Speak(step.language)
    return steps[-1]
