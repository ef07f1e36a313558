"""Music on hold that belongs to nobody: thirty seconds of slow chords, computed, without a seam.

Promises: the same piece every time, -20 dBFS, and no tone: each note is several voices beside each other that
waver, so that a tone detector (one frequency's share of all power) finds nothing between 350 and 3300 Hz. It
does not know which queue plays it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ccsvc.app.ports_speech import Wave
from ccsvc.speech.files import write_whole
from ccsvc.speech.formats import DEFAULT_FORMATS, FORMATS, encode
from ccsvc.speech.levels import FULL_SCALE

MUSIC_NAME = "calm-1"
MUSIC_S = 30.0
LEVEL_DBFS = -20.0
_RATE_HZ = 16_000
_CHORD_S = 6.0
_OVERLAP_S = 2.5
_CHORDS_HZ = (  # close chords of five, low enough that in the telephone's band only overtones sound
    (146.8, 174.6, 220.0, 261.6, 329.6),
    (155.6, 196.0, 233.1, 293.7, 349.2),
    (138.6, 164.8, 207.7, 246.9, 311.1),
    (130.8, 164.8, 196.0, 246.9, 293.7),
    (146.8, 185.0, 220.0, 277.2, 329.6),
)
_HARMONICS = (1.0, 0.75, 0.6, 0.45, 0.3, 0.2, 0.14, 0.1)
_VOICES = ((-0.004, 1.0), (0.007, 0.45))  # how far beside the note, as a share of its frequency; how loud
_WAVER_SHARE = 0.006
_WAVER_HZ = 4.6

Floats = npt.NDArray[np.float64]


def compose() -> Wave:
    """The piece: 30 s at 16 kHz. Takes about two seconds of computing."""
    total = np.zeros(int(MUSIC_S * _RATE_HZ))
    for number, chord in enumerate(_CHORDS_HZ):
        sound = _chord(chord, number)
        places = (int(number * _CHORD_S * _RATE_HZ) + np.arange(len(sound))) % len(total)
        total[places] += sound  # the last chord fades out under the first: no seam
    gain = FULL_SCALE * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(np.square(total)))
    return Wave(np.rint(total * gain).astype(np.int16), _RATE_HZ)


def ensure_music(folder: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> tuple[Path, ...]:
    """Put the piece into `folder`, for a `musiconhold.conf` class with `mode=files`. Raises `OSError`.

    What is there in its full length is left alone. Hidden files, which the PBX skips, may appear for a moment.
    """
    paths = tuple(folder / f"{MUSIC_NAME}.{name}" for name in formats)
    missing = [path for path in paths if not _is_whole(path)]
    wave = compose() if missing else None
    for path in missing:
        assert wave is not None
        write_whole(path, encode(wave, path.suffix[1:]))
    return paths


def _is_whole(path: Path) -> bool:
    kind = FORMATS[path.suffix[1:]]
    return path.is_file() and path.stat().st_size == int(MUSIC_S * kind.rate_hz) * kind.bytes_per_sample


def _chord(notes_hz: Sequence[float], number: int) -> Floats:
    times = np.arange(int((_CHORD_S + _OVERLAP_S) * _RATE_HZ)) / _RATE_HZ
    sound = np.zeros(len(times))
    for position, note_hz in enumerate(notes_hz):
        for voice, (beside, share) in enumerate(_VOICES):
            start = 2.399 * (number * 31 + position * 7 + voice)  # any fixed, scattered phase will do
            sound += share * _voice(note_hz * (1 + beside), start, times)
    return sound * _swell(times)


def _voice(note_hz: float, start: float, times: Floats) -> Floats:
    """One wavering voice with its harmonics."""
    waver = _WAVER_SHARE / _WAVER_HZ * note_hz * np.sin(2 * np.pi * _WAVER_HZ * times + start)
    turns = 2 * np.pi * note_hz * times + waver
    parts = [share * np.sin(k * turns + start * k * k) for k, share in enumerate(_HARMONICS, 1)]
    return np.asarray(np.sum(parts, axis=0), np.float64)


def _swell(times: Floats) -> Floats:
    """Up and down at the ends with constant power where two chords overlap."""
    rise = np.clip(times / _OVERLAP_S, 0, 1)
    fall = np.clip((times[-1] - times) / _OVERLAP_S, 0, 1)
    return np.asarray(np.sin(rise * np.pi / 2) * np.sin(fall * np.pi / 2))
