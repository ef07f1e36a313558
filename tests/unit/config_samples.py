"""A small configuration that is right in every part, for tests that spoil one part of it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.load import settings_from
from ccsvc.domain.consistency import Fault
from ccsvc.settings import Settings

Raw = dict[str, Any]

RIGHT: Raw = {
    "pbx": {"ami_secret": "a-manager-secret"},
    "postgres": {"dsn": "postgresql://ccsvc:a-database-secret@db/ccsvc"},
    "queue": [{"name": "sales"}, {"name": "support", "on_timeout": "queue:sales"}],
    "agent": [{"number": "101", "name": "One", "pin": "4711", "queues": ["sales", "support"]}],
    "device": [{"name": "d101", "secret": "a-phone-secret"}, {"name": "d901", "secret": "another-phone-secret"}],
    "supervisor": [{"number": "901", "name": "Nine", "device": "d901", "pin": "4712"}],
    "did": [{"number": "2001", "target": "ivr:main", "language": "en", "safety_queue": "sales"}],
    "ivr": {
        "main": {
            "start": "start",
            "node": {
                "start": {
                    "say": {"en": "Press one."},
                    "keys": {"1": "queue:sales", "2": "node:hours"},
                    "on_failure": "queue:support",
                },
                "hours": {"say": {"en": "We are open."}, "next": "node:start"},
            },
        }
    },
}


def right() -> Raw:
    """A fresh copy to spoil."""
    return deepcopy(RIGHT)


def settings(raw: Raw | None = None, folder: Path = Path("/nowhere")) -> Settings:
    return settings_from(right() if raw is None else raw, folder / "ccsvc.toml", {})


def faults_of(raw: Raw, folder: Path = Path("/nowhere"), environ: dict[str, str] | None = None) -> list[Fault]:
    """What is wrong with it; fails if nothing is."""
    with pytest.raises(InvalidConfigError) as caught:
        settings_from(raw, folder / "ccsvc.toml", environ or {})
    return list(caught.value.faults)


def paths_of(raw: Raw, folder: Path = Path("/nowhere")) -> list[str]:
    return [fault.path for fault in faults_of(raw, folder)]
