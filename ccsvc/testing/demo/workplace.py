"""The folder of a demo: made afresh at its start, left as it is at its end.

Promises: nothing is removed but what a demo made (a file in it says so); two demos never share one; what can't be
given to a PBX or a database (a path too long for a socket, with odd letters, or closed to the user that PostgreSQL
must run as) is replaced by a folder of this user in the system's temporary one.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ccsvc.errors import CcsvcError
from ccsvc.testing.pbx import SOCKET_PATH_LIMIT
from ccsvc.testing.postgres_server import find_postgres

DEFAULT = Path("run/demo")
MARKER = ".ccsvc-demo"
_LONGEST_SOCKET = "postgres/socket/.s.PGSQL.5432.lock"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


class FolderRefused(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """The demo can't have this folder. The message says why, and what to do."""

    code = "folder_refused"


@contextmanager
def workplace(wanted: Path | None) -> Iterator[tuple[Path, str]]:
    """An empty folder for one demo, absolute; and why it is not the wanted one, if so. Raises `FolderRefused`."""
    folder = (wanted or DEFAULT).absolute()
    if fault := unfit(folder):
        folder = Path(tempfile.gettempdir()) / f"ccsvc-demo-{os.getuid()}"
    with ExitStack() as held:
        try:
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # PostgreSQL may run as another user below it
            held.enter_context(_claim(folder))
            _clear(folder)
            (folder / "pbx").mkdir(mode=0o700)  # secrets are in there
        except OSError as error:
            raise FolderRefused(f"{folder}: {error.strerror or error}: choose another with --dir") from error
        yield folder, fault


def unfit(folder: Path) -> str:
    """Why sockets, a PBX's command lines or PostgreSQL's user can't deal with this path; empty: they can."""
    if len(os.fsencode(folder / _LONGEST_SOCKET)) > SOCKET_PATH_LIMIT:
        return "its path is too long for a socket"
    if _PLAIN.fullmatch(str(folder)) is None:
        return "its path has characters other than A-Z a-z 0-9 _ . / -"
    if os.geteuid() == 0 and find_postgres().owner is not None:
        return "PostgreSQL, which does not run as root, may not get there"
    return ""


@contextmanager
def _claim(folder: Path) -> Iterator[None]:
    """Hold the marker for as long as the demo lasts; the kernel lets go of it whichever way that ends."""
    if folder.stat().st_uid != os.getuid():
        raise FolderRefused(f"{folder} belongs to somebody else: choose another with --dir")
    if any(folder.iterdir()) and not (folder / MARKER).exists():
        raise FolderRefused(f"{folder} holds something that no demo made: choose a new or an empty folder")
    with (folder / MARKER).open("a") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderRefused(
                f"another demo runs in {folder}: end it, or choose another folder with --dir"
            ) from None
        yield


def _clear(folder: Path) -> None:
    for child in folder.iterdir():
        if child.name != MARKER:
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
