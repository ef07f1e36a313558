"""Files that appear whole or not at all, whatever is killed when, and that the PBX's own user may read.

A file is written under a hidden name beside its place, brought to the disk and renamed. What a killed
process leaves behind is a hidden `.*.tmp`, which `sweep` takes away. It does not know what is in them.
"""

import os
import tempfile
from pathlib import Path

FILE_MODE = 0o644
FOLDER_MODE = 0o755


def make_folder(path: Path) -> None:
    """Make the folder and those above it, readable for the PBX. Raises `OSError`."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return  # another process was faster
    path.chmod(FOLDER_MODE)


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what is there in one step. Raises `OSError`, leaving nothing behind."""
    make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path, before_s: float) -> int:
    """Remove hidden leftovers last touched before the epoch second `before_s`; returns how many."""
    removed = 0
    for leftover in folder.rglob(".*.tmp"):
        try:
            if leftover.stat().st_mtime < before_s:
                leftover.unlink()
                removed += 1
        except (FileNotFoundError, PermissionError):
            continue  # its owner has just finished it, or it is another user's to remove
    return removed
