"""A real Asterisk, and SIPp, for whoever asks: the host's own if it will do, else a private copy.

Promises: the host is not changed; a copy is made once, in the user's cache folder, whole or not at all, however many
processes ask at the same time; a damaged copy is made again. As root and as an ordinary user alike. What is found has
been run once and has every module that ccsvc loads. It does not start a PBX (`ccsvc.testing.pbx` does).
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ccsvc.asterisk.render import needed_modules
from ccsvc.errors import CcsvcError, PbxError
from ccsvc.testing.debian import PackagesUnavailable, PrivateApt, Progress, host_suite_sources, sid_sources

MIN_SERIES = 20
_RUN_LIMIT_S = 20.0
_MARKER = ".complete"
_LOOK_EVERY_S = 0.2
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"  # not on an ordinary user's PATH
_HOST_MODULES = ("usr/lib/*/asterisk/modules", "usr/lib*/asterisk/modules", "usr/local/lib*/asterisk/modules")
_HOST_DATA = ("usr/share/asterisk", "usr/local/share/asterisk", "var/lib/asterisk")


class AsteriskMissing(PbxError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """There is no Asterisk that ccsvc can use, and none can be fetched. The message says what helps."""

    code = "asterisk_missing"


class SippMissing(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """There is no SIPp, and none can be fetched. The message says what helps."""

    code = "sipp_missing"


@dataclass(frozen=True, slots=True)
class AsteriskInstall:
    """A program that runs: `argv` starts it; `modules_dir` and `data_dir` go into asterisk.conf."""

    argv: tuple[str, ...]
    modules_dir: Path
    data_dir: Path
    version: str

    @property
    def series(self) -> int:
        """The first number of the version."""
        return int(self.version.split(".", maxsplit=1)[0])


def find_asterisk(
    progress: Progress | None = None, *, path: str | None = None, root: Path = Path("/")
) -> AsteriskInstall:
    """The host's Asterisk, or the cached copy, or a fresh copy. Blocking, up to minutes. Raises `AsteriskMissing`.

    The host's is looked for on `path` (PATH and the folders of system programs), its modules below `root`.
    """
    on_host, fault = _on_host(path, root)
    if on_host is not None and not fault:
        return on_host
    try:
        return _cached_asterisk(progress)
    except PackagesUnavailable as problem:
        raise AsteriskMissing(
            f"no Asterisk to work with: {fault or 'none is on PATH'}, and none can be fetched ({problem}). "
            f"Install Asterisk >= 22 with its PJSIP modules, as in `apt-get install asterisk` on Debian sid"
        ) from problem


def ensure_sipp(progress: Progress | None = None) -> tuple[str, ...]:
    """How to start SIPp: the host's, or a private copy of its package. Blocking. Raises `SippMissing`."""
    on_path = shutil.which("sipp")
    if on_path:
        return (on_path,)
    try:
        return _cached_sipp(progress)
    except PackagesUnavailable as problem:
        raise SippMissing(
            f"SIPp is not here ({problem}): install it, as in `apt-get install sip-tester`"
        ) from problem


