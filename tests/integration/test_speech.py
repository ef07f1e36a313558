"""Speech with real files, the real engine and real processes that are killed, run out of room or race."""

import hashlib
import multiprocessing
import os
import resource
import signal
import stat
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ccsvc.app.ports_speech import Prompt, Wave
from ccsvc.errors import PromptMissing
from ccsvc.speech import formats, levels
from ccsvc.speech.builtin import builtin_prompts
from ccsvc.speech.espeak import EspeakSynthesiser, SpeechRefused, SpeechUnavailable, wheel_paths
from ccsvc.speech.library import PromptLibrary, PromptMap

SPAWN = multiprocessing.get_context("spawn")
HELLO = Prompt("hello", "en", "Hello there.")
PROMPTS = tuple(Prompt(f"p{number}", "en", f"text {number}") for number in range(8))


class ToneSynthesiser:
    """The same tone for the same text, of any length; counts what it was asked for."""

    def __init__(self, seconds: float = 0.5, version: str = "tone 1") -> None:
        self.seconds = seconds
        self.version = version
        self.asked: list[tuple[str, str]] = []

    def synthesise(self, text: str, language: str) -> Wave:
        self.asked.append((text, language))
        hz = 400 + hashlib.sha256(text.encode()).digest()[0] * 8
        times = np.arange(int(self.seconds * 16000)) / 16000
        return Wave((9000 * np.sin(2 * np.pi * hz * times)).astype(np.int16), 16000)


class NoSynthesiser:
    """A machine without an engine."""

    @property
    def version(self) -> str:
        raise SpeechUnavailable("no engine here: install one")

    def synthesise(self, text: str, language: str) -> Wave:
        raise SpeechUnavailable("no engine here: install one")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    for language in ("fa", "ar", "en"):
        (folder / language).mkdir(parents=True)
    return folder


def faults_of(library: PromptLibrary, *prompts: Prompt) -> tuple[str, ...]:
    with pytest.raises(PromptMissing) as caught:
        library.ensure(prompts)
    return caught.value.faults


