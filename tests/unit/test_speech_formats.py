"""Sound without files or engine: G.711 bit for bit, rates, levels, what may be said, the daemon's own sentences."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ccsvc.app.ports_speech import Samples, Wave
from ccsvc.speech import formats, levels
from ccsvc.speech.assembly import LANGUAGES
from ccsvc.speech.builtin import BUILTIN, builtin_prompts
from ccsvc.speech.texts import TEXT_LIMIT, spoken, text_fault

ALL_VALUES: Samples = np.arange(-32768, 32768).astype(np.int16)
ALL_CODES = bytes(range(256))


def tone(rate_hz: int, seconds: float = 1.0, hz: float = 1000.0, amplitude: float = 12000.0) -> Wave:
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    return Wave((amplitude * np.sin(2 * np.pi * hz * times)).astype(np.int16), rate_hz)


def encoded_by_libsndfile(samples: Samples, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="RAW", subtype=subtype)
    return file.getvalue()


def decoded_by_libsndfile(data: bytes, subtype: str) -> Samples:
    samples, _ = soundfile.read(
        io.BytesIO(data), dtype="int16", format="RAW", subtype=subtype, samplerate=8000, channels=1
    )
    return np.asarray(samples, np.int16)


def read_or_fault(path: Path) -> Wave | str:
    try:
        return formats.read_recorded(path)
    except formats.AudioUnreadable as error:
        return str(error)


@pytest.mark.parametrize(("name", "subtype"), [("ulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_16_bit_value_is_encoded_as_libsndfile_does(name: str, subtype: str) -> None:
    assert formats.encode(Wave(ALL_VALUES, 8000), name) == encoded_by_libsndfile(ALL_VALUES, subtype)


@pytest.mark.parametrize(("name", "subtype"), [("ulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_code_is_decoded_as_libsndfile_does(name: str, subtype: str) -> None:
    assert np.array_equal(formats.decode(ALL_CODES, name).samples, decoded_by_libsndfile(ALL_CODES, subtype))


def test_the_vectors_of_the_standard_hold() -> None:
    assert formats.ulaw_encode(np.array([0, 32767, -32768], np.int16)) == b"\xff\x80\x00"
    assert formats.alaw_encode(np.array([0, 32767, -32768], np.int16)) == b"\xd5\xaa\x2a"


@pytest.mark.parametrize("name", ["ulaw", "alaw"])
def test_what_was_decoded_is_encoded_to_the_same_codes(name: str) -> None:
    again = formats.encode(formats.decode(ALL_CODES, name), name)
    changed = [code for code in range(256) if again[code] != code]
    assert changed == ([0x7F] if name == "ulaw" else [])  # mu-law has two zeros


def test_signed_linear_is_little_endian() -> None:
    assert formats.encode(Wave(np.array([1, -2], np.int16), 16000), "sln16") == b"\x01\x00\xfe\xff"


@pytest.mark.parametrize("name", formats.DEFAULT_FORMATS)
@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_duration_and_pitch_survive_every_format(name: str, rate_hz: int) -> None:
    data = formats.encode(tone(rate_hz), name)
    assert formats.duration_s(name, len(data)) == pytest.approx(1.0, abs=0.001)
    back = formats.decode(data, name)
    spectrum = np.abs(np.fft.rfft(back.samples.astype(np.float64)))
    assert np.argmax(spectrum) * back.rate_hz / len(back.samples) == pytest.approx(1000, abs=1.5)


def test_resampling_saturates_where_it_would_wrap_around() -> None:
    square = np.where(np.arange(22050) // 20 % 2, 32767, -32768).astype(np.int16)
    out = formats.resample(Wave(square, 22050), 8000).samples
    middle = out[200:-200].astype(np.int32)
    flips = np.abs(np.diff(np.sign(middle))) > 0
    assert levels.peak(out) >= 32767
    assert flips.sum() <= 2 * 22050 / 40  # one change of sign for each edge, none added by overflow


def test_the_right_rate_is_left_alone() -> None:
    wave = tone(16000)
    assert formats.resample(wave, 16000) is wave


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(".wav", "PCM_16"), (".wav", "PCM_24"), (".wav", "FLOAT"), (".flac", "PCM_16")]
)
def test_a_recording_is_read_whatever_its_sample_type(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"x{suffix}"
    wave = tone(16000)
    soundfile.write(path, wave.samples / 32768, 16000, subtype=subtype)
    assert np.array_equal(formats.read_recorded(path).samples, wave.samples)


def test_both_channels_of_a_recording_are_mixed(tmp_path: Path) -> None:
    left, right = tone(16000).samples, np.zeros(16000, np.int16)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), 16000)
    mixed = formats.read_recorded(tmp_path / "x.wav").samples.astype(np.int32)
    assert np.abs(mixed * 2 - left).max() <= 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "can't be read"),
        (b"RIFF....WAVEnot really", "can't be read"),
        (b"\0" * 4096, "can't be read"),
    ],
)
def test_a_broken_recording_is_told_with_its_path(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(formats.AudioUnreadable, match=what) as caught:
        formats.read_recorded(path)
    assert str(path) in str(caught.value)
    assert "record it again" in str(caught.value)


def test_a_recording_without_sound_or_too_long_or_of_many_channels_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 8000)
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 301, np.int16), 8000)
    soundfile.write(tmp_path / "many.wav", np.zeros((800, 6), np.int16), 8000)
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan, np.float32), 8000, subtype="FLOAT")
    (tmp_path / "long.ulaw").write_bytes(b"\xff" * 8000 * 301)
    (tmp_path / "folder.wav").mkdir()
    expected = {
        "none.wav": "holds no sound",
        "long.wav": "longer than 300 s",
        "many.wav": "6 channels",
        "nan.wav": "not numbers",
        "long.ulaw": "longer than 300 s",
        "folder.wav": "not a regular file",
        "absent.wav": "not a regular file",
    }
    for name, what in expected.items():
        with pytest.raises(formats.AudioUnreadable, match=what):
            formats.read_recorded(tmp_path / name)


def test_a_truncated_recording_never_crashes(tmp_path: Path) -> None:
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, tone(8000, 0.05).samples, 8000)
    data = whole.read_bytes()
    for length in range(len(data)):
        part = tmp_path / "part.wav"
        part.write_bytes(data[:length])
        outcome = read_or_fault(part)
        assert str(part) in outcome if isinstance(outcome, str) else len(outcome.samples) <= 400


def test_silence_around_speech_goes_and_the_peak_is_minus_three_dbfs() -> None:
    quiet = np.zeros(8000, np.int16)
    sound = np.concatenate([quiet, tone(8000, 0.5, amplitude=900).samples, quiet])
    wave = levels.normalised(levels.trimmed(Wave(sound, 8000)))
    assert wave.duration_s == pytest.approx(0.65, abs=0.01)
    assert levels.peak(wave.samples) == pytest.approx(32767 * 0.7079, rel=0.001)


def test_nothing_but_silence_is_trimmed_to_nothing() -> None:
    assert len(levels.trimmed(Wave(np.zeros(8000, np.int16), 8000)).samples) == 0
    assert len(levels.trimmed(Wave(np.zeros(0, np.int16), 8000)).samples) == 0
    assert levels.dbfs(np.zeros(10, np.int16)) == float("-inf")


def test_the_most_negative_sample_is_a_peak_too() -> None:
    loudest = Wave(np.array([-32768, 0, 100], np.int16), 8000)
    assert levels.peak(loudest.samples) == 32768
    assert levels.peak(levels.normalised(loudest).samples) < 23300


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\x7f", "\x85", "\ud800"])
def test_control_characters_are_refused_with_their_number(character: str) -> None:
    fault = text_fault(f"hello{character}50R")
    assert fault is not None
    assert f"U+{ord(character):04X} at 5" in fault


def test_empty_and_endless_texts_are_refused() -> None:
    assert "is empty" in (text_fault(" \n\t") or "")
    assert text_fault("x" * TEXT_LIMIT) is None
    assert "has 10240 characters" in (text_fault("x" * 10240) or "")


def test_marks_that_persian_and_arabic_need_are_allowed() -> None:
    assert text_fault("می\u200cشود\nشمارهٔ شُما، السِّرِّيّ؟") is None


def test_arabic_is_respelled_in_the_order_that_the_engine_reads() -> None:
    fatha, shadda = "\u064e", "\u0651"
    assert spoken(f"ثُم{fatha}{shadda}", "ar") == f"ثُم{shadda}{fatha}"
    assert spoken(f"ال{'س'}{shadda}{fatha}لام", "ar") == f"الس{fatha}لام"
    assert spoken("خمسة، سنة جديدة.", "ar") == "خمسه، سنة جديده."


def test_other_languages_only_lose_doubled_space() -> None:
    assert spoken(" شمارهٔ\n  شما ", "fa") == "شمارهٔ شما"


def test_every_builtin_sentence_can_be_said_in_every_language() -> None:
    for name, texts in BUILTIN.items():
        assert set(texts) == set(LANGUAGES), name
        for text in texts.values():
            assert text_fault(text) is None, name
    assert len(builtin_prompts()) == len(BUILTIN) * len(LANGUAGES)
    assert {f"d{digit}" for digit in range(10)} <= set(BUILTIN)
