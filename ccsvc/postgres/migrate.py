"""The schema: files `NNNN_name.sql` (dbmate's format), applied in order, each whole or not at all.

Promises: two that migrate at the same time do not get in each other's way (advisory lock); a file that was applied
and is not what it was then is refused, and so is a database that knows more than this version; what was applied
before a failing file stays. `check_schema` says in one look whether daemon and database fit together.

A file that says `-- migrate:up transaction:false` (for CREATE INDEX CONCURRENTLY) runs by itself, outside of any
transaction: if it fails half-way, look before you run it again. Going back (`migrate:down`) is for developers, with
dbmate: an operator restores a backup. Needs a direct connection, not a transaction-pooling proxy.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from ccsvc.errors import DatabaseDown, MigrationRefused, SchemaOutdated, SchemaTooNew
from ccsvc.resources import resource_dir

LOCK_KEY = 0x63637376
LOCK_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10.0
_NAME = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")
_UP = re.compile(r"^-- migrate:up(?P<options>[^\n]*)\n", re.MULTILINE)
_DOWN = re.compile(r"^-- migrate:down[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `name` is the file's name, `sha256` of its bytes."""

    version: str
    name: str
    sha256: str
    up: str
    down: str
    transactional: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says of one migration."""

    version: str
    name: str
    sha256: str


class Fetches(Protocol):
    """An asyncpg connection or pool."""

    async def fetch(self, query: str, *args: object) -> list[Any]: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...


def load_migrations(directory: Path | None = None) -> tuple[Migration, ...]:
    """All files in order. Raises `MigrationRefused` for one that is not in the format."""
    found = sorted((directory or resource_dir("sql")).glob("[0-9]*.sql"))
    return tuple(parse_migration(path.name, path.read_bytes()) for path in found)


def parse_migration(name: str, content: bytes) -> Migration:
    """Raises `MigrationRefused`."""
    version = _NAME.fullmatch(name)
    text = content.decode()
    up, down = _UP.search(text), _DOWN.search(text)
    if version is None:
        raise MigrationRefused(name, "its name is not NNNN_name.sql in lower case")
    if up is None or down is None or down.start() < up.end():
        raise MigrationRefused(name, "it needs a line `-- migrate:up`, and after it a line `-- migrate:down`")
    return Migration(
        version["version"],
        name,
        hashlib.sha256(content).hexdigest(),
        text[up.end() : down.start()],
        text[down.end() :],
        "transaction:false" not in up["options"],
    )


def pending(migrations: Sequence[Migration], applied: Sequence[Applied]) -> tuple[Migration, ...]:
    """What is still to be applied. Raises `MigrationRefused`, `SchemaTooNew` if files and database disagree."""
    known = {migration.version: migration for migration in migrations}
    for one in applied:
        if one.version not in known:
            raise _unknown(one, migrations)
        if known[one.version].sha256 != one.sha256:
            raise MigrationRefused(
                known[one.version].name,
                "it was applied to this database with other contents: put the file back as it was, and make the "
                "change in a new file",
            )
    done = {one.version for one in applied}
    missing = tuple(migration for migration in migrations if migration.version not in done)
    if missing and done and missing[0].version < max(done):
        raise MigrationRefused(
            missing[0].name, f"{max(done)} was applied before it: give it the next free number, or restore a backup"
        )
    return missing


def _unknown(one: Applied, migrations: Sequence[Migration]) -> SchemaTooNew | MigrationRefused:
    if migrations and one.version < migrations[-1].version:
        return MigrationRefused(
            one.name, "it was applied to this database, but the file is not here: reinstall ccsvc"
        )
    return SchemaTooNew(
        f"the database was migrated by a later ccsvc ({one.name} is not known to this one): install that version, or "
        f"restore the backup from before it"
    )


async def read_applied(database: Fetches) -> tuple[Applied, ...]:
    """What was applied, in order; nothing if the schema is not there at all."""
    if await database.fetchval("SELECT to_regclass('ccsvc.schema_migration') IS NULL"):
        return ()
    rows = await database.fetch("SELECT version, name, sha256 FROM ccsvc.schema_migration ORDER BY version")
    return tuple(Applied(row["version"], row["name"], row["sha256"]) for row in rows)


async def check_schema(database: Fetches, migrations: Sequence[Migration] | None = None) -> None:
    """Raises `SchemaOutdated`, `SchemaTooNew` or `MigrationRefused` unless the schema is exactly this version's."""
    missing = pending(load_migrations() if migrations is None else migrations, await read_applied(database))
    if missing:
        raise SchemaOutdated(
            f"the database lacks {', '.join(one.name for one in missing)}: run `ccsvc migrate`, then this goes on"
        )


def _silent(_: str) -> None:
    """Nobody wants to know how far it has come."""


async def migrate(
    dsn: str, progress: Callable[[str], None] = _silent, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Bring the schema to this version; the names of the files that were applied now.

    `progress` gets each file's name before it is applied. Raises `DatabaseDown`, `MigrationRefused`, `SchemaTooNew`.
    """
    wanted = load_migrations() if migrations is None else migrations
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise DatabaseDown(f"PostgreSQL can't be reached: {error}: check [postgres] dsn") from error
    try:
        await _lock(connection)
        missing = pending(wanted, await read_applied(connection))
        for migration in missing:
            progress(migration.name)
            await _apply(connection, migration)
        return [migration.name for migration in missing]
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        raise DatabaseDown(f"PostgreSQL went away while migrating: {error}") from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def _lock(connection: Any) -> None:
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    except asyncpg.LockNotAvailableError:
        raise MigrationRefused("(all)", f"another migration has been running for {LOCK_TIMEOUT_S} s") from None


async def _apply(connection: Any, migration: Migration) -> None:
    try:
        if not migration.transactional:
            await connection.execute(migration.up)
            await _record(connection, migration)
            return
        async with connection.transaction():
            await connection.execute(migration.up)
            await _record(connection, migration)
    except asyncpg.PostgresConnectionError:
        raise
    except asyncpg.PostgresError as error:
        raise MigrationRefused(migration.name, f"PostgreSQL refused it: {error}") from error


async def _record(connection: Any, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO ccsvc.schema_migration (version, name, sha256) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )
