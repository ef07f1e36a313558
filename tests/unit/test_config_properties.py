"""Any right configuration survives being written and read; any other data is refused in an orderly way."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.load import settings_from
from ccsvc.config.walk import walk
from ccsvc.domain.consistency import Fault
from ccsvc.settings import Settings
from tests.unit.config_samples import right

LOWER, DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789", "0123456789"
PATTERNS = {
    r"^[a-z0-9][a-z0-9_-]{0,31}$": st.builds(
        "{}{}".format, st.sampled_from(LOWER), st.text(LOWER + "_-", max_size=31)
    ),
    r"^[0-9]{1,8}$": st.text(DIGITS, min_size=1, max_size=8),
    r"^([0-9]{4,12})?$": st.text(DIGITS, min_size=4, max_size=12),
    r"^\+?[0-9]{1,20}$": st.builds(
        "{}{}".format, st.sampled_from(["", "+"]), st.text(DIGITS, min_size=1, max_size=20)
    ),
    r"^[0-9*#]$": st.sampled_from(DIGITS + "*#"),
    r"^[0-9]$": st.sampled_from(DIGITS),
}
PLAIN_TEXT = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)


def values_of(info: types.Type) -> st.SearchStrategy[Any]:
    """Values that a type of the settings allows, as TOML would give them."""
    match info:
        case types.StructType():
            return tables_of(info)
        case types.VarTupleType(item_type=item):
            return st.lists(values_of(item), max_size=2)
        case types.DictType(key_type=key, value_type=value):
            return st.dictionaries(values_of(key), values_of(value), max_size=2)
        case types.StrType(pattern=str() as pattern):
            return PATTERNS[pattern]
        case types.IntType():
            return st.integers(info.ge or 0, info.le if info.le is not None else 10**6)
        case types.FloatType():
            return st.floats(info.ge if info.ge is not None else 0.001, info.le or 10**6, allow_nan=False)
        case types.LiteralType(values=words):
            return st.sampled_from(words)
        case types.UnionType(types=options):
            return st.one_of([values_of(option) for option in options])
        case types.BoolType():
            return st.booleans()
        case _:
            return PLAIN_TEXT


def tables_of(info: types.StructType) -> st.SearchStrategy[dict[str, Any]]:
    required = {field.name: values_of(field.type) for field in info.fields if field.required}
    optional = {field.name: values_of(field.type) for field in info.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


SETTINGS = types.type_info(Settings)
assert isinstance(SETTINGS, types.StructType)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables_of(SETTINGS))
def test_whatever_the_types_allow_is_read_without_a_fault_and_reads_back_the_same(raw: dict[str, Any]) -> None:
    read, faults = walk(raw)
    assert faults == []
    assert walk(json.loads(msgspec.json.encode(read))) == (read, [])


KEYS = st.one_of(
    st.sampled_from(
        [
            *Settings.__struct_fields__,
            "name",
            "number",
            "pin",
            "secret",
            "say",
            "keys",
            "node",
            "start",
            "main",
            "queues",
        ]
    ),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.just(dt.date(2026, 1, 1)),
    st.sampled_from(["queue:sales", "node:start", "ivr:main", "language:fa", "sales", "main", "/", "\ud800", "a\0b"]),
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=25,
)


def refused_or_read(raw: dict[str, Any]) -> None:
    found: list[Fault] = []
    try:
        settings_from(raw, Path("/nowhere/ccsvc.toml"), {})
    except InvalidConfigError as error:
        found = [*error.faults]
    assert all(fault.expected and fault.found and fault.remedy and str(fault) for fault in found)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(KEYS, GARBAGE, max_size=6))
def test_garbage_is_refused_as_a_configuration_and_never_otherwise(raw: dict[str, Any]) -> None:
    refused_or_read(raw)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_one_spoilt_place_in_a_right_configuration_is_refused_in_order_too(data: st.DataObject) -> None:
    raw = right()
    place: Any = raw
    for _ in range(data.draw(st.integers(0, 5))):
        below = list(place) if isinstance(place, dict) else list(range(len(place)))
        step = data.draw(st.sampled_from(below)) if below else None
        if step is None or not isinstance(place[step], (dict, list)) or not place[step]:
            break
        place = place[step]
    key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
    place[key] = data.draw(GARBAGE)
    refused_or_read(raw)
