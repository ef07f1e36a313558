"""The Prometheus face of METRICS: names and labels exactly as the contract has them.

Promises: a rendering shows one instant; its counters come from `StatsState`, which survives restarts, so they never
go back; every known queue has its series from the first scrape on, zeros included; what is undefined is NaN; the
number of series is bounded by the queues of the configuration, and no label ever holds a caller's anything.
It computes no indicator (`ccsvc.domain.stats` does) and opens no port.
"""

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ccsvc import __version__
from ccsvc.domain.records import ROW_TYPES
from ccsvc.domain.stats import (
    WAIT_BOUNDS_S,
    Histogram,
    Indicators,
    QueueStats,
    StatsState,
    histogram,
    indicators,
)
from ccsvc.domain.view import CentreView, QueueView
from ccsvc.domain.vocabulary import (
    AGENT_GAUGE_STATES,
    CALL_OUTCOMES,
    OFFER_RESULTS,
    QUEUE_EXITS,
    REFUSAL_REASONS,
)
from ccsvc.settings import QueueSettings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DIRECTIONS = ("inbound", "outbound", "internal")
WAIT_EXITS = ("answered", "abandoned")
"""Exits whose waiting times are shown before the first one happened; the others from their first on."""
MAX_FORMER_QUEUES = 100
"""Queues that have been counted once and are no longer configured: beyond this many they are not shown."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the daemon knows of itself. Counts and `gap_s` only ever grow; None: not known yet."""

    ami_connected: bool = False
    gap_s: float = 0.0
    """Seconds without a link to the PBX, all gaps together."""
    event_lag_s: float | None = None
    """From the PBX's stamp on the latest event to its handling."""
    spool_rows: int = 0
    rows_written: Mapping[str, int] = field(default_factory=dict)
    """By table."""
    recordings_failed: int = 0
    version: str = __version__


