"""The folder that a spool lives in: numbered files, the position file, the lock, and what was set aside.

    00000007.spool      records, see `frames`; the newest one is being appended to
    00000007.spool.bad  damaged bytes of that file, kept for a person to look at
    position.json       up to where the database has everything: see `Position`
    lock                held while a daemon uses the folder; says its process id

Promises: `position.json` is replaced whole; a lock goes with the process that held it, however that ended.
Knows nothing of rows.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ccsvc.errors import SpoolBroken, SpoolTaken
from ccsvc.postgres.frames import Damage

SUFFIX = ".spool"


class Position(msgspec.Struct, frozen=True):
    """A place between two records of a file.

    `file_id` is the file's own: a number alone may be used again by a spool that lost its disk. `rows` were appended
    before this place since the spool began, `written` says how many of them each table got.
    """

    file: int = 0
    file_id: str = ""
    offset: int = 0
    rows: int = 0
    written: dict[str, int] = {}


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def file(self, number: int) -> Path:
        return self.path / f"{number:08d}{SUFFIX}"

    def numbers(self) -> list[int]:
        """The numbers of the files that are there, oldest first."""
        names = (path.name.removesuffix(SUFFIX) for path in self.path.glob(f"*{SUFFIX}"))
        return sorted(int(name) for name in names if name.isdecimal())

    def read(self, number: int, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` to `end` (the file's end if None)."""
        with self.file(number).open("rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)

    def set_aside(self, number: int, damages: Iterable[Damage]) -> None:
        """Copy damaged bytes to the `.bad` file and blank them out, so that nobody stumbles over them again."""
        path = self.file(number)
        with path.open("r+b") as file, path.with_name(path.name + ".bad").open("ab") as bad:
            for damage in damages:
                length = damage.end - damage.start
                file.seek(damage.start)
                bad.write(file.read(length))
                bad.flush()
                file.seek(damage.start)
                file.write(b"\n" * length)

    def load_position(self) -> Position:
        """The beginning if there is none or it can't be understood: the rows are then drained again, harmlessly."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return msgspec.json.decode((self.path / "position.json").read_bytes(), type=Position)
        return Position()

    def save_position(self, position: Position) -> None:
        fresh = self.path / "position.json.new"
        fresh.write_bytes(msgspec.json.encode(position))
        fresh.replace(self.path / "position.json")

    def take(self) -> None:
        """Create the folder if need be and lock it. Raises `SpoolTaken`, `SpoolBroken`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolBroken(str(self.path), f"can't be opened: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "?"
            os.close(lock)
            raise SpoolTaken(str(self.path), f"process {owner}") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def taken(self) -> bool:
        return self._lock is not None

    def sync(self) -> None:
        """Make the names of new files durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
