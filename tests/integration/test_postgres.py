"""The writer against a real PostgreSQL: every row there once, whatever happens to the database in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccsvc.domain.records import ROW_TYPES, CallRow, Row
from ccsvc.domain.stats import StatsState
from ccsvc.postgres.migrate import migrate
from ccsvc.postgres.rowtext import cleaned
from ccsvc.postgres.spool import FileSpool
from ccsvc.postgres.upsert import latest
from ccsvc.postgres.writer import Writer
from ccsvc.settings import QueueSettings
from ccsvc.testing.postgres_server import PostgresServer
from ccsvc.testing.proxy import FaultyProxy
from ccsvc.testing.waiting import eventually
from tests.integration.conftest import dsn_of
from tests.row_samples import any_row, at, call_row, entry_row, offer_row, segment_row, states

TABLES = ", ".join(f'ccsvc."{kind.table}"' for kind in ROW_TYPES)


@asynccontextmanager
async def life(folder: Path, dsn: str, *, batch_rows: int = 1000) -> AsyncIterator[tuple[FileSpool, Writer]]:
    """A spool and its writer, from start to a close that drains."""
    spool = FileSpool(folder, file_bytes=200_000)
    recovered = spool.recover()
    spool.start(recovered.rows, recovered.stats or StatsState())
    writer = Writer(spool, dsn, pbx="pbx1", batch_rows=batch_rows)
    task = asyncio.create_task(writer.run())
    try:
        yield spool, writer
    finally:
        await writer.close(10)
        await task
        spool.close()


async def drained(spool: FileSpool, writer: Writer) -> None:
    await eventually(lambda: spool.pending_rows == 0, f"nothing pending ({writer.last_error})", deadline_s=20)


async def write(folder: Path, dsn: str, rows: Sequence[Row]) -> None:
    async with life(folder, dsn) as (spool, _):
        spool.append(rows)


async def read(db: Any, kind: type[Row]) -> list[Row]:
    columns = [f.name for f in fields(kind)]
    found = await db.fetch(f'SELECT * FROM ccsvc."{kind.table}" ORDER BY {", ".join(kind.key)}')
    return [kind(**{name: _as_field(row[name]) for name in columns}) for row in found]


def _as_field(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


async def all_rows(db: Any) -> dict[str, list[Row]]:
    return {kind.table: await read(db, kind) for kind in ROW_TYPES}


def ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: [getattr(row, name) for name in row.key])


def busy_day(calls: int) -> list[Row]:
    """Rows of several tables, most of them written more than once."""
    rows: list[Row] = []
    for n in range(calls):
        name = f"{n:05d}"
        rows += [call_row(name), entry_row(name), offer_row(name, "2001", None, 1, 2)]
        rows += [offer_row(name, "2001", "accepted", 1, 5), entry_row(name, exit_="answered", wait_s=5)]
        rows += [segment_row(name, "2001", since=5, talk_s=60), call_row(name, "answered")]
    return rows + states("2001", [(0, "ready", "idle", ""), (5, "ready", "talking", "")], 100)


# -- what goes in comes out ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_row(), min_size=1, max_size=40))
async def test_any_row_is_in_its_table_as_it_was_written(dsn: str, db: Any, rows: list[Row]) -> None:
    await db.execute(f"TRUNCATE {TABLES}")
    with TemporaryDirectory() as folder:
        async with life(Path(folder), dsn) as (spool, writer):
            spool.append(rows)
            await drained(spool, writer)
            assert (spool.lost_records, writer.rows_rejected) == (0, 0)
    for kind, wanted in latest(cleaned(row) for row in rows).items():
        assert ordered(await read(db, kind)) == ordered(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE ccsvc.call; --",
        "a\u2028b\u2029c\u0085d",
        'back\\slash "quotes" {braces} $1 %s',
        "line\nfeed\ttab\r",
        "علی رضایی",
        "\U0001f600",
        "x" * 10_000,
    ],
)
async def test_hostile_text_is_only_text(dsn: str, db: Any, tmp_path: Path, text: str) -> None:
    row = call_row("1", "answered", caller_name=text, caller=text, ivr_path=(text, ""), queues=(text,))
    await write(tmp_path, dsn, [row])
    assert await read(db, CallRow) == [row]


async def test_text_that_postgresql_can_not_hold_is_replaced(dsn: str, db: Any, tmp_path: Path) -> None:
    await write(tmp_path, dsn, [call_row("1", caller_name="a\x00b\ud83dc", ivr_path=("\x00",))])
    assert await read(db, CallRow) == [call_row("1", caller_name="a\ufffdb\ufffdc", ivr_path=("\ufffd",))]


async def test_instants_keep_their_microseconds(dsn: str, db: Any, tmp_path: Path) -> None:
    row = call_row("1", "answered", started_at=at(0.000001), answered_at=at(1.999999))
    await write(tmp_path, dsn, [row])
    assert await read(db, CallRow) == [row]


async def test_a_row_that_its_table_refuses_is_kept_apart_and_holds_up_nobody(
    dsn: str, db: Any, tmp_path: Path
) -> None:
    bad = call_row("2", segment_count=2**70)
    async with life(tmp_path, dsn) as (spool, writer):
        spool.append([call_row("1"), entry_row("1"), bad, call_row("3")])
        await drained(spool, writer)
        spool.append([call_row("4")])
        await drained(spool, writer)
        assert writer.rows_rejected == 1
        assert writer.rows_written == {"call": 3, "queue_entry": 1}
    assert await read(db, CallRow) == [call_row("1"), call_row("3"), call_row("4")]
    (kept,) = await db.fetch("SELECT table_name, content, problem FROM ccsvc.rejected_row")
    assert kept["table_name"] == "call"
    assert '"call_id":"pbx1/2"' in kept["content"]
    assert "out of range" in kept["problem"]


# -- once ----------------------------------------------------------------------------------------------------


async def test_a_spool_that_is_drained_twice_gives_the_same_tables(dsn: str, db: Any, tmp_path: Path) -> None:
    async with life(tmp_path, dsn, batch_rows=37) as (spool, writer):
        spool.append(busy_day(50))
        await drained(spool, writer)
        once = await all_rows(db)
        await db.execute("DELETE FROM ccsvc.writer_checkpoint")
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ccsvc%'"
        )
        written = writer.rows_written["call"]
        await eventually(lambda: writer.rows_written["call"] > written, "written again")
        await drained(spool, writer)
    assert await all_rows(db) == once
    assert len(once["call"]) == 50


async def test_a_closed_row_is_never_opened_again_by_an_older_state(dsn: str, db: Any, tmp_path: Path) -> None:
    await write(tmp_path / "one", dsn, [call_row("1", "answered"), entry_row("1", exit_="answered", wait_s=3)])
    await write(tmp_path / "two", dsn, [call_row("1"), entry_row("1")])
    assert await read(db, CallRow) == [call_row("1", "answered")]
    await write(tmp_path / "three", dsn, [call_row("1", "unknown")])
    assert await read(db, CallRow) == [call_row("1", "unknown")]


async def test_counters_and_position_live_on_in_the_next_daemon(dsn: str, db: Any, tmp_path: Path) -> None:
    await write(tmp_path, dsn, [call_row("1"), call_row("2")])
    async with life(tmp_path, dsn) as (spool, writer):
        assert writer.rows_written == {"call": 2}
        spool.append([call_row("3"), entry_row("3")])
        await drained(spool, writer)
        assert writer.rows_written == {"call": 3, "queue_entry": 1}
    row = await db.fetchrow("SELECT row_count, written::text FROM ccsvc.writer_checkpoint")
    assert tuple(row) == (4, '{"call": 3, "queue_entry": 1}')


async def test_a_new_database_gets_what_is_still_on_the_disk(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    async with life(tmp_path, dsn) as (spool, writer):
        spool.append(busy_day(3))
        await drained(spool, writer)
        await migrate(empty_dsn)
        await writer.close(5)
        other = Writer(spool, empty_dsn, pbx="pbx1")
        task = asyncio.create_task(other.run())
        fresh = await asyncpg.connect(empty_dsn)
        await eventually(lambda: fresh.fetchval("SELECT count(*) = 3 FROM ccsvc.call"), "the calls are there")
        await fresh.close()
        await other.close(5)
        await task


# -- the database goes away ----------------------------------------------------------------------------------


async def test_rows_written_during_an_outage_are_all_there_once_afterwards(
    postgres: PostgresServer, dsn: str, tmp_path: Path
) -> None:
    async with life(tmp_path, dsn) as (spool, writer):
        spool.append([call_row("before")])
        await drained(spool, writer)
        assert writer.connected
        await postgres.stop("immediate")
        try:
            await eventually(lambda: not writer.connected, "the writer noticed")
            for n in range(1000):
                spool.append([call_row(f"{n:04d}")])
            assert spool.pending_rows == 1000
            await eventually(lambda: writer.last_error, "the writer says why")
        finally:
            await postgres.start()
        await drained(spool, writer)
        assert (writer.connected, writer.last_error) == (True, "")
        assert writer.rows_written == {"call": 1001}
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM ccsvc.call") == 1001
    await connection.close()


async def test_a_daemon_that_starts_without_a_database_drains_when_there_is_one(
    empty_dsn: str, tmp_path: Path
) -> None:
    async with life(tmp_path, empty_dsn) as (spool, writer):
        spool.append(busy_day(10))
        await eventually(lambda: "ccsvc migrate" in writer.last_error, "the writer says what to do")
        assert not writer.connected
        await migrate(empty_dsn)
        await drained(spool, writer)


async def test_a_database_that_hangs_does_not_hold_up_an_append(dsn: str, db: Any, tmp_path: Path) -> None:
    async with life(tmp_path, dsn) as (spool, writer):
        spool.append([call_row("1")])
        await drained(spool, writer)
        async with db.transaction():
            await db.execute("LOCK TABLE ccsvc.call IN ACCESS EXCLUSIVE MODE")
            spool.append([call_row("2")])
            waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> $1)"
            await eventually(lambda: db.fetchval(waiting, db.get_server_pid()), "the writer waits for the lock")
            began = time.monotonic()
            for n in range(3, 1003):
                spool.append([call_row(str(n))])
            assert time.monotonic() - began < 5
            assert spool.pending_rows == 1001
        await drained(spool, writer)
    assert len(await read(db, CallRow)) == 1002


@asynccontextmanager
async def behind_proxy(server: PostgresServer, dsn: str) -> AsyncIterator[tuple[FaultyProxy, str]]:
    async with FaultyProxy("127.0.0.1", server.port) as proxy:
        there = urlsplit(dsn_of(server, urlsplit(dsn).path.strip("/"), tcp=True))
        yield proxy, there._replace(netloc=f"ccsvc@127.0.0.1:{proxy.port}").geturl()


_WRITTEN_BY = "SELECT call_id, xmin::text FROM ccsvc.call ORDER BY call_id"
"""Each row with the transaction that wrote it last."""

_SLOW_COMMIT = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT OR UPDATE ON ccsvc.writer_checkpoint
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.dawdle();
"""


