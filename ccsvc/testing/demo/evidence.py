"""What the checks of a pass have before them, and how they say what they found.

Promises: a check compares two things that do not come from each other, says what it compared, and has a problem for
every difference. `settled` waits for records that come a moment later, with one limit for all checks together.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccsvc.testing.demo.opening import Played
from ccsvc.testing.demo.stage import Stage
from ccsvc.testing.demo.truth import Truth, truths

LIMIT_S = 20.0
"""A recording is measured five seconds after its call, and a busy machine needs time."""
_AGAIN_EVERY_S = 0.25

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """`problems` is empty when all is well; `compared` says what was held against what."""

    what: str
    compared: str
    problems: tuple[str, ...] = ()


class Evidence:
    """The telephones' side (`truths`, `played`) and the way to the centre's (`stack`).

    `slack` is what every tolerance is multiplied by: 1 on a machine that kept up.
    """

    def __init__(self, stage: Stage, played: Played, slack: float = 1.0) -> None:
        self.stage, self.stack, self.played, self.slack = stage, stage.stack, played, slack
        self.settings = stage.stack.settings
        self.truths = truths(stage, played.visits.values(), self.settings)

    async def with_rows(self) -> list[tuple[Truth, Row]]:
        """Each truth with its row of `call_detail`; calls that have none are the matter of the first check."""
        rows = {
            row["caller"]: row
            for row in await self.rows("SELECT * FROM ccsvc.call_detail WHERE ended_at IS NOT NULL")
        }
        pairs = ((truth, rows.get(truth.visit.caller.number)) for truth in self.truths)
        return [(truth, row) for truth, row in pairs if row is not None]

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        return await self.stack.rows(query, *arguments)


Judge = Callable[[Evidence], Awaitable[Check]]


async def settled(judge: Judge, evidence: Evidence, give_up_at: float) -> Check:
    """The check without a problem, or as it stands at that instant (monotonic seconds)."""
    check = await judge(evidence)
    while check.problems and time.monotonic() < give_up_at:
        await asyncio.sleep(_AGAIN_EVERY_S)
        check = await judge(evidence)
    return check


def unequal(what: str, wanted: object, found: object) -> list[str]:
    """One problem if the telephones' and the centre's word differ."""
    return [] if wanted == found else [f"{what}: telephones {wanted}, centre {found}"]


def beside(what: str, wanted_s: float, found_s: float | None, tolerance_s: float) -> list[str]:
    """One problem if two durations differ by more than the tolerance, or one is not there."""
    if found_s is not None and abs(found_s - wanted_s) <= tolerance_s:
        return []
    return [f"{what}: telephones {wanted_s:.2f} s, centre {'nothing' if found_s is None else f'{found_s:.2f} s'}"]


def compare_times(what: str, pairs: Sequence[tuple[str, float, float | None]], tolerance_s: float) -> Check:
    """(whose, by the telephones, by the centre); nothing to compare is a problem."""
    told = ", ".join(f"{whose} {wanted:.2f}|{found or 0.0:.2f}" for whose, wanted, found in pairs)
    problems = [text for whose, wanted, found in pairs for text in beside(whose, wanted, found, tolerance_s)]
    return Check(f"{what} (±{tolerance_s:g} s)", told, tuple(problems if pairs else ["nothing to compare"]))
