"""A thread that makes appended bytes durable against a power cut, a little later than they were written.

A killed process loses nothing anyway: the bytes are in the kernel's hands as soon as `write` returned. What this adds
is for the machine that dies: at most `interval_s` of rows, plus the time one fsync takes.

Promises: `fsync` never runs on the caller's thread, except in `sync_now`; a disk that refuses is counted and said
(`error_count`, `last_error`), and tried again with the next bytes. `durable_file` is the newest file whose head is
known to be on the disk: until then older files are still needed.
"""

import os
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Syncer:
    def __init__(self, interval_s: float, sync_folder: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._sync_folder = sync_folder
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._fd: int | None = None
        self._file = 0
        self._retired: list[int] = []
        self.durable_file = 0
        self.error_count = 0
        self.last_error = ""

    def begin(self, file: int, fd: int) -> None:
        """From now on `fd` is appended to; the one before is made durable once more, and closed."""
        with self._lock:
            if self._fd is not None:
                self._retired.append(self._fd)
            self._file, self._fd = file, fd
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ccsvc-spool-sync", daemon=True)
            self._thread.start()
        self.touch()

    def touch(self) -> None:
        """Something was appended. With an interval of 0 it is durable when this returns."""
        if self._interval_s <= 0:
            self.sync_now()
        elif not self._dirty.is_set():
            self._dirty.set()

    def sync_now(self) -> bool:
        """Whether everything appended so far is durable now. Only here are descriptors closed."""
        with self._working:
            with self._lock:
                file, fd, retired = self._file, self._fd, list(self._retired)
            if fd is None:
                return True
            return self._sync(file, fd, retired)

    def close(self) -> None:
        """Sync a last time and let go of everything."""
        self._stop.set()
        self._dirty.set()
        if self._thread is not None:
            self._thread.join()
        self.sync_now()
        with self._working, self._lock:
            for fd in (*self._retired, *(() if self._fd is None else (self._fd,))):
                os.close(fd)
            self._retired, self._fd = [], None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._dirty.wait()
            self._stop.wait(self._interval_s)
            self._dirty.clear()
            self.sync_now()

    def _sync(self, file: int, fd: int, retired: list[int]) -> bool:
        try:
            for one in (*retired, fd):
                os.fsync(one)
            if file != self.durable_file:
                self._sync_folder()
        except OSError as error:
            self.error_count += 1
            self.last_error = str(error)
            log.error("spool can't be synced", error=str(error), file=file)  # noqa: TRY400  the trace says no more
            return False
        self.durable_file = file
        self._forget(retired)
        return True

    def _forget(self, retired: list[int]) -> None:
        with self._lock:
            for fd in retired:
                self._retired.remove(fd)
                os.close(fd)
