"""The server that customers' sessions come to: one TCP connection and one task for each (FastAGI).

Promises:

- A handler is called once for each session that said who it is in time; when it ends, however it ends, the socket
  is closed. Its exceptions are logged and stay its own.
- The socket is watched all the time, a command running or not: `HANGUP` or the end of the connection ends
  `wait_hangup` at once.
- After `HANGUP` Asterisk holds the channel until the socket is closed. That is the handler's duty; a handler that
  forgets it is overruled after `hangup_grace_s`.
- A command gets its own reply, or its session is over: a late reply is never taken for the next command's.
- Only allowed peers are served (FastAGI knows no password), only so many at once, none without a name for long.

Does not know: what a session is about. Text from callers is only text here.

panoramisk's `Application` is not used: its handler never looks for the end of the connection, so that a peer which
connects and closes makes it and the whole event loop spin for ever (tried). Its `Request` takes the next line for the
next reply, so that a `HANGUP`, a 520 block or a value of two lines shifts the later ones or raises ValueError
(tried); a subclass that mends both has replaced all of it.

A protocol rather than streams: it hears the peer while no command runs, without a second task for each session.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import count

import structlog

from ccsvc.errors import (
    AgiBusy,
    AgiError,
    AgiHangup,
    AgiProtocolError,
    AgiRefused,
    AgiTimeout,
    CannotListen,
    PortTaken,
)
from ccsvc.wire.agi import AgiEvent, AgiHangupLine, AgiParser, AgiReply, AgiRequest, AgiStray

Network = IPv4Network | IPv6Network
Handler = Callable[["AgiSession"], Awaitable[None]]

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_log = structlog.get_logger(__name__)
_ALLOWED_WHEN_HUNG_UP = frozenset({"GET VARIABLE", "GET FULL VARIABLE", "SET VARIABLE"})
"""What Asterisk still does on a channel that was taken away: how else to learn why."""


@dataclass(frozen=True, slots=True)
class AgiLimits:
    """How long is waited and how much is taken."""

    header_deadline_s: float = 5.0
    hangup_grace_s: float = 5.0
    session_count: int = 2000
    backlog_count: int = 256


class AgiSession:
    """One caller's session, from its handler's view. `id` counts this server's sessions from 1."""

    def __init__(self, id: int, request: AgiRequest, connection: "_Connection") -> None:
        self.id = id
        self.request = request
        self._connection = connection

    @property
    def hung_up(self) -> bool:
        """`HANGUP` was said, or the connection has ended."""
        return self._connection.gone.is_set()

    async def command(self, verb: str, *args: str, deadline_s: float | None = None) -> AgiReply:
        """Run one command; return Asterisk's `200` reply. For EXEC: the application, then all its arguments as one.

        Raises `AgiHangup` if the channel or the peer is gone (a command that runs while `HANGUP` is said still gets
        its reply, and variables can still be read and set); `AgiRefused` for 510, 511 and 520; `AgiTimeout`, with the
        session closed; `AgiBusy` and `AgiUnsendable` (nothing was sent); `AgiProtocolError`.
        """
        return await self._connection.command(verb, args, deadline_s)

    async def wait_hangup(self) -> None:
        """Wait until `hung_up`."""
        await self._connection.gone.wait()

    def close(self) -> None:
        """Close the socket; the dialplan goes on. May be called again."""
        self._connection.close()