def visible(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def until(condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"


# --- the cache --------------------------------------------------------------------------------------------------


def test_what_is_there_is_not_made_again(cache: Path) -> None:
    synthesiser = ToneSynthesiser()
    first = PromptLibrary(cache, None, synthesiser).ensure(PROMPTS)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    second = PromptLibrary(cache, None, synthesiser).ensure(PROMPTS)
    assert first == second
    assert len(synthesiser.asked) == len(PROMPTS)
    assert len(before) == 3 * len(PROMPTS)
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_progress_counts_only_what_had_to_be_made(cache: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    library = PromptLibrary(cache, None, ToneSynthesiser())
    library.ensure(PROMPTS[:3])
    library.ensure(PROMPTS[:5], lambda done, total, prompt: seen.append((done, total, prompt.name)))
    assert seen == [(1, 2, "p3"), (2, 2, "p4")]


def test_another_text_or_language_or_engine_makes_another_file(cache: Path) -> None:
    def path(prompt: Prompt, version: str = "tone 1") -> str:
        library = PromptLibrary(cache, None, ToneSynthesiser(version=version))
        return library.ensure([prompt]).path(prompt.name, prompt.language)

    paths = [
        path(HELLO),
        path(Prompt("hello", "en", "Hello.")),
        path(Prompt("hello", "fa", HELLO.text)),
        path(HELLO, version="tone 2"),
    ]
    assert len(set(paths)) == 4
    assert path(Prompt("other", "en", HELLO.text)) == paths[0]  # the name is no part of the content


def test_a_path_is_what_playback_wants(cache: Path) -> None:
    prompts = PromptLibrary(cache, None, ToneSynthesiser(seconds=0.5)).ensure([HELLO])
    path = prompts.path("hello", "en")
    digest = Path(path).name
    assert path == str(cache / "en" / digest[:2] / digest)
    assert len(digest) == 64
    assert set(path) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-")
    assert prompts.duration_s("hello", "en") == pytest.approx(0.5, abs=0.001)
    assert {Path(f"{path}.{name}").stat().st_size for name in ("ulaw", "alaw", "sln16")} == {4000, 16000}


def test_the_pbx_may_read_the_files_even_under_a_strict_umask(cache: Path) -> None:
    before = os.umask(0o077)
    try:
        PromptLibrary(cache, None, ToneSynthesiser()).ensure([HELLO])
    finally:
        os.umask(before)
    for path in (cache, *cache.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("damage", ["remove", "empty", "shorten"])
def test_a_damaged_prompt_is_made_again(cache: Path, damage: str) -> None:
    library = PromptLibrary(cache, None, ToneSynthesiser())
    library.ensure([HELLO])
    whole = visible(cache)
    victim = next(cache.rglob("*.alaw"))
    if damage == "remove":
        victim.unlink()
    else:
        os.truncate(victim, 0 if damage == "empty" else 2000)
    library.ensure([HELLO])
    assert visible(cache) == whole


def test_a_prompt_nobody_asked_for_is_told_by_name(cache: Path) -> None:
    prompts = PromptLibrary(cache, None, ToneSynthesiser()).ensure([HELLO])
    with pytest.raises(PromptMissing, match=r"prompt 'hello' \('fa'\)"):
        prompts.path("hello", "fa")
    with pytest.raises(PromptMissing, match="was not asked for"):
        PromptMap({}).duration_s("x", "en")


def test_an_exception_out_of_progress_stops_the_work(cache: Path) -> None:
    class StopHereError(Exception):
        pass

    def stop(done: int, total: int, prompt: Prompt) -> None:
        raise StopHereError

    synthesiser = ToneSynthesiser()
    with pytest.raises(StopHereError):
        PromptLibrary(cache, None, synthesiser).ensure(PROMPTS, stop)
    assert len(synthesiser.asked) == 1


# --- recorded files ---------------------------------------------------------------------------------------------


def test_a_recorded_file_wins_and_needs_neither_text_nor_engine(cache: Path, recorded: Path) -> None:
    sound = ToneSynthesiser(seconds=2.0).synthesise("recorded", "en").samples
    soundfile.write(recorded / "en" / "hello.wav", sound, 16000)
    library = PromptLibrary(cache, recorded, NoSynthesiser())
    prompts = library.ensure([Prompt("hello", "en", "")])
    assert prompts.duration_s("hello", "en") == pytest.approx(2.0)
    assert Path(prompts.path("hello", "en") + ".sln16").read_bytes() == sound.astype("<i2").tobytes()
    assert "/recorded/" in prompts.path("hello", "en")


def test_a_recording_counts_for_its_own_language_only(cache: Path, recorded: Path) -> None:
    soundfile.write(recorded / "fa" / "hello.flac", np.full(16000, 99, np.int16), 16000)
    synthesiser = ToneSynthesiser()
    PromptLibrary(cache, recorded, synthesiser).ensure([HELLO, Prompt("hello", "fa", "سلام")])
    assert synthesiser.asked == [(HELLO.text, "en")]


def test_a_replaced_recording_is_converted_anew_and_an_old_one_is_not(cache: Path, recorded: Path) -> None:
    library = PromptLibrary(cache, recorded, NoSynthesiser())
    made: list[str] = []

    def ensure() -> str:
        prompts = library.ensure([HELLO], lambda done, total, prompt: made.append(prompt.name))
        return prompts.path("hello", "en")

    soundfile.write(recorded / "en" / "hello.wav", np.full(8000, 100, np.int16), 8000)
    first, again = ensure(), ensure()
    soundfile.write(recorded / "en" / "hello.wav", np.full(8000, 200, np.int16), 8000)
    assert first == again
    assert ensure() != first
    assert len(made) == 2


@pytest.mark.parametrize("name", ["ulaw", "alaw", "sln16"])
def test_a_recording_in_a_native_format_passes_unchanged(cache: Path, recorded: Path, name: str) -> None:
    data = formats.encode(ToneSynthesiser().synthesise("x", "en"), name)
    (recorded / "en" / f"hello.{name}").write_bytes(data)
    prompts = PromptLibrary(cache, recorded, NoSynthesiser()).ensure([HELLO])
    assert Path(f"{prompts.path('hello', 'en')}.{name}").read_bytes() == data


def test_of_several_recordings_the_best_is_taken(cache: Path, recorded: Path) -> None:
    (recorded / "en" / "hello.ulaw").write_bytes(b"\xff" * 8000)
    soundfile.write(recorded / "en" / "hello.wav", np.full(32000, 100, np.int16), 16000)
    assert PromptLibrary(cache, recorded, NoSynthesiser()).ensure([HELLO]).duration_s("hello", "en") == 2.0


def test_recordings_that_no_prompt_asks_for_are_found(cache: Path, recorded: Path) -> None:
    for name in ("en/hello.wav", "en/Hello.wav", "en/hello.mp3", "de/hello.wav"):
        (recorded / name).parent.mkdir(exist_ok=True)
        (recorded / name).write_bytes(b"x")
    unused = PromptLibrary(cache, recorded, NoSynthesiser()).unused_recordings([HELLO])
    assert [str(path.relative_to(recorded)) for path in unused] == ["de/hello.wav", "en/Hello.wav", "en/hello.mp3"]


# --- bad input --------------------------------------------------------------------------------------------------


def test_all_faults_come_at_once_and_the_good_prompts_are_made(cache: Path, recorded: Path) -> None:
    (recorded / "en" / "broken.wav").write_bytes(b"no sound")
    (recorded / "en" / "gone.wav").symlink_to(recorded / "nowhere.wav")
    (recorded / "en" / "folder.wav").mkdir()
    library = PromptLibrary(cache, recorded, EspeakSynthesiser())
    faults = faults_of(
        library,
        Prompt("empty", "en", "  "),
        Prompt("lang", "de", "Guten Tag"),
        Prompt("Bad Name", "en", "x"),
        Prompt("broken", "en", "x"),
        Prompt("gone", "en", "x"),
        Prompt("folder", "en", "x"),
        Prompt("dots", "en", "..."),
        Prompt("bell", "en", "ding\a"),
        Prompt("long", "en", "x" * 10_240),
        Prompt("twice", "en", "one"),
        Prompt("twice", "en", "two"),
        HELLO,
    )
    expected = {
        "'empty'": "is empty: write the sentence, or record it (as ",
        "'lang' ('de')": "its language is unknown: choose from fa, ar, en",
        "'Bad Name'": "its name must be",
        "'broken'": "broken.wav: can't be read",
        "'gone'": "gone.wav: can't be read",
        "'folder'": "folder.wav: is not a regular file",
        "'dots'": "has nothing that can be spoken",
        "'bell'": "control character U+0007",
        "'long'": "has 10240 characters, the limit is 2000",
        "'twice'": "two different texts",
    }
    for who, what in expected.items():
        assert [fault for fault in faults if who in fault and what in fault], (who, faults)
    assert len(faults) == len(expected)
    assert PromptLibrary(cache, recorded, EspeakSynthesiser()).ensure([HELLO]).duration_s("hello", "en") > 0.3
    assert len(visible(cache)) == 3 * 2  # hello, and the first of the two texts


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "a/b",
        "a&b",
        "a,b",
        "a b",
        "A",
        "-x",
        "x\n",
        "x\0",
        "سلام",
        "a" * 65,
        "\ud800",
    ],
)
def test_a_hostile_name_is_refused_and_touches_nothing(cache: Path, recorded: Path, name: str) -> None:
    faults = faults_of(PromptLibrary(cache, recorded, ToneSynthesiser()), Prompt(name, "en", "x"))
    assert len(faults) == 1
    assert "its name must be" in faults[0]
    assert faults[0].isascii()
    assert faults[0].isprintable()
    assert not cache.exists()


@pytest.mark.parametrize("language", ["", "..", "../fa", "EN", "en\n", "xx"])
def test_a_hostile_language_is_refused_and_touches_nothing(cache: Path, recorded: Path, language: str) -> None:
    faults = faults_of(PromptLibrary(cache, recorded, ToneSynthesiser()), Prompt("x", language, "x"))
    assert len(faults) == 1
    assert "choose from fa, ar, en" in faults[0]
    assert not cache.exists()


def test_a_cache_that_cant_be_written_is_told_once_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    faults = faults_of(PromptLibrary(tmp_path / "file" / "cache", None, ToneSynthesiser()), *PROMPTS)
    assert len(faults) == 1
    assert f"prompts.cache_dir: {tmp_path}/file/cache can't be written" in faults[0]


def test_a_cache_path_that_the_pbx_cant_take_is_refused(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path / "a&b,c d", None, ToneSynthesiser())
    faults = faults_of(library, HELLO, Prompt("empty", "en", ""))
    assert len(faults) == 2
    assert "characters that the PBX can't take" in faults[0]
    assert not (tmp_path / "a&b,c d").exists()


def test_a_relative_cache_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = PromptLibrary(Path("cache"), None, ToneSynthesiser()).ensure([HELLO])
    assert prompts.path("hello", "en").startswith(f"{tmp_path}/cache/en/")


def test_a_missing_folder_of_recordings_is_told(tmp_path: Path, cache: Path) -> None:
    faults = faults_of(PromptLibrary(cache, tmp_path / "nowhere", ToneSynthesiser()), HELLO)
    assert faults == (
        f"prompts.recorded_dir: {tmp_path}/nowhere is not a folder: make it, or leave the setting empty",
    )


def test_a_missing_engine_is_told_once_beside_the_other_faults(cache: Path) -> None:
    faults = faults_of(PromptLibrary(cache, None, NoSynthesiser()), *PROMPTS, Prompt("empty", "en", ""))
    assert len(faults) == 2
    assert faults[0] == "no engine here: install one"


def test_unknown_formats_are_refused_when_the_library_is_built(cache: Path) -> None:
    with pytest.raises(ValueError, match="choose at least one of ulaw, alaw, sln16"):
        PromptLibrary(cache, None, ToneSynthesiser(), formats=("ulaw", "g722"))


# --- processes that die, race or run out of room ----------------------------------------------------------------


def ensure_long_prompts(cache: Path) -> None:
    PromptLibrary(cache, None, ToneSynthesiser(seconds=60.0)).ensure(PROMPTS)


def ensure_builtin(cache: Path, answer: Connection) -> None:
    prompts = PromptLibrary(cache, None, EspeakSynthesiser()).ensure(builtin_prompts())
    answer.send({key: entry[0] for key, entry in prompts.entries.items()})


def ensure_with_little_room(cache: Path, answer: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))  # each file may have 6 kB: 16 kB of sln16 stop half way
    try:
        PromptLibrary(cache, None, ToneSynthesiser()).ensure(PROMPTS)
    except PromptMissing as error:
        answer.send(error.faults)


def test_a_process_killed_while_it_writes_leaves_no_half_file(tmp_path: Path, cache: Path) -> None:
    ensure_long_prompts(tmp_path / "reference")
    reference = visible(tmp_path / "reference")
    caught_writing = False
    for attempt in range(10):
        folder = cache / str(attempt)
        caught_writing = killed_while_writing(folder) or caught_writing
        assert visible(folder).items() <= reference.items()
        ensure_long_prompts(folder)
        assert visible(folder) == reference
        if caught_writing:
            break
    assert caught_writing


def killed_while_writing(cache: Path) -> bool:
    """Kill a process that fills the cache at its first unfinished file; says whether that is still there."""
    child = SPAWN.Process(target=ensure_long_prompts, args=(cache,))
    child.start()
    until(lambda: bool(hidden(cache)) or not child.is_alive())
    child.kill()
    child.join(10)
    return bool(hidden(cache))


def test_old_leftovers_of_killed_processes_are_swept_and_fresh_ones_are_not(cache: Path) -> None:
    old, fresh = cache / "en" / "aa" / ".x.ulaw.1.tmp", cache / "en" / "aa" / ".x.ulaw.2.tmp"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    PromptLibrary(cache, None, ToneSynthesiser()).ensure([HELLO])
    assert hidden(cache) == [fresh]


def test_two_processes_may_make_the_same_prompts_at_once(cache: Path) -> None:
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(2)]
    children = [SPAWN.Process(target=ensure_builtin, args=(cache, send)) for _, send in pipes]
    for child in children:
        child.start()
    for _, send in pipes:
        send.close()  # so that a child that dies is an end of file here, not a wait
    answers = [receive.recv() for receive, _ in pipes]
    for child in children:
        child.join(10)
    assert [child.exitcode for child in children] == [0, 0]
    assert answers[0] == answers[1]
    assert len(answers[0]) == len(builtin_prompts())
    assert hidden(cache) == []
    made: list[int] = []
    PromptLibrary(cache, None, EspeakSynthesiser()).ensure(builtin_prompts(), lambda *step: made.append(step[0]))
    assert made == []


