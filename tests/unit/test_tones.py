"""The ears of the simulated phones: what they must find, and what they must not take for a tone."""

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ccsvc.testing.tones import (
    PALETTE,
    RATE_HZ,
    Heard,
    Samples,
    goertzel_power,
    level,
    read_wav,
    tone_wave,
    tones_by_second,
    tones_present,
)

DTMF_HZ = (697, 770, 852, 941, 1209, 1336, 1477, 1633)
CALL_PROGRESS_HZ = (350, 400, 425, 440, 450, 480, 620, 950, 1000, 1004, 1100, 1400, 1800, 2100)


def through_g711(samples: Samples) -> Samples:
    """What is left of audio after µ-law: the segments and steps of ITU-T G.711, there and back."""
    magnitude = np.minimum(np.abs(samples.astype(np.int64)), 32635) + 132
    segment = np.floor(np.log2(magnitude)).astype(np.int64) - 7
    step = (magnitude >> (segment + 3)) & 0x0F
    decoded = (((step << 3) + 132) << segment) - 132
    return np.asarray(np.sign(samples) * decoded, dtype=np.int16)


def mixed(*parts: npt.NDArray[np.generic]) -> Samples:
    """Sounds on top of each other, clipped as a telephone clips."""
    total = np.sum([part.astype(np.float64) for part in parts], axis=0)
    return np.asarray(np.clip(total, -32768, 32767), dtype=np.int16)


def noise(seconds: float, rms: float, seed: int) -> Samples:
    return mixed(np.random.default_rng(seed).normal(0, rms * 32768, round(seconds * RATE_HZ)))


