"""One real PostgreSQL for this process; a database of its own for each test that asks for one."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from ccsvc.postgres.migrate import migrate
from ccsvc.testing.postgres_server import PostgresServer

_numbers = count(1)
_MIGRATED = "migrated"


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    async with PostgresServer(tcp=True, durable=False) as server:
        await _create(server, _MIGRATED)
        await migrate(dsn_of(server, _MIGRATED))
        yield server


@pytest_asyncio.fixture
async def empty_dsn(postgres: PostgresServer) -> str:
    """A database without anything in it."""
    return await _create(postgres, f"test{next(_numbers)}")


@pytest_asyncio.fixture
async def dsn(postgres: PostgresServer) -> str:
    """A database with our schema, and nothing in it."""
    return await _create(postgres, f"test{next(_numbers)}", template=_MIGRATED)


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Any]:
    """A connection to the database of `dsn`."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


def dsn_of(server: PostgresServer, database: str, *, tcp: bool = False) -> str:
    return urlsplit(server.tcp_dsn if tcp else server.dsn)._replace(path=f"/{database}").geturl()


async def _create(server: PostgresServer, name: str, template: str = "template1") -> str:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return dsn_of(server, name)
