"""Settings written back as `ccsvc.toml`: for daemons that tests and the demo start as processes of their own."""

import json
from typing import Any

import msgspec

from ccsvc.settings import Settings


def toml_of(settings: Settings) -> str:
    """The file that `ccsvc.config.load` reads back as the same settings. Empty values are left out."""
    plain = _without_files(msgspec.to_builtins(settings))
    lines: list[str] = []
    tables: list[str] = []
    for key, value in plain.items():
        if isinstance(value, dict) and key != "pause_reasons":
            tables += _table(key, value)
        elif isinstance(value, list):
            tables += [text for item in value for text in (f"\n[[{key}]]", *_pairs(item))]
        else:
            lines.append(f"{key} = {_value(value)}")
    return "\n".join([*lines, *tables, ""])


def _without_files(plain: Any) -> Any:
    """Secrets stand in their own keys already: naming their files as well would be a contradiction."""
    if isinstance(plain, dict):
        return {key: _without_files(value) for key, value in plain.items() if not key.endswith("_file")}
    return [_without_files(item) for item in plain] if isinstance(plain, (list, tuple)) else plain


def _table(path: str, table: dict[str, object]) -> list[str]:
    flat = {key: value for key, value in table.items() if not isinstance(value, dict)}
    deep = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = [f"\n[{path}]", *_pairs(flat)]
    for key, value in deep.items():
        is_leaf = not any(isinstance(v, dict) for v in value.values())
        lines += [f"\n[{path}.{key}]", *_pairs(value)] if is_leaf else _table(f"{path}.{key}", value)
    return lines


def _pairs(table: dict[str, object]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value not in ("", [], {}, None)]


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)