class _Connection(asyncio.Protocol):
    """One TCP connection: the parser's events to whom they belong, at most one command under way."""

    def __init__(self, server: "AgiServer") -> None:
        self.gone = asyncio.Event()
        self.lost = asyncio.Event()
        self.peer: IPv4Address | IPv6Address | None = None
        self._server = server
        self._parser = AgiParser()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running = ""
        self._reply: asyncio.Future[AgiReply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.peer = transport, _peer(transport)
        if self._server._turns_away(self):
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._limit(self._server.limits.header_deadline_s, "no request in time")

    def data_received(self, data: bytes) -> None:
        try:
            events = self._parser.feed(data)
        except AgiProtocolError as error:
            self._server.broken_count += 1
            self.abort(error)
            return
        for event in events:
            self._take(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(AgiHangup(f"the connection was lost ({exc})" if exc else "Asterisk closed the connection"))
        self.lost.set()
        self._server._forget(self)

    async def command(self, verb: str, args: Sequence[str], deadline_s: float | None) -> AgiReply:
        transport = self._check_sendable(verb)
        data = self._parser.encode(verb, *args)
        reply: asyncio.Future[AgiReply] = asyncio.get_running_loop().create_future()
        self._running, self._reply = verb, reply
        transport.write(data)
        try:
            async with asyncio.timeout(deadline_s):
                answer = await reply
        except TimeoutError as error:
            late = AgiTimeout(verb, deadline_s or 0.0)
            self.abort(late)
            raise late from error
        if answer.code != 200:
            raise AgiRefused(verb, answer.code, answer.data or "")
        return answer

    def close(self) -> None:
        """End it: what was written goes out first, if the peer takes it in time."""
        self._end(AgiHangup("the session was closed by ccsvc"))
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size() and not self.lost.is_set():
                self._limit(self._server.limits.hangup_grace_s, "Asterisk does not read")

    def abort(self, error: AgiError) -> None:
        """End it at once, for a reason that the log should know."""
        _log.warning("agi.aborted", peer=str(self.peer), code=error.code, reason=str(error))
        self._end(error)
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """End it at once because the server ends."""
        self._end(AgiHangup("the server was closed"))
        if self._transport is not None:
            self._transport.abort()

    def _check_sendable(self, verb: str) -> asyncio.Transport:
        if self._transport is None or self._transport.is_closing():
            raise AgiHangup("the connection is closed")
        if self.gone.is_set() and verb not in _ALLOWED_WHEN_HUNG_UP:
            raise AgiHangup("Asterisk has taken the channel away")
        if self._parser.awaiting_reply:
            raise AgiBusy(verb, self._running)
        return self._transport

    def _take(self, event: AgiEvent) -> None:
        match event:
            case AgiRequest():
                self._limit(None)
                self._server._begin(event, self)
            case AgiReply():
                self._answer(event)
            case AgiHangupLine():
                self.gone.set()
                self._limit(self._server.limits.hangup_grace_s, "not closed after HANGUP")
            case AgiStray(text=text):
                self._server.stray_count += 1
                _log.warning("agi.stray_line", line=ascii(text[:60]))

    def _answer(self, reply: AgiReply) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)
        self._reply = None

    def _end(self, error: AgiError) -> None:
        """No reply will come any more, no time is limited any more."""
        self.gone.set()
        self._limit(None)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self._reply = None

    def _limit(self, after_s: float | None, reason: str = "") -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if after_s is not None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._overrule, reason)

    def _overrule(self, reason: str) -> None:
        self._server.cut_off_count += 1
        self.abort(AgiHangup(reason))


class AgiServer:
    """Listens for sessions. The counters say what was turned away and what went wrong since the start."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        handler: Handler,
        allowed_peers: Sequence[Network] = LOOPBACK,
        limits: AgiLimits | None = None,
    ) -> None:
        self.limits = limits or AgiLimits()
        self.accepted_count = self.turned_away_count = self.broken_count = 0
        self.cut_off_count = self.failed_count = self.stray_count = 0
        self._host, self._port, self._handler = host, port, handler
        self._allowed = tuple(allowed_peers)
        self._numbers = count(1)
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also if 0 was asked for."""
        if self._server is None or not self._server.sockets:
            return self._port
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    @property
    def active_count(self) -> int:
        """Sessions whose handler runs."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listen. Raises `PortTaken`, `CannotListen`."""
        loop, backlog = asyncio.get_running_loop(), self.limits.backlog_count
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self), self._host, self._port, backlog=backlog
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken("AGI", self._host, self._port) from error
            raise CannotListen("AGI", self._host, self._port, error.strerror or str(error)) from error

    async def close(self, deadline_s: float) -> None:
        """Take no more sessions, give those that run `deadline_s` to end, then cancel and cut them."""
        if self._server is not None:
            self._server.close()
        if self._tasks and deadline_s > 0:
            await asyncio.wait(set(self._tasks), timeout=deadline_s)
        await self._cancel_late(deadline_s)
        connections = set(self._connections)
        for connection in connections:
            connection.cut()
        for connection in connections:
            await connection.lost.wait()
        if self._server is not None:
            await self._server.wait_closed()

    async def _cancel_late(self, waited_s: float) -> None:
        late = set(self._tasks)
        for task in late:
            _log.warning("agi.session_late", task=task.get_name(), waited_s=waited_s)
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=self.limits.hangup_grace_s)

    def _turns_away(self, connection: _Connection) -> bool:
        """Take the connection in, or say (to the log) why not."""
        self._connections.add(connection)
        reason = self._objection(connection)
        if reason is None:
            self.accepted_count += 1
            return False
        self.turned_away_count += 1
        _log.warning("agi.turned_away", peer=str(connection.peer), reason=reason)
        return True

    def _objection(self, connection: _Connection) -> str | None:
        if connection.peer is None:
            return "it went at once"
        if not any(connection.peer in network for network in self._allowed):
            return "its address is not allowed"
        if len(self._connections) > self.limits.session_count:
            return f"{self.limits.session_count} sessions are open"
        return None

    def _forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _begin(self, request: AgiRequest, connection: _Connection) -> None:
        session = AgiSession(next(self._numbers), request, connection)
        task = asyncio.get_running_loop().create_task(self._serve(session), name=f"agi-session-{session.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, session: AgiSession) -> None:
        try:
            await self._handler(session)
        except AgiHangup as error:
            _log.debug("agi.hung_up", session=session.id, reason=error.reason)
        except Exception:  # noqa: BLE001  the border of the session's task: no other session suffers from it
            self.failed_count += 1
            _log.exception("agi.handler_failed", session=session.id, path=session.request.path)
        finally:
            session.close()


def _peer(transport: asyncio.BaseTransport) -> IPv4Address | IPv6Address | None:
    """The peer's address; None if it is gone already."""
    name = transport.get_extra_info("peername")
    return ip_address(name[0]) if name else None
