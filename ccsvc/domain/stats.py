"""The numbers of METRICS, computed once from the rows that are written anyway.

Promises: `observe` is a fold: the same rows in the same order give the same state, so the state can be kept at
the head of a spool file and carried on after a restart without counting anything twice or forgetting it.
A ratio without a denominator is None, never 0. Everything about a queue entry is booked into the minute in
which it entered (the cohort), a segment into the minute of its entry.

Knows nothing of Prometheus, of windows' names or of time zones: a window is "all minutes since an instant".
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime

from ccsvc.domain.records import CallRow, OfferRow, QueueEntryRow, QueueRefusalRow, RecordingRow, Row, SegmentRow

WAIT_BOUNDS_S: tuple[float, ...] = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 3600)
HANDLE_BOUNDS_S: tuple[float, ...] = (5, 10, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600)
MINUTES_KEPT = 26 * 60
"""A day, whatever the clocks do, and an hour for late segments."""


@dataclass(slots=True)
class Histogram:
    """Counts per upper bound (seconds, inclusive, not cumulative); the last count is above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int]
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds


def histogram(bounds: tuple[float, ...]) -> Histogram:
    return Histogram(bounds, [0] * (len(bounds) + 1))


@dataclass(slots=True)
class Cohort:
    """Sums over the entries that entered in one interval. Durations in seconds."""

    offered: int = 0
    answered: int = 0
    abandoned: int = 0
    short_abandoned: int = 0
    answered_in_target: int = 0
    abandoned_in_target: int = 0
    wait_answered_s: float = 0.0
    segments: int = 0
    handle_s: float = 0.0

    def add(self, other: "Cohort") -> None:
        """Written out: a scrape adds up thousands of these, and a loop over names costs ten times as much."""
        self.offered += other.offered
        self.answered += other.answered
        self.abandoned += other.abandoned
        self.short_abandoned += other.short_abandoned
        self.answered_in_target += other.answered_in_target
        self.abandoned_in_target += other.abandoned_in_target
        self.wait_answered_s += other.wait_answered_s
        self.segments += other.segments
        self.handle_s += other.handle_s


@dataclass(frozen=True, slots=True)
class Indicators:
    """None: undefined, for want of a denominator."""

    asa_s: float | None
    aht_s: float | None
    abandonment_ratio: float | None
    service_level_ratio: float | None


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def service_level(cohort: Cohort, variant: str) -> float | None:
    """The formula of METRICS' table for the variant that the queue chose."""
    answered, abandoned, short = cohort.answered, cohort.abandoned, cohort.short_abandoned
    match variant:
        case "answered_of_answered":
            return ratio(cohort.answered_in_target, answered)
        case "answered_of_all":
            return ratio(cohort.answered_in_target, answered + abandoned)
        case "served_of_all":
            return ratio(cohort.answered_in_target + cohort.abandoned_in_target, answered + abandoned)
        case "answered_of_offered_less_short":
            return ratio(cohort.answered_in_target, answered + abandoned - short)
        case _:
            raise ValueError(f"service level variant {variant!r} is not one of METRICS' four")


def indicators(cohort: Cohort, variant: str) -> Indicators:
    """ASA, AHT, abandonment rate and service level of one cohort, as METRICS defines them."""
    short = cohort.short_abandoned
    return Indicators(
        asa_s=ratio(cohort.wait_answered_s, cohort.answered),
        aht_s=ratio(cohort.handle_s, cohort.segments),
        abandonment_ratio=ratio(cohort.abandoned - short, cohort.offered - short),
        service_level_ratio=service_level(cohort, variant),
    )


@dataclass(slots=True)
class QueueStats:
    entered: int = 0
    exits: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    short_abandoned: int = 0
    answered_in_target: int = 0
    offers: dict[str, int] = field(default_factory=dict)
    wait: dict[str, Histogram] = field(default_factory=dict)
    talk: Histogram = field(default_factory=lambda: histogram(HANDLE_BOUNDS_S))
    hold: Histogram = field(default_factory=lambda: histogram(HANDLE_BOUNDS_S))
    wrap_up: Histogram = field(default_factory=lambda: histogram(HANDLE_BOUNDS_S))
    handle: Histogram = field(default_factory=lambda: histogram(HANDLE_BOUNDS_S))
    minutes: dict[int, Cohort] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return sum(self.exits.values())

    def minute(self, minute: int) -> Cohort:
        cohort = self.minutes.get(minute)
        if cohort is None:
            cohort = self.minutes[minute] = Cohort()
            self._forget_before(minute - MINUTES_KEPT)
        return cohort

    def since(self, at: datetime) -> Cohort:
        """The sum over all minutes that began at or after the minute of `at`."""
        first, total = minute_of(at), Cohort()
        for minute, cohort in self.minutes.items():
            if minute >= first:
                total.add(cohort)
        return total

    def _forget_before(self, minute: int) -> None:
        for old in [m for m in self.minutes if m < minute]:
            del self.minutes[old]


