"""Secrets: made where they are missing, and the PINs kept where only a check can reach them.

Promises: a made secret has at least 128 bits (a PIN: six digits), its file can be read by its owner only, and a file
that exists is never touched. A PIN is compared in constant time or by argon2 in a worker thread, at most a few
at once; it is never part of an error, a log line or a repr. This module does not count wrong tries.
"""

import asyncio
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ccsvc.config.invalid import InvalidConfigError
from ccsvc.config.resolve import Person, SecretFile, secret_files
from ccsvc.config.tomlfile import read_toml
from ccsvc.config.walk import walk
from ccsvc.domain.consistency import Fault
from ccsvc.settings import Settings

TOKEN_BYTES = 24
PIN_DIGITS = 6
CHECKS_AT_ONCE = 2


def ensure_secrets(config: Path) -> list[Path]:
    """Make every missing secret file that the configuration names; returns those made, in the file's order.

    A DSN can't be made up: a missing `dsn_file` is left for `load` to report, and so is any other fault of the
    configuration. Raises `InvalidConfigError` if the file is not TOML or a secret can't be written.
    """
    settings, _ = walk(read_toml(config))
    wanted = [s for s in secret_files(settings, config.absolute().parent) if s.kind != "dsn"]
    made, failed = [], []
    for secret in wanted:
        try:
            if _make(secret):
                made.append(secret.file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
            failed.append(
                Fault(secret.path, "a file that can be written", f"{secret.file}: {reason}", "mend the path")
            )
    if failed:
        raise InvalidConfigError(config, failed)
    return made


def _make(secret: SecretFile) -> bool:
    """Write a new secret; False if the file is there already. Raises `OSError`."""
    if secret.file.exists():
        return False
    secret.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    value = new_pin() if secret.kind == "pin" else secrets.token_urlsafe(TOKEN_BYTES)
    descriptor = os.open(secret.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{value}\n")
    return True


def new_pin() -> str:
    return f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"


def hash_pin(pin: str) -> str:
    """The text for `pin_hash`. Costs about 0.1 s."""
    return PasswordHasher().hash(pin)


class PinKeeper:
    """Implements the `Secrets` port. Roles are `agent` and `supervisor`; an unknown person has no PIN that fits."""

    def __init__(self, settings: Settings, *, checks_at_once: int = CHECKS_AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(checks_at_once)
        self._hasher = PasswordHasher()
        self._kept: dict[tuple[str, str], tuple[str, str]] = {}
        self.replace(settings)

    def replace(self, settings: Settings) -> None:
        """Keep the PINs of these settings instead: for a reload."""
        self._kept = {**_pins("agent", settings.agent), **_pins("supervisor", settings.supervisor)}

    async def check_pin(self, role: str, person: str, pin: str) -> bool:
        """Whether this is the PIN of that person. Up to about 0.1 s of a worker thread; waits for a free one."""
        given = pin.encode("utf-8", "replace")
        plain, hashed = self._kept.get((role, person), ("", ""))
        if hashed:
            async with self._slots:
                return await asyncio.to_thread(self._verify, hashed, given)
        same = hmac.compare_digest(plain.encode(), given)
        return same and bool(plain)

    def _verify(self, hashed: str, pin: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, pin)
        except (VerificationError, InvalidHashError):
            return False

    def __repr__(self) -> str:
        return f"PinKeeper({len(self._kept)} people)"


def _pins(role: str, people: Iterable[Person]) -> dict[tuple[str, str], tuple[str, str]]:
    return {(role, person.number): (person.pin, person.pin_hash) for person in people}
