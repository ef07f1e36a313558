"""A second, independent pair of eyes on the PBX: pyst2's manager client, which shares no code with ours.

Promises: what it says was read by another AMI implementation over a connection of its own, as another user. Blocking:
call it from a worker thread. Knows nothing of ccsvc.
"""

import threading
from types import TracebackType
from typing import Self

from asterisk.manager import Event, Manager

ANSWER_LIMIT_S = 5.0


class Witness:
    """`with Witness(host, port, username, secret) as witness`."""

    def __init__(self, host: str, port: int, username: str, secret: str) -> None:
        self._manager = Manager()
        self._manager.connect(host, port)
        self._manager.login(username, secret)
        self._seen: list[dict[str, str]] = []
        self._complete = threading.Event()
        self._manager.register_event("CoreShowChannel", self._see)
        self._manager.register_event("CoreShowChannelsComplete", self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()

    def channels(self) -> list[dict[str, str]]:
        """Every channel, with the headers of CoreShowChannels."""
        self._seen, self._complete = [], threading.Event()
        self._manager.send_action({"Action": "CoreShowChannels"})
        if not self._complete.wait(ANSWER_LIMIT_S):
            raise TimeoutError(f"the PBX did not list its channels within {ANSWER_LIMIT_S:g} s")
        return self._seen

    def _see(self, event: Event, _manager: Manager) -> None:
        self._seen.append({str(key): str(value) for key, value in event.headers.items()})

    def _end(self, _event: Event, _manager: Manager) -> None:
        self._complete.set()
