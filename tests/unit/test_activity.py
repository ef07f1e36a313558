"""The table of agents' activities: every activity with every fact."""

from itertools import product
from typing import get_args

import pytest

from ccsvc.domain.activity import TABLE, ActivityFact, ImpossibleActivityError, after
from ccsvc.domain.vocabulary import AgentActivity

ALL = list(product(get_args(AgentActivity), get_args(ActivityFact)))


@pytest.mark.parametrize(("activity", "fact"), [pair for pair in ALL if pair in TABLE])
def test_a_fact_of_the_table_moves_the_activity(activity: AgentActivity, fact: ActivityFact) -> None:
    moved = after(activity, fact)
    assert moved == TABLE[activity, fact]
    assert moved != activity


@pytest.mark.parametrize(("activity", "fact"), [pair for pair in ALL if pair not in TABLE])
def test_a_fact_that_is_not_in_the_table_is_refused_by_name(activity: AgentActivity, fact: ActivityFact) -> None:
    with pytest.raises(ImpossibleActivityError, match=rf"{activity}.*{fact}"):
        after(activity, fact)


def test_every_activity_can_be_reached_from_idle_and_leads_back_to_it() -> None:
    assert _reached("idle") == set(get_args(AgentActivity))
    assert all("idle" in _reached(activity) for activity in get_args(AgentActivity))


def test_the_theory_above_the_table_names_every_fact_and_every_activity() -> None:
    theory = after.__globals__["__doc__"]
    assert [word for word in (*get_args(ActivityFact), *get_args(AgentActivity)) if word not in theory] == []


def _reached(start: AgentActivity) -> set[AgentActivity]:
    reached: set[AgentActivity] = {start}
    while more := {there for (here, _), there in TABLE.items() if here in reached} - reached:
        reached |= more
    return reached
