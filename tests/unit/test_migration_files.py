"""Migration files: their format, their order, and what is refused before a database is touched."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ccsvc.errors import MigrationRefused, SchemaTooNew
from ccsvc.postgres.migrate import Applied, Migration, load_migrations, parse_migration, pending


def migration(version: str) -> Migration:
    return parse_migration(f"{version}_step.sql", f"-- migrate:up\nSELECT {version};\n-- migrate:down\n".encode())


def applied(*migrations: Migration) -> list[Applied]:
    return [Applied(one.version, one.name, one.sha256) for one in migrations]


ONE, TWO, THREE = migration("0001"), migration("0002"), migration("0003")


def test_the_shipped_files_are_in_the_format_and_numbered_without_a_gap() -> None:
    found = load_migrations()
    assert [one.version for one in found] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    assert all(one.up.strip() and one.down.strip() for one in found)


def test_both_halves_are_read_and_the_sum_is_over_the_whole_file() -> None:
    content = b"-- why\n\n-- migrate:up\nCREATE TABLE a ();\n\n-- migrate:down\nDROP TABLE a;\n"
    found = parse_migration("0007_a.sql", content)
    assert (found.version, found.up.strip(), found.down.strip()) == ("0007", "CREATE TABLE a ();", "DROP TABLE a;")
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.transactional


def test_a_file_may_ask_to_run_outside_of_a_transaction() -> None:
    found = parse_migration("0007_a.sql", b"-- migrate:up transaction:false\nSELECT 1;\n-- migrate:down\n")
    assert not found.transactional


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("7_a.sql", b"-- migrate:up\n-- migrate:down\n"),
        ("0007-a.sql", b"-- migrate:up\n-- migrate:down\n"),
        ("0007_a.sql", b"CREATE TABLE a ();\n"),
        ("0007_a.sql", b"-- migrate:up\nCREATE TABLE a ();\n"),
        ("0007_a.sql", b"-- migrate:down\n-- migrate:up\n"),
    ],
)
def test_a_file_that_is_not_in_the_format_is_refused_by_name(name: str, content: bytes) -> None:
    with pytest.raises(MigrationRefused, match=name):
        parse_migration(name, content)


def test_files_are_taken_in_order(tmp_path: Path) -> None:
    for one in (THREE, ONE, TWO):
        (tmp_path / one.name).write_text(f"-- migrate:up\nSELECT {one.version};\n-- migrate:down\n")
    (tmp_path / "schema.sql").write_text("SELECT 1")
    assert load_migrations(tmp_path) == (ONE, TWO, THREE)


def test_what_is_not_applied_is_pending() -> None:
    assert pending((ONE, TWO, THREE), []) == (ONE, TWO, THREE)
    assert pending((ONE, TWO, THREE), applied(ONE)) == (TWO, THREE)
    assert pending((ONE, TWO), applied(ONE, TWO)) == ()


def test_a_file_that_changed_after_it_was_applied_is_refused() -> None:
    with pytest.raises(MigrationRefused, match=r"0001_step\.sql.*other contents.*new file"):
        pending((replace(ONE, sha256="other"), TWO), applied(ONE))


def test_a_database_of_a_later_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(SchemaTooNew, match=r"later ccsvc \(0003_step\.sql.*install that version"):
        pending((ONE, TWO), applied(ONE, TWO, THREE))


def test_an_applied_file_that_is_missing_is_refused() -> None:
    with pytest.raises(MigrationRefused, match=r"0001_step\.sql.*not here"):
        pending((TWO,), applied(ONE, TWO))


def test_a_file_that_comes_before_an_applied_one_is_refused() -> None:
    with pytest.raises(MigrationRefused, match=r"0002_step\.sql.*0003 was applied before it"):
        pending((ONE, TWO, THREE), applied(ONE, THREE))