def render(
    stats: StatsState,
    view: CentreView,
    health: Health,
    queues: Sequence[QueueSettings],
    now: datetime,
    zone: tzinfo = UTC,
) -> bytes:
    """Everything in Prometheus' text format (`CONTENT_TYPE`).

    `stats` and `view` must be of the same instant: `ccsvc_unexplained_entries` compares them. `now` is aware and ends
    the windows; `zone` is where `today` began. Costs some 10 µs a series, about 250 series a queue.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(CentreCollector(stats, view, health, queues, now, zone))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True)
class _Queue:
    """One queue in all its aspects; one that is unknown to the view or to the statistics is empty there."""

    name: str
    stats: QueueStats
    view: QueueView
    windows: Mapping[str, Indicators]

    @property
    def unexplained(self) -> int:
        return self.stats.entered - self.stats.left - len(self.view.waiting)


class CentreCollector(Collector):
    """Collects once: what it was given is one instant."""

    def __init__(
        self,
        stats: StatsState,
        view: CentreView,
        health: Health,
        queues: Sequence[QueueSettings],
        now: datetime,
        zone: tzinfo = UTC,
    ) -> None:
        self._stats, self._view, self._health = stats, view, health
        starts = {"15m": now - timedelta(minutes=15), "today": _midnight(now, zone)}
        self._queues = list(_queues(stats, view, queues, starts))

    def collect(self) -> Iterator[Metric]:
        yield from _queue_counters(self._queues)
        yield from _queue_histograms(self._queues)
        yield from _queue_gauges(self._queues)
        yield from _indicator_gauges(self._queues)
        yield from _calls(self._stats, self._view)
        yield from _daemon(self._health)


# -- what is shown of which queue ----------------------------------------------------------------------------


def _midnight(now: datetime, zone: tzinfo) -> datetime:
    return datetime.combine(now.astimezone(zone).date(), time(), zone)


def _queues(
    stats: StatsState, view: CentreView, settings: Sequence[QueueSettings], starts: Mapping[str, datetime]
) -> Iterator[_Queue]:
    views = {queue.name: queue for queue in view.queues}
    variants = {queue.name: queue.service_level for queue in settings}
    former = sorted(name for name in stats.queues if name not in variants)[:MAX_FORMER_QUEUES]
    default = QueueSettings(name="default").service_level
    for name in [*variants, *former]:
        counted = stats.queues.get(name) or QueueStats()
        variant = variants.get(name, default)
        windows = {window: indicators(counted.since(start), variant) for window, start in starts.items()}
        yield _Queue(name, counted, views.get(name) or _nobody(name), windows)


def _nobody(name: str) -> QueueView:
    return QueueView(name, waiting=(), longest_wait_s=0.0, agents={}, entered=0, exits={}, unexplained=0)


def _all(known: Iterable[str], counted: Iterable[str]) -> list[str]:
    """The known words in their order, then whatever else was counted: a sum must stay whole."""
    return list(dict.fromkeys((*known, *counted)))


# -- queues --------------------------------------------------------------------------------------------------


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"ccsvc_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"ccsvc_{name}", text, labels=labels)


def _queue_counters(queues: Sequence[_Queue]) -> Iterator[Metric]:
    plain: list[tuple[str, str, Callable[[QueueStats], int]]] = [
        ("queue_entered_total", "Entries into the queue.", lambda s: s.entered),
        ("queue_short_abandoned_total", "Abandoned within the short-abandon threshold.", lambda s: s.short_abandoned),
        ("queue_answered_in_target_total", "Answered within the target.", lambda s: s.answered_in_target),
    ]
    for name, text, count in plain:
        counter = _counter(name, text, "queue")
        for queue in queues:
            counter.add_metric([queue.name], count(queue.stats))
        yield counter
    yield _by_word(queues, "queue_exits_total", "Ends of stays in the queue.", "exit", QUEUE_EXITS, lambda s: s.exits)
    text = "Callers who were never let in."
    yield _by_word(queues, "queue_refused_total", text, "reason", REFUSAL_REASONS, lambda s: s.refused)
    yield _by_word(queues, "offers_total", "Rings at agents.", "result", OFFER_RESULTS, lambda s: s.offers)


def _by_word(
    queues: Sequence[_Queue],
    name: str,
    text: str,
    label: str,
    words: Sequence[str],
    counts: Callable[[QueueStats], Mapping[str, int]],
) -> Metric:
    counter = _counter(name, text, "queue", label)
    for queue in queues:
        counted = counts(queue.stats)
        for word in _all(words, counted):
            counter.add_metric([queue.name, word], counted.get(word, 0))
    return counter


def _queue_histograms(queues: Sequence[_Queue]) -> Iterator[Metric]:
    wait = HistogramMetricFamily("ccsvc_queue_wait_seconds", "Waiting time by exit.", labels=("queue", "exit"))
    for queue in queues:
        for exit_ in _all(WAIT_EXITS, queue.stats.wait):
            _add(wait, [queue.name, exit_], queue.stats.wait.get(exit_) or histogram(WAIT_BOUNDS_S))
    yield wait
    parts: list[tuple[str, Callable[[QueueStats], Histogram]]] = [
        ("talk", lambda s: s.talk),
        ("hold", lambda s: s.hold),
        ("wrap_up", lambda s: s.wrap_up),
        ("handle", lambda s: s.handle),
    ]
    for part, of in parts:
        text = f"{part.replace('_', '-').capitalize()} time of one agent's part of a call."
        family = HistogramMetricFamily(f"ccsvc_segment_{part}_seconds", text, labels=("queue",))
        for queue in queues:
            _add(family, [queue.name], of(queue.stats))
        yield family


def _add(family: HistogramMetricFamily, labels: Sequence[str], counted: Histogram) -> None:
    """Prometheus' buckets are cumulative, the state's are not."""
    bounds = [*(str(float(bound)) for bound in counted.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(counted.counts), strict=True))
    family.add_metric(labels, buckets, counted.total_s)


def _queue_gauges(queues: Sequence[_Queue]) -> Iterator[Metric]:
    waiting = _gauge("queue_waiting", "Callers waiting now.", "queue")
    longest = _gauge("queue_longest_wait_seconds", "Waiting time of the one who waits longest; 0: nobody.", "queue")
    agents = _gauge("agents", "Members of the queue by what they do now.", "queue", "state")
    unexplained = _gauge("unexplained_entries", "entered - exits - waiting: not 0 is a fault of ccsvc.", "queue")
    for queue in queues:
        waiting.add_metric([queue.name], len(queue.view.waiting))
        longest.add_metric([queue.name], queue.view.longest_wait_s)
        unexplained.add_metric([queue.name], queue.unexplained)
        for state in _all(AGENT_GAUGE_STATES, queue.view.agents):
            agents.add_metric([queue.name, state], queue.view.agents.get(state, 0))
    yield from (waiting, longest, agents, unexplained)


def _indicator_gauges(queues: Sequence[_Queue]) -> Iterator[Metric]:
    parts: list[tuple[str, str, Callable[[Indicators], float | None]]] = [
        ("asa_seconds", "Average speed of answer.", lambda i: i.asa_s),
        ("aht_seconds", "Average handle time.", lambda i: i.aht_s),
        ("abandonment_ratio", "Abandoned, without the short ones, of offered.", lambda i: i.abandonment_ratio),
        ("service_level_ratio", "By the formula that the queue chose.", lambda i: i.service_level_ratio),
    ]
    for name, text, of in parts:
        gauge = _gauge(name, f"{text} Entries of the window; NaN: undefined.", "queue", "window")
        for queue in queues:
            for window, values in queue.windows.items():
                gauge.add_metric([queue.name, window], _defined(of(values)))
        yield gauge


def _defined(value: float | None) -> float:
    return math.nan if value is None else value


# -- the centre and the daemon -------------------------------------------------------------------------------


def _calls(stats: StatsState, view: CentreView) -> Iterator[Metric]:
    calls = _counter("calls_total", "Calls that are over.", "direction", "outcome")
    words = [f"{direction}/{outcome}" for direction in DIRECTIONS for outcome in CALL_OUTCOMES]
    for word in _all(words, stats.calls):
        calls.add_metric(word.split("/", 1), stats.calls.get(word, 0))
    yield calls
    yield GaugeMetricFamily("ccsvc_calls_active", "Calls that are not over.", len(view.calls))


def _daemon(health: Health) -> Iterator[Metric]:
    yield GaugeMetricFamily("ccsvc_ami_connected", "1: the PBX's events arrive.", int(health.ami_connected))
    yield CounterMetricFamily("ccsvc_ami_gap_seconds_total", "Time without the PBX's events.", health.gap_s)
    lag_s = _defined(health.event_lag_s)
    yield GaugeMetricFamily("ccsvc_event_lag_seconds", "Age of the latest event when it was handled.", lag_s)
    yield GaugeMetricFamily("ccsvc_spool_rows", "Rows that the database has not taken yet.", health.spool_rows)
    rows = _counter("rows_written_total", "Rows that the database has taken.", "table")
    for table in _all((row.table for row in ROW_TYPES), health.rows_written):
        rows.add_metric([table], health.rows_written.get(table, 0))
    yield rows
    text = "Recordings that are missing or shorter than the conversation."
    yield CounterMetricFamily("ccsvc_recordings_failed_total", text, health.recordings_failed)
    build = _gauge("build_info", "Always 1.", "version", "python")
    build.add_metric([health.version, platform.python_version()], 1)
    yield build
