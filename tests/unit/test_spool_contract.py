"""What every spool promises, held against the one on disk and the one in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ccsvc.app import ports
from ccsvc.domain.records import Row
from ccsvc.domain.stats import StatsState
from ccsvc.errors import SpoolFull
from ccsvc.postgres.spool import FileSpool
from ccsvc.testing.fakes import MemoryDisk, MemorySpool
from tests.row_samples import at, call_row, entry_row, segment_row

AnySpool = FileSpool | MemorySpool


class Storage(Protocol):
    """Something that outlives a spool."""

    def open(self) -> AnySpool: ...

    def open_small(self) -> AnySpool:
        """With room for fewer than 5000 rows."""

    def drain(self, spool: AnySpool, limit: int) -> list[Row]: ...


class OnDisk:
    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> FileSpool:
        return FileSpool(self._path, fsync_interval_s=0.01)

    def open_small(self) -> FileSpool:
        return FileSpool(self._path, fsync_interval_s=0.01, limit_mb=1)

    def drain(self, spool: AnySpool, limit: int) -> list[Row]:
        assert isinstance(spool, FileSpool)
        chunk = spool.read(spool.locate(spool.position), limit)
        spool.acknowledge(chunk.position)
        return [row for _, row in chunk.rows]


class InMemory:
    def __init__(self) -> None:
        self._disk = MemoryDisk()

    def open(self) -> MemorySpool:
        return MemorySpool(self._disk)

    def open_small(self) -> MemorySpool:
        return MemorySpool(self._disk, limit_rows=4000)

    def drain(self, spool: AnySpool, limit: int) -> list[Row]:
        assert isinstance(spool, MemorySpool)
        return spool.drain(limit)


@pytest.fixture(params=["disk", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return OnDisk(tmp_path / "spool") if request.param == "disk" else InMemory()


Life = Callable[[], AnySpool]


@pytest.fixture
def new_life(storage: Storage) -> Iterator[Life]:
    """Each call ends the life before it and begins the next from what it left, as the daemon does."""
    lives: list[AnySpool] = []

    def begin() -> AnySpool:
        for old in lives:
            old.close()
        spool = storage.open()
        recovered = spool.recover()
        spool.start(recovered.rows, recovered.stats or StatsState())
        lives[:] = [spool]
        return spool

    yield begin
    for spool in lives:
        spool.close()


def test_it_is_what_the_application_asks_for(new_life: Life) -> None:
    spool: ports.Spool = new_life()
    assert spool.pending_rows == 0


def test_a_new_spool_remembers_nothing(storage: Storage) -> None:
    spool = storage.open()
    recovered = spool.recover()
    spool.close()
    assert recovered == ports.Recovered()


def test_rows_come_out_in_the_order_in_which_they_went_in(storage: Storage, new_life: Life) -> None:
    spool = new_life()
    rows: list[Row] = [call_row(str(n)) for n in range(7)]
    spool.append(rows[:3])
    spool.append(rows[3:])
    assert storage.drain(spool, 5) == rows[:5]
    assert storage.drain(spool, 5) == rows[5:]
    assert storage.drain(spool, 5) == []


def test_pending_rows_are_those_that_were_not_acknowledged(storage: Storage, new_life: Life) -> None:
    spool = new_life()
    spool.append([call_row(str(n)) for n in range(5)])
    assert spool.pending_rows == 5
    storage.drain(spool, 2)
    assert spool.pending_rows == 3


def test_what_was_not_acknowledged_is_drained_in_the_next_life(storage: Storage, new_life: Life) -> None:
    spool = new_life()
    rows: list[Row] = [call_row(str(n)) for n in range(5)]
    spool.append(rows)
    storage.drain(spool, 2)
    spool = new_life()
    assert spool.pending_rows == 3
    assert storage.drain(spool, 10) == rows[2:]
    assert new_life().pending_rows == 0


def test_what_is_open_and_all_of_an_open_call_is_remembered(new_life: Life) -> None:
    spool = new_life()
    spool.append([call_row("1"), entry_row("1")])
    spool.append([call_row("2"), call_row("1", queues=("sales",))])
    spool.append([entry_row("1", exit_="answered", wait_s=3)])
    stay = entry_row("1", exit_="answered", wait_s=3)
    assert spool.open_rows == (call_row("1", queues=("sales",)), stay, call_row("2"))


def test_open_rows_counters_and_the_last_instant_live_on(new_life: Life) -> None:
    spool = new_life()
    spool.append([call_row("1"), entry_row("1"), entry_row("2", exit_=None)])
    spool.append([entry_row("1", exit_="abandoned", wait_s=4)])
    stats, open_rows = spool.stats, spool.open_rows
    for _ in range(3):
        spool = new_life()
        assert (spool.stats, spool.open_rows, spool.last_at) == (stats, open_rows, at(4))
    assert spool.stats.queue("sales").entered == 2


def test_counting_goes_on_where_the_last_life_ended(new_life: Life) -> None:
    new_life().append([entry_row("1")])
    spool = new_life()
    spool.append([entry_row("1", exit_="answered", wait_s=12), segment_row("1", "2001", since=12, talk_s=60)])
    sales = new_life().stats.queue("sales")
    assert (sales.entered, sales.exits, sales.handle.total_s) == (1, {"answered": 1}, 90.0)


def test_a_thing_that_is_written_again_while_open_counts_once(new_life: Life) -> None:
    spool = new_life()
    spool.append([entry_row("1"), entry_row("1")])
    spool = new_life()
    spool.append([entry_row("1")])
    assert spool.stats.queue("sales").entered == 1


def test_what_is_given_to_start_is_the_state_from_then_on(storage: Storage, new_life: Life) -> None:
    new_life().append([call_row("1"), call_row("2")])
    spool = new_life()
    spool.close()
    spool = storage.open()
    spool.recover()
    spool.start([call_row("2")], StatsState(recordings_failed=7))
    spool.close()
    spool = new_life()
    assert (spool.open_rows, spool.stats.recordings_failed) == ((call_row("2"),), 7)


def test_text_that_no_database_can_hold_is_replaced_at_the_border(storage: Storage, new_life: Life) -> None:
    spool = new_life()
    spool.append([call_row("1", caller_name="a\x00b\ud800c\\u0000", ivr_path=("x\x00",))])
    expected = call_row("1", caller_name="a\ufffdb\ufffdc\\u0000", ivr_path=("x\ufffd",))
    assert storage.drain(spool, 1) == [expected]
    assert spool.open_rows == (expected,)


def fill(spool: AnySpool, rows: Callable[[str], list[Row]]) -> int:
    """Append until the spool is full; the rows that it took."""
    before = spool.total_rows
    for n in range(100_000):
        try:
            spool.append(rows(str(n)))
        except SpoolFull:
            return spool.total_rows - before
    raise AssertionError("the spool has no limit")


def test_a_full_spool_refuses_new_rows_and_keeps_all_old_ones(storage: Storage) -> None:
    spool = storage.open_small()
    spool.recover()
    spool.start((), StatsState())
    kept = fill(spool, lambda n: [call_row(n), entry_row(n)])
    assert spool.refused_rows == 2
    assert (spool.pending_rows, len(spool.open_rows), spool.stats.queue("sales").entered) == (kept, kept, kept // 2)
    assert len(storage.drain(spool, 100_000)) > 0
    spool.close()


def test_a_full_spool_takes_rows_again_when_it_was_drained(storage: Storage) -> None:
    spool = storage.open_small()
    spool.recover()
    spool.start((), StatsState())
    fill(spool, lambda n: [entry_row(n, exit_="withdrawn")])
    while storage.drain(spool, 1000):
        pass
    spool.append([call_row("after")])
    assert storage.drain(spool, 10) == [call_row("after")]
    spool.close()


def test_each_append_wakes_who_asked_for_it(new_life: Life) -> None:
    spool = new_life()
    woken: list[int] = []
    spool.subscribe(lambda: woken.append(spool.pending_rows))
    spool.append([call_row("1")])
    spool.append([call_row("2"), call_row("3")])
    assert woken == [1, 3]


def test_it_does_not_start_before_it_has_recovered(storage: Storage) -> None:
    with pytest.raises(RuntimeError, match="recover"):
        storage.open().start((), StatsState())


def test_it_takes_no_rows_before_start_or_after_close(storage: Storage) -> None:
    spool = storage.open()
    spool.recover()
    with pytest.raises(RuntimeError, match="between start and close"):
        spool.append([call_row("1")])
    spool.start((), StatsState())
    spool.close()
    with pytest.raises(RuntimeError, match="between start and close"):
        spool.append([call_row("1")])
