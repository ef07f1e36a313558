"""Drives a dialog: turns what it yields into commands for its session, and answers that come back into its next step.

Promises: an answer to an older question is ignored (each question has a token); requests that need nobody outside
are answered at once. It says when a dialog is over and where it leads; what follows is the caller's part.
"""

from dataclasses import dataclass, replace

from ccsvc.domain.commands import Ask, CheckPin, PromptRef, Spy
from ccsvc.domain.dialog import Answer, AskFor, At, Dialog, Listen, Passed, Request, Speak, Tell, Verify
from ccsvc.domain.ids import SessionId
from ccsvc.domain.records import IvrStepRow
from ccsvc.domain.resume import ride
from ccsvc.domain.targets import Step
from ccsvc.domain.world import Call, Desk, World


@dataclass(frozen=True, slots=True)
class Done:
    """The dialog is over and leads to `step` (None: nowhere)."""

    step: Step | None


def start(world: World, owner: Call | Desk, dialog: Dialog) -> Done | None:
    """Begin a dialog; an older one of the same owner is dropped."""
    owner.dialog = dialog
    return advance(world, owner, None)


def answer(world: World, session: SessionId, token: int, value: Answer) -> tuple[Call | Desk, Done | None] | None:
    """Give a session's dialog the answer to its last question; None if nobody waits for it (any more)."""
    owner = world.sessions.get(session)
    if owner is None or owner.session != session or owner.dialog is None or world.tokens.get(session) != token:
        return None
    return owner, advance(world, owner, value)


def advance(world: World, owner: Call | Desk, value: Answer) -> Done | None:
    """Run the dialog up to its next question to the outside, or to its end."""
    dialog = owner.dialog
    assert dialog is not None
    try:
        request = dialog.send(value)
        while not _ask_outside(world, owner, request):
            request = dialog.send(None)
    except StopIteration as over:
        if owner.dialog is dialog:
            owner.dialog = None
        return Done(over.value)
    return None


def _ask_outside(world: World, owner: Call | Desk, request: Request) -> bool:
    """Emit the command for a request; False if it was settled here."""
    session = owner.session
    match request:
        case AskFor() | Tell() | Verify() | Listen() if session is not None:
            world.emit(_command(world, owner, session, request))
            return True
        case At(node) if isinstance(owner, Call):
            _entered_node(world, owner, node)
        case Passed() if isinstance(owner, Call):
            _passed_node(world, owner, request)
        case Speak(language) if isinstance(owner, Call):
            owner.language = language
        case _:
            return True
    return False


def _command(
    world: World, owner: Call | Desk, session: SessionId, request: AskFor | Tell | Verify | Listen
) -> Ask | CheckPin | Spy:
    token = world.tokens[session] = world.tokens.get(session, 0) + 1
    match request:
        case AskFor(prompts, max_digits, timeout_s):
            return Ask(session, token, _in_language(world, owner, prompts), max_digits, timeout_s)
        case Tell(prompts):
            return Ask(session, token, _in_language(world, owner, prompts))
        case Verify(role, person, pin):
            return CheckPin(session, token, role, person, pin)
        case Listen(device):
            return Spy(session, token, device)


def _in_language(world: World, owner: Call | Desk, prompts: tuple[str, ...]) -> tuple[PromptRef, ...]:
    language = owner.language if isinstance(owner, Call) else _language_at(world, owner)
    return tuple(PromptRef(name, language) for name in prompts)


def _language_at(world: World, desk: Desk) -> str:
    agent = world.agent_at(desk.device)
    if agent is not None:
        return agent.settings.language
    supervisor = next((s for s in world.settings.supervisor if s.device == desk.device), None)
    return supervisor.language if supervisor is not None else "en"


def _entered_node(world: World, call: Call, node: str) -> None:
    call.node, call.in_node = node, True
    call.row = replace(call.row, ivr_path=(*call.row.ivr_path, f"{call.ivr}.{node}")[-100:], language=call.language)
    world.write(call.row)
    ride(world, call)


def _passed_node(world: World, call: Call, passed: Passed) -> None:
    call.steps += 1
    call.in_node = passed.result in ("invalid", "no_input")
    world.write(
        IvrStepRow(
            call_id=call.id,
            n=call.steps,
            pbx=call.row.pbx,
            ivr=call.ivr,
            node=passed.node,
            at=world.now,
            pressed=passed.pressed,
            result=passed.result,
        )
    )
