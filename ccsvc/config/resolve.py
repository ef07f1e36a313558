"""What the file only points to: secrets in files and in the environment, and folders beside the file.

Promises: after `resolve` every secret is in its own key (`ami_secret`, `dsn`, `secret`, `pin` or `pin_hash`) and
every path is absolute; the environment wins over a file; a secret is never part of a fault. Bound: a secret has at
most `MAX_SECRET` characters. It does not know what the secrets are for.

Environment: `CCSVC_AMI_SECRET`, `CCSVC_POSTGRES_DSN`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from ccsvc.domain.consistency import LABELS, Fault, item_paths
from ccsvc.settings import AgentSettings, DeviceSettings, PbxSettings, PostgresSettings, Settings, SupervisorSettings

MAX_SECRET = 1024
DIRECTORIES = {
    "pbx": ("config_dir", "modules_dir", "data_dir", "state_dir", "spool_dir", "log_dir", "run_dir"),
    "recording": ("dir",),
    "prompts": ("cache_dir", "recorded_dir"),
    "state": ("dir", "tape"),
}

_PIN = re.compile(r"[0-9]{4,12}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Person = AgentSettings | SupervisorSettings
_Person = TypeVar("_Person", AgentSettings, SupervisorSettings)
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds one secret. `kind`: a `token` or `pin` can be made up, a `dsn` can't."""

    path: str
    file: Path
    kind: str


@dataclass(frozen=True, slots=True)
class _Source:
    """Where secrets are looked for. Faults are collected, because the next secret may have one too."""

    folder: Path
    environ: Mapping[str, str]
    faults: list[Fault]


def resolve(settings: Settings, folder: Path, environ: Mapping[str, str]) -> tuple[Settings, list[Fault]]:
    """The settings with secrets and absolute paths, and every secret that is missing or can't be read."""
    source = _Source(folder, environ, [])
    resolved = msgspec.structs.replace(
        _directories(settings, folder),
        pbx=_secret(source, _absolute(settings.pbx, "pbx", folder), "pbx", "ami_secret", "CCSVC_AMI_SECRET"),
        postgres=_secret(source, settings.postgres, "postgres", "dsn", "CCSVC_POSTGRES_DSN"),
        device=tuple(_secret(source, d, path, "secret") for path, d in _items(settings, "device", settings.device)),
        agent=tuple(_pin(source, a, path) for path, a in _items(settings, "agent", settings.agent)),
        supervisor=tuple(_pin(source, s, path) for path, s in _items(settings, "supervisor", settings.supervisor)),
    )
    return resolved, source.faults


def secret_files(settings: Settings, folder: Path) -> Iterator[SecretFile]:
    """Every `*_file` that the settings name."""
    named: list[tuple[str, str, str]] = [
        ("pbx.ami_secret_file", settings.pbx.ami_secret_file, "token"),
        ("postgres.dsn_file", settings.postgres.dsn_file, "dsn"),
    ]
    named += [
        (f"{path}.secret_file", d.secret_file, "token") for path, d in _items(settings, "device", settings.device)
    ]
    named += [(f"{path}.pin_file", a.pin_file, "pin") for path, a in _items(settings, "agent", settings.agent)]
    named += [
        (f"{path}.pin_file", s.pin_file, "pin") for path, s in _items(settings, "supervisor", settings.supervisor)
    ]
    return (SecretFile(path, folder / name, kind) for path, name, kind in named if name)


_Item = TypeVar("_Item")


def _items(settings: Settings, section: str, items: tuple[_Item, ...]) -> Iterator[tuple[str, _Item]]:
    labels = [getattr(item, LABELS[section]) for item in getattr(settings, section)]
    return zip(item_paths(section, labels), items, strict=True)


# -- folders -------------------------------------------------------------------------------------------------


def _directories(settings: Settings, folder: Path) -> Settings:
    sections = {name: _absolute(getattr(settings, name), name, folder) for name in DIRECTORIES}
    return msgspec.structs.replace(settings, **sections)


