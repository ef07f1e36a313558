"""Reading a TOML file into plain data, with the line of a syntax error.

Promises: every way in which a file can fail to be TOML is an `InvalidConfigError`; what stands in the line is not
repeated, because it may be a secret. Bound: `MAX_BYTES`. It knows nothing of what the keys mean.
"""

import re
import tomllib
from pathlib import Path

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.domain.consistency import Fault

MAX_BYTES = 4 * 1024 * 1024

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_toml(path: Path) -> dict[str, object]:
    """The file's tables as plain data. Raises `InvalidConfigError` with one fault."""
    try:
        text = _bytes(path).decode("utf-8")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfigError(path, [_syntax(path, str(error))]) from None
    except UnicodeDecodeError as error:
        found = f"a byte that is not, at position {error.start}"
        raise InvalidConfigError(path, [Fault(path.name, "UTF-8 text", found, "save the file as UTF-8")]) from None
    except RecursionError:
        fault = Fault(path.name, "tables of tables", "lists nested without end", "take them out")
        raise InvalidConfigError(path, [fault]) from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        remedy = "name the file with --config or CCSVC_CONFIG, or copy ccsvc.example.toml there"
        fault = Fault(path.name, "a readable file", error.strerror or type(error).__name__, remedy)
        raise InvalidConfigError(path, [fault]) from None
    if len(content) > MAX_BYTES:
        fault = Fault(path.name, f"at most {MAX_BYTES} bytes", "more", "is this the right file?")
        raise InvalidConfigError(path, [fault])
    return content


def _syntax(path: Path, message: str) -> Fault:
    at = _AT.search(message)
    what = message[: at.start()] if at else message
    where = f"line {at[1]}, column {at[2]}" if at and at[1] else "end of file"
    place = f"{path.name}:{at[1]}" if at and at[1] else path.name
    return Fault(place, "TOML", f"at {where}: {what[:120]}", "mend that line, or the one before it")
