"""What the use cases need from speech: a text and its language go in, a file that the PBX can play comes out.

Promises: names only. This module knows neither espeak nor files; `ccsvc.speech` implements both ports.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """Mono sound: `samples` is a one-dimensional int16 array, `rate_hz` its sampling rate."""

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sentence of the service: `name` is what commands say, `text` is what the caller hears in `language`."""

    name: str
    language: str
    text: str


class Synthesiser(Protocol):
    """Text to speech. Blocking: call it from a worker thread, never from the event loop."""

    @property
    def version(self) -> str:
        """Changes whenever the same text would sound different. Raises `SpeechUnavailable`."""

    def synthesise(self, text: str, language: str) -> Wave:
        """Say the text. Raises `SpeechUnavailable` without an engine, `SpeechRefused` for a text it can't say."""


class PromptPaths(Protocol):
    """Where the sentences lie, once made."""

    def path(self, name: str, language: str) -> str:
        """An absolute path without extension, as `Playback` wants it. Raises `PromptMissing`."""

    def duration_s(self, name: str, language: str) -> float:
        """How long it plays, in seconds. Raises `PromptMissing`."""
