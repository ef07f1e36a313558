"""Which of the free agents is offered a caller. One function per strategy; ties are broken by agent number.

Knows neither queues nor time: it is given those who can be offered the call now.
"""

from collections.abc import Callable, Sequence

from ccsvc.domain.world import Agent

Strategy = Callable[[Sequence[Agent]], Agent | None]


def longest_idle(free: Sequence[Agent]) -> Agent | None:
    """The one whose present idleness began first."""
    return min(free, key=lambda agent: (agent.idle_since, agent.id), default=None)


STRATEGIES: dict[str, Strategy] = {"longest_idle": longest_idle}


def choose(strategy: str, free: Sequence[Agent]) -> Agent | None:
    """The agent to offer the call to, or None if nobody is free. Raises KeyError for an unknown strategy."""
    return STRATEGIES[strategy](free)