def speech_like(seconds: float, seed: int) -> Samples:
    """A voice: harmonics of a pitch that wanders, under formants that move from syllable to syllable."""
    random = np.random.default_rng(seed)
    size = round(seconds * RATE_HZ)
    knots = np.arange(0, size + 1600, 1600)
    pitch_hz = np.interp(np.arange(size), knots, random.uniform(90, 240, len(knots)))
    formant_hz = np.interp(np.arange(size), knots, random.uniform(300, 2500, len(knots)))
    loudness = np.interp(np.arange(size), knots, random.uniform(0, 1, len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    voice = sum(np.sin(k * phase) * np.exp(-(((k * pitch_hz - formant_hz) / 400) ** 2)) for k in range(1, 16))
    return mixed(9000 * loudness * np.asarray(voice))


def chord_in_concert_pitch(seconds: float, seed: int) -> Samples:
    """Three struck strings with their overtones, dying away."""
    random = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    total = np.zeros(len(at))
    for _ in range(3):
        note_hz = 440 * 2 ** (random.integers(-24, 12) / 12)
        for k in range(1, 8):
            if k * note_hz < 3900:
                total += random.random() / k * np.sin(2 * np.pi * k * note_hz * at + random.uniform(0, 6))
    return mixed(6000 * total * np.exp(-2 * at))


# -- what must be found --------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", PALETTE)
def test_every_tone_of_the_palette_is_found_through_g711_and_nothing_else_is(hz: int) -> None:
    assert tones_present(through_g711(tone_wave(hz, 0.5)), PALETTE) == {hz}


@pytest.mark.parametrize("voices", [2, 3, 4, 5, 8])
def test_a_mix_of_tones_is_taken_apart(voices: int) -> None:
    for shift in range(5):
        chosen = PALETTE[shift :: len(PALETTE) // voices][:voices]
        amplitude = min(0.25, 1 / voices)
        mix = mixed(*(tone_wave(hz, 0.5, amplitude=amplitude) for hz in chosen))
        assert tones_present(through_g711(mix), PALETTE) == set(chosen)


def test_neighbours_in_the_palette_are_told_apart() -> None:
    for one, other in pairwise(PALETTE):
        mix = mixed(tone_wave(one, 0.5), tone_wave(other, 0.5))
        assert tones_present(through_g711(mix), PALETTE) == {one, other}


def test_a_tone_ten_decibels_under_two_others_is_found() -> None:
    quiet = tone_wave(1019, 0.5, amplitude=0.25 * 10 ** (-10 / 20))
    assert tones_present(through_g711(mixed(tone_wave(596, 0.5), quiet, tone_wave(2300, 0.5))), PALETTE) == {
        596,
        1019,
        2300,
    }


def test_a_tone_is_found_under_a_voice() -> None:
    for seed in range(10):
        mix = mixed(speech_like(0.5, seed), tone_wave(1681, 0.5))
        assert tones_present(through_g711(mix), PALETTE) == {1681}


@pytest.mark.parametrize("packets", [1, 2])
def test_lost_packets_do_not_hide_a_tone(packets: int) -> None:
    for start in range(0, 4000 - packets * 160, 271):
        heard = tone_wave(1259, 0.5).copy()
        heard[start : start + packets * 160] = 0
        assert tones_present(through_g711(heard), PALETTE) == {1259}


def test_a_jump_in_the_phase_does_not_hide_a_tone() -> None:
    whole = tone_wave(1259, 1.0)
    for at in range(0, 4000, 197):
        jumped = np.concatenate((whole[:at], whole[at + 3 : 4003]))  # three samples are half a wave
        assert tones_present(through_g711(jumped), PALETTE) == {1259}


# -- what must not be found ----------------------------------------------------------------------------


def test_silence_holds_no_tone() -> None:
    assert tones_present(np.zeros(4000, dtype=np.int16), PALETTE) == set()


def test_the_idle_noise_of_a_codec_is_no_tone() -> None:
    flicker = np.resize(np.array([8, -8, 0, 8, 0, -8], dtype=np.int16), 4000)
    assert tones_present(flicker, PALETTE) == set()


@pytest.mark.parametrize("rms", [0.01, 0.1, 0.3])
def test_noise_is_no_tone(rms: float) -> None:
    assert not any(tones_by_second(through_g711(noise(8, rms, seed=1)), PALETTE))


def test_a_voice_is_no_tone() -> None:
    for seed in range(10):
        assert not any(tones_by_second(through_g711(speech_like(3, seed)), PALETTE))


def test_music_in_concert_pitch_is_no_tone() -> None:
    for seed in range(30):
        assert not any(tones_by_second(through_g711(chord_in_concert_pitch(1.5, seed)), PALETTE))


@pytest.mark.parametrize("off_hz", [-20, -5, -2, 2, 5, 20])
def test_a_tone_beside_a_candidate_is_not_taken_for_it(off_hz: int) -> None:
    for hz in PALETTE[::5]:
        assert tones_present(through_g711(tone_wave(hz + off_hz, 0.5)), {hz}) == set()


def test_a_dtmf_digit_is_none_of_the_tones() -> None:
    for low in DTMF_HZ[:4]:
        for high in DTMF_HZ[4:]:
            digit = mixed(tone_wave(low, 0.5), tone_wave(high, 0.5))
            assert tones_present(through_g711(digit), PALETTE) == set()


def test_a_tone_below_the_lowest_level_is_not_reported() -> None:
    assert tones_present(tone_wave(1019, 0.5, amplitude=0.008), PALETTE) == {1019}
    assert tones_present(tone_wave(1019, 0.5, amplitude=0.004), PALETTE) == set()


def test_a_tone_that_sounds_for_a_third_of_the_window_is_not_reported_and_one_for_half_is() -> None:
    for hz in PALETTE:
        heard = tone_wave(hz, 0.5).copy()
        heard[: round(4000 * 0.66)] = 0
        assert tones_present(through_g711(heard), PALETTE) == set()
        heard = tone_wave(hz, 0.5).copy()
        heard[:2000] = 0
        assert tones_present(through_g711(heard), PALETTE) == {hz}


def test_a_tone_that_sounds_for_less_than_half_of_a_long_window_is_not_reported() -> None:
    heard = tone_wave(1019, 2.0).copy()
    heard[round(2.0 * RATE_HZ * 0.4) :] = 0
    assert tones_present(through_g711(heard), PALETTE) == set()


# -- the edges of the questions -------------------------------------------------------------------------


def test_nothing_is_told_of_less_than_a_tenth_of_a_second() -> None:
    assert tones_present(tone_wave(1019, 0.09), PALETTE) == set()
    assert tones_present(tone_wave(1019, 0.1), {1019}) == {1019}


def test_no_candidates_find_nothing() -> None:
    assert tones_present(tone_wave(1019, 0.5), ()) == set()


@pytest.mark.parametrize("hz", [0, 49, 3951, 5000])
def test_a_candidate_that_eight_kilohertz_cannot_carry_is_refused(hz: int) -> None:
    with pytest.raises(ValueError, match="candidates must be between 50 and 3950 Hz"):
        tones_present(tone_wave(1019, 0.5), {hz})


def test_a_timeline_says_who_is_heard_in_which_half_second() -> None:
    first, second = tone_wave(596, 1.0), tone_wave(2300, 1.0)
    both = mixed(first, second)
    talk = np.concatenate((first, both, second, np.zeros(4000, dtype=np.int16)))
    expected = [{596}, {596}, {596, 2300}, {596, 2300}, {2300}, {2300}, set()]
    assert tones_by_second(through_g711(talk), PALETTE) == expected


def test_a_timeline_leaves_out_a_rest_too_short_to_judge() -> None:
    assert tones_by_second(tone_wave(596, 1.05), PALETTE) == [{596}, {596}]
    assert tones_by_second(tone_wave(596, 1.2), PALETTE) == [{596}, {596}, {596}]
    assert tones_by_second(tone_wave(596, 0.05), PALETTE) == []


def test_a_timeline_of_whole_seconds_can_be_asked_for() -> None:
    assert tones_by_second(tone_wave(596, 2.0), PALETTE, window_s=1.0) == [{596}, {596}]


# -- waves, levels, files --------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", PALETTE)
def test_one_second_of_a_tone_loops_without_a_seam(hz: int) -> None:
    assert np.array_equal(np.tile(tone_wave(hz, 1.0), 2), tone_wave(hz, 2.0))


def test_a_tone_of_zero_hertz_is_silence() -> None:
    assert not tone_wave(0, 0.5).any()


def test_the_power_of_a_sine_is_half_its_amplitude_squared() -> None:
    sine = tone_wave(1019, 0.5, amplitude=0.3)
    assert goertzel_power(sine, 1019) == pytest.approx(0.3**2 / 2, rel=0.001)
    assert goertzel_power(sine, 1200) < 1e-6


def test_the_level_of_a_tone_is_its_root_mean_square() -> None:
    assert level(tone_wave(1000, 1.0)) == pytest.approx(0.25 / 2**0.5, rel=0.001)
    assert level(np.zeros(0, dtype=np.int16)) == 0.0


def written(path: Path, samples: Samples, *, channels: int = 1, rate: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return path


def test_a_recording_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    tone = tone_wave(1019, 0.5)
    assert np.array_equal(read_wav(written(tmp_path / "call.wav", tone)), tone)


def test_a_recording_that_is_still_being_written_gives_what_is_there(tmp_path: Path) -> None:
    tone = tone_wave(1019, 0.5)
    header = written(tmp_path / "empty.wav", tone[:0]).read_bytes()
    growing = tmp_path / "growing.wav"
    growing.write_bytes(header + tone.astype("<i2").tobytes() + b"\x01")  # cut inside a sample
    assert np.array_equal(read_wav(growing), tone)


@pytest.mark.parametrize(("channels", "rate"), [(2, 8000), (1, 16000)])
def test_a_recording_of_another_format_is_refused_with_its_path(tmp_path: Path, channels: int, rate: int) -> None:
    path = written(tmp_path / "odd.wav", tone_wave(1019, 0.5), channels=channels, rate=rate)
    with pytest.raises(ValueError, match=r"odd\.wav: must be mono, 16 bit, 8000 Hz"):
        read_wav(path)


# -- the palette -----------------------------------------------------------------------------------------


def folded(hz: int) -> int:
    """Where a frequency lands in audio of 8 kHz."""
    return min(hz % RATE_HZ, RATE_HZ - hz % RATE_HZ)


def test_the_palette_has_forty_whole_frequencies_that_a_telephone_carries() -> None:
    assert len(PALETTE) >= 40
    assert all(350 <= hz <= 3300 for hz in PALETTE)
    assert list(PALETTE) == sorted(set(PALETTE))


def test_the_palette_is_well_separated() -> None:
    assert min(b - a for a, b in pairwise(PALETTE)) >= 45


def test_the_palette_keeps_away_from_dtmf_and_from_the_tones_of_the_network() -> None:
    assert min(abs(hz - key) for hz in PALETTE for key in DTMF_HZ) >= 22
    assert min(abs(hz - tone) for hz in PALETTE for tone in CALL_PROGRESS_HZ) >= 15


def test_no_tone_of_the_palette_is_a_harmonic_of_another() -> None:
    assert min(abs(folded(k * one) - other) for k in (2, 3) for one in PALETTE for other in PALETTE) >= 10


def test_the_palette_lies_between_the_semitones() -> None:
    cents = 1200 * np.log2(np.array(PALETTE) / 440)
    assert np.abs((cents + 50) % 100 - 50).min() >= 20


# -- hearing on a continuous clock -------------------------------------------------------------------------


class Ear:
    """A ``Heard`` with a clock set by hand and a source that hands over what was put into it."""

    def __init__(self, *, keep_s: float = 900.0) -> None:
        self.now = 100.0
        self.arrived = b""
        self.heard = Heard(self.take, lambda: self.now, keep_s=keep_s)

    def take(self) -> bytes:
        taken, self.arrived = self.arrived, b""
        return taken

    def after(self, seconds: float, samples: Samples | None = None) -> None:
        """Time passes, and at its end this audio has arrived."""
        self.now += seconds
        if samples is not None:
            self.arrived += samples.tobytes()
        self.heard.catch_up()


def test_what_arrives_without_a_gap_is_kept_as_it_is() -> None:
    ear, tone = Ear(), tone_wave(1019, 1.0)
    ear.heard.begin(100.0)
    for at in range(0, 8000, 320):
        ear.after(0.04, tone[at : at + 320])
    assert np.array_equal(ear.heard.samples(), tone)
    assert ear.heard.received_s == pytest.approx(1.0)


def test_silence_is_filled_in_where_nothing_arrived() -> None:
    ear, tone = Ear(), tone_wave(1019, 0.5)
    ear.heard.begin(100.0)
    ear.after(0.5, tone)
    for _ in range(25):
        ear.after(0.04)
    ear.after(0.5, tone)
    assert ear.heard.timeline({1019}) == [{1019}, set(), set(), {1019}]
    assert len(ear.heard.samples()) == pytest.approx(2.0 * RATE_HZ, abs=Heard.SLACK_S * RATE_HZ)
    assert ear.heard.received_s == pytest.approx(1.0)


def test_a_packet_that_is_a_little_late_makes_no_gap() -> None:
    ear, tone = Ear(), tone_wave(1019, 0.08)
    ear.heard.begin(100.0)
    ear.after(0.05)
    ear.after(0.03, tone)
    assert np.array_equal(ear.heard.samples(), tone)


def test_audio_that_comes_late_after_all_takes_the_place_of_the_silence_put_in_for_it() -> None:
    ear, tone = Ear(), tone_wave(1019, 2.0)
    ear.heard.begin(100.0)
    ear.after(1.0, tone[:8000])
    ear.after(0.1)
    ear.after(0.1, tone[8000:8400])
    ear.after(0.1)
    ear.after(0.1, tone[8400:11200])
    ear.after(0.6, tone[11200:16000])
    assert np.array_equal(ear.heard.samples(), tone)


def test_silence_that_was_real_stays_when_later_audio_comes_in_bursts() -> None:
    ear, tone = Ear(), tone_wave(1019, 1.0)
    ear.heard.begin(100.0)
    for _ in range(25):
        ear.after(0.04)
    for at in range(0, 8000, 800):
        ear.after(0.06, tone[at : at + 400])
        ear.after(0.04, tone[at + 400 : at + 800])
    silence = np.flatnonzero(ear.heard.samples())[0]
    assert silence == pytest.approx(RATE_HZ, abs=Heard.SLACK_S * RATE_HZ)


def test_the_clock_starts_once_and_stops_at_the_end() -> None:
    ear = Ear()
    assert len(ear.heard.samples()) == 0
    ear.heard.begin(100.0)
    ear.heard.begin(105.0)
    ear.after(1.0)
    ear.heard.finish(101.0)
    ear.after(5.0, tone_wave(1019, 1.0))
    assert ear.heard.started_at == 100.0
    assert len(ear.heard.samples()) == RATE_HZ


def test_a_stretch_between_two_instants_can_be_asked_for() -> None:
    ear = Ear()
    assert len(ear.heard.between(100.0, 101.0)) == 0
    ear.heard.begin(100.0)
    ear.after(1.0, tone_wave(596, 1.0))
    ear.after(1.0, tone_wave(2300, 1.0))
    assert tones_present(ear.heard.between(100.2, 100.8), PALETTE) == {596}
    assert tones_present(ear.heard.between(101.2, 101.8), PALETTE) == {2300}
    assert len(ear.heard.between(90.0, 100.5)) == RATE_HZ // 2
    assert len(ear.heard.between(101.5, 200.0)) == RATE_HZ // 2


def test_the_latest_stretch_says_who_is_heard_now() -> None:
    ear = Ear()
    ear.heard.begin(100.0)
    assert ear.heard.tones(PALETTE) == set()
    ear.after(1.0, tone_wave(596, 1.0))
    ear.after(0.5, tone_wave(2300, 0.5))
    assert ear.heard.tones(PALETTE) == {2300}
    assert ear.heard.tones(PALETTE, last_s=1.5) == {596}  # two thirds of it; the other has one third
    assert len(ear.heard.last(0.0)) == 0


def test_the_oldest_quarter_goes_when_there_is_more_than_is_to_be_kept() -> None:
    ear = Ear(keep_s=80.0)
    ear.heard.begin(100.0)
    for _ in range(81):
        ear.after(1.0, tone_wave(596, 1.0))
    assert ear.heard.started_at == 120.0
    assert len(ear.heard.samples()) == 61 * RATE_HZ
    assert ear.heard.received_s == pytest.approx(81.0)
