"""What may be written into one of Asterisk's configuration files, and what may not.

Promises: a value that passes can only ever be a value: it starts no comment, no section, no new line, no include
and no dialplan expression, and reads back as it was. Every refusal is a `ConfigError` that says the path, what was
expected and what was found (never the text of a secret). This module knows neither templates nor files.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from ccsvc.errors import ConfigError

MAX_VALUE_CHARS = 256

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_DIALABLE = re.compile(r"\+?[0-9]{1,20}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_RESERVED_NAMES = frozenset({"general", "globals", "global", "system"})  # sections with a meaning of their own
_SYNTAX = ";[]\\"  # comment, section, escape
_EXPRESSIONS = ("${", "$[")
_PATH_SYNTAX = frozenset(";[]\\,&|=<>\"'$#() ")
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Check = Callable[[str, str], str]


def name(path: str, value: str) -> str:
    """A section, context or queue name: a-z, 0-9, _ and -, at most 32, and none that means something else."""
    if not _NAME.fullmatch(value):
        raise ConfigError(path, f"must be a-z, 0-9, _ or -, at most 32 of them, found {value!r}")
    if value in _RESERVED_NAMES:
        raise ConfigError(path, f"{value!r} is a section of the PBX's own: choose another name")
    return value


def dialable(path: str, value: str) -> str:
    """A telephone number: digits, perhaps after one +, at most 20."""
    if not _DIALABLE.fullmatch(value):
        raise ConfigError(path, f"must be 1 to 20 digits, perhaps after a +, found {value!r}")
    return value


def text(path: str, value: str) -> str:
    """Free text on one line."""
    fault = _fault(value)
    if fault:
        raise ConfigError(path, f"{fault}, found {value!r}")
    return value


def secret(path: str, value: str) -> str:
    """A password. An empty one is refused; no message shows it."""
    if not value:
        raise ConfigError(path, "is empty: set it, or the file or environment variable that it is read from")
    fault = _fault(value)
    if fault:
        raise ConfigError(path, f"{fault} (the value is not shown)")
    return value


def folder(path: str, value: str) -> str:
    """An absolute path of plain characters (a space or a comma would end it somewhere)."""
    pure = PurePosixPath(value)
    if not pure.is_absolute() or ".." in pure.parts:
        raise ConfigError(path, f"must be an absolute path without '..', found {value!r}")
    strange = sorted({char for char in value if char in _PATH_SYNTAX or _is_invisible(char)})
    if strange:
        shown = " ".join(repr(char) for char in strange)
        raise ConfigError(path, f"the PBX can't read a path with {shown} in it, found {value!r}")
    return str(pure)


def port(path: str, value: int) -> str:
    """A port that is known before the start: 0 ("any") can't be written down for another program."""
    if not 1 <= value <= 65535:
        raise ConfigError(path, f"must be 1 to 65535, found {value}")
    return str(value)


def address(path: str, value: str) -> str:
    """An IP address of either family."""
    return str(_address(path, value))


def private_address(path: str, value: str) -> str:
    """Loopback or a private network (RFC 1918, RFC 4193): neither AMI nor AGI is encrypted."""
    found = _address(path, "127.0.0.1" if value == "localhost" else value)
    if not any(found in network for network in _PRIVATE):
        raise ConfigError(
            path, f"must be on loopback or a private network, found {value!r}: AMI and AGI are plain text"
        )
    return str(found)


def host_and_port(path: str, value: str) -> str:
    """`host`, `host:port` or an address, as a SIP URI wants it."""
    host, _, port_text = value.partition(":")
    if value.count(":") > 1:
        return f"[{_address(path, value.strip('[]'))}]"
    if not _HOST.fullmatch(host) or (":" in value and not _is_port(port_text)):
        raise ConfigError(path, f"must be a host name or an address, perhaps with a :port, found {value!r}")
    return value


def network(path: str, value: str) -> str:
    """Where a trunk calls from: an address, a network that is not everybody, or a host name."""
    try:
        found = ipaddress.ip_network(value, strict=False)
    except ValueError:
        if not _HOST.fullmatch(value) or value.replace(".", "").isdigit():
            raise ConfigError(path, f"must be an address, a network or a host name, found {value!r}") from None
        return value
    if found.prefixlen == 0:
        raise ConfigError(path, f"{value!r} is everybody: name the provider's addresses")
    return str(found)


def _fault(value: str) -> str:
    """What is wrong with a value for any place in a file, or nothing."""
    if len(value) > MAX_VALUE_CHARS:
        return f"must be at most {MAX_VALUE_CHARS} characters"
    if any(_is_invisible(char) for char in value):
        return "must be one line without control characters"
    if any(char in value for char in _SYNTAX):
        return f"must not contain any of {' '.join(_SYNTAX)}"
    if any(expression in value for expression in _EXPRESSIONS):
        return "must not contain a dialplan expression (${ or $[)"
    if value != value.strip() or value.startswith(("#", "=", ">")):
        return "must not begin or end with a space, nor begin with # = or >"
    return ""


def _is_invisible(char: str) -> bool:
    """Control, format and unassigned characters, surrogates, line and paragraph ends; joiners of Persian are fine."""
    return char not in "\u200c\u200d" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _address(path: str, value: str) -> Address:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        raise ConfigError(path, f"must be an IP address, found {value!r}") from None
    if "%" in value:
        raise ConfigError(path, f"must be an IP address without a zone, found {value!r}")
    return found


def _is_port(port_text: str) -> bool:
    return port_text.isascii() and port_text.isdigit() and 1 <= int(port_text) <= 65535
