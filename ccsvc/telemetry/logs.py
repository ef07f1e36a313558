"""JSON lines on standard error: one line an event, whatever a caller put into it.

Promises: every line is one JSON object with `timestamp` (UTC), `level`, `event` and, inside `about_call`, `call_id`;
libraries that use Python's own logging come out the same way; what `masking` takes out never appears; no text can
begin a second line or turn the direction of a terminal. It does not know what the events mean.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import TextIO
from urllib.parse import urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ccsvc.settings import Settings
from ccsvc.telemetry.masking import Masker, masker

HANDLER = "ccsvc"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_FIRST = ("timestamp", "level", "event", "call_id")
_UNSAFE = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Legal in JSON, yet line ends, terminal controls, direction marks or half characters to whoever shows the line."""


def configure(level: str = "info", *, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Send structlog's and Python's logging to `stream` (standard error) as JSON lines; may be called again.

    `secrets` are texts that must never appear, from wherever they come: see `secrets_of`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(stream or sys.stderr)
    handler.set_name(HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_last_steps(masker(secrets)))
    )
    _install(handler, LEVELS[level])


def about_call(call_id: str) -> AbstractContextManager[object]:
    """Every line logged inside, by this task, carries the call's id."""
    return structlog.contextvars.bound_contextvars(call_id=call_id)


def secrets_of(settings: Settings) -> Iterator[str]:
    """Every text in the settings that a log must never show. Short PINs are found by their key only."""
    yield settings.pbx.ami_secret
    yield settings.postgres.dsn
    with suppress(ValueError):  # not an address with a password in it: then the whole DSN above is what is hidden
        yield urlsplit(settings.postgres.dsn).password or ""
    for device in settings.device:
        yield device.secret
    for agent in settings.agent:
        yield from (agent.pin, agent.pin_hash)
    for supervisor in settings.supervisor:
        yield from (supervisor.pin, supervisor.pin_hash)


def _last_steps(masking: Masker) -> list[Processor]:
    def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        full_numbers = event.get("level") == "debug"
        ordered = [key for key in _FIRST if key in event] + [key for key in event if key not in _FIRST]
        return {str(key): masking.mask(str(key), event[key], full_numbers=full_numbers) for key in ordered}

    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        mask,
        _render,
    ]


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    line = json.dumps(event, ensure_ascii=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


class _Handler(logging.StreamHandler[TextIO]):
    """Python's own handler prints a failed record unmasked; this one says only that a line was lost."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        error = sys.exc_info()[0]
        lost = {
            "level": "error",
            "event": "a log line could not be written",
            "error": error.__name__ if error else "",
        }
        with suppress(OSError, ValueError):  # the stream itself is broken or closed: there is nowhere left to say it
            self.stream.write(json.dumps(lost | {"logger": record.name}) + self.terminator)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for old in [known for known in root.handlers if known.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
