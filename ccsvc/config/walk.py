"""From plain data to a `Settings` tree, leaf by leaf, with every fault instead of the first.

Promises: `walk` never raises for any data that TOML can hold. The tree it returns is a valid `Settings` if there
is no fault; else it is the nearest thing (a default or an empty value stands in for what is wrong), good enough to
look for further faults in it and for nothing else. It knows no files, no environment and no meaning.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from ccsvc.config import words
from ccsvc.domain.consistency import LABELS, Fault, item_paths, suggestion
from ccsvc.settings import Settings, Text

MAX_UNKNOWN = 20
"""Unknown keys of one table that are named."""

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOTHING = object()


def walk(raw: dict[str, object]) -> tuple[Settings, list[Fault]]:
    """The settings in the data, and what is wrong with the data."""
    walker = _Walker()
    settings = walker.value(raw, Settings, "")
    return cast(Settings, settings), walker.faults


def below(path: str, key: str) -> str:
    """The path of a key in the table at `path`; a key that TOML would quote is quoted."""
    name = key if _BARE.fullmatch(key) else json.dumps(key[:40])
    return f"{path}.{name}" if path else name


@dataclass(slots=True)
class _Walker:
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: str, expected: str, found: str, remedy: str) -> None:
        self.faults.append(Fault(path, expected, found, remedy))

    def value(self, raw: object, annotation: object, path: str, default: object = _NOTHING) -> object:
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return self.struct(raw, annotation, path)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is tuple:
            return self.items(raw, arguments[0], path)
        if origin is dict:
            return self.table(raw, arguments[0], arguments[1], path)
        return self.leaf(raw, annotation, path, default)

    def struct(self, raw: object, cls: type[msgspec.Struct], path: str) -> msgspec.Struct:
        if not isinstance(raw, dict):
            self.fault(path, "a table", words.kind(raw), _table_remedy(path))
            return _stand_in_struct(cls)
        self.unknown(raw, cls, path)
        hints = get_type_hints(cls, include_extras=True)
        return cls(
            **{info.name: self.field(raw, info, hints[info.name], path) for info in msgspec.structs.fields(cls)}
        )

    def unknown(self, raw: dict[str, object], cls: type[msgspec.Struct], path: str) -> None:
        known = cls.__struct_fields__
        for key in [key for key in raw if key not in known][:MAX_UNKNOWN]:
            self.fault(below(path, key), "a key that exists", "an unknown key", suggestion(key, known))

    def field(self, raw: dict[str, object], info: msgspec.structs.FieldInfo, annotation: object, path: str) -> object:
        here = below(path, info.name)
        if info.name in raw:
            return self.value(raw[info.name], annotation, here, _default(info))
        if info.required:
            self.fault(here, words.expected(annotation), "nothing", f"add `{info.name} = …`")
            return _stand_in(annotation)
        return _default(info)

    def items(self, raw: object, item: object, path: str) -> tuple[object, ...]:
        if not isinstance(raw, list):
            self.fault(path, "a list", words.kind(raw), _list_remedy(path))
            return ()
        return tuple(self.value(value, item, here) for value, here in zip(raw, _item_paths(path, raw), strict=True))

    def table(self, raw: object, key_type: object, value_type: object, path: str) -> dict[object, object]:
        if not isinstance(raw, dict):
            self.fault(path, "a table", words.kind(raw), "write `key = value` pairs")
            return {}
        return {
            self.leaf(key, key_type, below(path, key)): self.value(value, value_type, below(path, key))
            for key, value in raw.items()
        }

    def leaf(self, raw: object, annotation: object, path: str, default: object = _NOTHING) -> object:
        key = path.rpartition(".")[2]
        if raw == default and type(raw) is type(default):
            return raw  # a default may be written down, even one that only stands for "none"
        try:
            value = msgspec.convert(raw, annotation)
        except (msgspec.ValidationError, UnicodeEncodeError):  # the latter: half a character, looked up among words
            self.fault(path, words.expected(annotation), words.found(key, raw), words.remedy(annotation, raw))
            if isinstance(raw, str) and _base(annotation) is str:
                return raw
            return _base(annotation)() if default is _NOTHING else default
        control = _CONTROL_IN_TEXT if annotation == Text else _CONTROL
        if isinstance(value, str) and control.search(value):
            self.fault(path, "text in one line", "a control character in it", "take it out")
        return value


def _base(annotation: object) -> type:
    """The Python type under constraints; text for a choice of words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated or origin in (Union, UnionType):
        return _base(arguments[0])
    if origin is Literal:
        return type(arguments[0])
    return cast(type, origin or annotation)


def _default(info: msgspec.structs.FieldInfo) -> object:
    if info.default is not msgspec.NODEFAULT:
        return info.default
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return _NOTHING


def _stand_in(annotation: object) -> object:
    return _base(annotation)()


def _stand_in_struct(cls: type[msgspec.Struct]) -> msgspec.Struct:
    hints = get_type_hints(cls, include_extras=True)
    return cls(**{info.name: _stand_in(hints[info.name]) for info in msgspec.structs.fields(cls) if info.required})


def _item_paths(path: str, raw: Sequence[object]) -> list[str]:
    label = LABELS.get(path)
    names = [item.get(label) if label and isinstance(item, dict) else "" for item in raw]
    return item_paths(path, [name if isinstance(name, str) else "" for name in names])


def _table_remedy(path: str) -> str:
    return (
        f"write [[{path.partition('[')[0]}]] before its keys"
        if path.endswith("]")
        else f"write [{path}] before its keys"
    )


def _list_remedy(path: str) -> str:
    return f"write [[{path}]] for each" if path in LABELS else 'write it in square brackets: ["…", "…"]'
