"""`make bench`: how fast it is, as ratios against a named peer in the same run. Measures; never judges.

Each row is measured in alternation with its peer, several rounds, and shows medians. Figures depend on the machine;
the ratio is what can be compared.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from panoramisk.ami_protocol import AMIProtocol
from rich.console import Console
from rich.table import Table

from ccsvc.asterisk.translate import translate
from ccsvc.domain.centre import Centre
from ccsvc.domain.commands import Write
from ccsvc.domain.events import CallArrived, ChannelEnded, HangupRequested, SessionEnded
from ccsvc.domain.ids import ChannelId, SessionId
from ccsvc.domain.records import Row
from ccsvc.postgres.spool import FileSpool
from ccsvc.testing import bench_ring
from ccsvc.testing.sample import sample_settings
from ccsvc.wire.ami import AmiParser

ROUNDS = 7
EVENTS = 20_000
CALLS = 2_000
ROWS = 20_000

# ruff: noqa: E501  an event is easier to read as it comes
AMI_EVENT = (
    b"Event: BridgeEnter\r\nPrivilege: call,all\r\nTimestamp: 1795315954.158694\r\n"
    b"BridgeUniqueid: d1f63198-54d0-4284-8873-87203c2a51e8\r\nBridgeType: basic\r\nBridgeTechnology: simple_bridge\r\n"
    b"BridgeCreator: <unknown>\r\nBridgeName: <unknown>\r\nBridgeNumChannels: 2\r\nBridgeVideoSourceMode: none\r\n"
    b"Channel: PJSIP/d101-00000002\r\nChannelState: 6\r\nChannelStateDesc: Up\r\nCallerIDNum: 101\r\n"
    b"CallerIDName: Agent\r\nConnectedLineNum: 0912\r\nConnectedLineName: Caller\r\nLanguage: en\r\nAccountCode: \r\n"
    b"Context: ccsvc-phones\r\nExten: \r\nPriority: 1\r\nUniqueid: pbx1-1795315954.2\r\nLinkedid: pbx1-1795315953.0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. Rates are per second; `peer` is measured in the same rounds."""

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None


def main() -> int:
    console = Console()
    table = Table(title=f"medians of {ROUNDS} rounds, Python {sys.version.split()[0]}")
    for heading in ("what", "ours", "peer", "theirs", "ratio"):
        table.add_column(heading)
    for measure in (parsing, pipeline, core, spool):
        console.print(f"measuring {measure.__name__} …")
        figure = measure()
        theirs = "" if figure.theirs is None else f"{figure.theirs:,.0f} {figure.unit}"
        ratio = "" if not figure.theirs else f"{figure.ours / figure.theirs:.1f} x"
        table.add_row(figure.what, f"{figure.ours:,.0f} {figure.unit}", figure.peer, theirs, ratio)
    console.print("measuring on a real PBX, with phones: agent hangs up -> next ring …")
    for figure in ring():
        theirs = f"{figure.theirs:,.1f} {figure.unit}"
        table.add_row(figure.what, f"{figure.ours:,.1f} {figure.unit}", figure.peer, theirs, f"1/{_times(figure)} x")
    console.print(table)
    return 0


def _times(figure: Figure) -> str:
    return f"{(figure.theirs or 0) / figure.ours:.0f}" if figure.ours else "-"


def ring() -> list[Figure]:
    """How long an agent stays idle while a caller waits, as the agent's phone sees it."""
    ours, theirs = bench_ring.measure()
    return [
        Figure(
            f"agent hangs up -> next ring, {name}, n={len(ours)}",
            at(ours),
            "ms",
            "app_queue, as the safety net has it",
            at(theirs),
        )
        for name, at in (("median", _median_ms), ("worst", _worst_ms))
    ]


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def _worst_ms(seconds: list[float]) -> float:
    return max(seconds) * 1000


def parsing() -> Figure:
    """Bytes of AMI into messages, against panoramisk's protocol on the same bytes."""
    data = AMI_EVENT * EVENTS
    ours, theirs = _alternate(lambda: AmiParser(expect_banner=False).feed(data), lambda: _stock(data))
    return Figure("AMI bytes -> messages", EVENTS / ours, "events/s", "panoramisk 1.4", EVENTS / theirs)


def pipeline() -> Figure:
    """Bytes of AMI through translation and the core, against panoramisk's bare parsing."""
    data, now = AMI_EVENT * EVENTS, datetime.now(UTC)

    def run() -> None:
        centre = Centre(sample_settings())
        for message in AmiParser(expect_banner=False).feed(data):
            event = translate(message, now)
            if event is not None:
                centre.handle(event)

    ours, theirs = _alternate(run, lambda: _stock(data))
    return Figure("AMI bytes -> core", EVENTS / ours, "events/s", "panoramisk 1.4, parsing only", EVENTS / theirs)


def core() -> Figure:
    """Whole calls through the core: arrive, wait, hang up."""
    (ours,) = _alternate(lambda: _calls(CALLS))
    return Figure("calls through the core (arrive, wait, abandon)", CALLS / ours, "calls/s")


def spool() -> Figure:
    """Rows kept on disk, one append each."""
    rows = _calls(ROWS // 4)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            kept = FileSpool(Path(folder))
            recovered = kept.recover()
            kept.start(recovered.rows, kept.stats)
            for row in rows:
                kept.append([row])
            kept.close()

    (ours,) = _alternate(run)
    return Figure("rows appended to the spool, one by one", len(rows) / ours, "rows/s")


def _alternate(*work: Callable[[], object]) -> list[float]:
    """Median seconds of each piece of work, done in turn."""
    seconds: list[list[float]] = [[] for _ in work]
    for _ in range(ROUNDS):
        for one, times in zip(work, seconds, strict=True):
            began = time.perf_counter()
            one()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in seconds]


def _stock(data: bytes) -> None:
    protocol = AMIProtocol()
    protocol.connection_made(None)
    protocol.factory = _Sink()
    protocol.version = "known"
    for start in range(0, len(data), 65536):
        protocol.data_received(data[start : start + 65536])


class _Sink:
    save_stream = None

    def dispatch(self, _event: object) -> None:
        """panoramisk's manager, for events that nobody asked for."""


def _calls(count: int) -> list[Row]:
    settings = sample_settings()
    centre, at = Centre(settings), datetime(2026, 1, 1, tzinfo=UTC)
    did = next(d.number for d in settings.did if d.target.startswith("queue:"))
    rows: list[Row] = []
    for n in range(count):
        channel, session = ChannelId(f"pbx1-1.{n}"), SessionId(n + 1)
        at += timedelta(milliseconds=10)
        for event in (
            CallArrived(at, session, channel, channel, f"PJSIP/c1-{n:08x}", did, "09120000000", "Caller"),
            HangupRequested(at + timedelta(seconds=5), channel),
            SessionEnded(at + timedelta(seconds=5), session),
            ChannelEnded(at + timedelta(seconds=5), channel, channel, 16),
        ):
            rows += [command.row for command in centre.handle(event) if isinstance(command, Write)]
    return rows


if __name__ == "__main__":
    sys.exit(main())
