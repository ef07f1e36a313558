"""One pass over the prompts: decide where each belongs, make what is missing, gather every fault.

Promises: a prompt's formats are made from one rendering; a fault in one prompt never stops the others; the
same root cause (no engine, no room on the disk) is told once. An `Assembly` is used once, by one thread.
This module does not know which engine speaks, nor who asked.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ccsvc.app.ports_speech import Prompt, Synthesiser, Wave
from ccsvc.errors import CcsvcError, PromptMissing
from ccsvc.settings import Language
from ccsvc.speech.espeak import SpeechRefused, SpeechUnavailable
from ccsvc.speech.files import sweep, write_whole
from ccsvc.speech.formats import (
    RECORDED_LIMIT_BYTES,
    RECORDED_SUFFIXES,
    AudioUnreadable,
    duration_s,
    encode,
    read_recorded,
)
from ccsvc.speech.texts import text_fault

LANGUAGES: tuple[str, ...] = get_args(Language)
Progress = Callable[[int, int, Prompt], None]
Key = tuple[str, str]

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
_PLAYABLE_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_CONVERSION = b"1"  # raise it when recorded files are to be converted anew
_LEFTOVER_AGE_S = 3600.0
_SAME_DURATION_S = 0.01
_BLOCK_BYTES = 1 << 20
_REFUSALS = (AudioUnreadable, SpeechRefused, SpeechUnavailable)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where a prompt's files belong (without extension), and the recording that they are made of, if any."""

    prompt: Prompt
    stem: Path
    recorded: Path | None


