"""A manager interface to test against: a real local socket, a scripted Asterisk behind it.

Promises: speaks AMI as Asterisk 22 does where it matters here (greeting, login with events on or off, FullyBooted,
Ping, lists, errors, the ActionID given back), and misbehaves on request: silence, unread input, refused logins, an
end at any byte. What it was sent is kept in `received`. Not an Asterisk: it knows no channel.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from ccsvc.wire.ami import AmiMessage, AmiParser

Headers = Mapping[str, str | Sequence[str]]
Answer = Callable[[AmiMessage], Iterable[Headers]]
"""Given the action, the messages to answer with; the ActionID is put in by the fake."""

GREETING = b"Asterisk Call Manager/11.0.0\r\n"


def as_bytes(headers: Headers) -> bytes:
    """A message as Asterisk writes it."""
    return "\r\n".join([*AmiMessage.of(headers).lines, "", ""]).encode()


def success(**headers: str) -> Answer:
    """Answers with `Response: Success` and these headers."""
    return lambda _: [{"Response": "Success", **headers}]


def error(message: str) -> Answer:
    """Answers with `Response: Error`."""
    return lambda _: [{"Response": "Error", "Message": message}]


def listing(items: Iterable[Headers], complete: str) -> Answer:
    """Answers with a list whose last message is the event `complete`."""
    kept = list(items)

    def answer(_: AmiMessage) -> Iterable[Headers]:
        yield {"Response": "Success", "EventList": "start", "Message": "A list will follow"}
        yield from kept
        yield {"Event": complete, "EventList": "Complete", "ListItems": str(len(kept))}

    return answer


def nothing(_: AmiMessage) -> Iterable[Headers]:
    """Never answers."""
    return ()


class FakeAmi:
    """`async with FakeAmi() as ami:` and connect to `127.0.0.1` port `ami.port`.

    An action that `on` was not told about is refused as unknown.
    """

    def __init__(self, *, username: str = "ccsvc", secret: str = "secret", fully_booted: bool = True) -> None:
        self.received: list[AmiMessage] = []
        self.silent = False
        """Reads and keeps what it is sent, and says nothing: a half-open connection, seen from the other side."""
        self.refuse_login = False
        self.fully_booted = fully_booted
        self.login_count = 0
        self._username, self._secret = username, secret
        self._answers: dict[str, Answer] = {"Ping": success(Ping="Pong"), "Logoff": self._log_off}
        self._peers: set[_Peer] = set()
        self._reading = asyncio.Event()
        self._reading.set()
        self._server: asyncio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> "FakeAmi":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen; after a `close`, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])

    @property
    def port(self) -> int:
        return self._port

    @property
    def session_count(self) -> int:
        """Connections that have logged in and are still there."""
        return sum(peer.logged_in for peer in self._peers)

    def on(self, action: str, answer: Answer) -> None:
        """Answer this action so from now on."""
        self._answers[action] = answer

    def actions(self, name: str) -> list[AmiMessage]:
        """What was received of one action."""
        return [message for message in self.received if message.get("Action") == name]

    def push(self, *events: Headers) -> None:
        """Send events to every session that wants events."""
        self.push_bytes(b"".join(as_bytes(event) for event in events))

    def push_bytes(self, data: bytes, *, then_close: bool = False) -> None:
        """Send raw bytes to every session that wants events; with `then_close` it ends right after them."""
        for peer in set(self._peers):
            if peer.events and not self.silent:
                peer.writer.write(data)
                if then_close:
                    peer.writer.close()

    def boot(self) -> None:
        """Become fully booted, and say so to every session that wants events."""
        self.fully_booted = True
        self.push({"Event": "FullyBooted", "Status": "Fully Booted"})

    def stop_reading(self) -> None:
        """Take nothing from the sockets any more."""
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def drop(self) -> None:
        """Close every connection."""
        for peer in set(self._peers):
            peer.writer.close()

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        tasks = [peer.task for peer in self._peers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _Peer(self, reader, writer)
        self._peers.add(peer)
        try:
            with contextlib.suppress(ConnectionError):  # the client's right
                await peer.serve()
        finally:
            self._peers.discard(peer)
            writer.transport.abort()

    def _log_off(self, _: AmiMessage) -> Iterable[Headers]:
        return [{"Response": "Goodbye", "Message": "Thanks for all the fish."}]

    def _answer(self, action: AmiMessage) -> Iterable[Headers]:
        name = action.get("Action")
        refusal = error(f"Invalid/unknown command: {name}. Use Action: ListCommands to show available commands.")
        return self._answers.get(name, refusal)(action)


class _Peer:
    """One connection to the fake."""

    def __init__(self, ami: FakeAmi, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task, self.writer = task, writer
        self.logged_in = self.events = False
        self._ami, self._reader = ami, reader
        self._parser = AmiParser(expect_banner=False)

    async def serve(self) -> None:
        self.writer.write(GREETING)
        while True:
            await self._ami._reading.wait()
            data = await self._reader.read(1 << 16)
            if not data:
                return
            for action in self._parser.feed(data):
                self._ami.received.append(action)
                if not self._ami.silent:
                    self._serve_one(action)
            await self.writer.drain()

    def _serve_one(self, action: AmiMessage) -> None:
        if action.get("Action") == "Login":
            self._log_in(action)
        elif not self.logged_in:
            self._send(action, {"Response": "Error", "Message": "Permission denied"})
        else:
            self._send(action, *self._ami._answer(action))

    def _log_in(self, action: AmiMessage) -> None:
        ami = self._ami
        known = (action.get("Username"), action.get("Secret")) == (ami._username, ami._secret)
        if ami.refuse_login or not known:
            self._send(action, {"Response": "Error", "Message": "Authentication failed"})
            self.writer.close()
            return
        ami.login_count += 1
        self.logged_in, self.events = True, action.get("Events") != "off"
        self._send(action, {"Response": "Success", "Message": "Authentication accepted"})
        if self.events and ami.fully_booted:
            self.writer.write(as_bytes({"Event": "FullyBooted", "Status": "Fully Booted"}))

    def _send(self, action: AmiMessage, *messages: Headers) -> None:
        for message in messages:
            given_back = {"ActionID": action.action_id} if action.action_id else {}
            first, *rest = message.items()
            self.writer.write(as_bytes({first[0]: first[1], **given_back, **dict(rest)}))
