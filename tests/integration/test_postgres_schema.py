"""Migrations against a real PostgreSQL, and the schema that they make."""

import asyncio
import re
import types
import typing
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest

from ccsvc.domain.records import ROW_TYPES, Row
from ccsvc.errors import DatabaseDown, MigrationRefused, SchemaOutdated, SchemaTooNew
from ccsvc.postgres.migrate import Migration, check_schema, load_migrations, migrate, parse_migration
from ccsvc.resources import resource_dir
from ccsvc.settings import QueueSettings

FILES = load_migrations()
NAMES = [one.name for one in FILES]


def step(version: str, sql: str, options: str = "") -> Migration:
    return parse_migration(f"{version}_step.sql", f"-- migrate:up{options}\n{sql}\n-- migrate:down\n".encode())


async def query(dsn: str, sql: str, *values: object) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def check(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        await check_schema(pool)


async def test_migrating_twice_applies_each_file_once_and_says_so(empty_dsn: str) -> None:
    said: list[str] = []
    assert await migrate(empty_dsn, said.append) == NAMES == said
    assert await migrate(empty_dsn, said.append) == []
    rows = await query(empty_dsn, "SELECT name, sha256 FROM ccsvc.schema_migration ORDER BY version")
    assert [(row["name"], row["sha256"]) for row in rows] == [(one.name, one.sha256) for one in FILES]


async def test_two_that_migrate_at_the_same_time_share_the_work(empty_dsn: str) -> None:
    done = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))
    assert sorted(name for names in done for name in names) == NAMES


async def test_the_schema_is_checked_before_and_after(empty_dsn: str) -> None:
    with pytest.raises(SchemaOutdated, match=rf"{NAMES[0]}.*run `ccsvc migrate`"):
        await check(empty_dsn)
    await migrate(empty_dsn)
    await check(empty_dsn)


async def test_a_changed_file_is_refused_and_nothing_is_applied(dsn: str) -> None:
    changed = (replace(FILES[0], sha256="0" * 64), *FILES[1:], step("9999", "CREATE TABLE public.never ();"))
    with pytest.raises(MigrationRefused, match=NAMES[0]):
        await migrate(dsn, migrations=changed)
    assert await query(dsn, "SELECT to_regclass('public.never') AS made") == [(None,)]


async def test_an_older_ccsvc_turns_away_from_a_newer_database(dsn: str) -> None:
    await migrate(dsn, migrations=(*FILES, step("9999", "SELECT 1;")))
    with pytest.raises(SchemaTooNew, match=r"9999_step\.sql.*install that version"):
        await migrate(dsn)
    with pytest.raises(SchemaTooNew):
        await check(dsn)


async def test_a_file_that_fails_leaves_nothing_and_keeps_what_came_before(dsn: str) -> None:
    good = step("9997", "CREATE TABLE public.kept ();")
    bad = step("9998", "CREATE TABLE public.gone ();\nSELECT 1 / 0;")
    with pytest.raises(MigrationRefused, match=r"9998_step\.sql.*division by zero"):
        await migrate(dsn, migrations=(*FILES, good, bad))
    found = await query(dsn, "SELECT to_regclass('public.kept') AS kept, to_regclass('public.gone') AS gone")
    assert [tuple(row) for row in found] == [("kept", None)]
    assert await migrate(dsn, migrations=(*FILES, good, step("9998", "SELECT 1;"))) == ["9998_step.sql"]


async def test_an_index_can_be_made_while_the_table_is_in_use(dsn: str) -> None:
    concurrently = step("9999", "CREATE INDEX CONCURRENTLY call_did ON ccsvc.call (did);", " transaction:false")
    assert await migrate(dsn, migrations=(*FILES, concurrently)) == ["9999_step.sql"]


async def test_a_database_that_is_not_there_is_said_so() -> None:
    with pytest.raises(DatabaseDown, match=r"check \[postgres\] dsn"):
        await migrate("postgresql://ccsvc@127.0.0.1:1/ccsvc")


async def test_going_down_leaves_an_empty_schema(dsn: str, db: Any) -> None:
    for migration in reversed(FILES):
        await db.execute(migration.down)
    left = await db.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'ccsvc'::regnamespace "
        "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'ccsvc'::regnamespace"
    )
    assert left == []


