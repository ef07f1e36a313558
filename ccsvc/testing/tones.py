"""Who hears whom: pure tones made, mixed by a telephone network, and found again.

Promises: a continuous sine of one of the candidate frequencies is found in 8 kHz audio after G.711, in a mix of
up to about eight such tones, and when the stream has a lost or late frame in it; noise, speech and frequencies
beside a candidate are not reported, music hardly ever (none in 45 minutes of prompts and hold music, one half
second in 600 of random chords). Everything here is pure: arrays in, sets out, no clock, no task (``Heard`` is
handed both its clock and its source).

Does not know: phones, SIP, which frequency belongs to whom.

How a tone is told from other sound. Audio is cut into frames of ``FRAME_S`` with half of each shared with the
next. A frame is weighed with a Hann window, under which a steady sine has a known shape: its power at
``bin = 1 / FRAME_S`` Hz to either side is a quarter, and at two bins to either side nothing at all. A candidate
is in a frame when all of these hold:

- *share*: the sine explains at least ``MIN_SHARE`` of the energy of the whole frame (three equal tones have a
  third each; a harmonic of speech or the quantisation noise of a codec has hardly any for long);
- *level*: its amplitude is at least ``MIN_AMPLITUDE`` (the idle noise of G.711 is below it);
- *purity*: two bins to either side the power has dropped by at least ``MIN_DROP_DB`` (glides, vibrato, noise
  and the onset of a sound fill these gaps);
- *pitch*: one bin to either side the amplitudes differ by at most ``MAX_LEAN`` of their sum, so that the
  sine is within about 1 Hz of the candidate (a note of a tune beside it is not).

It is in a stretch of audio when it is in at least half of that stretch's frames: one lost packet spoils two
frames of the four in half a second, and is forgiven; a sound that happens to pass by is not.
"""

import threading
import wave
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Mono PCM, full scale 32768."""

RATE_HZ = 8000
FULL_SCALE = 32768.0

FRAME_S = 0.2
SHORTEST_S = 0.1
BLOCK = 256
MIN_SHARE = 0.04
MIN_AMPLITUDE = 0.005
MIN_DROP_DB = 12.0
MAX_LEAN = 0.35

TONE_AMPLITUDE = 0.25
"""Of full scale: five phones in a conference hear four others at once without clipping."""

# Found by search, under: 45 Hz or more apart; 22 Hz or more from a DTMF frequency and 15 from ringing, busy and
# fax tones; twice and three times any of them, folded at 4 kHz, 10 Hz or more from all of them; and between
# the semitones of concert pitch (20 cents or more from each), so that music in tune does not hit one.
PALETTE: tuple[int, ...] = (
    502, 547, 596, 643, 719, 794, 891, 965, 1019, 1064, 1122, 1259, 1359, 1415, 1516, 1598, 1681, 1727, 1815,
    1887, 1940, 2006, 2051, 2118, 2167, 2255, 2300, 2392, 2437, 2528, 2574, 2684, 2729, 2840, 2885, 3002, 3047,
    3098, 3176, 3231, 3276,
)  # fmt: skip
"""Frequencies in Hz for phones that talk at the same time: whole numbers, so one second of each loops cleanly."""


def tone_wave(hz: int, seconds: float, *, amplitude: float = TONE_AMPLITUDE, rate: int = RATE_HZ) -> Samples:
    """A sine that starts at phase zero; ``hz`` 0 is silence. ``amplitude`` is a share of full scale, 0 to 1."""
    phase = 2 * np.pi * hz * np.arange(round(seconds * rate)) / rate
    return np.asarray(np.round(amplitude * (FULL_SCALE - 1) * np.sin(phase)), dtype=np.int16)


def goertzel_power(samples: Samples, hz: float, rate: int = RATE_HZ) -> float:
    """The mean power of the sine of ``hz`` in ``samples``, full scale 1: a sine of amplitude a has a²/2.

    The Goertzel sum over a Hann window, written as a sum (numpy is faster at that than at the recursion).
    """
    windowed, _ = _windowed(samples[np.newaxis, :])
    probe = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / rate)
    return float(np.abs(np.sum(windowed[0] * probe)) ** 2 / 2)


def tones_present(samples: Samples, candidates_hz: Iterable[int], rate: int = RATE_HZ) -> set[int]:
    """Which candidates sound through at least half of ``samples`` (see the top of this module for the rules).

    Give candidates that are 40 Hz apart or more (``PALETTE`` is), all of those that can be there. Under
    ``SHORTEST_S`` of audio nothing can be told, and nothing is reported. Raises ValueError for a candidate
    under 50 Hz or within 50 Hz of half the rate.
    """
    wanted = tuple(sorted(set(candidates_hz)))
    if len(samples) < SHORTEST_S * rate or not wanted:
        return set()
    found = _found_by_frame(_frames(samples, rate), wanted, rate)
    often = found.sum(axis=0) * 2 >= len(found)
    return {hz for hz, is_there in zip(wanted, often, strict=True) if is_there}


def tones_by_second(
    samples: Samples, candidates_hz: Collection[int], rate: int = RATE_HZ, window_s: float = 0.5
) -> list[set[int]]:
    """Who is heard when: one set per ``window_s`` from the start (the default gives two a second).

    A rest at the end that is shorter than ``SHORTEST_S`` is left out.
    """
    size = round(window_s * rate)
    starts = range(0, len(samples) - round(SHORTEST_S * rate) + 1, size)
    return [tones_present(samples[at : at + size], candidates_hz, rate) for at in starts]


def level(samples: Samples) -> float:
    """The RMS of ``samples`` as a share of full scale; 0 for none. A phone's own tone has 0.18."""
    if not len(samples):
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64) / FULL_SCALE))))


