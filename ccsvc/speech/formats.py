"""Asterisk's headerless sound formats, and reading what people recorded.

Promises: G.711 is encoded bit for bit as libsndfile does it (a test compares all 65,536 values), 16-bit sound
at the right rate passes unchanged, nothing wraps around: what is too loud saturates. Formulas: ITU-T G.711.
This module knows no names, texts or caches.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ccsvc.app.ports_speech import Samples, Wave
from ccsvc.errors import CcsvcError

RECORDED_SUFFIXES = (".wav", ".flac", ".sln16", ".alaw", ".ulaw")
"""What a recorded file may be, best quality first: the first that exists is taken."""
RECORDED_LIMIT_S = 300.0
RECORDED_LIMIT_BYTES = 200_000_000
_BLOCK_FRAMES = 65_536


class AudioUnreadable(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """A sound file that can't be used; the message names the file and the remedy."""

    code = "audio_unreadable"


@dataclass(frozen=True, slots=True)
class Format:
    """A native format: `name` is also the file's extension."""

    name: str
    rate_hz: int
    bytes_per_sample: int


FORMATS = {
    "ulaw": Format("ulaw", 8000, 1),
    "alaw": Format("alaw", 8000, 1),
    "sln16": Format("sln16", 16000, 2),
}
DEFAULT_FORMATS = ("ulaw", "alaw", "sln16")


def duration_s(format_name: str, byte_count: int) -> float:
    """Seconds that a file of that many bytes plays."""
    kind = FORMATS[format_name]
    return byte_count / (kind.rate_hz * kind.bytes_per_sample)


def ulaw_encode(samples: Samples) -> bytes:
    """G.711 mu-law of 16-bit samples at 8 kHz, one byte each."""
    return _ULAW_OF[samples.view(np.uint16)].tobytes()


def ulaw_decode(data: bytes) -> Samples:
    """16-bit samples of mu-law bytes."""
    return _LINEAR_OF_ULAW[np.frombuffer(data, np.uint8)]


def alaw_encode(samples: Samples) -> bytes:
    """G.711 A-law of 16-bit samples at 8 kHz, one byte each."""
    return _ALAW_OF[samples.view(np.uint16)].tobytes()


def alaw_decode(data: bytes) -> Samples:
    """16-bit samples of A-law bytes."""
    return _LINEAR_OF_ALAW[np.frombuffer(data, np.uint8)]


def encode(wave: Wave, format_name: str) -> bytes:
    """The bytes of a file in that format, resampled where the rate differs."""
    samples = resample(wave, FORMATS[format_name].rate_hz).samples
    if format_name == "ulaw":
        return ulaw_encode(samples)
    if format_name == "alaw":
        return alaw_encode(samples)
    return samples.astype("<i2").tobytes()


def decode(data: bytes, format_name: str) -> Wave:
    """The sound of such a file; half a sample at the end is dropped."""
    rate_hz = FORMATS[format_name].rate_hz
    if format_name == "ulaw":
        return Wave(ulaw_decode(data), rate_hz)
    if format_name == "alaw":
        return Wave(alaw_decode(data), rate_hz)
    return Wave(np.frombuffer(data, "<i2", count=len(data) // 2).astype(np.int16), rate_hz)


def resample(wave: Wave, rate_hz: int) -> Wave:
    """The same sound at another rate; the very same one if the rate is right already."""
    if wave.rate_hz == rate_hz:
        return wave
    import soxr

    floats = soxr.resample(wave.samples.astype(np.float32) / 32768, wave.rate_hz, rate_hz, quality="HQ")
    return Wave(_to_int16(floats), rate_hz)


def read_recorded(path: Path) -> Wave:
    """What somebody recorded: any of `RECORDED_SUFFIXES`, any rate, channels mixed. Raises `AudioUnreadable`."""
    try:
        wave = _read(path)
    except (OSError, RuntimeError, ValueError) as error:  # libsndfile's own errors are RuntimeErrors
        raise AudioUnreadable(f"{path}: can't be read ({error}): record it again, as 16-bit WAV") from error
    if not len(wave.samples):
        raise AudioUnreadable(f"{path}: holds no sound: record it again, or remove it")
    return wave


def _read(path: Path) -> Wave:
    if not path.is_file():
        raise OSError("not a regular file")
    if path.stat().st_size > RECORDED_LIMIT_BYTES:
        raise ValueError(f"larger than {RECORDED_LIMIT_BYTES} bytes")
    format_name = path.suffix.removeprefix(".")
    if format_name in FORMATS:
        return _bounded(decode(path.read_bytes(), format_name))
    return _read_container(path)


def _read_container(path: Path) -> Wave:
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        rate_hz = int(file.samplerate)
        _check_header(rate_hz, int(file.channels), int(file.frames))
        blocks = [_mixed(block) for block in file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True)]
    return Wave(np.concatenate(blocks or [np.zeros(0, np.int16)]), rate_hz)


def _check_header(rate_hz: int, channels: int, frames: int) -> None:
    if not 4000 <= rate_hz <= 96_000:
        raise ValueError(f"rate {rate_hz} Hz is outside 4000 to 96000")
    if channels > 2:
        raise ValueError(f"{channels} channels, mono and stereo can be mixed")
    if frames > rate_hz * RECORDED_LIMIT_S:
        raise ValueError(f"longer than {RECORDED_LIMIT_S:.0f} s")


def _mixed(frames: npt.NDArray[np.float32]) -> Samples:
    if not np.isfinite(frames).all():
        raise ValueError("has samples that are not numbers")
    return _to_int16(frames.mean(axis=1))


def _bounded(wave: Wave) -> Wave:
    if wave.duration_s > RECORDED_LIMIT_S:
        raise ValueError(f"longer than {RECORDED_LIMIT_S:.0f} s")
    return wave


def _to_int16(floats: npt.NDArray[np.floating]) -> Samples:
    samples: Samples = np.clip(np.rint(floats * 32768), -32768, 32767).astype(np.int16)
    return samples


def _ulaw_table() -> npt.NDArray[np.uint8]:
    """mu-law of every 16-bit value, indexed by its unsigned view: 14 bits, biased by 33, logarithm by segments."""
    values = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(values) >> 2, 8158) + 33
    segment = np.floor(np.log2(biased)).astype(np.int32) - 5
    code = (segment << 4) | ((biased >> (segment + 1)) & 15)
    table: npt.NDArray[np.uint8] = np.where(values < 0, 0x7F - code, 0xFF - code).astype(np.uint8)
    return table


def _linear_of_ulaw() -> Samples:
    code = 255 - np.arange(256, dtype=np.int32)
    magnitude = ((((code & 15) << 1) + 33) << ((code >> 4) & 7)) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) << 2).astype(np.int16)


def _alaw_table() -> npt.NDArray[np.uint8]:
    """A-law of every 16-bit value, indexed by its unsigned view: 12 bits and sign, even bits inverted."""
    values = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(values) >> 4, 2047)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 3, 0)
    code = (segment << 4) | ((magnitude >> np.maximum(segment - 1, 0)) & 15)
    table: npt.NDArray[np.uint8] = (np.where(values < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)
    return table


def _linear_of_alaw() -> Samples:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code >> 4) & 7
    mantissa = ((code & 15) << 4) + 8
    magnitude = np.where(segment == 0, mantissa, (mantissa + 256) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_ULAW_OF = _ulaw_table()
_LINEAR_OF_ULAW = _linear_of_ulaw()
_ALAW_OF = _alaw_table()
_LINEAR_OF_ALAW = _linear_of_alaw()
