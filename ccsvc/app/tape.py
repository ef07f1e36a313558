"""A tape: every event that the core was told, in order, so that what happened can be played again.

Promises: a tape holds all that the core decides by (its settings without secrets, then one event a line), so the same
version plays it with the same result; a line that could not be written stops the tape, never the centre. It holds
callers' whole numbers and names, and every digit that was pressed, PINs too: treat it as a secret.
"""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, get_args, get_type_hints

import msgspec
from msgspec.structs import replace
from structlog.stdlib import BoundLogger

from ccsvc.app.ports import Core
from ccsvc.domain import events
from ccsvc.domain.commands import Command
from ccsvc.domain.events import Event
from ccsvc.domain.stats import StatsState
from ccsvc.domain.view import CentreView
from ccsvc.settings import (
    HttpSettings,
    PbxSettings,
    PostgresSettings,
    PromptSettings,
    RecordingSettings,
    Settings,
    StateSettings,
)

EVENT_TYPES: dict[str, type[Event]] = {
    name: kind for name, kind in vars(events).items() if isinstance(kind, type) and issubclass(kind, Event)
}


class TapedCore:
    """A core that writes down what it is told before it is told."""

    def __init__(self, core: Core, settings: Settings, path: Path, log: BoundLogger) -> None:
        self._core, self._log = core, log
        self._file: BinaryIO | None = path.open("wb")
        self._put(msgspec.json.encode(without_secrets(settings)))

    def handle(self, event: Event) -> list[Command]:
        self._put(encode(event))
        return self._core.handle(event)

    def view(self, at: datetime, stats: StatsState) -> CentreView:
        return self._core.view(at, stats)

    def _put(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            self._log.error("tape ends here", reason=str(error))
            self._file = None


def without_secrets(settings: Settings) -> Settings:
    """The settings as far as the core reads them: no secrets, and nothing of the machine."""
    return replace(
        settings,
        pbx=PbxSettings(name=settings.pbx.name),
        postgres=PostgresSettings(),
        http=HttpSettings(),
        recording=RecordingSettings(tolerance_s=settings.recording.tolerance_s),
        prompts=PromptSettings(),
        state=StateSettings(),
        device=tuple(replace(d, secret="", secret_file="") for d in settings.device),
        agent=tuple(replace(a, pin="", pin_hash="", pin_file="") for a in settings.agent),
        supervisor=tuple(replace(s, pin="", pin_hash="", pin_file="") for s in settings.supervisor),
    )


def encode(event: Event) -> bytes:
    """One line, without its end."""
    return msgspec.json.encode(
        {"event": type(event).__name__, **{f.name: getattr(event, f.name) for f in fields(event)}}
    )


def read(lines: Iterable[bytes]) -> tuple[Settings, list[Event]]:
    """What a tape holds. Raises `msgspec.DecodeError` or `KeyError` for a line that no tape of this version has."""
    head, *told = lines
    return msgspec.convert(_known(msgspec.json.decode(head), Settings), Settings), [_decode(line) for line in told]


def _known(plain: Any, kind: Any) -> Any:
    """Without keys that settings had once and have no more: old tapes stay playable."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return {key: _known(value, hints[key]) for key, value in plain.items() if key in hints}
    if isinstance(plain, list):
        return [_known(item, get_args(kind)[0]) for item in plain]
    if isinstance(plain, dict):
        return {key: _known(value, get_args(kind)[1]) for key, value in plain.items()}
    return plain


def _decode(line: bytes) -> Event:
    plain = msgspec.json.decode(line)
    kind = EVENT_TYPES[plain.pop("event")]
    hints = get_type_hints(kind)
    return kind(**{name: msgspec.convert(value, hints[name], strict=False) for name, value in plain.items()})
