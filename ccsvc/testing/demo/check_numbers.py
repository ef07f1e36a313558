"""Checks of what is counted, and that nothing is left over."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccsvc.testing.demo.cast import WRAP_UP_S
from ccsvc.testing.demo.check_calls import TALK_TOLERANCE_S, WAIT_TOLERANCE_S
from ccsvc.testing.demo.evidence import Check, Evidence, unequal
from ccsvc.testing.demo.truth import Truth

WINDOW = "15m"
_EXACT = 1e-6


async def indicators(seen: Evidence) -> Check:
    """ASA, AHT and abandonment, worked out from the telephones by the formulas of METRICS."""
    metrics = await seen.stack.daemon.metrics()
    problems, told = [], []
    for queue in (each.name for each in seen.settings.queue):
        for name, wanted, tolerance in _indicators([truth for truth in seen.truths if truth.queue == queue]):
            found = metrics.get(f'ccsvc_{name}{{queue="{queue}",window="{WINDOW}"}}')
            told.append(f"{queue} {name.partition('_')[0]} {wanted:.2f}|{found or 0.0:.2f}")
            if found is None or not abs(found - wanted) <= tolerance * seen.slack:  # NaN is no match either
                problems.append(f"{queue} {name}: telephones {wanted:.3f}, /metrics {found}")
    problems += [] if told else ["nothing to compare"]
    return Check("ASA, AHT (s) and abandonment, telephones | /metrics", ", ".join(told), tuple(problems))


def _indicators(mine: Sequence[Truth]) -> list[tuple[str, float, float]]:
    """(name, value, tolerance) of those that are defined."""
    answered = [truth for truth in mine if truth.outcome == "answered"]
    short = sum(truth.outcome == "short_abandoned" for truth in mine)
    abandoned = sum(truth.outcome == "abandoned" for truth in mine)
    found = []
    if answered:
        found.append(("asa_seconds", _mean([t.wait_s for t in answered]), WAIT_TOLERANCE_S))
        found.append(("aht_seconds", _mean([t.talk_s + WRAP_UP_S for t in answered]), TALK_TOLERANCE_S))
    if len(mine) > short:
        found.append(("abandonment_ratio", abandoned / (len(mine) - short), _EXACT))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


async def conservation(seen: Evidence) -> Check:
    """entered = exits + waiting, everywhere the same, and as many as the telephones brought."""
    metrics = await seen.stack.daemon.metrics()
    live = {queue["name"]: queue for queue in (await seen.stack.daemon.get("/api/v1/queues"))["queues"]}
    query = "SELECT queue, count(*) AS entered, count(exit) AS exits FROM ccsvc.queue_entry GROUP BY queue"
    rows = {row["queue"]: row for row in await seen.rows(query)}
    problems, told = [], []
    for queue in (each.name for each in seen.settings.queue):
        brought = sum(truth.queue == queue for truth in seen.truths)
        told.append(f"{queue} {brought} = {brought} + 0")
        for where, counts in {
            "/metrics": _in_metrics(metrics, queue),
            "the API": _in_api(live[queue]),
            "SQL": (rows[queue]["entered"], rows[queue]["exits"]) if queue in rows else (0, 0),
        }.items():
            problems += unequal(f"{queue} in {where}", (brought, brought, 0)[: len(counts)], counts)
    return Check("entered = exits + waiting, the same in /metrics, API and SQL", ", ".join(told), tuple(problems))


def _in_metrics(metrics: Mapping[str, float], queue: str) -> tuple[float, ...]:
    label = f'{{queue="{queue}"}}'
    exits = sum(
        value
        for name, value in metrics.items()
        if name.startswith("ccsvc_queue_exits_total{") and f'queue="{queue}"' in name
    )
    return metrics[f"ccsvc_queue_entered_total{label}"], exits, metrics[f"ccsvc_queue_waiting{label}"]


def _in_api(queue: Mapping[str, Any]) -> tuple[int, ...]:
    return queue["entered"], sum(queue["exits"].values()), len(queue["waiting"])


async def nothing_left(seen: Evidence) -> Check:
    """No channel, no call, no telephone off the hook."""
    channels = await seen.stack.channels()
    calls = (await seen.stack.daemon.get("/api/v1/calls"))["calls"]
    busy = [phone.user for phone in seen.stage.phones.values() if phone.live_calls]
    problems = unequal("channels, calls, telephones off the hook", (0, 0, []), (channels, len(calls), busy))
    words = f"{channels} channels, {len(calls)} calls, {len(busy)} telephones off the hook"
    return Check("nothing is left over", words, tuple(problems))