def test_a_disk_that_fills_up_leaves_no_half_file_and_is_told_once(cache: Path) -> None:
    receive, send = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=ensure_with_little_room, args=(cache, send))
    child.start()
    send.close()
    faults = receive.recv()
    child.join(10)
    assert len(faults) == 1
    assert "can't be written (File too large)" in faults[0]
    assert {path.split(".")[-1] for path in visible(cache)} == {"ulaw", "alaw"}
    assert hidden(cache) == []
    PromptLibrary(cache, None, ToneSynthesiser()).ensure(PROMPTS)
    assert len(visible(cache)) == 3 * len(PROMPTS)


# --- the real engine --------------------------------------------------------------------------------------------


def test_every_builtin_sentence_is_spoken_evenly_and_unclipped(cache: Path) -> None:
    prompts = PromptLibrary(cache, None, EspeakSynthesiser()).ensure(builtin_prompts())
    for prompt in builtin_prompts():
        stem = prompts.path(prompt.name, prompt.language)
        assert 0.2 < prompts.duration_s(prompt.name, prompt.language) < 8, prompt
        for name in formats.DEFAULT_FORMATS:
            samples = formats.decode(Path(f"{stem}.{name}").read_bytes(), name).samples
            assert 18_000 < levels.peak(samples) < 26_000, (prompt, name)
            assert -26 < levels.dbfs(samples) < -14, (prompt, name)


