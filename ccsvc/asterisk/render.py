"""The PBX's configuration for one `Settings`: the templates of `asterisk-conf/` and `dialplan/`, filled in.

Promises: either every file is written or, on any fault in a value, none; a file that would not change is not
touched; a file with a secret is readable by its owner only. What a site adds in `manager.d/`, `pjsip.d/`,
`queues.d/`, `musiconhold.d/`, `modules.d/` and `extensions.d/` is included and never written. It does not talk
to a running PBX: whoever calls it asks for the reload.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ccsvc.app.ports_speech import PromptPaths
from ccsvc.asterisk.conf_values import all_values, fill, sounds_for
from ccsvc.resources import resource_dir
from ccsvc.settings import Settings

SECRET_FILES = frozenset({"ccsvc/manager.conf", "ccsvc/pjsip.conf"})
_SECRET_MODE = 0o600
_PLAIN_MODE = 0o644
_STANZAS = "stanzas"


def render(
    settings: Settings, target: Path, *, prompts: PromptPaths | None = None, music_dir: Path | None = None
) -> list[Path]:
    """Write the configuration into `target` (made if need be) and return the files that changed.

    `prompts` gives the path of `system_trouble` (without it a phone gets a refusal instead of a sentence);
    `music_dir` holds the music on hold, `<data_dir>/moh` if not given, a class other than `default` in the folder of
    its name. Raises `ConfigError` for a value that may not stand in such a file, `PromptMissing`, `OSError`.
    """
    texts = rendered(settings, prompts=prompts, music_dir=music_dir)
    changed = {target / name: text for name, text in texts.items() if not _is_current(target / name, text)}
    modes = {target / name: _mode(name) for name in texts}
    _write_all(changed, modes)
    _tighten(modes)
    return list(changed)


def rendered(
    settings: Settings, *, prompts: PromptPaths | None = None, music_dir: Path | None = None
) -> dict[str, str]:
    """The same as text: path below the target -> content. Nothing is written."""
    values = all_values(settings, sounds_for(settings, prompts, music_dir))
    return {name: fill(path.read_text(encoding="utf-8"), values) for name, path in _templates().items()}


def cel_journal(settings: Settings) -> Path:
    """Where the PBX writes channel events, one JSON object a line."""
    return Path(settings.pbx.log_dir) / "cel-custom" / "cel.jsonl"


def cdr_journal(settings: Settings) -> Path:
    """Where the PBX writes call detail records, one JSON object a line."""
    return Path(settings.pbx.log_dir) / "cdr-custom" / "cdr.jsonl"


def queue_log(settings: Settings) -> Path:
    """Where app_queue writes what the safety net did."""
    return Path(settings.pbx.log_dir) / "queue_log"


def make_directories(settings: Settings) -> None:
    """Make the folders that the PBX writes into and does not make itself."""
    pbx = settings.pbx
    wanted = [Path(pbx.run_dir), Path(pbx.state_dir), Path(pbx.spool_dir), Path(settings.recording.dir)]
    wanted += [cel_journal(settings).parent, cdr_journal(settings).parent]
    for folder in wanted:
        folder.mkdir(parents=True, exist_ok=True)


def needed_modules() -> tuple[str, ...]:
    """The modules that `modules.conf` loads: what an Asterisk must have to be of use."""
    lines = (resource_dir("asterisk-conf") / "ccsvc" / "modules.conf").read_text(encoding="utf-8").split("\n")
    words = [line.partition(";")[0].split() for line in lines]
    return tuple(found[2] for found in words if found[:2] == ["load", "="])


def _templates() -> dict[str, Path]:
    """Path below the target -> template. The dialplan goes to `ccsvc/dialplan/`."""
    places = ((resource_dir("asterisk-conf"), ""), (resource_dir("dialplan"), "ccsvc/dialplan/"))
    return {
        prefix + path.relative_to(folder).as_posix(): path
        for folder, prefix in places
        for path in sorted(folder.rglob("*.conf"))
        if _STANZAS not in path.relative_to(folder).parts
    }


def _mode(name: str) -> int:
    return _SECRET_MODE if name in SECRET_FILES else _PLAIN_MODE


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _write_all(texts: dict[Path, str], modes: dict[Path, int]) -> None:
    """Write every text beside its place first, then move them all in; what was not moved is removed again."""
    with ExitStack() as unfinished:
        written = [(_write_beside(path, text, modes[path], unfinished), path) for path, text in texts.items()]
        for temporary, path in written:
            temporary.replace(path)


def _write_beside(path: Path, text: str, mode: int, unfinished: ExitStack) -> Path:
    """A hidden file in the same folder with its final owner and mode, on disk before anything is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    unfinished.callback(Path(temporary).unlink, missing_ok=True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
        _inherit(file.fileno(), path, mode)
    return Path(temporary)


def _inherit(descriptor: int, path: Path, mode: int) -> None:
    """Who owned the old file (the user that Asterisk runs as) owns the new one; a secret stays closed to others."""
    if not path.exists():
        return
    old = path.stat()
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & (mode | 0o640))


def _tighten(modes: dict[Path, int]) -> None:
    """An unchanged file keeps its mode, except that a secret is never open to others."""
    for path, mode in modes.items():
        now = path.stat().st_mode
        if mode == _SECRET_MODE and now & 0o007:
            path.chmod(now & 0o770)
