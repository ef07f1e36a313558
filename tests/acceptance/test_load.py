"""Many callers at once, made by SIPp: none is lost, each is told once."""

import asyncio
from pathlib import Path

from ccsvc.testing.prefix import ensure_sipp
from ccsvc.testing.sipp import LoadPlan, run_load
from ccsvc.testing.waiting import eventually
from tests.acceptance.lanes import Lane

CALLS = 60


async def test_sixty_callers_within_six_seconds_are_all_answered_and_told_once(lane: Lane, tmp_path: Path) -> None:
    device = f"c{lane.n}4"
    plan = LoadPlan(
        target=lane.stack.sip,
        number=lane.to_menu,
        calls=CALLS,
        rate_per_s=10,
        hold_s=2.0,
        caller=device,
        password=lane.stack.secret_of(device),
    )
    sipp = await asyncio.to_thread(ensure_sipp)
    result = await run_load(plan, folder=tmp_path, deadline_s=60, sipp=sipp)
    assert (result.successful, result.failed_by) == (CALLS, {})

    async def all_told() -> bool:
        query = "SELECT 1 FROM ccsvc.call_detail WHERE did = $1 AND outcome = 'self_served'"
        return len(await lane.stack.rows(query, lane.to_menu)) == CALLS

    await eventually(all_told, f"{CALLS} calls in the database", deadline_s=20)
    distinct = "SELECT count(DISTINCT call_id) AS n FROM ccsvc.call WHERE did = $1"
    assert (await lane.stack.rows(distinct, lane.to_menu))[0]["n"] == CALLS
