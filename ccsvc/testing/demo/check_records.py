"""Checks of what is kept of a call: its legs, its story, its recording, who listened in."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from ccsvc.testing.demo.cast import AGENTS, CALLERS, SUPERVISOR
from ccsvc.testing.demo.evidence import Check, Evidence, Row, beside, unequal
from ccsvc.testing.demo.opening import LISTENED_TO
from ccsvc.testing.demo.truth import WINDOW_S, Ring, Truth, settings_of, tones_heard
from ccsvc.testing.phone import as_utc
from ccsvc.testing.tones import read_wav, tones_by_second

LEG_TOLERANCE_S = 0.5
RECORDING_TOLERANCE_S = 2.0
"""Looked for in windows of half a second: those at the ends, or with a late packet in them, do not count."""


async def legs(seen: Evidence) -> Check:
    """One CDR for the customer and one for each ring, each as long as the telephones say."""
    problems, count = [], 0
    for truth, row in await seen.with_rows():
        rows = await seen.rows("SELECT * FROM ccsvc.cdr WHERE call_id = $1 ORDER BY calldate", row["call_id"])
        customer = [leg for leg in rows if leg["role"] == "customer"]
        agents = [leg for leg in rows if leg["role"] == "agent"]
        count += len(rows)
        problems += unequal(f"{truth.name}, legs", (1, len(truth.rings)), (len(customer), len(agents)))
        for leg in customer:
            problems += beside(
                f"{truth.name}, its own leg", truth.lasted_s, leg["duration"], LEG_TOLERANCE_S * seen.slack
            )
        for ring, leg in zip(truth.rings, agents, strict=False):
            problems += _leg_problems(truth, ring, leg, LEG_TOLERANCE_S * seen.slack)
    rings = sum(len(truth.rings) for truth in seen.truths)
    words = f"{count} rows for {len(seen.truths)} customers and {rings} rings"
    return Check("one CDR for each leg, as long as the telephones say", words, tuple(problems))


def _leg_problems(truth: Truth, ring: Ring, leg: Row, tolerance_s: float) -> list[str]:
    accepted = ring.result == "accepted"
    wanted = (f"d{ring.agent}", "ANSWERED" if accepted else "NO ANSWER")
    problems = unequal(f"{truth.name}, CDR of the ring", wanted, (leg["dst"], leg["dial_result"]))
    talk_s = truth.talk_s if accepted else 0.0
    return problems + beside(f"{truth.name}, billsec at {ring.agent}", talk_s, leg["billsec"], tolerance_s)


async def stories(seen: Evidence) -> Check:
    """`call_timeline` tells each call from its start to its end."""
    problems, count = [], 0
    for truth, row in await seen.with_rows():
        query = "SELECT what FROM ccsvc.call_timeline WHERE call_id = $1 ORDER BY at, rank"
        story = [moment["what"] for moment in await seen.rows(query, row["call_id"])]
        count += len(story)
        if not _in_order(_expected_story(truth), story):
            problems.append(f"{truth.name}: {' '.join(story)}")
    return Check("each call's story is told in order", f"{count} moments in call_timeline", tuple(problems))


def _expected_story(truth: Truth) -> list[str]:
    story = ["call_started", *("ivr_step" for _ in truth.visit.pressed)]
    if truth.queue:
        story += ["queue_entered", *(word for _ in truth.rings for word in ("offer_started", "offer_ended"))]
    if truth.agent:
        story += ["talk_started", "talk_ended"]
    return [*story, "call_ended"]


def _in_order(wanted: Iterable[str], story: Sequence[str]) -> bool:
    """Whether these moments are in the story, in this order, whatever is between them."""
    rest = iter(story)
    return all(word in rest for word in wanted)


async def recordings(seen: Evidence) -> Check:
    """Both voices are in each recording, for as long as they talked; none where the queue is not recorded."""
    problems, told = [], []
    for truth, row in await seen.with_rows():
        rows = await seen.rows("SELECT * FROM ccsvc.recording WHERE call_id = $1", row["call_id"])
        recorded = bool(truth.agent) and settings_of(truth.queue, seen.settings).record
        problems += unequal(f"{truth.name}, recordings", int(recorded), len(rows))
        for recording in rows:
            both_s = await _both_heard_s(seen, truth, recording)
            told.append(f"{truth.name} {truth.talk_s:.1f}|{both_s:.1f}")
            problems += unequal(f"{truth.name}, verdict", "ok", recording["verdict"])
            problems += beside(f"{truth.name}, both voices", truth.talk_s, both_s, RECORDING_TOLERANCE_S * seen.slack)
    words = f"seconds of both voices, telephones | file: {', '.join(told)}"
    return Check("recordings hold both voices; billing, which is not recorded, has none", words, tuple(problems))


async def _both_heard_s(seen: Evidence, truth: Truth, row: Row) -> float:
    path = Path(seen.settings.recording.dir) / str(row["path"])
    agent_hz = {agent.number: agent.tone_hz for agent in AGENTS}.get(truth.agent)
    if agent_hz is None or not path.is_file():
        return 0.0
    pair = {truth.visit.caller.tone_hz, agent_hz}
    windows = await asyncio.to_thread(tones_by_second, read_wav(path), sorted(pair), window_s=WINDOW_S)
    return sum(window == pair for window in windows) * WINDOW_S


async def supervision(seen: Evidence) -> Check:
    """One row, of the right call, which ends when the supervisor hangs up; that call's two voices were heard.

    That nobody heard the supervisor is part of `partners`.
    """
    query = """SELECT s.*, c.caller FROM ccsvc.supervision_detail s LEFT JOIN ccsvc.call c USING (call_id)
               WHERE s.ended_at IS NOT NULL"""
    rows, call, caller = await seen.rows(query), seen.played.listening, CALLERS[0]
    what = "the supervisor listened in: right call, both voices"
    if call is None or call.ended_at is None or len(rows) != 1:
        return Check(what, "", (f"{len(rows)} rows, the supervisor's call is {call!r}",))
    row, both = rows[0], {caller.tone_hz, LISTENED_TO.tone_hz}
    wanted = (SUPERVISOR.number, LISTENED_TO.number, "listen", caller.number)
    found = tuple(row[key] for key in ("supervisor_id", "agent_id", "mode", "caller"))
    late_s = (row["ended_at"] - as_utc(call.ended_at)).total_seconds()
    problems = [
        *unequal("the row", wanted, found),
        *unequal("tones heard", both, tones_heard(call, sorted(both))),
        *beside("from the supervisor's hang-up to the row's end", 0.0, late_s, LEG_TOLERANCE_S * seen.slack),
    ]
    words = f"{SUPERVISOR.number} heard {caller.device} with {LISTENED_TO.number}, {row['seconds']:.1f} s in the row"
    return Check(what, words, tuple(problems))