class Assembly:
    """See the module. `root` is an absolute path; `recorded_dir` None means that nothing is recorded."""

    def __init__(
        self, root: Path, recorded_dir: Path | None, synthesiser: Synthesiser, formats: Sequence[str]
    ) -> None:
        self._root = root
        self._recorded_dir = recorded_dir
        self._synthesiser = synthesiser
        self._formats = formats
        self._faults: list[str] = []
        self._version: str | None = None
        self._engine_lost = False
        self._cache_lost = False

    def assemble(self, prompts: Iterable[Prompt], progress: Progress | None) -> dict[Key, tuple[str, float]]:
        """(name, language) -> (path without extension, seconds). Raises `PromptMissing` with all faults."""
        self._check_folders()
        plans = [plan for plan in map(self._plan, self._distinct(prompts)) if plan]
        missing = [plan for plan in plans if self._duration_s(plan) is None]
        for done, plan in enumerate(missing, 1):
            self._make(plan)
            if progress is not None:
                progress(done, len(missing), plan.prompt)
        entries = {_key(plan.prompt): (str(plan.stem), self._lasting_s(plan)) for plan in plans}
        if self._faults:
            raise PromptMissing(self._faults)
        return entries

    def _check_folders(self) -> None:
        if not _PLAYABLE_PATH.fullmatch(str(self._root)):
            self._lose_cache(
                f"{str(self._root)!a} has characters that the PBX can't take in a command: "
                "choose a path of A-Z a-z 0-9 _ . / - only"
            )
        if self._recorded_dir is not None and not self._recorded_dir.is_dir():
            self._faults.append(
                f"prompts.recorded_dir: {self._recorded_dir} is not a folder: make it, or leave the setting empty"
            )
        if self._root.is_dir():
            sweep(self._root, before_s=time.time() - _LEFTOVER_AGE_S)

    def _distinct(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        known: dict[Key, Prompt] = {}
        for prompt in prompts:
            if known.setdefault(_key(prompt), prompt).text != prompt.text:
                self._fault(prompt, "has two different texts: give one of them another name")
        return list(known.values())

    def _plan(self, prompt: Prompt) -> _Plan | None:
        fault = _label_fault(prompt)
        if fault:
            self._fault(prompt, fault)
            return None
        try:
            recorded = self._recording_of(prompt)
            return self._plan_recorded(prompt, recorded) if recorded else self._plan_spoken(prompt)
        except _REFUSALS as error:
            self._refused(prompt, error)
            return None

    def _recording_of(self, prompt: Prompt) -> Path | None:
        if self._recorded_dir is None:
            return None
        folder = self._recorded_dir / prompt.language
        candidates = [folder / (prompt.name + suffix) for suffix in RECORDED_SUFFIXES]
        return next((path for path in candidates if os.path.lexists(path)), None)

    def _plan_recorded(self, prompt: Prompt, recorded: Path) -> _Plan:
        return _Plan(prompt, self._stem("recorded", _digest_of_file(recorded)), recorded)

    def _plan_spoken(self, prompt: Prompt) -> _Plan | None:
        fault = text_fault(prompt.text)
        if fault:
            raise SpeechRefused(fault)
        if self._engine_lost:
            return None
        if self._version is None:
            self._version = self._synthesiser.version
        content = "\0".join((self._version, prompt.language, prompt.text)).encode()
        return _Plan(prompt, self._stem(prompt.language, hashlib.sha256(content).hexdigest()), None)

    def _stem(self, kind: str, content: str) -> Path:
        return self._root / kind / content[:2] / content

    def _make(self, plan: _Plan) -> None:
        wave = self._sound_of(plan)
        if wave is None or self._cache_lost:
            return
        try:
            for name in self._formats:
                write_whole(_file(plan.stem, name), encode(wave, name))
        except OSError as error:
            self._lose_cache(
                f"{self._root} can't be written ({error.strerror}): make it a folder that the daemon may write "
                "and the PBX may read, on a disk with room"
            )

    def _sound_of(self, plan: _Plan) -> Wave | None:
        try:
            if plan.recorded is not None:
                return read_recorded(plan.recorded)
            if not self._engine_lost:
                return self._synthesiser.synthesise(plan.prompt.text, plan.prompt.language)
        except _REFUSALS as error:
            self._refused(plan.prompt, error)
        return None

    def _lasting_s(self, plan: _Plan) -> float:
        duration = self._duration_s(plan)
        if duration is None and not self._faults:
            self._fault(plan.prompt, f"{plan.stem}.* is gone again: don't empty the cache meanwhile")
        return duration or 0.0

    def _duration_s(self, plan: _Plan) -> float | None:
        """Seconds, if all formats are there and last equally long; None where one is missing or was cut short."""
        try:
            lasting = [duration_s(name, _file(plan.stem, name).stat().st_size) for name in self._formats]
        except OSError:
            return None  # missing; if the disk is at fault, writing will say so
        whole = min(lasting) > 0 and max(lasting) - min(lasting) < _SAME_DURATION_S
        return lasting[0] if whole else None

    def _refused(self, prompt: Prompt, error: CcsvcError) -> None:
        if isinstance(error, SpeechUnavailable):
            self._engine_lost = True
            self._faults.append(str(error))
        elif isinstance(error, SpeechRefused):
            self._fault(prompt, f"its text {error}{self._where_to_record(prompt)}")
        else:
            self._fault(prompt, str(error))

    def _where_to_record(self, prompt: Prompt) -> str:
        folder = "<prompts.recorded_dir>" if self._recorded_dir is None else self._recorded_dir
        return f" (as {folder}/{prompt.language}/{prompt.name}.wav)"

    def _lose_cache(self, what: str) -> None:
        self._cache_lost = True
        self._faults.append(f"prompts.cache_dir: {what}")

    def _fault(self, prompt: Prompt, what: str) -> None:
        self._faults.append(f"prompt {shown(prompt.name)} ({shown(prompt.language)}): {what}")


def shown(word: str) -> str:
    """A word from outside, fit for a log line: quoted, short, without control characters."""
    return ascii(word if len(word) <= 64 else word[:64] + "...")


def _key(prompt: Prompt) -> Key:
    return prompt.name, prompt.language


def _label_fault(prompt: Prompt) -> str | None:
    if not _NAME.fullmatch(prompt.name):
        return "its name must be 1 to 64 of a-z 0-9 _ . - and begin with a letter, digit or _: rename it"
    if prompt.language not in LANGUAGES:
        return f"its language is unknown: choose from {', '.join(LANGUAGES)}"
    return None


def _file(stem: Path, format_name: str) -> Path:
    return stem.with_name(f"{stem.name}.{format_name}")


def _digest_of_file(path: Path) -> str:
    """By content and suffix: the headerless formats mean nothing without it. Raises `AudioUnreadable`."""
    digest = hashlib.sha256(b"\0".join((_CONVERSION, path.suffix.encode(), b"")))
    try:
        if path.exists() and not path.is_file():
            raise AudioUnreadable(f"{path}: is not a regular file: put a recording there, or remove it")
        with path.open("rb") as file:
            for _ in range(RECORDED_LIMIT_BYTES // _BLOCK_BYTES + 1):  # what is longer is refused when it is read
                digest.update(file.read(_BLOCK_BYTES))
    except OSError as error:
        raise AudioUnreadable(f"{path}: can't be read ({error.strerror}): mend or remove it") from error
    return digest.hexdigest()
