"""One connection to Asterisk's manager interface (AMI) that stays up, or says that it is down.

Promises:

- `on_event` is called in the order of the wire, once for each event, from one place. An exception in it is logged and
  harms neither the link nor the next event.
- An action is sent once. If the link goes before its answer, the caller gets `AmiDown(sent=True)`: the outcome is
  unknown, and nothing is ever sent again by itself. A `Response: Error` raises.
- Everything that waits has a deadline, everything that is kept has a limit (`AmiLimits`).
- A peer that is silent (half-open connection, stopped process) is noticed within ping interval + ping deadline.
- After a loss it reconnects: at once, then ever more slowly; a refused login is retried rarely. `close` is final.
- `on_up` is called before the first event after a reconnect, so that the owner can start to ask what it missed. With
  events this is when Asterisk has fully booted. Every `on_up` but the first means: events were lost.

Does not know: what any event means. It has no queue of events: `on_event` takes them to its owner's bounded inbox.

Built on panoramisk, whose manager opens, adopts and closes the connection; `_Manager` and `_Protocol` replace what
does not hold: framing, completion by guessing, re-sending, untimed pings and logins, endless reconnecting.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import uniform
from types import MappingProxyType
from typing import Any

import structlog
from panoramisk import Manager
from panoramisk.ami_protocol import AMIProtocol

from ccsvc.asterisk.ami_actions import Pending, PendingTable
from ccsvc.errors import AmiBusy, AmiDown, AmiLoginRefused, AmiProtocolError, AmiRefused, AmiTimeout, PbxError
from ccsvc.wire.ami import AmiMessage, AmiParser, encode_action

Fields = Mapping[str, str | Sequence[str]]

_log = structlog.get_logger(__name__)
_NO_FIELDS: Fields = MappingProxyType({})
_SAID_ONCE = frozenset({"Event", "Response", "ActionID", "Privilege", "Timestamp", "Channel", "Uniqueid", "Linkedid"})
"""Headers that Asterisk writes once into a message. Twice means that a caller's text forged one."""


@dataclass(frozen=True, slots=True)
class AmiLimits:
    """How long is waited and how much is kept. The defaults suit a PBX on the same machine or network."""

    connect_deadline_s: float = 5.0
    login_deadline_s: float = 5.0
    boot_deadline_s: float = 30.0
    ping_interval_s: float = 5.0
    ping_deadline_s: float = 5.0
    first_retry_s: float = 0.05
    last_retry_s: float = 5.0
    refused_retry_s: float = 30.0
    stable_after_s: float = 5.0
    pending_count: int = 512
    list_count: int = 50_000
    unsent_bytes: int = 1 << 20
    message_bytes: int = 1 << 20