@pytest.mark.parametrize(
    ("language", "text"), [("fa", "لطفاً منتظر بمانید."), ("ar", "الرَّجاءُ الاِنْتِظار."), ("en", "Please wait.")]
)
def test_no_silence_is_kept_around_speech(language: str, text: str) -> None:
    wave = EspeakSynthesiser().synthesise(text, language)
    loud = np.flatnonzero(np.abs(wave.samples.astype(np.int32)) > levels.peak(wave.samples) / 100)
    assert loud[0] / wave.rate_hz <= 0.051
    assert (len(wave.samples) - loud[-1]) / wave.rate_hz <= 0.101


def test_markup_and_phoneme_spelling_are_read_as_text() -> None:
    synthesiser = EspeakSynthesiser()
    assert synthesiser.synthesise("one <break time='60s'/> two", "en").duration_s < 20
    plain = synthesiser.synthesise("one two", "en").duration_s
    assert synthesiser.synthesise("<s>one two</s>", "en").duration_s > plain + 0.5
    assert synthesiser.synthesise("[[w'Vn]] two", "en").duration_s > plain


@pytest.mark.parametrize(
    "text", ["%s%n" * 400, "$(id) `id` ; & | ' \" \\", "\U0001f600", "9" * 2000, "-w x --stdout"]
)
def test_odd_texts_are_only_spoken(text: str) -> None:
    assert EspeakSynthesiser().synthesise(text, "en").duration_s > 0.2


