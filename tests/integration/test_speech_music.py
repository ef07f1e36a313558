"""The music on hold as files: its length, its level, no seam, and nothing that a tone detector would report."""

import os
from pathlib import Path

import numpy as np
import pytest

from ccsvc.speech import formats, levels
from ccsvc.speech.music import MUSIC_S, ensure_music


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music") / "calm"
    ensure_music(folder)
    return folder


def test_music_is_thirty_seconds_at_a_moderate_level_in_every_format(music: Path) -> None:
    assert sorted(path.name for path in music.iterdir()) == ["calm-1.alaw", "calm-1.sln16", "calm-1.ulaw"]
    for path in music.iterdir():
        wave = formats.decode(path.read_bytes(), path.suffix[1:])
        assert wave.duration_s == MUSIC_S
        assert levels.dbfs(wave.samples) == pytest.approx(-20, abs=0.5)
        assert levels.peak(wave.samples) < 20_000


def test_music_is_never_silent_and_has_no_seam(music: Path) -> None:
    samples = formats.decode((music / "calm-1.sln16").read_bytes(), "sln16").samples
    tenths = samples.reshape(-1, 1600)
    assert min(levels.dbfs(tenth) for tenth in tenths) > -24
    steps = np.abs(np.diff(samples.astype(np.int32)))
    assert abs(int(samples[0]) - int(samples[-1])) <= steps.max()


def test_music_holds_nothing_that_a_tone_detector_takes_for_a_tone(music: Path) -> None:
    samples = formats.decode((music / "calm-1.ulaw").read_bytes(), "ulaw").samples.astype(np.float64)
    window = 800  # 0.1 s, where a tone has a share of 1
    probes = np.exp(-2j * np.pi * np.outer(np.arange(window), np.arange(350, 3301, 5)) / 8000)
    parts = samples.reshape(-1, window)
    shares = np.abs(parts @ probes) ** 2 * 2 / window / (parts**2).sum(axis=1, keepdims=True)
    assert shares.max() < 0.35
    assert np.median(shares.max(axis=1)) < 0.2


def test_music_that_is_there_is_left_alone_and_a_short_one_is_made_again(music: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ensure_music(music)}
    victim = music / "calm-1.alaw"
    whole = victim.read_bytes()
    assert before == {path: path.stat().st_mtime_ns for path in ensure_music(music)}
    os.truncate(victim, 1000)
    ensure_music(music)
    assert victim.read_bytes() == whole