async def test_a_commit_whose_answer_was_lost_is_found_out_about(
    postgres: PostgresServer, dsn: str, db: Any, tmp_path: Path
) -> None:
    async with behind_proxy(postgres, dsn) as (proxy, far), life(tmp_path, far) as (spool, writer):
        await eventually(lambda: writer.connected, "connected")
        await db.execute(_SLOW_COMMIT)
        spool.append(busy_day(5))
        committing = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'COMMIT%' AND state = 'active')"
        await eventually(lambda: db.fetchval(committing), "the commit is under way")
        proxy.hold()
        await eventually(lambda: db.fetchval("SELECT count(*) = 5 FROM ccsvc.call"), "it is committed")
        assert spool.pending_rows == len(busy_day(5)), "the writer can't know"
        once = await db.fetch(_WRITTEN_BY)
        await db.execute("DROP TRIGGER dawdle ON ccsvc.writer_checkpoint")
        proxy.reset()
        proxy.heal()
        await drained(spool, writer)
        assert sum(writer.rows_written.values()) == len(busy_day(5))
        assert await db.fetch(_WRITTEN_BY) == once, "nothing was written a second time"


async def test_a_connection_cut_after_any_number_of_bytes_loses_and_doubles_nothing(
    postgres: PostgresServer, dsn: str, db: Any, tmp_path: Path
) -> None:
    appended = 0
    async with behind_proxy(postgres, dsn) as (proxy, far), life(tmp_path, far, batch_rows=20) as (spool, writer):
        for cut in range(0, 3200, 160):
            await eventually(lambda: writer.connected, "connected")
            rows = [call_row(f"{cut:05d}-{n}") for n in range(30)]
            proxy.cut_after(cut)
            proxy.reset()
            spool.append(rows)
            appended += len(rows)
            await drained(spool, writer)
        assert writer.rows_written == {"call": appended}
        assert proxy.accepted_count > 30
    assert len(await read(db, CallRow)) == appended


