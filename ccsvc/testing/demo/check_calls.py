"""Checks of each caller's call: how it ended, where it went, who was heard, how long it took."""

from ccsvc.testing.demo.cast import AGENTS, CALLERS, SUPERVISOR
from ccsvc.testing.demo.evidence import Check, Evidence, compare_times, unequal
from ccsvc.testing.demo.truth import WINDOW_S, Truth, share_heard, tones_heard

TALK_TOLERANCE_S = 0.35
"""The PBX bridges a moment after the agent's telephone has answered, and a hang-up takes its way."""
WAIT_TOLERANCE_S = 0.5
"""A key is heard when the finger is off it, and that news too takes its way."""
_GREETING_S = 1.0
_MUSIC_SHARE = 0.8

_BY_TONE = {
    **{staff.tone_hz: staff.device for staff in (*AGENTS, SUPERVISOR)},
    **{caller.tone_hz: caller.device for caller in CALLERS},
}


async def outcomes(seen: Evidence) -> Check:
    """Every caller has one call, with the right end."""
    query = """SELECT caller, count(*) AS n, min(outcome) AS outcome, min(ended_by) AS ended_by
               FROM ccsvc.call GROUP BY caller"""
    rows = {row["caller"]: row for row in await seen.rows(query)}
    problems = unequal("callers who called", len(CALLERS), len(seen.truths))
    for truth in seen.truths:
        row = rows.get(truth.visit.caller.number, {})
        found = (row.get("n"), row.get("outcome"), row.get("ended_by"))
        problems += unequal(truth.name, (1, truth.outcome, truth.ended_by), found)
    words = ", ".join(f"{truth.name} {truth.outcome} ({truth.ended_by})" for truth in seen.truths)
    return Check("each caller's call is there once: outcome, who ended it", words, tuple(problems))


async def menus(seen: Evidence) -> Check:
    """The keys that were pressed, and the queue that they lead to."""
    problems = []
    for truth, row in await seen.with_rows():
        steps = await seen.rows("SELECT pressed FROM ccsvc.ivr_step WHERE call_id = $1 ORDER BY n", row["call_id"])
        found = ("".join(step["pressed"] for step in steps), list(row["queues"]))
        problems += unequal(truth.name, (truth.visit.keys, [truth.queue] if truth.queue else []), found)
    words = ", ".join(f"{truth.name} {truth.visit.keys}→{truth.queue or 'nobody'}" for truth in seen.truths)
    return Check("keys pressed are in ivr_step and lead where the menu says", words, tuple(problems))


async def partners(seen: Evidence) -> Check:
    """Who talked with whom, by ear at both ends: nobody else was heard, the supervisor least of all."""
    problems = []
    for truth, row in await seen.with_rows():
        problems += unequal(f"{truth.name}, agent", truth.agent, row["first_agent_id"] or "")
        heard = {_BY_TONE[hz] for hz in tones_heard(truth.visit.call, list(_BY_TONE))}
        problems += unequal(f"{truth.name} heard", {f"d{truth.agent}"} if truth.agent else set(), heard)
        if truth.visit.at_agent is not None:
            heard = {_BY_TONE[hz] for hz in tones_heard(truth.visit.at_agent, list(_BY_TONE))}
            problems += unequal(f"agent {truth.agent} heard", {truth.name}, heard)
    words = ", ".join(f"{truth.name} with {truth.agent}" for truth in seen.truths if truth.agent)
    return Check("who talked with whom, by the tones heard at both ends", words, tuple(problems))


async def waits(seen: Evidence) -> Check:
    pairs = [(truth.name, truth.wait_s, row["wait_s"]) for truth, row in await seen.with_rows() if truth.queue]
    return compare_times("waiting time, telephones | call_detail", pairs, WAIT_TOLERANCE_S * seen.slack)


async def talks(seen: Evidence) -> Check:
    pairs = [(truth.name, truth.talk_s, row["talk_s"]) for truth, row in await seen.with_rows() if truth.agent]
    return compare_times("talk time, telephones | call_detail", pairs, TALK_TOLERANCE_S * seen.slack)


async def sounds(seen: Evidence) -> Check:
    """A greeting before the first key; music for who waited long enough to notice."""
    problems, told = [], []
    for truth in seen.truths:
        if _greeted_s(truth) < _GREETING_S / seen.slack:
            problems.append(f"{truth.name} was greeted for {_greeted_s(truth):.1f} s only")
        if truth.queue and truth.wait_s > 4 * WINDOW_S:
            share = _music_share(truth)
            told.append(f"{truth.name} {share:.0%} of {truth.wait_s:.1f} s")
            problems += (
                [f"{truth.name} waited in silence: {share:.0%} sound"] if share < _MUSIC_SHARE / seen.slack else []
            )
    problems += [] if told else ["nobody waited long enough to hear music"]
    return Check("all heard a greeting, and who waited heard music", ", ".join(told), tuple(problems))


def _greeted_s(truth: Truth) -> float:
    call, pressed = truth.visit.call, truth.visit.pressed
    if call.established_at is None or not pressed:
        return 0.0
    return share_heard(call, call.established_at, pressed[0][0]) * (pressed[0][0] - call.established_at)


def _music_share(truth: Truth) -> float:
    since = truth.visit.pressed[-1][0] + WINDOW_S
    return share_heard(truth.visit.call, since, since + truth.wait_s - 2 * WINDOW_S)


async def offers(seen: Evidence) -> Check:
    """Every ring at a telephone is an offer, and the other way round; one was not answered."""
    problems = []
    for truth, row in await seen.with_rows():
        query = "SELECT agent_id, result FROM ccsvc.offer WHERE call_id = $1 ORDER BY offered_at"
        found = [(offer["agent_id"], offer["result"]) for offer in await seen.rows(query, row["call_id"])]
        problems += unequal(truth.name, [(ring.agent, ring.result) for ring in truth.rings], found)
    results = [ring.result for truth in seen.truths for ring in truth.rings]
    problems += [] if "no_answer" in results else ["no telephone was left ringing"]
    words = ", ".join(f"{results.count(result)} {result}" for result in dict.fromkeys(results))
    return Check("rings at the agents' telephones = offers", words, tuple(problems))
