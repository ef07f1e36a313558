"""Reads `ccsvc.toml` and everything it points to, once, into frozen settings.

Promises: what `load` returns is whole, checked and resolved (secrets in their keys, paths absolute); what it
raises has every fault at once. It never prints and never logs. It does not know who needs the settings.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.resolve import resolve, secret_files
from ccsvc.config.tomlfile import read_toml
from ccsvc.config.walk import walk
from ccsvc.domain import consistency
from ccsvc.domain.consistency import Fault, suggestion
from ccsvc.settings import Settings


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in the file at `path`; relative paths in it are relative to its folder.

    Raises `InvalidConfigError` (a `ConfigError`) with every fault. `environ` is the process's own by default.
    """
    return settings_from(read_toml(path), path, os.environ if environ is None else environ)


def settings_from(raw: dict[str, object], path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in plain data, as if read from `path`. Raises `InvalidConfigError` and nothing else."""
    settings, malformed = walk(raw)
    settings, unresolved = resolve(settings, path.absolute().parent, environ)
    further = [*unresolved, *_zone_faults(settings.timezone)]
    if not any(_is_section(fault.path) for fault in malformed):
        further += consistency.faults(settings)
    faults = malformed + [fault for fault in further if not _explained(fault, malformed)]
    if faults:
        raise InvalidConfigError(path, faults)
    return settings


def zone(name: str) -> tzinfo:
    """The time zone of `timezone`. Raises `ValueError` if the machine knows no zone of that name."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"no time zone is called {name[:64]!r}") from error


def cautions(settings: Settings) -> list[str]:
    """What works and should not stay so: sentences for the operator, without any secret."""
    return [*_plain_pins(settings), *_open_files(settings)]


def _zone_faults(name: str) -> Iterator[Fault]:
    try:
        zone(name)
    except ValueError:
        remedy = suggestion(name, sorted(available_timezones()))
        yield Fault("timezone", 'a time zone such as "Asia/Tehran"', repr(name[:64]), remedy)


def _is_section(path: str) -> bool:
    """A whole section is unusable or misspelt: what refers into it would be reported for nothing."""
    return "." not in path and "[" not in path


def _explained(fault: Fault, malformed: list[Fault]) -> bool:
    """The fault comes of a value that was already reported."""
    return any(
        fault.path == known.path or fault.path.startswith((f"{known.path}.", f"{known.path}[")) for known in malformed
    )


def _plain_pins(settings: Settings) -> Iterator[str]:
    for role, people in (("agent", settings.agent), ("supervisor", settings.supervisor)):
        plain = [person.number for person in people if person.pin and not person.pin_file]
        if plain:
            yield f"the PIN of {role} {', '.join(plain)} stands in the configuration itself: use pin_file or pin_hash"


def _open_files(settings: Settings) -> Iterator[str]:
    for secret in secret_files(settings, Path("/")):
        try:
            mode = stat.S_IMODE(secret.file.stat().st_mode)
        except FileNotFoundError:
            continue  # not needed: the environment gave this secret
        if mode & 0o077:
            yield f"{secret.path}: {secret.file} can be read by other users: chmod 600"