# -- what the schema is --------------------------------------------------------------------------------------

WHOLE_SCHEMA = Path(resource_dir("sql") / "schema.sql").read_text(encoding="utf-8")

CATALOGUE = """
SELECT 'column' AS kind, format('%s.%s', c.relname, a.attname) AS name,
       format('%s %s %s %s', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid)) AS definition
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'ccsvc'::regnamespace
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'ccsvc'::regnamespace
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'ccsvc'::regnamespace
UNION ALL
SELECT 'view', oid::regclass::text, pg_get_viewdef(oid)
FROM pg_class WHERE relnamespace = 'ccsvc'::regnamespace AND relkind = 'v'
UNION ALL
SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace = 'ccsvc'::regnamespace
UNION ALL
SELECT 'comment', pg_describe_object(classoid, objoid, objsubid), description
FROM pg_description
WHERE (classoid = 'pg_class'::regclass
       AND objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ccsvc'::regnamespace))
   OR (classoid = 'pg_proc'::regclass
       AND objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'ccsvc'::regnamespace))
ORDER BY 1, 2, 3
"""


async def test_the_schema_file_is_what_the_migrations_make(empty_dsn: str, dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(WHOLE_SCHEMA)
    await connection.close()
    by_file = [tuple(row) for row in await query(empty_dsn, CATALOGUE)]
    by_migrations = [tuple(row) for row in await query(dsn, CATALOGUE)]
    assert len(by_file) > 200
    assert by_file == by_migrations


def column_of(hint: Any) -> tuple[str, bool, frozenset[str]]:
    """(PostgreSQL type, may be NULL, the closed list of words if there is one) of a row's field."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return column_of(inner)[0], True, column_of(inner)[2]
    if typing.get_origin(hint) is Literal:
        return "text", False, frozenset(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "text[]", False, frozenset()
    plain = {
        str: "text",
        int: "bigint",
        bool: "boolean",
        float: "double precision",
        datetime: "timestamp with time zone",
    }
    return plain[getattr(hint, "__supertype__", hint)], False, frozenset()


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.table)
async def test_a_table_has_exactly_the_fields_of_its_row(db: Any, kind: type[Row]) -> None:
    hints = typing.get_type_hints(kind)
    wanted = [(f.name, *column_of(hints[f.name])[:2]) for f in fields(kind)]
    found = await db.fetch(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable FROM pg_attribute "
        "WHERE attrelid = ('ccsvc.' || $1)::regclass AND attnum > 0 ORDER BY attnum",
        kind.table,
    )
    assert [tuple(row) for row in found] == wanted


async def words_of_checks(db: Any, table: str) -> dict[str, frozenset[str]]:
    """The words that each column's check lets in."""
    rows = await db.fetch(
        "SELECT attname, pg_get_constraintdef(c.oid) AS text FROM pg_constraint AS c JOIN pg_attribute AS a "
        "ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "WHERE c.contype = 'c' AND c.conrelid = ('ccsvc.' || $1)::regclass",
        table,
    )
    return {row["attname"]: frozenset(re.findall(r"'([^']*)'", row["text"])) for row in rows}


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.table)
async def test_a_table_lets_in_exactly_the_words_of_the_vocabulary(db: Any, kind: type[Row]) -> None:
    hints = typing.get_type_hints(kind)
    words = {f.name: column_of(hints[f.name])[2] for f in fields(kind)}
    assert await words_of_checks(db, kind.table) == {name: some for name, some in words.items() if some}


async def test_the_service_levels_are_those_of_the_settings(db: Any) -> None:
    hint = typing.get_type_hints(QueueSettings)["service_level"]
    found = await words_of_checks(db, "queue_definition")
    assert found["service_level"] == frozenset(typing.get_args(hint))


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.table)
async def test_the_primary_key_is_the_rows_key(db: Any, kind: type[Row]) -> None:
    found = await db.fetchval(
        "SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_constraint AS c "
        "CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k (attnum, n) "
        "JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum "
        "WHERE c.contype = 'p' AND c.conrelid = ('ccsvc.' || $1)::regclass",
        kind.table,
    )
    assert tuple(found) == kind.key
