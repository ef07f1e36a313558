"""Reading a configuration: everything wrong with it at once, each with its path."""

import json
from datetime import UTC
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.load import cautions, load, settings_from, zone
from ccsvc.config.schema import schema, schema_text
from ccsvc.config.tomlfile import MAX_BYTES
from ccsvc.errors import ConfigError
from tests.unit.config_samples import faults_of, paths_of, right, settings


def written(folder: Path, text: str) -> Path:
    path = folder / "ccsvc.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as caught:
        load(path, {})
    return caught.value


# -- the file ------------------------------------------------------------------------------------------------


def test_a_syntax_error_names_its_line_and_does_not_repeat_it(tmp_path: Path) -> None:
    error = refused(written(tmp_path, '[pbx]\nname = "pbx1"\nami_secret = "canary-in-the-line\n'))
    (fault,) = error.faults
    assert fault.path == "ccsvc.toml:3"
    assert "line 3" in fault.found
    assert "canary" not in str(error)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    error = refused(tmp_path / "ccsvc.toml")
    assert error.faults[0].found == "No such file or directory"
    assert "--config" in error.faults[0].remedy


def test_a_folder_in_its_place_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ccsvc.toml").mkdir()
    assert refused(tmp_path / "ccsvc.toml").faults[0].expected == "a readable file"


def test_a_file_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "ccsvc.toml"
    path.write_bytes(b'[log]\nlevel = "\xff"\n')
    assert refused(path).faults[0].expected == "UTF-8 text"


def test_a_file_that_is_far_too_long_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "ccsvc.toml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "at most" in refused(path).faults[0].expected


def test_lists_nested_without_end_are_a_fault(tmp_path: Path) -> None:
    assert refused(written(tmp_path, "queue = " + "[" * 100_000)).faults[0].remedy


# -- everything at once --------------------------------------------------------------------------------------


def test_all_faults_come_at_once_each_with_its_path() -> None:
    raw = right()
    raw["pbx"]["ami_port"] = "5038"
    raw["pbx"]["hots"] = "10.0.0.1"
    raw["queue"][0]["max_wait_s"] = 0
    raw["queue"][1]["strategy"] = "longest-idle"
    raw["agent"][0]["queues"] = ["sales", "salse"]
    raw["device"].append({"secret": "x"})
    raw["did"][0]["safety_queue"] = "none"
    raw["ivr"]["main"]["node"]["hours"]["max_attempts"] = 0
    assert sorted(paths_of(raw)) == [
        "agent.101.queues[1]",
        "device[2].name",
        "did.2001.safety_queue",
        "ivr.main.node.hours.max_attempts",
        "pbx.ami_port",
        "pbx.hots",
        "queue.sales.max_wait_s",
        "queue.support.strategy",
    ]


def test_a_fault_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    raw = right()
    raw["pbx"] |= {"ami_port": "5038", "hots": "x"}
    raw["queue"][0] |= {"max_wait_s": 0, "strategy": "longest-idle", "max_waiting": 1.5, "record": "yes"}
    by_path = {fault.path: fault for fault in faults_of(raw)}
    assert str(by_path["pbx.ami_port"]) == (
        "pbx.ami_port: expected a whole number from 0 to 65535, found '5038'; write it without quotes"
    )
    assert by_path["pbx.hots"].remedy == "did you mean 'host'?"
    assert by_path["queue.sales.max_wait_s"].expected == "a number above 0 to 86400"
    assert by_path["queue.sales.max_wait_s"].remedy == "choose a value in that range"
    assert by_path["queue.sales.strategy"].remedy == "did you mean 'longest_idle'?"
    assert by_path["queue.sales.max_waiting"].remedy == "write it without a fraction"
    assert by_path["queue.sales.record"].expected == "true or false"


def test_the_error_is_a_config_error_whose_text_has_every_fault() -> None:
    raw = right()
    raw["queue"][0]["target_s"] = -1
    raw["queue"][1]["target_s"] = -1
    with pytest.raises(ConfigError) as caught:
        settings_from(raw, Path("/etc/ccsvc.toml"), {})
    assert str(caught.value).startswith("/etc/ccsvc.toml: 2 faults\n  queue.sales.target_s: ")
    assert caught.value.code == "config_invalid"
    assert caught.value.path == "queue.sales.target_s"


