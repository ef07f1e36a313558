"""The example that is shipped is right, complete and as it is described."""

import re
import shutil
import tomllib
from pathlib import Path

from ccsvc.config.load import cautions, load
from ccsvc.config.secrets import ensure_secrets
from ccsvc.settings import QueueSettings, Settings

SECTIONS = ("pbx", "postgres", "http", "recording", "prompts", "state", "log", "queue")
EXAMPLE = Path(__file__).parents[2] / "ccsvc.example.toml"


def loaded(folder: Path) -> Settings:
    path = folder / "ccsvc.toml"
    shutil.copy(EXAMPLE, path)
    ensure_secrets(path)
    return load(path, {})


def test_the_example_loads_without_a_fault_or_a_caution_once_its_secrets_are_made(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert cautions(settings) == []
    assert [queue.name for queue in settings.queue] == ["sales", "support", "billing"]
    assert [agent.number for agent in settings.agent] == ["101", "102", "103", "104", "105", "106"]
    assert [person.number for person in settings.supervisor] == ["901", "902", "903"]
    assert sorted(did.language for did in settings.did) == ["ar", "en", "fa"]
    assert {f"c{n}" for n in range(1, 9)} <= {device.name for device in settings.device}
    assert all(set(node.say) == {"fa", "ar", "en"} for node in settings.ivr["main"].node.values())


def test_what_the_example_shows_as_a_default_is_the_default() -> None:
    shown = []
    section = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.split("]")[0].strip("[ ")
        elif re.match(r"# [a-z_]+ = ", line) and section in SECTIONS:
            shown.append((section, line[2:].split("  #")[0].strip()))
    assert len(shown) > 25
    for name, assignment in shown:
        ((key, value),) = tomllib.loads(assignment).items()
        default = QueueSettings(name="x") if name == "queue" else getattr(Settings(), name)
        if key != "dsn_file":
            assert getattr(default, key) == value, f"[{name}] {assignment}"


def test_the_example_shows_every_key_of_a_queue_and_of_the_pbx() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = {*QueueSettings.__struct_fields__, *type(Settings().pbx).__struct_fields__, *Settings.__struct_fields__}
    assert [key for key in keys - {"ami_secret"} if key not in text] == []