def test_speech_without_end_is_cut_off_and_the_engine_goes_on() -> None:
    synthesiser = EspeakSynthesiser()
    with pytest.raises(SpeechRefused, match="takes longer than 240 s to say"):
        synthesiser.synthesise("%s" * 1000, "en")
    assert synthesiser.synthesise("Hello there.", "en").duration_s == pytest.approx(0.75, abs=0.1)


def test_many_threads_get_each_its_own_sentence() -> None:
    texts = ["Yes."] * 8 + ["This sentence takes a good deal longer to say than the other one."] * 8
    durations: dict[int, float] = {}

    def say(number: int) -> None:
        durations[number] = EspeakSynthesiser().synthesise(texts[number], "en").duration_s

    threads = [threading.Thread(target=say, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(durations[number] for number in range(8)) < 1
    assert min(durations[number] for number in range(8, 16)) > 2


def test_without_library_and_command_the_error_says_what_to_install() -> None:
    synthesiser = EspeakSynthesiser(lambda: ("/nowhere/libespeak.so", "/nowhere"), command="no-such-espeak")
    with pytest.raises(SpeechUnavailable, match="install the package espeakng-loader"):
        synthesiser.synthesise("Hello.", "en")


def test_a_library_without_its_voices_is_refused() -> None:
    library, _ = wheel_paths()
    elsewhere = EspeakSynthesiser(lambda: (library, "/nowhere"), command="no-such-espeak")
    with pytest.raises(SpeechUnavailable, match=r"no voices in /nowhere|runs it with the data in"):
        elsewhere.synthesise("Hello.", "en")
    assert EspeakSynthesiser().synthesise("Hello there.", "en").duration_s > 0.3


COMMAND = """#!/bin/sh
if [ "$1" = --version ]; then echo "eSpeak NG text-to-speech: 1.51  Data at: /x"; exit 0; fi
cat > {folder}/text
printf '%s ' "$@" > {folder}/options
for last do :; done
{action}
"""


def command_in(folder: Path, action: str) -> EspeakSynthesiser:
    program = folder / "espeak-ng"
    program.write_text(COMMAND.format(folder=folder, action=action))
    program.chmod(0o755)
    return EspeakSynthesiser(lambda: ("/nowhere/libespeak.so", "/nowhere"), command=str(program))


def test_the_command_is_used_where_the_library_is_absent(tmp_path: Path) -> None:
    sound = ToneSynthesiser().synthesise("x", "en").samples
    soundfile.write(tmp_path / "sound.wav", sound, 22050)
    synthesiser = command_in(tmp_path, f'cp {tmp_path}/sound.wav "$last"')
    wave = synthesiser.synthesise("-w /etc/x $(id)", "fa")
    assert wave.rate_hz == 22050
    assert levels.peak(wave.samples) == pytest.approx(23197, abs=2)
    assert "espeak-ng 1.51 command" in synthesiser.version
    assert (tmp_path / "text").read_text() == "-w /etc/x $(id)"
    assert (tmp_path / "options").read_text().startswith("-v fa -s 150 -a 40 -b 1 --stdin -w ")


@pytest.mark.parametrize(("action", "what"), [("exit 3", "failed"), ("true", "wrote no sound")])
def test_a_command_that_fails_is_told(tmp_path: Path, action: str, what: str) -> None:
    with pytest.raises(SpeechUnavailable, match=what):
        command_in(tmp_path, action).synthesise("Hello.", "en")
