"""Text to speech with espeak-ng: its library in this process, or else its command.

Promises: Persian, Arabic and English come out trimmed, with their peak at -3 dBFS and unclipped. Text is only
text: markup and phoneme spelling are off, it is never on a command line, and what `texts` forbids is refused.

The library is one global state machine without locks of its own: every call goes through one lock, so a
process synthesises one sentence at a time however many threads ask. Two runs of the same text can differ by
some samples (the library keeps state between sentences). This module does not know files that are kept.
"""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ccsvc.app.ports_speech import Wave
from ccsvc.errors import CcsvcError
from ccsvc.speech.formats import AudioUnreadable, read_recorded
from ccsvc.speech.levels import normalised, peak, trimmed
from ccsvc.speech.texts import spoken, text_fault


class SpeechUnavailable(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """No engine can be used on this machine; the message says what was tried and what to install."""

    code = "speech_unavailable"


class SpeechRefused(CcsvcError):  # noqa: N818
    """The engine works, this text doesn't: the message ends the sentence "its text ..."."""

    code = "speech_refused"


@dataclass(frozen=True, slots=True)
class Voice:
    """How espeak speaks a language: `speed_wpm` in words a minute, `amplitude` 0 to 200 (the engine's own is 100)."""

    name: str
    speed_wpm: int
    amplitude: int


VOICES = {
    "fa": Voice("fa", 150, 40),  # Persian comes out loudest and reaches the engine's limiter at 100
    "ar": Voice("ar", 150, 60),
    "en": Voice("en", 160, 60),
}
_RENDERING = "1"  # raise it with anything that changes how the same text sounds
_RAW_PEAK_LIMIT = 30_000  # above it the engine's own limiter may have bent the wave
_RAW_LIMIT_S = 240.0
_SHORTEST_S = 0.1
_COMMAND_LIMIT_S = 60.0
_LOCK = threading.Lock()


class Engine(Protocol):
    """One way to run espeak-ng. Both are called with the lock held."""

    version: str

    def speak(self, text: str, voice: Voice, amplitude: int) -> Wave:
        """The raw sound, as the engine makes it."""


class EspeakSynthesiser:
    """Prefers the library that comes with `espeakng-loader`, takes the `espeak-ng` command otherwise.

    Loads on first use. `find_library` returns the paths of the shared library and of its data folder.
    """

    def __init__(
        self,
        find_library: Callable[[], tuple[str, str]] | None = None,
        command: str = "espeak-ng",
    ) -> None:
        self._find_library = find_library or wheel_paths
        self._command = command
        self._engine: Engine | None = None

    @property
    def version(self) -> str:
        """Engine, voices and rendering. Raises `SpeechUnavailable`."""
        with _LOCK:
            engine = self._loaded()
        voices = ",".join(f"{v.name}:{v.speed_wpm}:{v.amplitude}" for v in VOICES.values())
        return f"espeak-ng {engine.version} {voices} rendering {_RENDERING}"

    def synthesise(self, text: str, language: str) -> Wave:
        """Say the text. Raises `SpeechUnavailable`, `SpeechRefused`."""
        voice = VOICES.get(language)
        if voice is None:
            raise SpeechRefused(f"is in {language!r}: espeak speaks {', '.join(VOICES)}: record it")
        fault = text_fault(text)
        if fault:
            raise SpeechRefused(fault)
        with _LOCK:
            wave = trimmed(_unlimited(self._loaded(), spoken(text, language), voice))
        if wave.duration_s < _SHORTEST_S:
            raise SpeechRefused("has nothing that can be spoken: write words, or record it")
        return normalised(wave)

    def _loaded(self) -> Engine:
        if self._engine is None:
            self._engine = _library_or_command(self._find_library, self._command)
        return self._engine


def wheel_paths() -> tuple[str, str]:
    """Library and data of the `espeakng-loader` package. Raises `ImportError`, `RuntimeError`."""
    import espeakng_loader

    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def _unlimited(engine: Engine, text: str, voice: Voice) -> Wave:
    """Speak so softly that the engine's limiter doesn't act; the level is set afterwards."""
    wave = engine.speak(text, voice, voice.amplitude)
    if peak(wave.samples) > _RAW_PEAK_LIMIT:
        wave = engine.speak(text, voice, voice.amplitude // 3)
    return wave


def _library_or_command(find_library: Callable[[], tuple[str, str]], command: str) -> Engine:
    try:
        return _library_engine(*find_library())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        why = f"its library can't be loaded ({error})"
    program = shutil.which(command)
    if program is None:
        raise SpeechUnavailable(
            f"espeak-ng can't be used: {why} and there is no command {command!r}: "
            "install the package espeakng-loader, or your system's espeak-ng, or record every sentence"
        )
    return CommandEngine(program)


_LIBRARIES: dict[str, "LibraryEngine"] = {}  # a second initialisation would pull the data from under the first


def _library_engine(library_path: str, data_path: str) -> "LibraryEngine":
    engine = _LIBRARIES.get(library_path)
    if engine is None:
        engine = _LIBRARIES[library_path] = LibraryEngine(library_path, data_path)
    if engine.data_path != data_path:
        raise RuntimeError(f"this process runs it with the data in {engine.data_path} already")
    return engine


_PATH_LIMIT_BYTES = 120
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_RATE, _VOLUME = 1, 2
_POSITION_IS_CHARACTER = 1
_UTF8_WITHOUT_MARKUP = 1  # 0x10 would be SSML, 0x100 phonemes
_ON_SOUND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class LibraryEngine:
    """libespeak-ng in synchronous mode: it calls back with samples until the sentence is done."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self.data_path = data_path
        self._library = _declared(ctypes.CDLL(library_path))
        self._rate_hz, self.version = _initialised(self._library, data_path)
        self._limit_bytes = int(self._rate_hz * _RAW_LIMIT_S) * 2
        self._sound = bytearray()
        self._on_sound = _ON_SOUND(self._collect)  # kept here, or it is freed under the library
        self._library.espeak_SetSynthCallback(self._on_sound)

    def speak(self, text: str, voice: Voice, amplitude: int) -> Wave:
        """The raw sound. Raises `SpeechUnavailable`, `SpeechRefused`."""
        self._sound.clear()
        self._check("voice", self._library.espeak_SetVoiceByName(voice.name.encode()))
        self._check("speed", self._library.espeak_SetParameter(_RATE, voice.speed_wpm, 0))
        self._check("amplitude", self._library.espeak_SetParameter(_VOLUME, amplitude, 0))
        data = text.encode()
        result = self._library.espeak_Synth(
            data, len(data) + 1, 0, _POSITION_IS_CHARACTER, 0, _UTF8_WITHOUT_MARKUP, None, None
        )
        self._check("text", result)
        if len(self._sound) >= self._limit_bytes:
            raise SpeechRefused(f"takes longer than {_RAW_LIMIT_S:.0f} s to say: split it, or record it")
        return Wave(np.frombuffer(bytes(self._sound), np.int16), self._rate_hz)

    def _collect(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._sound += ctypes.string_at(samples, count * 2)
        return int(len(self._sound) >= self._limit_bytes)

    def _check(self, what: str, result: int) -> None:
        if result != 0:
            raise SpeechUnavailable(f"espeak-ng refused the {what} (error {result}): reinstall espeakng-loader")


def _initialised(library: ctypes.CDLL, data_path: str) -> tuple[int, str]:
    """Its sampling rate and version. The library reports success without its data, so its answers are checked."""
    if not (Path(data_path) / "phontab").is_file():
        raise RuntimeError(f"no voices in {data_path}")
    short = _short(data_path).encode()
    rate_hz = int(library.espeak_Initialize(_SYNCHRONOUS, 0, short, _DO_NOT_EXIT))
    taken = ctypes.c_char_p()
    version = bytes(library.espeak_Info(ctypes.byref(taken))).decode("ascii", "replace").split()[0]
    if rate_hz <= 0 or taken.value != short:
        raise RuntimeError(f"it did not take its data from {data_path}")
    return rate_hz, version


def _short(data_path: str) -> str:
    """The library keeps 160 bytes for a file's path: a longer folder is reached by a descriptor that stays open."""
    if len(data_path.encode()) < _PATH_LIMIT_BYTES:
        return data_path
    return f"/proc/self/fd/{os.open(data_path, os.O_RDONLY | os.O_DIRECTORY)}"


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Argument types of what is called, so that pointers and sizes have their full width."""
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    word, size = ctypes.c_uint, ctypes.c_size_t
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "espeak_Initialize": (number, [number, number, text, number]),
        "espeak_Info": (text, [pointer]),
        "espeak_SetSynthCallback": (None, [_ON_SOUND]),
        "espeak_SetVoiceByName": (number, [text]),
        "espeak_SetParameter": (number, [number, number, number]),
        "espeak_Synth": (number, [text, size, word, number, word, word, pointer, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class CommandEngine:
    """The `espeak-ng` command: text on standard input, a WAV file in a private folder."""

    def __init__(self, program: str) -> None:
        self._program = program
        found = re.search(r"\d+(\.\d+)+", self._run("--version").decode("ascii", "replace"))
        if found is None:
            raise SpeechUnavailable(f"{program} does not tell its version: is it espeak-ng?")
        self.version = f"{found.group()} command"

    def speak(self, text: str, voice: Voice, amplitude: int) -> Wave:
        """The raw sound. Raises `SpeechUnavailable`."""
        options = ["-v", voice.name, "-s", str(voice.speed_wpm), "-a", str(amplitude), "-b", "1", "--stdin"]
        with tempfile.TemporaryDirectory(prefix="ccsvc-speech-") as folder:
            path = Path(folder) / "speech.wav"
            self._run(*options, "-w", str(path), given=text.encode())
            try:
                return read_recorded(path)
            except AudioUnreadable as error:
                raise SpeechUnavailable(f"{self._program} wrote no sound ({error})") from error

    def _run(self, *options: str, given: bytes = b"") -> bytes:
        try:
            return subprocess.run(  # noqa: S603  a fixed program, fixed options, text only on its input
                [self._program, *options], input=given, capture_output=True, check=True, timeout=_COMMAND_LIMIT_S
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise SpeechUnavailable(f"{self._program} failed ({error}): reinstall espeak-ng") from error