def test_a_misspelt_section_does_not_accuse_everything_that_refers_to_it() -> None:
    raw = right()
    raw["queues"] = raw.pop("queue")
    (fault,) = faults_of(raw)
    assert (fault.path, fault.remedy) == ("queues", "did you mean 'queue'?")


def test_a_section_of_the_wrong_kind_is_one_fault_without_its_value() -> None:
    raw = right()
    raw["pbx"] = "canary"
    (fault,) = [fault for fault in faults_of(raw) if fault.path == "pbx"]
    assert (fault.expected, fault.found, fault.remedy) == ("a table", "text", "write [pbx] before its keys")


def test_a_wrong_item_is_named_by_its_index_and_the_others_by_their_names() -> None:
    raw = right()
    raw["queue"] += [5, {"name": "Bad Name"}, {"name": "billing", "target_s": -1}]
    assert paths_of(raw) == ["queue[2]", "queue[3].name", "queue.billing.target_s"]


def test_a_key_that_toml_would_quote_is_quoted_in_the_path() -> None:
    raw = right()
    raw["pause_reasons"] = {"a b": "break", "1": "Lunch Break"}
    assert paths_of(raw) == ['pause_reasons."a b"', "pause_reasons.1"]


def test_a_line_end_in_a_name_is_refused_because_it_would_begin_a_new_line_elsewhere() -> None:
    raw = right()
    raw["queue"][0]["name"] = "sales\n"
    raw["device"][0]["caller_id"] = "One\nsecret=none"
    assert {"queue[0]", "device.d101.caller_id"} <= {path.removesuffix(".name") for path in paths_of(raw)}


def test_a_text_that_is_spoken_may_have_several_lines() -> None:
    raw = right()
    raw["ivr"]["main"]["node"]["hours"]["say"]["en"] = "We are open.\nCome in.\n"
    assert settings(raw).ivr["main"].node["hours"].say["en"].count("\n") == 2


def test_no_secret_is_part_of_a_fault() -> None:
    raw = right()
    raw["pbx"]["ami_secret"] = ["canary-1"]
    raw["agent"][0]["pin"] = "canary-2"
    raw["supervisor"][0]["pin"] = 271828
    raw["device"][0]["secret"] = 314159
    raw["postgres"]["dsn"] = {"password": "canary-3"}
    with pytest.raises(InvalidConfigError) as caught:
        settings_from(raw, Path("/nowhere/ccsvc.toml"), {"CCSVC_AMI_SECRET": "canary-4\n"})
    text = f"{caught.value} {caught.value!r}"
    assert len(caught.value.faults) >= 5
    assert not [secret for secret in ("canary", "271828", "314159") if secret in text]


def test_an_empty_pin_is_no_pin() -> None:
    raw = right()
    raw["agent"][0] |= {"pin": "", "pin_hash": PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("4711")}
    assert settings(raw).agent[0].pin == ""


# -- secrets and folders -------------------------------------------------------------------------------------


def test_secrets_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    raw = right()
    raw["pbx"] = {"ami_secret_file": "ami"}
    raw["postgres"] = {"dsn_file": "dsn"}
    raw["device"][0] = {"name": "d101", "secret_file": "d101"}
    raw["agent"][0] = {"number": "101", "name": "One", "pin_file": "pin", "queues": ["sales"]}
    raw["supervisor"][0] = {"number": "901", "name": "Nine", "device": "d901", "pin_file": "hash"}
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("4712")
    for name, text in {
        "ami": "m\n",
        "dsn": "postgresql:///x",
        "d101": " p ",
        "pin": "1234\n",
        "hash": hashed,
    }.items():
        (tmp_path / name).write_text(text)
    read = settings(raw, tmp_path)
    assert (read.pbx.ami_secret, read.postgres.dsn, read.device[0].secret) == ("m", "postgresql:///x", "p")
    assert (read.agent[0].pin, read.supervisor[0].pin, read.supervisor[0].pin_hash) == ("1234", "", hashed)
    assert read.pbx.ami_secret_file == str(tmp_path / "ami")


