"""Evens speech out: no silence around it, the same peak for every sentence, never a clipped sample.

Pure numpy. It does not know where the sound comes from or goes to.
"""

import numpy as np

from ccsvc.app.ports_speech import Samples, Wave

PEAK_DBFS = -3.0
FULL_SCALE = 32767
_SILENCE_DBFS_OF_PEAK = -40.0
_WINDOW_S = 0.01
_LEAD_S = 0.05
_TAIL_S = 0.10


def dbfs(samples: Samples) -> float:
    """Root mean square level in dB against a full-scale square wave; minus infinity for silence."""
    if not len(samples):
        return float("-inf")
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))
    return float(20 * np.log10(rms / FULL_SCALE)) if rms else float("-inf")


def peak(samples: Samples) -> int:
    """The largest magnitude, 0 to 32768."""
    return int(np.abs(samples.astype(np.int32)).max(initial=0))


def trimmed(wave: Wave) -> Wave:
    """Without the silence at both ends, apart from 50 ms before and 100 ms after; empty if all is silent."""
    window = max(1, int(wave.rate_hz * _WINDOW_S))
    threshold = peak(wave.samples) * 10 ** (_SILENCE_DBFS_OF_PEAK / 20)
    loud = np.flatnonzero(np.abs(wave.samples.astype(np.int32)) > threshold)
    if not len(loud) or len(wave.samples) < window:
        return Wave(wave.samples[:0], wave.rate_hz)
    first = max(0, int(loud[0]) - int(wave.rate_hz * _LEAD_S))
    last = min(len(wave.samples), int(loud[-1]) + int(wave.rate_hz * _TAIL_S))
    return Wave(wave.samples[first:last], wave.rate_hz)


def normalised(wave: Wave) -> Wave:
    """The same sound with its peak at -3 dBFS, which leaves the resampler room; silence stays silence."""
    loudest = peak(wave.samples)
    if loudest == 0:
        return wave
    gain = FULL_SCALE * 10 ** (PEAK_DBFS / 20) / loudest
    return Wave(np.rint(wave.samples * gain).astype(np.int16), wave.rate_hz)
