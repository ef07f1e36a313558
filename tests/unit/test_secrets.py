"""Secrets are made once, kept from other users, and a PIN is only ever checked."""

import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.load import load
from ccsvc.config.secrets import PIN_DIGITS, PinKeeper, ensure_secrets, hash_pin
from tests.unit.config_samples import right, settings

TOML = """
[pbx]
ami_secret_file = "secrets/ami"
[postgres]
dsn_file = "secrets/dsn"
[[device]]
name = "d101"
secret_file = "secrets/d101"
[[agent]]
number = "101"
name = "One"
pin_file = "secrets/agent-101.pin"
"""


def written(folder: Path, text: str = TOML) -> Path:
    path = folder / "ccsvc.toml"
    path.write_text(text)
    return path


def keeper(pin: str = "4711", pin_hash: str = "") -> PinKeeper:
    raw = right()
    raw["agent"][0] |= {"pin": pin, "pin_hash": pin_hash}
    return PinKeeper(settings(raw))


def test_missing_secrets_are_made_for_the_owner_only_and_a_dsn_is_not_made_up(tmp_path: Path) -> None:
    made = ensure_secrets(written(tmp_path))
    assert [path.name for path in made] == ["ami", "d101", "agent-101.pin"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    ami, device, pin = (path.read_text().strip() for path in made)
    assert len(ami) >= 24
    assert ami != device
    assert pin.isdecimal()
    assert len(pin) == PIN_DIGITS
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path / "ccsvc.toml", {})
    assert [fault.path for fault in caught.value.faults] == ["postgres.dsn_file"]


def test_a_secret_that_exists_is_never_touched(tmp_path: Path) -> None:
    first = ensure_secrets(written(tmp_path))
    before = [path.read_text() for path in first]
    assert ensure_secrets(tmp_path / "ccsvc.toml") == []
    assert [path.read_text() for path in first] == before


def test_made_secrets_are_what_load_reads(tmp_path: Path) -> None:
    path = written(tmp_path)
    ensure_secrets(path)
    read = load(path, {"CCSVC_POSTGRES_DSN": "postgresql:///x"})
    assert read.pbx.ami_secret == (tmp_path / "secrets/ami").read_text().strip()
    assert read.agent[0].pin == (tmp_path / "secrets/agent-101.pin").read_text().strip()


def test_a_place_that_can_not_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file where a folder should be")
    with pytest.raises(InvalidConfigError) as caught:
        ensure_secrets(written(tmp_path))
    assert [fault.path for fault in caught.value.faults] == [
        "pbx.ami_secret_file",
        "device.d101.secret_file",
        "agent.101.pin_file",
    ]


def test_other_faults_do_not_keep_secrets_from_being_made(tmp_path: Path) -> None:
    made = ensure_secrets(written(tmp_path, '[pbx]\nami_secret_file = "ami"\nami_port = "x"\n'))
    assert [path.name for path in made] == ["ami"]


async def test_a_plain_pin_fits_its_own_person_in_their_own_role_only() -> None:
    pins = keeper()
    assert await pins.check_pin("agent", "101", "4711")
    assert await pins.check_pin("supervisor", "901", "4712")
    for role, person, pin in [
        ("agent", "101", "4712"),
        ("agent", "101", ""),
        ("agent", "102", "4711"),
        ("agent", "102", ""),
        ("supervisor", "101", "4711"),
        ("", "", ""),
        ("agent", "101", "۴۷۱۱"),
        ("agent", "101", "\ud800"),
    ]:
        assert not await pins.check_pin(role, person, pin)


async def test_a_hashed_pin_is_verified_and_a_wrong_one_is_not() -> None:
    pins = keeper("", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("2718"))
    assert await pins.check_pin("agent", "101", "2718")
    assert not await pins.check_pin("agent", "101", "4711")
    assert not await pins.check_pin("agent", "101", "\ud800")


async def test_after_a_reload_the_new_pins_fit_and_the_old_ones_do_not() -> None:
    pins = keeper()
    raw = right()
    raw["agent"][0]["pin"] = "9999"
    pins.replace(settings(raw))
    assert await pins.check_pin("agent", "101", "9999")
    assert not await pins.check_pin("agent", "101", "4711")


def test_a_keeper_does_not_show_its_pins() -> None:
    assert "4711" not in repr(keeper())
    assert "4711" not in str(vars(keeper()).get("_slots"))


def test_a_made_hash_is_one_that_the_configuration_takes() -> None:
    raw = right()
    raw["agent"][0] = {"number": "101", "name": "One", "pin_hash": hash_pin("4711")}
    assert settings(raw).agent[0].pin_hash.startswith("$argon2id$")
