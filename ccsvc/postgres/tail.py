"""The file that is being appended to.

Promises: a record is written whole or not at all: what a full disk cut short is taken back before anything else is
written. Knows nothing of what the bytes mean.
"""

import os
from pathlib import Path

from ccsvc.errors import SpoolBroken


class Tail:
    """`fd` stays open after this object is gone: whoever makes it durable closes it."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._path = path
        self.size = 0
        self.head_bytes = len(head)
        self._torn = False
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolBroken(str(path), f"can't be created: {error}") from error
        try:
            self.append(head)
        except SpoolBroken:
            os.close(self.fd)
            path.unlink()
            raise

    @property
    def row_bytes(self) -> int:
        return self.size - self.head_bytes

    def append(self, data: bytes) -> None:
        """Raises `SpoolBroken`: then nothing of `data` is in the file."""
        try:
            if self._torn:
                self._take_back()
            self._torn = True
            _write(self.fd, data)
            self._torn = False
        except OSError as error:
            self._try_to_take_back()
            raise SpoolBroken(str(self._path), f"can't be written: {error}") from error
        self.size += len(data)

    def _take_back(self) -> None:
        os.ftruncate(self.fd, self.size)
        self._torn = False

    def _try_to_take_back(self) -> None:
        try:
            self._take_back()
        except OSError:
            self._torn = True


def _write(fd: int, data: bytes) -> None:
    """One `write`, unless the kernel takes only a part of it."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