def _absolute(section: _Struct, name: str, folder: Path) -> _Struct:
    """Every folder that is named, absolute; one that is not named stays empty."""
    paths = {key: getattr(section, key) for key in DIRECTORIES[name]}
    return msgspec.structs.replace(section, **{key: str(folder / path) for key, path in paths.items() if path})


# -- secrets -------------------------------------------------------------------------------------------------

_Holder = TypeVar("_Holder", PbxSettings, PostgresSettings, DeviceSettings)


def _secret(source: _Source, holder: _Holder, path: str, key: str, variable: str = "") -> _Holder:
    """The holder with its secret, from the environment, the file or the key itself, in this order."""
    inline, name = getattr(holder, key), getattr(holder, f"{key}_file")
    value = source.environ.get(variable, "") if variable else ""
    if value:
        source.faults.extend(_spoiled(f"${variable}", value))
    elif inline and name:
        source.faults.append(Fault(path, f"one of `{key}` and `{key}_file`", "both", "take one of them out"))
    elif name:
        value = _read(source, f"{path}.{key}_file", name)
    elif not inline:
        known = f"`{key}` or `{key}_file`" + (f" or ${variable}" if variable else "")
        source.faults.append(Fault(path, known, "nothing", f'write `{key}_file = "…"`'))
    changes = {key: value or inline, f"{key}_file": str(source.folder / name) if name else ""}
    return msgspec.structs.replace(holder, **changes)


def _read(source: _Source, path: str, name: str) -> str:
    """The secret in a file, without the line's end; empty with a fault if there is none."""
    file = source.folder / name
    try:
        with file.open(encoding="utf-8") as opened:
            value = opened.read(MAX_SECRET + 2).strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        remedy = "write the secret there" if name and path.endswith("dsn_file") else "`ccsvc render` makes it"
        source.faults.append(Fault(path, "a readable file", f"{file}: {reason}", remedy))
        return ""
    source.faults.extend(_spoiled(path, value))
    return value


def _spoiled(path: str, value: str) -> Iterator[Fault]:
    if not value:
        yield Fault(path, "one line of text", "an empty file", "write the secret there, or remove the file")
    if len(value) > MAX_SECRET:
        yield Fault(path, f"at most {MAX_SECRET} characters", "more", "is this the right file?")
    elif _CONTROL.search(value):
        yield Fault(path, "one line of text", "a control character or a second line", "write only the secret there")


def _pin(source: _Source, person: _Person, path: str) -> _Person:
    """The person with either `pin` or `pin_hash`."""
    given = [key for key in ("pin", "pin_hash", "pin_file") if getattr(person, key)]
    if len(given) != 1:
        found = " and ".join(f"`{key}`" for key in given) or "nothing"
        remedy = "keep one of them" if given else 'write `pin_file = "…"`'
        source.faults.append(Fault(path, "one of `pin`, `pin_hash` and `pin_file`", found, remedy))
        return person
    if person.pin_file:
        return _pin_from_file(source, person, path)
    source.faults.extend(_hash_faults(f"{path}.pin_hash", person.pin_hash))
    return person


def _pin_from_file(source: _Source, person: _Person, path: str) -> _Person:
    value = _read(source, f"{path}.pin_file", person.pin_file)
    file = str(source.folder / person.pin_file)
    if value.startswith("$"):
        source.faults.extend(_hash_faults(f"{path}.pin_file", value))
        return msgspec.structs.replace(person, pin_hash=value, pin_file=file)
    if value and not _PIN.fullmatch(value):
        expected = "4 to 12 digits, or an argon2 hash"
        source.faults.append(Fault(f"{path}.pin_file", expected, "something else (not shown)", "write the PIN there"))
    return msgspec.structs.replace(person, pin=value, pin_file=file)


def _hash_faults(path: str, value: str) -> Iterator[Fault]:
    if not value:
        return
    try:
        extract_parameters(value)
    except InvalidHashError:
        yield Fault(path, "an argon2 hash (`$argon2id$…`)", "something else (not shown)", "use `pin_file` instead")
