"""The recordings' folder: whether it can be written, and how long a finished file plays.

Promises: a file is only ever read, in a worker thread, and one that makes no sense is no error. It does not know who
writes there, nor when a file is finished.
"""

import asyncio
import os
import wave
from pathlib import Path

from ccsvc.errors import RecordingFolderUnwritable


class RecordingFolder:
    """Implements the `Recordings` port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder and try to write there. Raises `RecordingFolderUnwritable`."""
        probe = self._folder / f".ccsvc-{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise RecordingFolderUnwritable(str(self._folder), error.strerror or str(error)) from error

    async def measure(self, path: str) -> tuple[float, int] | None:
        """(seconds of audio, bytes) of a WAV below the folder; None if there is no readable one."""
        return await asyncio.to_thread(self._measure, self._folder / path)

    @staticmethod
    def _measure(file: Path) -> tuple[float, int] | None:
        try:
            with wave.open(str(file), "rb") as sound:
                return sound.getnframes() / sound.getframerate(), file.stat().st_size
        except (OSError, EOFError, wave.Error, ArithmeticError, ValueError):
            return None  # not there, cut off, or no sound: a rate of 0 can be written into a header as well
