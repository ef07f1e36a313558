"""A real PostgreSQL of our own: as root and not, killed and started again, and nothing left afterwards."""

import asyncio
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from ccsvc.testing.postgres_server import PostgresServer, PostgresUnavailable, Way, find_postgres, way_runs, ways
from ccsvc.testing.waiting import eventually

RUNNING_WAYS = [way for way in ways() if way_runs(way)]


def exists(path: Path | str) -> bool:
    return Path(path).exists()


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def name_of(way: Way) -> str:
    return f"{way.bin_dir.parent.name}-{way.before[0] if way.before else 'directly'}"


@pytest.mark.parametrize("way", RUNNING_WAYS, ids=name_of)
async def test_every_way_that_there_is_here_gives_an_empty_utf8_database(way: Way) -> None:
    async with PostgresServer(durable=False, way=way) as server:
        assert await ask(server.dsn, "SHOW server_encoding") == "UTF8"
        assert await ask(server.dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await ask(server.dsn, "SELECT lower('É') || length('سلام')") == "é4"
        pid, folder = server.pid, server.dir
    assert not exists(f"/proc/{pid}")
    assert not exists(folder)


def test_a_way_that_runs_is_found() -> None:
    assert find_postgres() == RUNNING_WAYS[0]


async def test_it_is_up_within_a_few_seconds() -> None:
    began = time.monotonic()
    async with PostgresServer(durable=False):
        assert time.monotonic() - began < 10  # one to two on an idle machine; this one may be busy


async def test_what_was_committed_is_there_after_a_crash() -> None:
    async with PostgresServer(durable=False) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        dsn, first = server.dsn, server.pid
        await server.stop("immediate")
        assert server.pid is None
        with pytest.raises(OSError, match=r"No such file|refused"):
            await asyncpg.connect(dsn)
        await server.start()
        assert server.dsn == dsn
        assert server.pid != first
        assert await ask(dsn, "SELECT answer FROM kept") == 42


async def test_a_stop_cuts_off_those_who_are_connected() -> None:
    async with PostgresServer(durable=False) as server:
        connection = await asyncpg.connect(server.dsn)
        await server.stop("fast")
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")


async def test_it_listens_on_loopback_only_when_asked_to() -> None:
    async with PostgresServer(durable=False, tcp=True) as server:
        assert await ask(server.tcp_dsn, "SHOW listen_addresses") == "127.0.0.1"
    async with PostgresServer(durable=False) as server:
        assert await ask(server.dsn, "SHOW listen_addresses") == ""


async def test_durability_is_given_up_only_when_asked_to() -> None:
    async with PostgresServer(options={"max_connections": "7"}) as server:
        assert await ask(server.dsn, "SHOW fsync") == "on"
        assert await ask(server.dsn, "SHOW max_connections") == "7"
    async with PostgresServer(durable=False) as server:
        assert await ask(server.dsn, "SHOW fsync") == "off"


async def test_the_line_for_a_person_works_in_a_shell() -> None:
    async with PostgresServer(durable=False) as server:
        process = await asyncio.create_subprocess_shell(
            f"{server.psql_line} -Atc 'SELECT 6 * 7'", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert output == b"42\n"


async def test_a_given_folder_is_kept_with_its_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("pg")
    async with PostgresServer(folder, durable=False) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with PostgresServer(folder, durable=False) as server:
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42


async def test_a_setting_that_it_refuses_is_an_error_with_the_end_of_its_log() -> None:
    server = PostgresServer(durable=False, options={"no_such_setting": "1"})
    with pytest.raises(PostgresUnavailable, match="no_such_setting"):
        await server.start()
    await server.close()


OWNER = """
import asyncio
from ccsvc.testing.postgres_server import PostgresServer, Way, ways

async def main():
    way = next(way for way in ways() if repr(way) == {way!r})
    async with PostgresServer(durable=False, way=way) as server:
        print(server.pid, server.dir, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("way", RUNNING_WAYS, ids=name_of)
async def test_it_ends_with_the_process_that_started_it(way: Way) -> None:
    program = OWNER.format(way=repr(way))
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    pid, folder = (await asyncio.wait_for(owner.stdout.readline(), 30)).decode().split()
    assert exists(f"/proc/{pid}")
    os.kill(owner.pid, signal.SIGKILL)
    await owner.wait()
    await eventually(lambda: not exists(f"/proc/{pid}"), "the server gone too")
    remove = await asyncio.create_subprocess_shell(f"rm -r {shlex.quote(folder)}")
    assert await remove.wait() == 0
