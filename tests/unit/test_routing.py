"""Who of the free agents is offered a caller."""

import random

import pytest

from ccsvc.domain.ids import AgentId
from ccsvc.domain.routing import STRATEGIES, choose
from ccsvc.domain.world import Agent
from ccsvc.settings import AgentSettings
from tests.unit.centre_parts import after


def agent(number: str, idle_since_s: float) -> Agent:
    return Agent(AgentId(number), AgentSettings(number=number, name=number), idle_since=after(idle_since_s))


def test_the_longest_idle_agent_is_chosen() -> None:
    assert choose("longest_idle", [agent("1", 30), agent("2", 10), agent("3", 20)]) is not None
    chosen = choose("longest_idle", [agent("1", 30), agent("2", 10), agent("3", 20)])
    assert chosen is not None
    assert chosen.id == "2"


def test_a_tie_is_broken_by_the_agents_number_whatever_the_order() -> None:
    free = [agent(number, 5) for number in ("12", "3", "21")]
    for seed in range(6):
        random.Random(seed).shuffle(free)
        chosen = choose("longest_idle", free)
        assert chosen is not None
        assert chosen.id == "12"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nobody_is_chosen_from_nobody(strategy: str) -> None:
    assert choose(strategy, []) is None


def test_an_unknown_strategy_is_an_error() -> None:
    with pytest.raises(KeyError, match="by_mood"):
        choose("by_mood", [agent("1", 0)])