def cache_root() -> Path:
    """The folder of this user for what can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ccsvc"


def _on_host(path: str | None, root: Path) -> tuple[AsteriskInstall | None, str]:
    """What the host has, and what is wrong with it."""
    program = shutil.which("asterisk", path=path or f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
    if program is None:
        return None, ""
    install = _described((program,), root)
    return install, _fault(install)


def _described(argv: tuple[str, ...], root: Path) -> AsteriskInstall:
    modules = next((path for pattern in _HOST_MODULES for path in root.glob(pattern)), root / "no/modules")
    data = next((root / place for place in _HOST_DATA if (root / place / "documentation").is_dir()), root / "no/data")
    return AsteriskInstall(argv, modules, data, _version(argv, "-V"))


def _fault(install: AsteriskInstall) -> str:
    """Why this Asterisk will not do, or nothing."""
    where = install.argv[-1]
    if install.version == "0":
        return f"{where} does not run"
    if install.series < MIN_SERIES:
        return f"{where} is Asterisk {install.version}, needed is {MIN_SERIES} or newer"
    missing = [module for module in needed_modules() if not (install.modules_dir / module).is_file()]
    if missing:
        why = " (it writes no JSON journals: too old)" if "res_cdrel_custom.so" in missing else ""
        return f"{where} {install.version} lacks {', '.join(missing)} in {install.modules_dir}{why}"
    return ""


def _version(argv: tuple[str, ...], option: str) -> str:
    """The first dotted number that the program says of itself; "0" if it can't be run."""
    try:
        done = subprocess.run([*argv, option], capture_output=True, timeout=_RUN_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "0"
    found = re.search(rb"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0].decode() if found else "0"


def _cached_asterisk(progress: Progress | None) -> AsteriskInstall:
    tree = cache_root() / "asterisk"
    if install := _usable_tree(tree):
        return install
    with _only_one(tree, progress):
        if install := _usable_tree(tree):
            return install
        _make(tree, PrivateApt(_work(tree), sid_sources(), on_top_of_host=False, progress=progress), "asterisk")
        install = _tree_install(tree)
        if fault := _fault(install):
            raise AsteriskMissing(f"the Asterisk that was fetched will not do: {fault}; use a host with Asterisk 22")
        return install


def _usable_tree(tree: Path) -> AsteriskInstall | None:
    if not (tree / _MARKER).is_file():
        return None
    install = _tree_install(tree)
    return None if _fault(install) else install


def _tree_install(tree: Path) -> AsteriskInstall:
    """Run from a tree beside the host: with the loader and the libraries of that tree, without chroot."""
    modules = next(tree.glob("usr/lib/*/asterisk/modules"), tree / "usr/lib/none/asterisk/modules")
    libraries = modules.parent.parent
    loader = next((path for path in sorted(tree.glob("usr/lib*/ld-linux*.so*"))), None)
    loader = loader or next((path for path in sorted(libraries.glob("ld-linux*.so*"))), tree / "no-loader")
    argv = (str(loader), "--library-path", str(libraries), str(tree / "usr/sbin/asterisk"))
    return _described(argv, tree)


def _cached_sipp(progress: Progress | None) -> tuple[str, ...]:
    tree = cache_root() / "sipp"
    if argv := _usable_sipp(tree):
        return argv
    with _only_one(tree, progress):
        if argv := _usable_sipp(tree):
            return argv
        _make(
            tree, PrivateApt(_work(tree), host_suite_sources(), on_top_of_host=True, progress=progress), "sip-tester"
        )
        if argv := _usable_sipp(tree):
            return argv
        raise SippMissing(
            "the SIPp that was fetched does not run here: install it, as in `apt-get install sip-tester`"
        )


def _usable_sipp(tree: Path) -> tuple[str, ...] | None:
    """With the libraries that the host lacks beside the host's own."""
    libraries = ":".join(str(path) for path in sorted(tree.glob("usr/lib/*-linux-*")))
    argv = ("/usr/bin/env", f"LD_LIBRARY_PATH={libraries}", str(tree / "usr/bin/sipp"))
    whole = (tree / _MARKER).is_file() and _version(argv, "-v") != "0"
    return argv if whole else None


def _work(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}.apt")


def _make(tree: Path, apt: PrivateApt, package: str) -> None:
    """Fetch beside the place, then move there: a tree without its marker was never whole."""
    partial = tree.with_name(f"{tree.name}.partial")
    for leftover in (partial, tree):
        shutil.rmtree(leftover, ignore_errors=True)
    apt.unpack([package], partial)
    _mend_sounds(partial)
    (partial / _MARKER).touch()
    partial.rename(tree)
    shutil.rmtree(_work(tree), ignore_errors=True)  # 100 MB of packages that nobody needs again


def _mend_sounds(tree: Path) -> None:
    """The links that a package script would have made: `en` and `en_US` lead to the one English voice."""
    sounds = tree / "usr/share/asterisk/sounds"
    voice = next(sounds.glob("en_*_f_*"), None)
    for language in ("en", "en_US"):
        link = sounds / language
        if voice is not None and not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(voice.name)


@contextmanager
def _only_one(tree: Path, progress: Progress | None) -> Iterator[None]:
    """One process at a time makes a tree; the lock goes with the process that holds it."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    with (tree.parent / f"{tree.name}.lock").open("w") as lock:
        began = time.monotonic()
        while not _locked(lock):
            if progress:
                progress(f"waiting for another process that fetches {tree.name}", 0, 0, time.monotonic() - began)
            time.sleep(_LOOK_EVERY_S)
        yield


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Shown:
    """Progress for a person: one line that changes on a terminal, elsewhere a line now and then."""

    EVERY_S = 3.0

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, what: str, done: int, total: int, seconds: float) -> None:
        text = f"{seconds:6.1f} s  {what}{f' {done}/{total}' if total else ''}"
        if sys.stdout.isatty():
            print(f"\r\x1b[K{text}", end="\n" if total and done == total else "", flush=True)
        elif seconds >= self._next_s or (total and done == total):
            self._next_s = seconds + self.EVERY_S
            print(text, flush=True)


def main() -> int:
    """Fetch both, say where they are. 0 if Asterisk is there."""
    try:
        install = find_asterisk(_Shown())
        print(f"Asterisk {install.version}: {' '.join(install.argv)}")
        print(f"SIPp: {' '.join(ensure_sipp(_Shown()))}")
    except (AsteriskMissing, SippMissing) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