# -- the end -------------------------------------------------------------------------------------------------


async def test_closing_drains_what_is_left(dsn: str, db: Any, tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    spool.recover()
    spool.start((), StatsState())
    writer = Writer(spool, dsn, pbx="pbx1", batch_rows=10)
    task = asyncio.create_task(writer.run())
    spool.append(busy_day(20))
    assert await writer.close(10) == 0
    await task
    spool.close()
    assert len(await read(db, CallRow)) == 20


async def test_closing_without_a_database_is_quick_and_says_what_stays(tmp_path: Path) -> None:
    async with life(tmp_path, "postgresql://ccsvc@127.0.0.1:1/ccsvc") as (spool, writer):
        spool.append([call_row("1"), call_row("2")])
        began = time.monotonic()
        assert await writer.close(10) == 2
        assert time.monotonic() - began < 5


async def test_closing_a_writer_that_hangs_ends_at_the_deadline(dsn: str, db: Any, tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    spool.recover()
    spool.start((), StatsState())
    writer = Writer(spool, dsn, pbx="pbx1")
    async with db.transaction():
        await db.execute("LOCK TABLE ccsvc.call IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(writer.run())
        spool.append([call_row("1")])
        await eventually(lambda: writer.connected, "connected")
        assert await writer.close(0.2) == 1
    assert task.cancelled()
    spool.close()


# -- definitions ---------------------------------------------------------------------------------------------


async def test_a_definition_is_kept_when_it_changes_and_only_then(dsn: str, db: Any, tmp_path: Path) -> None:
    sales = QueueSettings(name="sales")
    async with life(tmp_path, dsn) as (_, writer):
        for n, queue in enumerate((sales, sales, QueueSettings(name="sales", target_s=30.0))):
            writer.define([queue, QueueSettings(name="help")], at(n))
            await eventually(lambda: writer._definitions is None, "defined")
    found = await db.fetch("SELECT queue, valid_from, target_s FROM ccsvc.queue_definition ORDER BY 1, 2")
    assert [tuple(row) for row in found] == [("help", at(0), 20.0), ("sales", at(0), 20.0), ("sales", at(2), 30.0)]
