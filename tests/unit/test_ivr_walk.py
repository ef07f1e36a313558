"""The menu walker, driven by hand: what it says, what it asks, where it leads."""

from typing import Any

import pytest

from ccsvc.domain.dialog import Answer, AskFor, At, Dialog, Passed, Request, Speak, Tell
from ccsvc.domain.ivr import MAX_VISITS, prompt_name, walk
from ccsvc.domain.targets import GoIvr, GoQueue, HangUp, Step
from ccsvc.settings import IvrNodeSettings, IvrSettings


def menu(**nodes: dict[str, Any]) -> IvrSettings:
    node = {name: IvrNodeSettings(say={"en": "text"}, **values) for name, values in nodes.items()}
    return IvrSettings(start=next(iter(nodes)), node=node)


def run(dialog: Dialog, *keys: str) -> tuple[list[Request], Step | None]:
    """Press the keys, one at each question ("" when none is left); returns what was wanted and where it led."""
    wanted: list[Request] = []
    pressed = iter(keys)
    answer: Answer = None
    while True:
        try:
            request = dialog.send(answer)
        except StopIteration as over:
            return wanted, over.value
        wanted.append(request)
        answer = next(pressed, "") if isinstance(request, AskFor) else None


def passed(wanted: list[Request]) -> list[tuple[str, str, str]]:
    return [(p.node, p.pressed, p.result) for p in wanted if isinstance(p, Passed)]


def test_a_known_key_leads_where_the_node_says() -> None:
    wanted, step = run(walk("w", menu(main={"keys": {"1": "queue:sales"}}), "main"), "1")
    assert step == GoQueue("sales")
    assert wanted == [At("main"), AskFor((prompt_name("w", "main"),), 1, 5.0), Passed("main", "1", "key")]


def test_the_hash_and_the_star_are_keys_like_any_other() -> None:
    ivr = menu(main={"keys": {"#": "queue:sales", "*": "hangup"}})
    assert run(walk("w", ivr, "main"), "#")[1] == GoQueue("sales")
    assert run(walk("w", ivr, "main"), "*")[1] == HangUp()


def test_an_unknown_key_is_said_to_be_wrong_and_the_node_is_said_again() -> None:
    wanted, step = run(walk("w", menu(main={"keys": {"1": "queue:sales"}}), "main"), "7", "1")
    assert step == GoQueue("sales")
    assert [a.prompts for a in wanted if isinstance(a, AskFor)] == [("w.main",), ("invalid_choice", "w.main")]
    assert passed(wanted) == [("main", "7", "invalid"), ("main", "1", "key")]


def test_silence_is_said_to_be_silence() -> None:
    wanted, _ = run(walk("w", menu(main={"keys": {"1": "queue:sales"}}), "main"), "", "1")
    assert [a.prompts for a in wanted if isinstance(a, AskFor)] == [("w.main",), ("no_input", "w.main")]
    assert passed(wanted)[0] == ("main", "", "no_input")


def test_wrong_keys_and_silence_count_together_and_then_the_failure_is_followed() -> None:
    ivr = menu(main={"keys": {"1": "hangup"}, "max_attempts": 3, "on_failure": "queue:rescue"})
    wanted, step = run(walk("w", ivr, "main"), "8", "", "9", "1")
    assert step == GoQueue("rescue")
    assert passed(wanted) == [
        ("main", "8", "invalid"),
        ("main", "", "no_input"),
        ("main", "9", "invalid"),
        ("main", "", "failed"),
    ]


def test_a_node_without_keys_is_said_and_goes_on_to_the_next() -> None:
    ivr = menu(hello={"next": "node:main"}, main={"keys": {"1": "hangup"}})
    wanted, step = run(walk("w", ivr, "hello"), "1")
    assert step == HangUp()
    assert wanted[:3] == [At("hello"), Tell(("w.hello",)), Passed("hello", "", "next")]


def test_a_language_on_the_way_is_spoken_from_then_on() -> None:
    ivr = menu(main={"keys": {"2": "language:fa node:more"}}, more={"next": "queue:sales"})
    wanted, step = run(walk("w", ivr, "main"), "2")
    assert step == GoQueue("sales")
    assert wanted.index(Speak("fa")) < wanted.index(At("more"))


def test_repeat_says_the_same_node_again_and_its_attempts_begin_anew() -> None:
    ivr = menu(main={"keys": {"9": "repeat", "1": "hangup"}, "max_attempts": 2, "on_failure": "queue:rescue"})
    wanted, step = run(walk("w", ivr, "main"), "7", "9", "7", "1")
    assert step == HangUp()
    assert wanted.count(At("main")) == 2


@pytest.mark.parametrize("target", ["queue:sales", "ivr:other", "hangup"])
def test_a_target_outside_the_menu_ends_the_walk(target: str) -> None:
    _, step = run(walk("w", menu(main={"keys": {"1": target}}), "main"), "1")
    assert step in (GoQueue("sales"), GoIvr("other"), HangUp())


def test_a_circle_ends_after_a_bounded_number_of_nodes() -> None:
    wanted, step = run(walk("w", menu(main={"next": "repeat"}), "main"))
    assert step == HangUp()
    assert len([at for at in wanted if isinstance(at, At)]) == MAX_VISITS


def test_the_waiting_time_of_the_node_is_given_with_the_question() -> None:
    wanted, _ = run(walk("w", menu(main={"keys": {"1": "hangup"}, "input_timeout_s": 2.5}), "main"), "1")
    assert [a.timeout_s for a in wanted if isinstance(a, AskFor)] == [2.5]