class _Protocol(AMIProtocol):  # type: ignore[misc]  # panoramisk has no types
    """panoramisk's connection with the framing of `ccsvc.wire.ami`."""

    def __init__(self, limits: AmiLimits) -> None:
        self._parser = AmiParser(message_limit_bytes=limits.message_bytes)
        self.heard_at_s = 0.0
        self.fault = ""
        self.gone = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard_at_s = asyncio.get_running_loop().time()
        try:
            messages = self._parser.feed(data)
        except AmiProtocolError as error:
            self.fault = str(error)
            self.transport.abort()
            return
        for message in messages:
            self.factory.dispatch(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        if self.factory is not None:  # else it went before the manager had adopted it: `_connect` looks at `gone`
            super().connection_lost(exc)


class _Manager(Manager):  # type: ignore[misc]  # panoramisk has no types
    """panoramisk's manager, left with opening, adopting and closing: it does nothing by itself any more."""

    def __init__(self, link: "AmiLink", host: str, port: int, limits: AmiLimits) -> None:
        super().__init__(host=host, port=port, protocol_factory=lambda: _Protocol(limits))
        self._link = link

    def connection_made(self, f: "asyncio.Task[Any]") -> None:
        if f.cancelled() or f.exception() is not None:
            return  # whoever awaits `connect` is told
        super().connection_made(f)
        self.pinger.cancel()

    def dispatch(self, event: AmiMessage) -> None:
        self._link._received(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link._lost(f"connection lost ({exc})" if exc else "Asterisk closed the connection")


class AmiLink:
    """One AMI session. `on_event`, `on_up` and `on_down(reason)` are plain functions, called from the event loop.

    `events=False` makes a session for actions only, whose answers never stand behind a storm of events.
    """

    def __init__(  # noqa: PLR0913  each is needed, all are named
        self,
        *,
        host: str,
        port: int,
        username: str,
        secret: str,
        on_event: Callable[[AmiMessage], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        events: bool = True,
        limits: AmiLimits | None = None,
    ) -> None:
        self.where = f"{host}:{port}"
        self.unasked_count = 0
        self.forged_count = 0
        self._username, self._secret, self._events = username, secret, events
        self._on_event, self._on_up, self._on_down = on_event, on_up, on_down
        self._limits = limits or AmiLimits()
        self._manager = _Manager(self, host, port, self._limits)
        self._token = secrets.token_hex(6)  # so that no caller can guess an ActionID
        self._numbers = count(1)
        self._pending = PendingTable()
        self._open = self._logged_in = self._closed = False
        self._up, self._ended, self._changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._reason = "not started"
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Logged in, and with events: Asterisk has fully booted."""
        return self._up.is_set()

    @property
    def reason(self) -> str:
        """Why it is down, or was the last time."""
        return self._reason

    async def start(self, *, wait: bool = True) -> None:
        """Make the first attempt and wait for its end. Raises `AmiLoginRefused`, and the link is closed then.

        If Asterisk can't be reached: with `wait` it raises `AmiDown` and closes; without, it returns and goes on
        trying in the background.
        """
        if self._task is not None or self._closed:
            raise RuntimeError("an AmiLink is started once, and not after it was closed")
        first: asyncio.Future[PbxError | None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(first), name=f"ami-link {self.where} events={self._events}")
        try:
            error = await first
        except asyncio.CancelledError:
            await self.close()
            raise
        if isinstance(error, AmiLoginRefused) or (error is not None and wait):
            await self.close()
            raise error

    async def close(self) -> None:
        """End the session for good. Who still waits for an answer gets `AmiDown`; `on_down` is told if it was up."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect("closed by ccsvc")

    async def action(
        self, name: str, fields: Fields = _NO_FIELDS, *, deadline_s: float = 5.0, expect: str = "response"
    ) -> AmiMessage:
        """Do one action and return its response, or the event named by `expect` that answers it.

        Raises `AmiRefused`; `AmiDown` (with `sent` if the outcome is unknown); `AmiTimeout` (outcome unknown);
        `AmiBusy` and `AmiUnsendable` (nothing was sent). `deadline_s` covers the whole wait.
        """
        return (await self._exchange(name, fields, expect, deadline_s))[0]

    async def listing(self, name: str, fields: Fields = _NO_FIELDS, *, deadline_s: float = 10.0) -> list[AmiMessage]:
        """Do an action that answers with a list (`CoreShowChannels`); return its items. Raises as `action` does."""
        return await self._exchange(name, fields, "list", deadline_s)

    async def _exchange(self, name: str, fields: Fields, expect: str, deadline_s: float) -> list[AmiMessage]:
        self._check_sendable(name)
        action_id = f"{self._token}-{next(self._numbers)}"
        data = encode_action(name, fields, action_id)
        pending = Pending(name, expect, self._limits.list_count, asyncio.get_running_loop().create_future())
        self._pending.add(action_id, pending)
        try:
            self._manager.protocol.transport.write(data)
            async with asyncio.timeout(deadline_s):
                return await pending.future
        except TimeoutError as error:
            raise AmiTimeout(name, deadline_s) from error
        finally:
            self._pending.remove(action_id)

    def _check_sendable(self, name: str) -> None:
        if not self._open or not (self._logged_in or name == "Login"):
            raise AmiDown(name, f"no link to Asterisk at {self.where} ({self._reason})", sent=False)
        if len(self._pending) >= self._limits.pending_count:
            raise AmiBusy(name, f"{len(self._pending)} actions wait for an answer already")
        if self._manager.protocol.transport.get_write_buffer_size() > self._limits.unsent_bytes:
            raise AmiBusy(name, "Asterisk does not read what it is sent")

    async def _live(self, first: "asyncio.Future[PbxError | None]") -> None:
        """The link's own task: one connection after another, until `close`."""
        loop, attempts = asyncio.get_running_loop(), 0
        while True:
            began_at_s = loop.time()
            error = await self._one_life(first)
            _log.warning("ami.down", where=self.where, events=self._events, code=error.code, reason=self._reason)
            if not first.done():
                first.set_result(error)
            attempts = 0 if loop.time() - began_at_s > self._limits.stable_after_s else attempts + 1
            await asyncio.sleep(self._pause_s(attempts, refused=isinstance(error, AmiLoginRefused)))

    def _pause_s(self, attempts: int, *, refused: bool) -> float:
        limits = self._limits
        longest_s = min(limits.last_retry_s, limits.first_retry_s * 2 ** min(attempts, 20))
        share = uniform(0.5, 1.0)  # noqa: S311  so that many daemons don't knock at the same moment
        return share * (limits.refused_retry_s if refused else longest_s)

    async def _one_life(self, first: "asyncio.Future[PbxError | None]") -> PbxError:
        """Connect, log in, stay until the end, tidy up. Returns why it ended."""
        try:
            await self._connect()
            await self._log_in()
            await self._boot()
            if not first.done():
                first.set_result(None)
            await self._stay()
            error: PbxError = self._over(self._reason)
        except PbxError as fault:
            error = fault
        except Exception as fault:  # noqa: BLE001  the border of the task: whatever it was, the link tries again
            _log.exception("ami.link_failed", where=self.where)
            error = self._over(f"an error of ours: {fault!r}")
        await self._disconnect(self._reason)
        return error

    def _over(self, reason: str) -> AmiDown:
        self._reason = reason
        return AmiDown("Login", f"the manager session with Asterisk at {self.where}: {reason}", sent=False)

    async def _connect(self) -> None:
        self._ended.clear()
        self._changed.clear()
        try:
            async with asyncio.timeout(self._limits.connect_deadline_s):
                await self._manager.connect()
        except TimeoutError as error:
            raise self._over(f"no connection within {self._limits.connect_deadline_s:g} s") from error
        except OSError as error:
            raise self._over(f"can't connect ({error.strerror or error})") from error
        self._open = True
        if self._manager.protocol.gone.is_set():
            raise self._over(self._manager.protocol.fault or "Asterisk closed the connection at once")

    async def _log_in(self) -> None:
        fields = {"Username": self._username, "Secret": self._secret, "Events": "on" if self._events else "off"}
        try:
            await self.action("Login", fields, deadline_s=self._limits.login_deadline_s)
        except AmiRefused as error:
            self._reason = f"login of {self._username!r} refused: {error.message}"
            raise AmiLoginRefused(self.where, self._username, error.message) from error
        except AmiTimeout as error:
            raise self._over(f"no answer to the login within {error.deadline_s:g} s") from error
        except AmiDown as error:
            raise self._over(f"{self._reason}, during the login") from error
        self._logged_in = True

    async def _boot(self) -> None:
        """With events: until Asterisk says FullyBooted, at most `boot_deadline_s`; then it is taken as it is."""
        if self._events and not await _within(self._limits.boot_deadline_s, self._changed):
            _log.warning("ami.not_fully_booted", where=self.where, waited_s=self._limits.boot_deadline_s)
        if not self._ended.is_set():
            self._come_up()

    async def _stay(self) -> None:
        """Until the connection ends: a ping at every interval. Any byte is a sign of life, so that a backlog of
        events before the answer is not taken for silence."""
        while not await _within(self._limits.ping_interval_s, self._ended):
            asked_at_s = asyncio.get_running_loop().time()
            try:
                await self.action("Ping", deadline_s=self._limits.ping_deadline_s)
            except (AmiTimeout, AmiBusy) as error:
                if self._manager.protocol.heard_at_s < asked_at_s:
                    raise self._over(f"silent: no answer to a ping in {self._limits.ping_deadline_s:g} s") from error
            except AmiDown:
                return

    def _received(self, message: AmiMessage) -> None:
        if not message.repeated.isdisjoint(_SAID_ONCE):
            self.forged_count += 1
            _log.warning("ami.forged", where=self.where, name=message.event, repeated=sorted(message.repeated))
        elif "ActionID" in message and self._pending.offer(message):
            pass
        elif message.event:
            self._tell(message)
        else:
            self.unasked_count += 1
            _log.warning("ami.unasked_response", where=self.where, message=message.get("Message"))

    def _tell(self, message: AmiMessage) -> None:
        if message.event == "FullyBooted":
            self._come_up()
        self._call(self._on_event, message)

    def _come_up(self) -> None:
        if not self._up.is_set():
            self._logged_in = True
            self._up.set()
            self._changed.set()
            _log.info("ami.up", where=self.where, events=self._events)
            self._call(self._on_up)

    def _lost(self, reason: str) -> None:
        """The connection is gone, or given up: tell everybody at once."""
        if not self._open:
            return
        self._open = self._logged_in = False
        self._reason = reason = self._manager.protocol.fault or reason
        self._ended.set()
        self._changed.set()
        self._pending.fail_all(lambda action: AmiDown(action, reason, sent=True))
        if self._up.is_set():
            self._up.clear()
            self._call(self._on_down, reason)

    async def _disconnect(self, reason: str) -> None:
        self._lost(reason)
        protocol = self._manager.protocol
        self._manager.close()
        if protocol is not None:
            protocol.transport.abort()
            await protocol.gone.wait()

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception:  # noqa: BLE001  the border to the owner: the link and the next event don't suffer from it
            _log.exception("ami.callback_failed", where=self.where, callback=getattr(callback, "__qualname__", "?"))


async def _within(longest_s: float, event: asyncio.Event) -> bool:
    """Wait for the event; whether it came in time."""
    with contextlib.suppress(TimeoutError):  # lateness is the answer False
        async with asyncio.timeout(longest_s):
            await event.wait()
    return event.is_set()
