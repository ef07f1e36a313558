"""What a value of the settings should be and what it is, in words for the person who writes the file.

Promises: the description of any type that `ccsvc.settings` uses; a found value is cut to `SHOWN` characters and
never shown at all under a key that holds a secret. It knows nothing of files and of paths.
"""

from collections.abc import Mapping

import msgspec.inspect as types

from ccsvc.domain.consistency import suggestion

SECRET_KEYS = frozenset({"ami_secret", "dsn", "secret", "pin", "pin_hash"})
SHOWN = 60

_PATTERNS = {
    r"^[a-z0-9][a-z0-9_-]{0,31}$": "a name of a-z, 0-9, `_` and `-` (at most 32)",
    r"^[0-9]{1,8}$": "1 to 8 digits",
    r"^([0-9]{4,12})?$": "4 to 12 digits",
    r"^\+?[0-9]{1,20}$": "a number of 1 to 20 digits, with or without `+`",
    r"^[0-9*#]$": "one key of a telephone",
    r"^[0-9]$": "one digit",
}
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a table",
    list: "a list",
}


def expected(annotation: object) -> str:
    """What belongs there, as the end of "expected …"."""
    return _describe(types.type_info(annotation))


def _describe(info: types.Type) -> str:
    match info:
        case types.StrType(pattern=str() as pattern):
            return _PATTERNS.get(pattern, f"text that matches {pattern}")
        case types.StrType(max_length=int() as most):
            return f"text of {info.min_length or 0} to {most} characters"
        case types.IntType():
            return "a whole number" + _bounds(info)
        case types.FloatType():
            return "a number" + _bounds(info)
        case types.BoolType():
            return "true or false"
        case types.LiteralType(values=values):
            return " or ".join(repr(value) for value in values)
        case types.UnionType(types=options):
            return " or ".join(_describe(option) for option in options)
        case types.VarTupleType():
            return "a list"
        case types.StructType() | types.DictType():
            return "a table"
        case _:
            return "text"


def _bounds(info: types.IntType | types.FloatType) -> str:
    words = {"above": info.gt, "from": info.ge, "below": info.lt, "to": info.le}
    parts = [f"{word} {bound:g}" for word, bound in words.items() if bound is not None]
    return " " + " ".join(parts) if parts else ""


def found(key: str, value: object) -> str:
    """What is there instead, as the end of "found …"."""
    if key in SECRET_KEYS:
        length = f" of {len(value)} characters" if isinstance(value, str) else ""
        return f"{kind(value)}{length} (not shown)"
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def kind(value: object) -> str:
    """The kind of value, without the value."""
    return _KINDS.get(type(value), "a date or time")


def remedy(annotation: object, value: object) -> str:
    """What to do about a value that is not what it should be."""
    info = types.type_info(annotation)
    if isinstance(info, types.LiteralType) and isinstance(value, str):
        return suggestion(value, [str(option) for option in info.values])
    if isinstance(info, (types.IntType, types.FloatType, types.BoolType)):
        return _number_remedy(info, value)
    if not isinstance(value, str):
        return "write it in quotes"
    return "write it in that form"


def _number_remedy(info: types.Type, value: object) -> str:
    if isinstance(value, str):
        return "write it without quotes"
    if isinstance(info, types.BoolType) or isinstance(value, (bool, Mapping, list)):
        return "write only that"
    if isinstance(info, types.IntType) and isinstance(value, float):
        return "write it without a fraction"
    return "choose a value in that range"
