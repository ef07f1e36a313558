"""Load: many callers at a steady rate, made by SIPp from a scenario written here.

Promises: ``run_load`` runs one plan to its end or its deadline, leaves no process behind, and says how many calls
there were, how many went as planned, and why the others did not. The callers send no audio (but for the digit
by RFC 4733); they are for load, phones with ears are in ``phone``.

Does not know: where SIPp comes from (the caller has a path, or it is on PATH), what is called.

Known of SIPp 3.6.1: a call that the far end ends is a failure unless the plan expects it (``hold_s=None``); digits
by RFC 4733 go out through a raw socket, which takes root (``digit_by="info"`` does not); without ``-l`` it holds
calls back at three times rate by duration.
"""

import asyncio
import csv
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ccsvc.errors import CcsvcError

LOOPBACK = "127.0.0.1"
SAFE = re.compile(r"[^\s<>\[\]\"';\x00-\x1f\x7f]*")
"""What may go into a scenario: nothing that SIP, XML or SIPp's own ``[keywords]`` would read as its own."""


class SippError(CcsvcError):
    """SIPp is missing or did not run a plan to its end; the text has its last words."""

    code = "sipp"


@dataclass(frozen=True)
class LoadPlan:
    """Callers of one kind. ``target`` is host:port of the PBX, ``rate_per_s`` new calls a second.

    ``hold_s`` None: the far end is to hang up. With a ``password`` the callers answer the PBX's challenge as
    ``caller``. ``digit`` is one of 0-9 * #, pressed ``digit_after_s`` after the answer.
    """

    target: str
    number: str
    calls: int
    rate_per_s: float
    hold_s: float | None = 1.0
    caller: str = "load"
    password: str | None = None
    digit: str | None = None
    digit_after_s: float = 1.0
    digit_by: Literal["rfc4733", "info"] = "rfc4733"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for what a scenario cannot carry."""
        words = (self.target, self.number, self.caller, self.password or "", *self.headers, *self.headers.values())
        if bad := [word for word in words if not SAFE.fullmatch(word)]:
            raise ValueError(f"blanks, quotes, brackets and control characters cannot be sent: {bad}")
        if self.calls < 1 or self.rate_per_s <= 0:
            raise ValueError(f"calls and rate_per_s must be positive, are {self.calls} and {self.rate_per_s}")
        if self.digit is not None and not re.fullmatch(r"[0-9*#]", self.digit):
            raise ValueError(f"digit must be one of 0-9 * #, is {self.digit!r}")


@dataclass(frozen=True)
class LoadResult:
    """What came of a plan. ``failed_by`` has SIPp's own names of the reasons, those that happened.

    ``retransmissions`` counts messages SIPp sent again; ``answer_s`` is the mean from INVITE to 200, as coarse as
    SIPp's own clock (some milliseconds).
    """

    calls: int
    successful: int
    failed: int
    retransmissions: int
    answer_s: float
    failed_by: Mapping[str, int]


def find_sipp(given: Path | None = None) -> Path:
    """The SIPp binary: the one given, else the one on PATH. Raises SippError when there is none."""
    found = given or shutil.which("sipp")
    if not found or not Path(found).is_file():
        raise SippError(
            f"no SIPp at {given or 'any place on PATH'}: install it (Debian: sip-tester) or give its path"
        )
    return Path(found)


async def run_load(
    plan: LoadPlan, *, folder: Path, deadline_s: float, sipp: Sequence[str] | None = None
) -> LoadResult:
    """Run a plan; scenario, statistics and errors stay in ``folder`` (made when missing).

    ``sipp`` is how to start it (``prefix.ensure_sipp``), else it is looked for on PATH. Failed calls
    are a result; SippError is raised when SIPp itself fails or the deadline passes (it is killed then).
    """
    command = (*(sipp or (str(find_sipp()),)), *_arguments(plan))
    _prepare(folder, plan)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=dict(os.environ, TERM="dumb"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    code, said = await _finish(process, deadline_s)
    if code not in (0, 1):  # 1: at least one call failed
        raise SippError(f"SIPp left with {code}: {_last_words(folder, said)}")
    return read_statistics(folder / "stat.csv")


def scenario(plan: LoadPlan) -> str:
    """The caller's side of one call, as SIPp reads it."""
    steps = [*_set_up(plan), *_press(plan), *_hang_up(plan)]
    return "\n".join(('<?xml version="1.0" encoding="UTF-8"?>', '<scenario name="caller">', *steps, "</scenario>\n"))


