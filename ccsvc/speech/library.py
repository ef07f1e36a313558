"""The prompt library: every sentence in every format, made once, kept by its content, found by its name.

Promises: a path that it gives out leads to whole files; what is there already is not made again; two
processes may do the same work at once; all faults come together, each with its remedy. A recorded file
`<recorded_dir>/<language>/<name>.<wav|flac|sln16|alaw|ulaw>` wins over the text. The cache is only ever added
to: it may be deleted whenever nothing is playing. This module does not know which engine speaks.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsvc.app.ports_speech import Prompt, Synthesiser
from ccsvc.errors import PromptMissing
from ccsvc.speech.assembly import Assembly, Key, Progress, shown
from ccsvc.speech.formats import DEFAULT_FORMATS, FORMATS, RECORDED_SUFFIXES


@dataclass(frozen=True, slots=True)
class PromptMap:
    """The sentences that were asked for: (name, language) -> (path without extension, seconds)."""

    entries: Mapping[Key, tuple[str, float]]

    def path(self, name: str, language: str) -> str:
        """Absolute, without extension, of the characters A-Z a-z 0-9 _ . / - only. Raises `PromptMissing`."""
        return self._entry(name, language)[0]

    def duration_s(self, name: str, language: str) -> float:
        """How long it plays. Raises `PromptMissing`."""
        return self._entry(name, language)[1]

    def _entry(self, name: str, language: str) -> tuple[str, float]:
        entry = self.entries.get((name, language))
        if entry is None:
            where = f"prompt {shown(name)} ({shown(language)})"
            raise PromptMissing([f"{where}: was not asked for: add its text to the configuration"])
        return entry


class PromptLibrary:
    """Blocking; holds no state between calls, so that threads may share it. Constructing it touches nothing."""

    def __init__(
        self,
        cache_dir: Path,
        recorded_dir: Path | None,
        synthesiser: Synthesiser,
        formats: Sequence[str] = DEFAULT_FORMATS,
    ) -> None:
        if not formats or not set(formats) <= set(FORMATS):
            raise ValueError(f"formats {tuple(formats)}: choose at least one of {', '.join(FORMATS)}")
        self._cache_dir = cache_dir
        self._recorded_dir = recorded_dir
        self._synthesiser = synthesiser
        self._formats = tuple(formats)

    def ensure(self, prompts: Iterable[Prompt], progress: Progress | None = None) -> PromptMap:
        """Make what is missing. `progress(done, total, prompt)` counts only what had to be made.

        Raises `PromptMissing` with all faults at once; what could be made is kept all the same. An exception
        out of `progress` ends the work at once and passes through: a way to stop it.
        """
        root = Path(os.path.abspath(self._cache_dir))  # noqa: PTH100  resolve() would replace the operator's links
        assembly = Assembly(root, self._recorded_dir, self._synthesiser, self._formats)
        return PromptMap(assembly.assemble(prompts, progress))

    def unused_recordings(self, prompts: Iterable[Prompt]) -> tuple[Path, ...]:
        """Recorded files that no prompt asks for (a misspelt name, a wrong suffix), so that one can say so."""
        if self._recorded_dir is None or not self._recorded_dir.is_dir():
            return ()
        wanted = {
            self._recorded_dir / prompt.language / (prompt.name + suffix)
            for prompt in prompts
            for suffix in RECORDED_SUFFIXES
        }
        return tuple(sorted(p for p in self._recorded_dir.rglob("*") if p.is_file() and p not in wanted))
