"""The spool on disk: what a kill, a cut, a flipped bit, a full disk and a second daemon do to it."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccsvc.app.ports import Recovered
from ccsvc.domain.records import Row, is_open, key_of
from ccsvc.domain.stats import StatsState
from ccsvc.errors import SpoolBroken, SpoolFull, SpoolTaken
from ccsvc.postgres.files import Position
from ccsvc.postgres.fold import Fold
from ccsvc.postgres.frames import Damage, Record, frame, scan
from ccsvc.postgres.rowtext import cleaned, decode, storable
from ccsvc.postgres.spool import FileSpool
from ccsvc.postgres.syncer import Syncer
from tests.row_samples import any_row, call_row, entry_row

FEW = settings(max_examples=60, deadline=None)


@contextmanager
def life(
    path: Path, file_bytes: int = 16 << 20, limit_mb: float = 64, fsync_interval_s: float = 0.01
) -> Iterator[tuple[FileSpool, Recovered]]:
    spool = FileSpool(path, fsync_interval_s=fsync_interval_s, file_bytes=file_bytes, limit_mb=limit_mb)
    recovered = spool.recover()
    try:
        spool.start(recovered.rows, recovered.stats or StatsState())
        yield spool, recovered
    finally:
        spool.close()


def write(path: Path, rows: Sequence[Row], file_bytes: int = 16 << 20) -> None:
    with life(path, file_bytes) as (spool, _):
        for row in rows:
            spool.append([row])


def recover(path: Path) -> Recovered:
    spool = FileSpool(path)
    try:
        return spool.recover()
    finally:
        spool.close()


def drain(spool: FileSpool, limit: int = 100) -> list[Row]:
    position, rows = spool.locate(spool.position), list[Row]()
    while (chunk := spool.read(position, limit)).rows:
        position = chunk.position
        rows += [row for _, row in chunk.rows]
    spool.acknowledge(chunk.position)
    return rows


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.glob("*.spool*"))


def folded(rows: Sequence[Row]) -> tuple[tuple[Row, ...], StatsState]:
    fold = Fold()
    for row in rows:
        fold.add(row)
    return fold.open_rows, fold.stats


# -- text ----------------------------------------------------------------------------------------------------


@given(any_row())
def test_every_row_comes_back_as_it_was_stored(row: Row) -> None:
    kept, payload = storable(row)
    assert decode(payload) == kept == cleaned(row)
    assert b"\n" not in payload


@given(st.lists(st.binary().filter(lambda b: b"\n" not in b)), st.data())
def test_a_cut_anywhere_leaves_whole_records_and_at_most_one_damage(
    payloads: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(frame(payload) for payload in payloads)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found = list(scan(cut, whole=True))
    records = [item.payload for item in found if isinstance(item, Record)]
    assert records == payloads[: len(records)]
    assert [type(item) for item in found[len(records) :]] in ([], [Damage])
    assert sum(item.end - item.start for item in found) == len(cut)


# -- damage --------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(any_row(), max_size=6), st.data())
def test_a_file_cut_at_any_byte_gives_a_prefix_and_nothing_invented(rows: list[Row], data: st.DataObject) -> None:
    rows = [cleaned(row) for row in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder)
        write(path, rows)
        file = path / "00000001.spool"
        size = file.stat().st_size
        keep = data.draw(st.integers(0, size), label="bytes kept")
        os.truncate(file, keep)
        with life(path) as (spool, recovered):
            drained = drain(spool)
        assert drained == rows[: len(drained)]
        assert recovered.rows == folded(drained)[0]
        assert recovered.stats == folded(drained)[1]
        assert recovered.lost_records <= 1
        assert (recovered.lost_records > 0) == (path / "00000001.spool.bad").exists()
        if keep == size:
            assert drained == rows


@FEW
@given(st.lists(any_row(), min_size=1, max_size=6), st.data())
def test_a_flipped_byte_costs_one_record_and_is_kept_aside(rows: list[Row], data: st.DataObject) -> None:
    rows = [cleaned(row) for row in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder)
        write(path, rows)
        file = path / "00000001.spool"
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        content[place] ^= data.draw(st.integers(1, 255), label="flip")
        file.write_bytes(content)
        with life(path) as (spool, recovered):
            drained = drain(spool)
        assert 1 <= recovered.lost_records <= 2
        assert recovered.rows == folded(drained)[0]
        assert len(drained) >= len(rows) - 2
        assert [row for row in rows if row in drained] == drained or len(set(map(key_of, rows))) < len(rows)
        assert (path / "00000001.spool.bad").stat().st_size > 0


def test_damage_is_said_once_and_then_passed_over(tmp_path: Path) -> None:
    write(tmp_path, [call_row("1"), call_row("2")])
    with (tmp_path / "00000001.spool").open("ab") as file:
        file.write(frame(b'{"t":"call","r":{}}')[:-5])
    first = recover(tmp_path)
    assert (first.lost_records, len(first.rows)) == (1, 2)
    assert "00000001.spool.bad" in first.notes[0]
    second = recover(tmp_path)
    assert (second.lost_records, second.notes, second.rows) == (0, (), first.rows)


def test_a_row_of_an_unknown_kind_is_kept_aside_like_damage(tmp_path: Path) -> None:
    write(tmp_path, [call_row("1")])
    later = frame(b'{"t":"chat","r":{"id":"1"}}')
    with (tmp_path / "00000001.spool").open("ab") as file:
        file.write(later + frame(storable(call_row("2"))[1]))
    assert [row.call_id for row in recover(tmp_path).rows] == ["pbx1/1", "pbx1/2"]  # type: ignore[union-attr]
    assert (tmp_path / "00000001.spool.bad").read_bytes() == later


def test_a_torn_head_falls_back_on_the_file_before(tmp_path: Path) -> None:
    rows: list[Row] = [entry_row(str(n)) for n in range(30)]
    write(tmp_path, rows, file_bytes=4000)
    newest = sorted(tmp_path.glob("*.spool"))[-1]
    os.truncate(newest, 40)
    with life(tmp_path) as (spool, recovered):
        assert recovered.stats is not None
        assert drain(spool) == rows[: recovered.stats.queue("sales").entered]
        assert any(newest.name in note for note in recovered.notes)
        assert len(recovered.rows) > 20


def test_a_folder_full_of_rubbish_is_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "00000001.spool").write_bytes(os.urandom(5000))
    (tmp_path / "00000002.spool").write_bytes(b"")
    (tmp_path / "notes.spool").write_bytes(b"not ours")
    (tmp_path / "position.json").write_bytes(b"{")
    with life(tmp_path) as (spool, recovered):
        assert recovered.rows == ()
        assert recovered.lost_records > 0
        spool.append([call_row("1")])
        assert drain(spool) == [call_row("1")]


def test_damage_met_while_draining_is_passed_over_too(tmp_path: Path) -> None:
    rows: list[Row] = [entry_row(str(n)) for n in range(30)]
    write(tmp_path, rows, file_bytes=4000)
    oldest = tmp_path / "00000001.spool"
    content = oldest.read_bytes()
    place = content.index(b"pbx1/3/q1")
    oldest.write_bytes(content[:place] + b"\0\0\0" + content[place + 3 :])
    with life(tmp_path) as (spool, recovered):
        assert recovered.lost_records == 0
        assert drain(spool, 2) == [*rows[:3], *rows[4:]]
        assert spool.lost_records == 1
        assert spool.pending_rows == 0


# -- files ---------------------------------------------------------------------------------------------------


def test_files_go_when_they_are_drained_and_a_newer_one_is_durable(tmp_path: Path) -> None:
    with life(tmp_path, file_bytes=4000, fsync_interval_s=3600) as (spool, _):
        for n in range(30):
            spool.append([entry_row(str(n), exit_="withdrawn")])
        drain(spool)
        assert len(names(tmp_path)) == 3, "a power cut might leave nothing but the first file"
        spool._syncer.sync_now()
        drain(spool)
        assert len(names(tmp_path)) == 1
        assert spool.pending_rows == 0
        assert spool.stats.queue("sales").exits == {"withdrawn": 30}


def test_each_file_alone_holds_the_whole_state(tmp_path: Path) -> None:
    rows: list[Row] = [entry_row(str(n)) for n in range(30)]
    write(tmp_path, rows, file_bytes=4000)
    for file in sorted(tmp_path.glob("*.spool"))[:-1]:
        file.unlink()
    recovered = recover(tmp_path)
    assert recovered.rows == tuple(rows)
    assert recovered.stats is not None
    assert recovered.stats.queue("sales").entered == 30


def test_restarts_without_rows_do_not_pile_up_files(tmp_path: Path) -> None:
    write(tmp_path, [entry_row("1")])
    for _ in range(5):
        write(tmp_path, [])
    assert len(names(tmp_path)) == 2


def test_a_position_in_another_file_of_that_number_means_from_the_beginning(tmp_path: Path) -> None:
    with life(tmp_path) as (spool, _):
        spool.append([call_row("1"), call_row("2")])
        behind = spool.read(spool.locate(spool.position), 1).position
        assert spool.locate(behind) == behind
        strange = Position(file=behind.file, file_id="another", offset=behind.offset, written={"call": 5})
        assert spool.locate(strange) == Position(file=1, written={"call": 5})
        assert spool.locate(Position(file=77, file_id="gone", offset=5)).file == 1


def test_rows_that_a_power_cut_took_after_the_database_had_them_are_no_harm(tmp_path: Path) -> None:
    with life(tmp_path) as (spool, _):
        spool.append([call_row("1"), call_row("2")])
        drain(spool)
    file = tmp_path / "00000001.spool"
    os.truncate(file, file.stat().st_size - 10)
    with life(tmp_path) as (spool, recovered):
        assert len(recovered.rows) == 1
        spool.append([call_row("3")])
        assert drain(spool) == [call_row("3")]
        assert spool.pending_rows == 0


def test_a_second_daemon_is_turned_away_and_told_by_whom(tmp_path: Path) -> None:
    with life(tmp_path), pytest.raises(SpoolTaken, match=f"process {os.getpid()}"):
        FileSpool(tmp_path).recover()
    assert recover(tmp_path).lost_records == 0


def test_a_folder_that_can_not_be_made_is_said_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolBroken, match=r"file/spool.*\[state\] dir"):
        FileSpool(tmp_path / "file" / "spool").recover()


def test_nobody_else_may_read_what_callers_said(tmp_path: Path) -> None:
    write(tmp_path / "spool", [call_row("1")])
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool" / "00000001.spool").stat().st_mode & 0o077 == 0


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As if the disk were full: the kernel takes no byte beyond `size` in any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_full_disk_cut_short_is_taken_back(tmp_path: Path) -> None:
    with life(tmp_path) as (spool, _):
        spool.append([call_row("1")])
        size = (tmp_path / "00000001.spool").stat().st_size
        with file_size_limit(size + 100), pytest.raises(SpoolBroken, match="File too large"):
            spool.append([call_row("2"), call_row("3")])
        assert (tmp_path / "00000001.spool").stat().st_size == size
        assert (spool.refused_rows, spool.pending_rows, len(spool.open_rows)) == (2, 1, 1)
        spool.append([call_row("4")])
        assert drain(spool) == [call_row("1"), call_row("4")]
    assert recover(tmp_path).lost_records == 0


def test_without_room_for_a_new_file_the_old_one_goes_on(tmp_path: Path) -> None:
    with life(tmp_path, file_bytes=3000) as (spool, _):
        (tmp_path / "00000002.spool").mkdir()
        for n in range(20):
            spool.append([entry_row(str(n))])
        assert len(drain(spool)) == 20
        (tmp_path / "00000002.spool").rmdir()
        spool.append([entry_row("20")])
        assert (tmp_path / "00000002.spool").is_file()


def test_the_limit_counts_what_lives_before_left(tmp_path: Path) -> None:
    rows = [call_row(str(n)) for n in range(3000)]
    with life(tmp_path, limit_mb=1) as (spool, _):
        spool.append(rows[:1500])
        spool.append(rows[1500:2100])
    with life(tmp_path, limit_mb=1) as (spool, _), pytest.raises(SpoolFull, match="spool_limit_mb"):
        spool.append(rows[2100:])
    with life(tmp_path, limit_mb=2) as (spool, _):
        spool.append(rows[2100:])


# -- death ---------------------------------------------------------------------------------------------------

_VICTIM = """
import sys
from pathlib import Path
from ccsvc.domain.stats import StatsState
from ccsvc.postgres.spool import FileSpool
from tests.row_samples import entry_row
spool = FileSpool(Path(sys.argv[1]), file_bytes=20_000, fsync_interval_s=0.01)
spool.recover()
spool.start((), StatsState())
for n in range(1_000_000):
    spool.append([entry_row(str(n))])
    print(n, flush=True)