@dataclass(slots=True)
class StatsState:
    """Everything that `observe` has learnt. `entry_minutes` holds entries whose segment is still to come."""

    queues: dict[str, QueueStats] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    """Closed calls by `<direction>/<outcome>`."""
    recordings_failed: int = 0
    """Recordings that are missing or shorter than the talk that they should hold."""
    entry_minutes: dict[str, int] = field(default_factory=dict)

    def queue(self, name: str) -> QueueStats:
        stats = self.queues.get(name)
        if stats is None:
            stats = self.queues[name] = QueueStats()
        return stats


def minute_of(at: datetime) -> int:
    return int(at.timestamp() // 60)


def observe(state: StatsState, row: Row) -> None:
    """Count one row. Each thing must be shown once when it opens and once when it closes."""
    match row:
        case QueueEntryRow(exit=None):
            _entered(state, row)
        case QueueEntryRow():
            _left(state, row)
        case QueueRefusalRow():
            _bump(state.queue(row.queue).refused, row.reason)
        case OfferRow(result=str() as result):
            _bump(state.queue(row.queue).offers, result)
        case SegmentRow(wrap_up_s=float()):
            _handled(state, row)
        case RecordingRow(verdict="short" | "missing"):
            state.recordings_failed += 1
        case CallRow(outcome=str() as outcome):
            _bump(state.calls, f"{row.direction}/{outcome}")
        case _:
            pass


def _bump(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _entered(state: StatsState, row: QueueEntryRow) -> None:
    stats, minute = state.queue(row.queue), minute_of(row.entered_at)
    stats.entered += 1
    stats.minute(minute).offered += 1
    state.entry_minutes[row.entry_id] = minute
    _forget_entries(state, minute - MINUTES_KEPT)


def _forget_entries(state: StatsState, before: int) -> None:
    """Entries whose segment never came are not waited for any longer than their minute is kept."""
    while (oldest := next(iter(state.entry_minutes))) and state.entry_minutes[oldest] < before:
        del state.entry_minutes[oldest]


def _left(state: StatsState, row: QueueEntryRow) -> None:
    assert row.exit is not None
    stats = state.queue(row.queue)
    cohort = stats.minute(minute_of(row.entered_at))
    wait_s = row.wait_s or 0.0
    _bump(stats.exits, row.exit)
    stats.wait.setdefault(row.exit, histogram(WAIT_BOUNDS_S)).add(wait_s)
    if row.exit == "answered":
        _answered(stats, cohort, row, wait_s)
        return
    state.entry_minutes.pop(row.entry_id, None)
    if row.exit == "abandoned":
        _abandoned(stats, cohort, row)


def _answered(stats: QueueStats, cohort: Cohort, row: QueueEntryRow, wait_s: float) -> None:
    cohort.answered += 1
    cohort.wait_answered_s += wait_s
    if row.in_target:
        cohort.answered_in_target += 1
        stats.answered_in_target += 1


def _abandoned(stats: QueueStats, cohort: Cohort, row: QueueEntryRow) -> None:
    cohort.abandoned += 1
    if row.short:
        cohort.short_abandoned += 1
        stats.short_abandoned += 1
    if row.in_target:
        cohort.abandoned_in_target += 1


def _handled(state: StatsState, row: SegmentRow) -> None:
    if row.queue is None:
        return
    stats = state.queue(row.queue)
    talk_s, hold_s, wrap_up_s = row.talk_s or 0.0, row.hold_s or 0.0, row.wrap_up_s or 0.0
    stats.talk.add(talk_s)
    stats.hold.add(hold_s)
    stats.wrap_up.add(wrap_up_s)
    stats.handle.add(talk_s + hold_s + wrap_up_s)
    minute = state.entry_minutes.pop(row.entry_id or "", minute_of(row.started_at))
    cohort = stats.minute(minute)
    cohort.segments += 1
    cohort.handle_s += talk_s + hold_s + wrap_up_s
