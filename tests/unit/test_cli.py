"""The command line: a wrong word is 2, a wrong configuration 1 with a text for a person, and nothing has a trace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ccsvc import __version__
from ccsvc.cli import main
from ccsvc.testing.tomltext import toml_of
from tests.unit.config_samples import settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of whoever runs the tests."""
    for name in ("CCSVC_CONFIG", "CCSVC_AMI_SECRET", "CCSVC_POSTGRES_DSN", "CCSVC_PULSE_FD", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(toml_of(settings()), encoding="utf-8")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Two faults."""
    path = tmp_path / "bad.toml"
    text = toml_of(settings()).replace('name = "sales"', 'name = "sales"\nring_timeouts_s = 3', 1)
    path.write_text(text.replace("[pbx]", "[pbx]\nami_port = 70000", 1).replace("ami_port = 5038\n", "", 1))
    return path


def status_of(arguments: list[str]) -> int:
    """The exit status, whichever way it is given."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["check", "--loudly"], ["render"], ["run", "now"]], ids=str)
def test_a_wrong_command_line_is_2_and_says_what_would_be_right(arguments: list[str], capsys: Capture) -> None:
    assert status_of(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usage: ccsvc")


@pytest.mark.parametrize("verb", [["check"], ["run"], ["run", "--no-watchdog"], ["migrate"], ["status"]], ids=str)
def test_a_wrong_configuration_is_1_with_every_fault_and_its_path(
    verb: list[str], bad: Path, capsys: Capture
) -> None:
    assert status_of([*verb, "--config", str(bad)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"ccsvc: {bad}: 2 faults\n")
    assert "pbx.ami_port" in told.err
    assert "ring_timeouts_s" in told.err
    assert "ring_timeout_s" in told.err, "what was meant"


def test_a_configuration_that_is_not_there_is_1_and_says_how_to_name_one(capsys: Capture) -> None:
    assert status_of(["check", "--config", "nowhere.toml"]) == 1
    assert "nowhere.toml" in (told := capsys.readouterr().err)
    assert "--config" in told


def test_rendering_from_a_wrong_configuration_writes_nothing(bad: Path, tmp_path: Path, capsys: Capture) -> None:
    assert status_of(["render", "--config", str(bad), str(tmp_path / "etc")]) == 1
    assert "2 faults" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


def test_a_right_configuration_is_0_and_counted(good: Path, capsys: Capture) -> None:
    assert status_of(["check", "--config", str(good)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{good}: good: 2 queues, 1 agents, 2 devices, 1 numbers, 1 menus\n"
    assert "PIN of agent 101" in told.err
    assert "4711" not in told.err


def test_the_configuration_can_be_named_by_the_environment(
    good: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CCSVC_CONFIG", str(good))
    assert status_of(["check"]) == 0
    assert capsys.readouterr().out.startswith(f"{good}: good")


def test_the_schema_is_json_and_needs_no_configuration(capsys: Capture) -> None:
    assert status_of(["check", "--schema"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("}\n")
    assert json.loads(told)["title"] == "ccsvc.toml"


def test_the_version_is_told(capsys: Capture) -> None:
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out == f"ccsvc {__version__}\n"


def test_the_status_of_a_daemon_that_is_not_there_is_1_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "ccsvc.toml"
    path.write_text(toml_of(settings()).replace("port = 8088", "port = 1"), encoding="utf-8")
    assert status_of(["status"]) == 1
    assert capsys.readouterr().err.startswith("ccsvc: no daemon answers at http://127.0.0.1:1 (")


def test_as_a_module_it_is_the_same_without_any_trace(bad: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ccsvc", "check", "--config", str(bad)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ccsvc: ")
    assert "Traceback" not in done.stderr