"""


def test_a_killed_process_has_lost_nothing_that_append_returned_from(tmp_path: Path) -> None:
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    seen = [victim.stdout.readline() for _ in range(500)]
    victim.send_signal(signal.SIGKILL)
    seen += victim.stdout.readlines()
    victim.wait()
    victim.stdout.close()
    said = int(next(line for line in reversed(seen) if line.endswith("\n")))
    with life(tmp_path) as (spool, recovered):
        drained = drain(spool)
    assert len(recovered.rows) in (said + 1, said + 2)
    assert drained == list(recovered.rows) == [entry_row(str(n)) for n in range(len(drained))]
    assert all(is_open(row) for row in drained)


# -- fsync ---------------------------------------------------------------------------------------------------


def test_without_an_interval_every_append_is_durable_at_once(tmp_path: Path) -> None:
    synced: list[str] = []
    syncer = Syncer(0, lambda: synced.append("folder"))
    syncer.begin(3, os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
    assert (syncer.durable_file, synced) == (3, ["folder"])
    syncer.close()


def test_a_disk_that_can_not_sync_is_counted_and_not_fatal() -> None:
    reading, writing = os.pipe()
    syncer = Syncer(0, lambda: None)
    syncer.begin(1, writing)
    assert (syncer.error_count, syncer.durable_file) == (1, 0)
    assert "Invalid argument" in syncer.last_error
    syncer.close()
    os.close(reading)