def read_wav(path: Path, rate: int = RATE_HZ) -> Samples:
    """The samples of a mono 16-bit WAV, as the PBX records them.

    A recording that is still being written has a header that says it is empty; what is there all the same is
    returned. Raises ValueError, with the path, for another format.
    """
    raw = path.read_bytes()
    with wave.open(str(path), "rb") as reader:
        found = (reader.getnchannels(), reader.getsampwidth(), reader.getframerate())
    if found != (1, 2, rate):
        raise ValueError(f"{path}: must be mono, 16 bit, {rate} Hz; is (channels, bytes, rate) {found}")
    start = raw.index(b"data") + 8
    return np.frombuffer(raw[start : len(raw) - (len(raw) - start) % 2], dtype="<i2").astype(np.int16)


class Heard:
    """What one phone heard, on a continuous clock: silence wherever no audio arrived.

    Audio that is late on a busy machine looks like a gap at first. When it comes after all there is more than the
    clock allows, and the silence put in for it is taken out again, the latest first. May be used from any thread.

    ``pull`` hands over the PCM (16 bit, 8 kHz) that arrived since it was last asked, ``clock`` is monotonic
    seconds. Sample ``i`` was heard at ``started_at + i / RATE_HZ``, right to ``SLACK_S`` (packets are not
    moved about for less). When more than ``keep_s`` are there, the oldest quarter goes and ``started_at`` moves.
    """

    SLACK_S = 0.06

    def __init__(self, pull: Callable[[], bytes], clock: Callable[[], float], *, keep_s: float = 900.0) -> None:
        self._pull = pull
        self._clock = clock
        self._keep_s = keep_s
        self._pcm = bytearray()
        self._gaps: deque[tuple[int, int]] = deque(maxlen=100)  # (start, length) in bytes, oldest first
        self._ended_at: float | None = None
        self._lock = threading.Lock()
        self.started_at: float | None = None
        """When listening began, on the clock given; None before."""
        self.received_s = 0.0
        """Seconds of audio that really arrived; the rest of the recording is silence filled in."""

    def begin(self, at: float) -> None:
        """Start the clock; a second call changes nothing."""
        if self.started_at is None:
            self.started_at = at

    def finish(self, at: float) -> None:
        """Take over what has arrived and stop the clock, at ``at``: nothing is added from here on."""
        with self._lock:
            self._advance()
            self._ended_at = at

    def catch_up(self) -> None:
        """Take over what has arrived, and fill a gap with silence. Cheap; every question below does it too."""
        with self._lock:
            self._advance()

    def samples(self) -> Samples:
        """All of it, oldest first."""
        return self._cut(0, None)

    def last(self, seconds: float) -> Samples:
        """The latest ``seconds``, fewer if there are not so many yet."""
        wanted = round(seconds * RATE_HZ)
        return self._cut(-wanted, None) if wanted else np.zeros(0, dtype=np.int16)

    def between(self, start: float, end: float) -> Samples:
        """What was heard from ``start`` to ``end`` (instants of the clock given), cut to what is kept."""
        if self.started_at is None:
            return np.zeros(0, dtype=np.int16)
        self.catch_up()  # first: it may move ``started_at``
        first, stop = (max(0, round((at - self.started_at) * RATE_HZ)) for at in (start, end))
        return self._cut(first, stop)

    def tones(self, candidates_hz: Collection[int], *, last_s: float = 0.5) -> set[int]:
        """Which candidates were heard in the latest ``last_s``."""
        return tones_present(self.last(last_s), candidates_hz)

    def timeline(self, candidates_hz: Collection[int], *, window_s: float = 0.5) -> list[set[int]]:
        """Who was heard when, one set per ``window_s`` from ``started_at``."""
        return tones_by_second(self.samples(), candidates_hz, window_s=window_s)

    def _cut(self, first: int, stop: int | None) -> Samples:
        with self._lock:
            self._advance()
            pcm = bytes(self._pcm[2 * first : stop if stop is None else 2 * stop])
        return np.frombuffer(pcm, dtype=np.int16)

    def _advance(self) -> None:
        if self.started_at is None or self._ended_at is not None:
            return
        arrived = self._pull()
        missing = int((self._clock() - self.started_at) * RATE_HZ) - (len(self._pcm) + len(arrived)) // 2
        if missing > self.SLACK_S * RATE_HZ:
            self._gaps.append((len(self._pcm), 2 * missing))
            self._pcm += bytes(2 * missing)
        self._pcm += arrived
        self.received_s += len(arrived) / 2 / RATE_HZ
        self._close_gaps(-2 * missing)
        self._forget_oldest()

    def _close_gaps(self, surplus: int) -> None:
        while surplus > 0 and self._gaps:
            start, length = self._gaps.pop()
            taken = min(surplus, length)
            del self._pcm[start : start + taken]
            surplus -= taken
            if taken < length:
                self._gaps.append((start, length - taken))

    def _forget_oldest(self) -> None:
        if len(self._pcm) > 2 * RATE_HZ * self._keep_s and self.started_at is not None:
            quarter = round(RATE_HZ * self._keep_s / 4)
            del self._pcm[: 2 * quarter]
            later = [(start - 2 * quarter, length) for start, length in self._gaps if start >= 2 * quarter]
            self._gaps = deque(later, maxlen=self._gaps.maxlen)
            self.started_at += quarter / RATE_HZ


