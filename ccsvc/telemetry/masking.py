"""What must not be read in a log line is taken out of it, by the name of its field and by the look of the text.

Promises: for any value, plain JSON data comes back, bounded in depth, width and length. Under a key that speaks of a
secret nothing is left; known secrets, passwords in addresses and `pin=…` are taken out of every text; caller
numbers keep their last two digits unless `full_numbers`. It does not know where the line goes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from math import isfinite

import msgspec

HIDDEN = "***"
MAX_TEXT = 2000
MAX_TRACEBACK = 8000
MAX_ITEMS = 50
MAX_DEPTH = 5
SHORTEST_SECRET = 6
"""A known secret below this length is found by its key only: it would tear holes into innocent text."""

_SENSITIVE = r"(?:password|passwd|secret|pin|token|dsn|digits)"
_SECRET_KEY = re.compile(rf"(?:.*_)?{_SENSITIVE}s?(?:_.*)?", re.IGNORECASE | re.DOTALL)
_ASSIGNED = re.compile(
    rf"(?<![A-Za-z])({_SENSITIVE}s?(?:_[a-z]{{1,20}})?[\"']?\s{{0,3}}[:=]\s{{0,3}})"
    r"(?:\"[^\"]{0,500}\"?|'[^']{0,500}'?|[^\s\"',;)}\]]+)",
    re.IGNORECASE,
)
_SPOKEN_PIN = re.compile(r"(?<![A-Za-z])(pin\s{1,3}(?:is\s{1,3})?)\d{4,12}(?!\d)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(://[^\s:/@]{0,100}):\S{1,200}@")
_NUMBER = re.compile(r"\+\d[\d\s().-]{5,}\d|(?<![^\W_])(?<!\d\.)\d{7,}(?!\w|\.\d)")
_DIGITS = re.compile(r"\d[\d\s().-]*\d")
_DIGIT = re.compile(r"\d")
_CALLER_KEYS = frozenset(
    {"caller", "caller_number", "caller_id", "callee", "clid", "customer", "dst", "phone", "src"}
)
_NAME_KEYS = frozenset({"caller_name"})


def mask_number(number: str) -> str:
    """The last two digits, so that two lines about one caller can be told apart from two callers."""
    digits = [character for character in number if character.isdigit()]
    return "•••" + ("".join(digits[-2:]) if len(digits) > 2 else "") if number else ""


@dataclass(frozen=True, slots=True)
class Masker:
    """Masks values. `known` are the secrets of the configuration, `pattern` finds them wherever they stand."""

    known: tuple[str, ...] = ()
    pattern: re.Pattern[str] = field(default_factory=lambda: re.compile("(?!)"))

    def mask(self, key: str, value: object, *, full_numbers: bool = False, depth: int = 0) -> object:
        """The value as plain JSON data with everything taken out that must not be read."""
        if _SECRET_KEY.fullmatch(key) and not (value is None or value == "" or isinstance(value, bool)):
            return HIDDEN
        if isinstance(value, str):
            return self._text(key, value, full_numbers=full_numbers)
        if value is None or isinstance(value, (bool, int, float)):
            return _number(key, value, full_numbers=full_numbers)
        if depth >= MAX_DEPTH:
            return type(value).__name__
        parts = _parts(value)
        if isinstance(parts, dict):
            return {
                str(name): self.mask(str(name), part, full_numbers=full_numbers, depth=depth + 1)
                for name, part in list(parts.items())[:MAX_ITEMS]
            }
        if isinstance(parts, list):
            return [self.mask(key, part, full_numbers=full_numbers, depth=depth + 1) for part in parts[:MAX_ITEMS]]
        return self._text(key, parts, full_numbers=full_numbers)

    def _text(self, key: str, text: str, *, full_numbers: bool) -> str:
        limit = MAX_TRACEBACK if key == "exception" else MAX_TEXT
        masked = self._hidden(text[: 2 * limit], key, full_numbers=full_numbers)
        return masked if len(masked) <= limit else f"{masked[:limit]}… ({len(text)} characters)"

    def _hidden(self, text: str, key: str, *, full_numbers: bool) -> str:
        masked = self.pattern.sub(HIDDEN, text) if any(secret in text for secret in self.known) else text
        masked = _CREDENTIALS.sub(rf"\1:{HIDDEN}@", masked)
        masked = _SPOKEN_PIN.sub(rf"\1{HIDDEN}", _ASSIGNED.sub(rf"\1{HIDDEN}", masked))
        if full_numbers:
            return masked
        if key in _CALLER_KEYS and len(_DIGIT.findall(masked)) > 2:
            return mask_number(masked)
        numbers = _DIGITS if key in _NAME_KEYS else _NUMBER
        return numbers.sub(lambda found: mask_number(found[0]), masked)


def masker(secrets: Iterable[str] = ()) -> Masker:
    """A masker that also finds these secrets, inside of any text; those of digits only where they stand alone."""
    wanted = tuple(sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True))
    patterns = [rf"(?<!\d){secret}(?!\d)" if secret.isdecimal() else re.escape(secret) for secret in wanted]
    return Masker(wanted, re.compile("|".join(patterns))) if wanted else Masker()


def _number(key: str, value: float | None, *, full_numbers: bool) -> object:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if key in _CALLER_KEYS and isinstance(value, int) and not isinstance(value, bool) and not full_numbers:
        return mask_number(str(value))
    return value


def _parts(value: object) -> dict[object, object] | list[object] | str:
    """What a value is made of: named parts, a row of parts, or a text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, msgspec.Struct):
        return {"type": type(value).__name__, **{name: getattr(value, name) for name in value.__struct_fields__}}
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{f.name: getattr(value, f.name) for f in fields(value)}}
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return repr(value)