def test_the_environment_wins_over_the_file() -> None:
    environ = {"CCSVC_AMI_SECRET": "from-outside", "CCSVC_POSTGRES_DSN": "postgresql:///outside"}
    raw = right()
    raw["postgres"] = {"dsn_file": "/nowhere/at/all"}
    read = settings_from(raw, Path("/nowhere/ccsvc.toml"), environ)
    assert (read.pbx.ami_secret, read.postgres.dsn) == ("from-outside", "postgresql:///outside")


def test_every_missing_or_doubtful_secret_is_a_fault(tmp_path: Path) -> None:
    raw = right()
    raw["pbx"] = {}
    raw["postgres"] = {"dsn": "postgresql:///x", "dsn_file": "x"}
    raw["device"] = [
        {"name": "d101"},
        {"name": "d901", "secret_file": "absent"},
        {"name": "d1", "secret_file": "empty"},
    ]
    raw["device"] += [{"name": "d2", "secret_file": "two-lines"}, {"name": "d3", "secret_file": "long"}]
    raw["agent"] = [
        {"number": "101", "name": "One"},
        {"number": "102", "name": "Two", "pin": "4711", "pin_file": "pin"},
        {"number": "103", "name": "Three", "pin_file": "words"},
        {"number": "104", "name": "Four", "pin_hash": "not a hash"},
    ]
    for name, text in {"empty": "\n", "two-lines": "a\nb", "long": "x" * 5000, "words": "open sesame"}.items():
        (tmp_path / name).write_text(text)
    assert paths_of(raw, tmp_path) == [
        "pbx",
        "postgres",
        "device.d101",
        "device.d901.secret_file",
        "device.d1.secret_file",
        "device.d2.secret_file",
        "device.d3.secret_file",
        "agent.101",
        "agent.102",
        "agent.103.pin_file",
        "agent.104.pin_hash",
    ]


def test_relative_folders_are_beside_the_configuration_and_absolute_ones_stay(tmp_path: Path) -> None:
    raw = right()
    raw["recording"] = {"dir": "rec"}
    raw["prompts"] = {"cache_dir": "/var/cache/prompts"}
    read = settings(raw, tmp_path)
    assert read.recording.dir == str(tmp_path / "rec")
    assert read.state.dir == str(tmp_path / "state")
    assert (read.prompts.cache_dir, read.prompts.recorded_dir) == ("/var/cache/prompts", "")
    assert read.pbx.config_dir == "/etc/asterisk"


def test_plain_pins_and_open_files_are_cautioned_against_without_their_content(tmp_path: Path) -> None:
    raw = right()
    raw["device"][0] = {"name": "d101", "secret_file": "d101"}
    (tmp_path / "d101").write_text("a-phone-secret")
    (tmp_path / "d101").chmod(0o644)
    said = "\n".join(cautions(settings(raw, tmp_path)))
    assert "agent 101" in said
    assert "supervisor 901" in said
    assert "device.d101.secret_file" in said
    assert "4711" not in said
    assert "a-phone-secret" not in said


# -- time zone and schema ------------------------------------------------------------------------------------


def test_utc_needs_no_zone_database_and_an_unknown_zone_is_a_fault() -> None:
    assert zone("UTC") is UTC
    for name in ("Asia/Teheran", "../../etc/passwd", "/etc/passwd", "Asia", ""):
        raw = right() | {"timezone": name}
        assert paths_of(raw) == ["timezone"]


def test_the_schema_names_every_section_and_refuses_unknown_keys() -> None:
    published = schema()
    definitions = published["$defs"]
    assert isinstance(definitions, dict)
    top = definitions["Settings"]
    assert set(top["properties"]) >= {
        "pbx",
        "queue",
        "agent",
        "device",
        "supervisor",
        "did",
        "trunk",
        "ivr",
        "timezone",
    }
    assert all(d.get("additionalProperties") is False for d in definitions.values())
    assert list(json.loads(schema_text())["$defs"]) == list(definitions)