def _frames(samples: Samples, rate: int) -> npt.NDArray[np.int16]:
    """``samples`` as overlapping rows of ``FRAME_S``; one shorter row where there is less than that."""
    size = min(round(FRAME_S * rate), len(samples))
    every = np.lib.stride_tricks.sliding_window_view(samples, size)
    return every[:: max(1, size // 2)]


def _windowed(frames: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Frames under a Hann window scaled so that a sine's sum is its amplitude; and their mean powers."""
    hann = np.hanning(frames.shape[1] + 1)[:-1]
    full = frames.astype(np.float64) / FULL_SCALE
    energy = np.square(full * hann).sum(axis=1) / np.square(hann).sum()
    return full * (2 * hann / hann.sum()), energy


def _found_by_frame(frames: npt.NDArray[np.int16], wanted: tuple[int, ...], rate: int) -> npt.NDArray[np.bool_]:
    """For every frame (row) and candidate (column): is it there? In blocks, for the sake of memory."""
    if wanted[0] < 50 or wanted[-1] > rate / 2 - 50:
        raise ValueError(f"candidates must be between 50 and {rate / 2 - 50:g} Hz, are {wanted}")
    blocks = range(0, len(frames), BLOCK)
    return np.concatenate([_found_in_block(frames[at : at + BLOCK], wanted, rate) for at in blocks])


def _found_in_block(frames: npt.NDArray[np.int16], wanted: tuple[int, ...], rate: int) -> npt.NDArray[np.bool_]:
    """The four rules. A transform over one second, mostly zeros, has the amplitude at every whole Hz.

    (A product with the candidates' own waves is no slower, but numpy hands it to threads that spin: on a
    busy machine it took twenty times as long.)
    """
    windowed, energy = _windowed(frames)
    amplitude = np.abs(np.fft.rfft(windowed, n=rate, axis=1))
    bin_hz = round(rate / frames.shape[1])
    below2, below1, here, above1, above2 = (
        amplitude[:, [hz + k * bin_hz for hz in wanted]] for k in (-2, -1, 0, 1, 2)
    )
    share = here**2 / 2 >= MIN_SHARE * energy[:, np.newaxis]
    loud = here >= MIN_AMPLITUDE
    pure = np.maximum(below2, above2) <= here * 10 ** (-MIN_DROP_DB / 20)
    centred = np.abs(above1 - below1) <= MAX_LEAN * (above1 + below1)
    return np.asarray(share & loud & pure & centred)
