"""What calls do to an agent: four activities and the facts that move between them.

    idle ──offered──▶ ringing ──answered──▶ talking ──talk_ended──▶ wrap_up ──wrap_up_ended──▶ idle
      ▲                  │                     │ released
      └───offer_ended────┴─────────────────────┘

`idle ──answered──▶ talking` is the call that reached the agent past the daemon (its offer was forgotten in a
restart, or the safety net rang them). `wrap_up ──answered──▶ talking` is the same during after-call work.
A pair that is not in the table is a fault of the caller of this function and raises before anything changed.
"""

from typing import Literal

from ccsvc.domain.vocabulary import AgentActivity

ActivityFact = Literal["offered", "offer_ended", "answered", "talk_ended", "released", "wrap_up_ended"]

TABLE: dict[tuple[AgentActivity, ActivityFact], AgentActivity] = {
    ("idle", "offered"): "ringing",
    ("idle", "answered"): "talking",
    ("ringing", "answered"): "talking",
    ("ringing", "offer_ended"): "idle",
    ("talking", "talk_ended"): "wrap_up",
    ("talking", "released"): "idle",
    ("wrap_up", "answered"): "talking",
    ("wrap_up", "wrap_up_ended"): "idle",
}


class ImpossibleActivityError(ValueError):
    """This fact can't happen to an agent in this activity."""


def after(activity: AgentActivity, fact: ActivityFact) -> AgentActivity:
    try:
        return TABLE[activity, fact]
    except KeyError:
        raise ImpossibleActivityError(f"an agent who is {activity} can't have {fact!r} happen to them") from None
