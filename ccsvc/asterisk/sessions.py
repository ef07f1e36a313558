"""The callers' own sessions: AGI on one side, the core's commands and events on the other.

One task per session. Commands for it wait in its mailbox (bounded) and are carried out one after the other; while
there is none the session is silent and Asterisk plays what it was told to. What comes of a command is posted.

Promises: every session that arrived ends with exactly one `SessionEnded`, whatever happens in it; on a hang-up the
socket is closed at once (else the channel would hang for ever). A command that Asterisk refuses ends the session
without CCSVC_DONE, so that the dialplan tries again and in the end queues the caller itself.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import get_args

from structlog.stdlib import BoundLogger

from ccsvc.app.clock import Clock
from ccsvc.app.ports import Inbox
from ccsvc.asterisk.fastagi import AgiSession
from ccsvc.asterisk.translate import dial_status
from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName, SessionId
from ccsvc.errors import AgiError, AgiHangup

MAILBOX_LIMIT = 64
SHORT_DEADLINE_S = 5.0
"""For commands that only set or read a variable."""

_SIP_ESCAPE = re.compile(r"\\(.)")
"""chan_pjsip hands on a quoted display name with its escapes (RFC 3261, quoted-pair)."""

PromptPath = Callable[[str, str], str]
"""(name, language) -> file without its ending, as Asterisk wants it."""


class AgiSessions:
    def __init__(
        self, *, inbox: Inbox, prompt_path: PromptPath, recordings_dir: Path, clock: Clock, log: BoundLogger
    ) -> None:
        self._inbox, self._prompt_path, self._recordings_dir = inbox, prompt_path, recordings_dir
        self._clock, self._log = clock, log
        self._mailboxes: dict[SessionId, asyncio.Queue[cmd.Command]] = {}
        self._numbers = count(1)

    def submit(self, command: cmd.Command) -> None:
        """Hand a command to its session; for a session that is gone, or whose mailbox is full, it is dropped."""
        session = getattr(command, "session", None)
        mailbox = self._mailboxes.get(session) if session is not None else None
        if mailbox is None:
            return
        try:
            mailbox.put_nowait(command)
        except asyncio.QueueFull:
            self._log.error("session's mailbox is full: command dropped", session=session)

    async def handle(self, agi: AgiSession) -> None:
        """Serve one session from its arrival to its end."""
        session = SessionId(next(self._numbers))
        arrival = self._arrival(session, agi)
        if arrival is None:
            self._log.warning("AGI request for an unknown path", path=agi.request.path)
            return
        self._mailboxes[session] = asyncio.Queue(MAILBOX_LIMIT)
        self._inbox.post(arrival)
        try:
            await self._serve(session, agi)
        except AgiHangup:
            self._log.debug("session hung up", session=session)
        except AgiError as error:
            self._log.warning("session broken off", session=session, code=error.code, reason=str(error))
            self._inbox.post(ev.SessionBroke(self._clock(), session, error.code))
        finally:
            agi.close()
            del self._mailboxes[session]
            self._inbox.post(ev.SessionEnded(self._clock(), session))

    async def _serve(self, session: SessionId, agi: AgiSession) -> None:
        mailbox = self._mailboxes[session]
        hung_up = asyncio.ensure_future(agi.wait_hangup())
        try:
            while not hung_up.done():
                command = await _first(mailbox, hung_up)
                if command is None:
                    return
                await self._carry_out(session, agi, command)
                if isinstance(command, cmd.FinishSession):
                    return
        finally:
            hung_up.cancel()

    def _arrival(self, session: SessionId, agi: AgiSession) -> ev.Event | None:
        request = agi.request
        args = (*request.args, "", "", "", "")
        channel, at = ChannelId(request.uniqueid), self._clock()
        if request.path == "feature" and args[0] in get_args(ev.FeatureVerb):
            return ev.FeatureDialled(at, session, channel, DeviceName(args[2]), args[0], args[1])  # type: ignore[arg-type]
        if request.path != "call":
            return None
        return ev.CallArrived(
            at=at,
            session=session,
            channel=channel,
            linkedid=request.uniqueid,
            channel_name=request.channel,
            did=args[3],
            caller=_known(request.fields, "agi_callerid"),
            caller_name=_SIP_ESCAPE.sub(r"\1", _known(request.fields, "agi_calleridname")),
            resume=args[0],
            dial_status=args[1],
            transferred_by=args[2],
        )

    async def _carry_out(self, session: SessionId, agi: AgiSession, command: cmd.Command) -> None:
        match command:
            case cmd.Ask():
                await self._ask(agi, command)
            case cmd.PlayMusic(music=music):
                await agi.command("SET MUSIC", "ON", music, deadline_s=SHORT_DEADLINE_S)
            case cmd.RideAlong(variables=variables):
                for name, value in variables:
                    await agi.command("SET VARIABLE", name, value, deadline_s=SHORT_DEADLINE_S)
            case cmd.RecordCall(path=path):
                await agi.command("EXEC", "MixMonitor", str(self._recordings_dir / path), deadline_s=SHORT_DEADLINE_S)
            case cmd.DialAgent():
                await self._dial(agi, command)
            case cmd.Spy(token=token, device=device):
                await agi.command("EXEC", "ChanSpy", f"PJSIP/{device}-,q")
                self._inbox.post(ev.SpyFinished(self._clock(), session, token))
            case cmd.FinishSession():
                await agi.command("SET VARIABLE", "CCSVC_DONE", "1", deadline_s=SHORT_DEADLINE_S)

    async def _ask(self, agi: AgiSession, ask: cmd.Ask) -> None:
        files = "&".join(self._prompt_path(prompt.name, prompt.language) for prompt in ask.prompts)
        digits = ""
        if ask.max_digits:
            alone = "e" if ask.max_digits == 1 else ""  # a single # is then a key like any other
            await agi.command("EXEC", "Read", f"CCSVC_KEYS,{files},{ask.max_digits},{alone},1,{ask.timeout_s:g}")
            reply = await agi.command("GET VARIABLE", "CCSVC_KEYS", deadline_s=SHORT_DEADLINE_S)
            digits = "".join(c for c in reply.data or "" if c in "0123456789*#")
        else:
            await agi.command("EXEC", "Playback", files)
        self._inbox.post(ev.Answered(self._clock(), ask.session, ask.token, digits))

    async def _dial(self, agi: AgiSession, dial: cmd.DialAgent) -> None:
        """Ring the device. `g`: the session goes on when the agent hangs up; `m`: the caller hears music till then."""
        result, status, transferred_by = -1, dial_status("CANCEL"), ""
        try:
            reply = await agi.command(
                "EXEC", "Dial", f"PJSIP/{dial.device},{max(1, round(dial.ring_s))},gm({dial.music})"
            )
            result = int(reply.result) if reply.result.lstrip("-").isdecimal() else -1
            if result >= 0:
                status = dial_status(await _variable(agi, "DIALSTATUS"), await _variable(agi, "HANGUPCAUSE"))
                transferred_by = await _variable(agi, "BLINDTRANSFER")
        finally:
            self._inbox.post(ev.DialFinished(self._clock(), dial.session, dial.offer, result, status, transferred_by))


async def _variable(agi: AgiSession, name: str) -> str:
    reply = await agi.command("GET VARIABLE", name, deadline_s=SHORT_DEADLINE_S)
    return reply.data or ""


async def _first(mailbox: asyncio.Queue[cmd.Command], hung_up: "asyncio.Future[None]") -> cmd.Command | None:
    """The next command, or None when the caller is gone first."""
    if not mailbox.empty():
        return mailbox.get_nowait()
    get = asyncio.ensure_future(mailbox.get())
    try:
        await asyncio.wait({get, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not get.done():
            get.cancel()
    return get.result() if get.done() and not get.cancelled() else None


def _known(fields: Mapping[str, str], name: str) -> str:
    """A caller's number or name; Asterisk says `unknown` for none."""
    value = fields.get(name, "")
    return "" if value == "unknown" else value
