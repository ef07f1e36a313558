"""The grammar of targets."""

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st

from ccsvc.domain.targets import (
    MAX_STEPS,
    GoIvr,
    GoNode,
    GoQueue,
    HangUp,
    Repeat,
    SetLanguage,
    Step,
    parse_target,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("hangup", (HangUp(),)),
        ("repeat", (Repeat(),)),
        ("queue:sales", (GoQueue("sales"),)),
        ("ivr:main", (GoIvr("main"),)),
        ("node:a-b_2", (GoNode("a-b_2"),)),
        ("  language:fa   node:main ", (SetLanguage("fa"), GoNode("main"))),
        ("language:fa language:en hangup", (SetLanguage("fa"), SetLanguage("en"), HangUp())),
    ],
)
def test_a_target_is_read_into_its_steps(text: str, steps: tuple[Step, ...]) -> None:
    assert parse_target(text) == steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("language:fa", "does not say where"),
        ("language:de hangup", "fa, ar or en"),
        ("queue:sales hangup", "nothing may follow 'queue:sales'"),
        ("hangup language:fa", "nothing may follow 'hangup'"),
        ("queue:", "names nothing"),
        ("queue", "names nothing"),
        ("queue:Sales", "names nothing"),
        ("queue:a:b", "names nothing"),
        ("node:sälës", "names nothing"),
        ("voicemail", "is not a step"),
        (" ".join(["language:fa"] * MAX_STEPS + ["hangup"]), "are the most"),
    ],
)
def test_a_wrong_target_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_target(text)


@unhurried(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_either_read_or_refused_and_only_the_last_step_is_terminal(text: str) -> None:
    try:
        steps = parse_target(text)
    except ValueError:
        return
    assert all(isinstance(step, SetLanguage) for step in steps[:-1])
    assert not isinstance(steps[-1], SetLanguage)
