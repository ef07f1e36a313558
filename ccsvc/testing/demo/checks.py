"""The pass judges itself: every check, in the order in which they are told."""

import time
from collections.abc import AsyncIterator

from rich.text import Text

from ccsvc.testing.demo import check_calls, check_numbers, check_records
from ccsvc.testing.demo.evidence import LIMIT_S, Check, Evidence, Judge, settled

ALL: tuple[Judge, ...] = (
    check_calls.outcomes,
    check_calls.menus,
    check_calls.partners,
    check_calls.sounds,
    check_calls.waits,
    check_calls.talks,
    check_calls.offers,
    check_records.recordings,
    check_records.supervision,
    check_records.legs,
    check_records.stories,
    check_numbers.indicators,
    check_numbers.conservation,
    check_numbers.nothing_left,
)


async def judge(evidence: Evidence) -> AsyncIterator[Check]:
    """One check after the other; those with a problem are made again until `LIMIT_S` for all of them is over."""
    give_up_at = time.monotonic() + LIMIT_S
    for each in ALL:
        yield await settled(each, evidence, give_up_at)


def verdict(check: Check) -> list[Text]:
    """A line with ✓ or ✗, then what was compared, then each problem."""
    mark = Text("✗ ", "bold red") if check.problems else Text("✓ ", "bold green")
    lines = [Text.assemble(mark, Text(check.what))]
    lines += [Text(f"    {check.compared}", "dim")] if check.compared else []
    return lines + [Text(f"    ✗ {problem}", "red") for problem in check.problems]