def read_statistics(path: Path) -> LoadResult:
    """The last line of SIPp's statistics. Raises SippError when there is none."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    if not rows:
        raise SippError(f"{path}: SIPp wrote no statistics")
    last = rows[-1]
    reasons = {name[: -len("(C)")]: int(last[name]) for name in last if name and re.match(r"Failed\w+\(C\)", name)}
    reasons.pop("FailedCall", None)
    hours, minutes, seconds, micros = (int(part) for part in last["ResponseTime1(C)"].split(":"))
    return LoadResult(
        calls=int(last["TotalCallCreated"]),
        successful=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
        answer_s=hours * 3600 + minutes * 60 + seconds + micros / 1e6,
        failed_by={name: count for name, count in reasons.items() if count},
    )


def _prepare(folder: Path, plan: LoadPlan) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in ("stat.csv", "errors.log"):
        (folder / leftover).unlink(missing_ok=True)
    (folder / "scenario.xml").write_text(scenario(plan), encoding="utf-8")


def _arguments(plan: LoadPlan) -> tuple[str, ...]:
    every_ms = 1000 if plan.rate_per_s >= 1 else round(1000 / plan.rate_per_s)
    per_period = round(plan.rate_per_s) if plan.rate_per_s >= 1 else 1
    return (
        *(plan.target, "-sf", "scenario.xml", "-i", LOOPBACK, "-p", str(_free_port()), "-mp", str(_free_port())),
        *("-m", str(plan.calls), "-l", str(plan.calls), "-r", str(per_period), "-rp", str(every_ms)),
        *("-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log"),
        *("-nostdin", "-aa", "-skip_rlimit"),
    )


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


async def _finish(process: asyncio.subprocess.Process, deadline_s: float) -> tuple[int, str]:
    try:
        async with asyncio.timeout(deadline_s):
            _, said = await process.communicate()
    except TimeoutError:
        raise SippError(f"SIPp was not done within {deadline_s:g} s; it was killed") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")


def _last_words(folder: Path, said: str) -> str:
    errors = folder / "errors.log"
    text = said + (errors.read_text(errors="replace") if errors.exists() else "")
    return text.strip()[-800:] or "it said nothing"


def _set_up(plan: LoadPlan) -> list[str]:
    offer = _sdp()
    invite = _send(plan, "INVITE", 1, offer, retransmit=True, start_clock=True)
    if plan.password is None:
        return [invite, *_answered(plan, 1)]
    login = f"[authentication username={plan.caller} password={plan.password}]"
    again = _send(plan, "INVITE", 2, offer, retransmit=True, extra=login)
    refused = ['<recv response="401" auth="true" />', _send(plan, "ACK", 1)]
    return [invite, *refused, again, *_answered(plan, 2)]


def _answered(plan: LoadPlan, cseq: int) -> list[str]:
    early = [f'<recv response="{code}" optional="true" />' for code in (100, 180, 183)]
    return [*early, '<recv response="200" rrs="true" rtd="1" />', _send(plan, "ACK", cseq)]


def _press(plan: LoadPlan) -> list[str]:
    if plan.digit is None:
        return []
    wait = _pause(plan.digit_after_s)
    if plan.digit_by == "rfc4733":
        return [wait, f'<nop><action><exec play_dtmf="{plan.digit}" /></action></nop>']
    body = ("application/dtmf-relay", f"Signal={plan.digit}\n    Duration=160")
    return [wait, _send(plan, "INFO", 3, body, retransmit=True), '<recv response="200" />']


def _hang_up(plan: LoadPlan) -> list[str]:
    if plan.hold_s is None:
        return ['<recv request="BYE" />', _reply_ok()]
    return [_pause(plan.hold_s), _send(plan, "BYE", 4, retransmit=True), '<recv response="200" />']


def _pause(seconds: float) -> str:
    return f'<pause milliseconds="{round(seconds * 1000)}" />'


def _sdp() -> tuple[str, str]:
    # 96 is the payload type that play_dtmf sends.
    lines = (
        "v=0",
        "o=load 1 1 IN IP4 [local_ip]",
        "s=-",
        "c=IN IP4 [media_ip]",
        "t=0 0",
        "m=audio [auto_media_port] RTP/AVP 0 96",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:96 telephone-event/8000",
        "a=fmtp:96 0-15",
    )
    return "application/sdp", "\n    ".join(lines)


def _send(
    plan: LoadPlan,
    method: str,
    cseq: int,
    body: tuple[str, str] | None = None,
    *,
    retransmit: bool = False,
    start_clock: bool = False,
    extra: str = "",
) -> str:
    """One request: of the new call (INVITE), or of the dialog that its answer made."""
    uri = f"sip:{quote(plan.number, safe='*+')}@[remote_ip]:[remote_port]"
    lines = [
        f"{method} {uri} SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        f"From: <sip:{plan.caller}@[local_ip]:[local_port]>;tag=[pid]t[call_number]",
        f"To: <{uri}>{'' if method == 'INVITE' else '[peer_tag_param]'}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{plan.caller}@[local_ip]:[local_port]>",
        "Max-Forwards: 70",
        *(f"{name}: {value}" for name, value in plan.headers.items()),
        *([extra] if extra else []),
        *([f"Content-Type: {body[0]}"] if body else []),
        "Content-Length: [len]",
    ]
    attributes = (' retrans="500"' if retransmit else "") + (' start_rtd="1"' if start_clock else "")
    text = "\n    ".join((*lines, "", *(body[1:] if body else ("",))))
    return f"<send{attributes}><![CDATA[\n\n    {text}\n\n]]></send>"


def _reply_ok() -> str:
    lines = (
        "SIP/2.0 200 OK",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "Content-Length: 0",
    )
    return "<send><![CDATA[\n\n    {}\n\n]]></send>".format("\n    ".join(lines))
