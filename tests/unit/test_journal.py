"""The PBX's journal: found by bisection, read in spite of everything that can have happened to a file."""

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ccsvc.asterisk.journal import LINE_LIMIT, NEAR_ENOUGH, Journal
from ccsvc.domain import events as ev
from ccsvc.domain.ids import ChannelId, DeviceName

T0 = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
NOW = T0 + timedelta(days=1)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def line(at_s: float, kind: str = "CHAN_END", n: int = 0, **more: Any) -> bytes:
    """One line as the PBX writes it with our configuration."""
    extra = more.pop("extra", {"hangupcause": 16, "hangupsource": "", "dialstatus": ""})
    record = {
        "EventTime": after(at_s).timestamp(),
        "EventType": kind,
        "EventEnum": kind,
        "UserDefType": "",
        "UniqueID": f"1767600000.{n}",
        "LinkedID": "1767600000.0",
        "ChanName": f"PJSIP/d101-{n:08x}",
        "Context": "ccsvc-call",
        "Exten": "s",
        "AppName": "Dial",
        "AppData": "",
        "Peer": "",
        "UserField": "",
        "EventExtra": json.dumps(extra) if extra else "",
        **more,
    }
    return json.dumps({key.lower(): value for key, value in record.items()}).encode() + b"\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cel.jsonl"


def read(file: Path, start: datetime = T0, until: datetime = NOW) -> tuple[list[ev.Event], Journal]:
    journal = Journal(file)
    return list(journal.since(start, until)), journal


def written(file: Path, lines: Iterable[bytes]) -> Path:
    file.write_bytes(b"".join(lines))
    return file


def instants(events: Iterable[ev.Event]) -> list[float]:
    return [(event.at - T0) / timedelta(seconds=1) for event in events]


def test_each_kind_of_line_becomes_the_event_that_the_live_stream_would_have_told(file: Path) -> None:
    name = "PJSIP/d101-00000001"
    bridge = {"bridge_id": "b1", "bridge_technology": "simple_bridge"}
    written(
        file,
        [
            line(1, "CHAN_START", 1, extra=None),
            line(2, "ANSWER", 1, extra=None),
            line(3, "BRIDGE_ENTER", 1, extra=bridge),
            line(4, "BRIDGE_EXIT", 1, extra=bridge),
            line(5, "HANGUP", 1, extra={"hangupcause": 16, "hangupsource": name, "dialstatus": "ANSWER"}),
            line(6, "HANGUP", 1, extra={"hangupcause": 16, "hangupsource": "PJSIP/c1-00000000"}),
            line(7, "CHAN_END", 1, extra={"hangupcause": 16}),
            line(8, "LINKEDID_END", 1, extra=None),
        ],
    )
    channel, linked = ChannelId("1767600000.1"), "1767600000.0"
    events, journal = read(file)
    assert events == [
        ev.ChannelStarted(after(1), channel, linked, name, DeviceName("d101")),
        ev.BridgeEntered(after(3), channel, linked, "b1"),
        ev.BridgeLeft(after(4), channel, "b1"),
        ev.HangupRequested(after(5), channel),
        ev.ChannelEnded(after(7), channel, linked, 16),
    ]
    assert (journal.unreadable, journal.problems) == (0, [])


def test_what_is_before_the_start_is_not_told_again_and_the_start_itself_is(file: Path) -> None:
    written(file, [line(n, n=n) for n in range(5)])
    assert instants(read(file, after(2))[0]) == [2, 3, 4]


def test_without_a_journal_nothing_is_told_and_nothing_is_wrong(file: Path) -> None:
    events, journal = read(file)
    assert (events, journal.unreadable, journal.problems) == ([], 0, [])


def test_an_empty_journal_tells_nothing(file: Path) -> None:
    assert read(written(file, []))[0] == []


def test_a_journal_that_can_not_be_read_is_a_problem_that_is_told_and_no_end(file: Path) -> None:
    file.mkdir()
    events, journal = read(file)
    assert events == []
    assert journal.problems == [f"{file}: Is a directory"]


BIG = 4 * NEAR_ENOUGH // len(line(1000, n=1000))


@pytest.mark.parametrize("start_s", [-1, 0, 1, BIG // 3, BIG // 2 + 0.5, BIG - 2, BIG - 1, BIG, BIG + 100])
def test_in_a_big_file_the_beginning_is_found_wherever_it_is(file: Path, start_s: float) -> None:
    written(file, (line(n, n=n) for n in range(BIG)))
    assert instants(read(file, after(start_s))[0]) == [n for n in range(BIG) if n >= start_s]


def test_in_a_big_file_only_what_is_near_is_read(file: Path) -> None:
    written(file, [b"damaged\n", *(line(n, n=n) for n in range(3 * BIG))])
    events, journal = read(file, after(3 * BIG - 1))
    assert len(events) == 1
    assert journal.unreadable == 0, "the damaged line at the beginning was not even looked at"


def test_a_big_file_with_garbage_in_it_is_found_through(file: Path) -> None:
    chance = random.Random(5)
    lines = []
    for n in range(BIG):
        lines += [
            chance.choice([b"{\n", b"\n", b"\xff\xfe\x00\n", b'{"eventtime": "x"}\n', line(n)[:50] + b"\n"])
        ] * (n % 3 == 0)
        lines.append(line(n, n=n))
    written(file, lines)
    for start_s in (0, BIG // 2, BIG - 3):
        assert instants(read(file, after(start_s))[0]) == list(range(start_s, BIG))


def test_lines_a_little_out_of_order_are_all_told(file: Path) -> None:
    """Two channels write at the same time, and a clock is set back by some seconds."""
    seconds = [max(0, n // 10 - 50 * (n % 7 == 0)) for n in range(4 * BIG)]
    written(file, (line(at_s, n=n) for n, at_s in enumerate(seconds)))
    for start_s in range(60, 300, 12):
        assert instants(read(file, after(start_s))[0]) == [at_s for at_s in seconds if at_s >= start_s]


def test_a_half_written_last_line_is_left_for_the_next_time(file: Path) -> None:
    written(file, [line(1), line(2)[:-1]])
    events, journal = read(file)
    assert (instants(events), journal.unreadable) == ([1], 0)
    written(file, [line(1), line(2)])
    assert instants(read(file)[0]) == [1, 2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"not JSON\n",
        b'{"eventtime": 1}\n',
        b"[]\n",
        b"null\n",
        line(1)[:40] + line(1),
        line(1).replace(b'"eventtime": 17', b'"eventtime": "17", "x": 17'),
        line(1).replace(b"CHAN_END", b"CHAN\xff_END"),
        line(1).replace(b"1767600000.0", b"\xc3\x28"),
        line(1, UniqueID=""),
        line(1, "BRIDGE_ENTER", extra=None),
        line(1, "BRIDGE_EXIT", extra={"bridge_id": 7}),
        b'{"eventtime": 1e999, ' + line(1)[1:].split(b", ", 1)[1],
        b'{"eventtime": 1e300, ' + line(1)[1:].split(b", ", 1)[1],
    ],
)
def test_a_line_that_makes_no_sense_is_counted_and_the_next_one_is_told(file: Path, garbage: bytes) -> None:
    events, journal = read(written(file, [garbage, line(2)]))
    assert (instants(events), journal.unreadable) == ([2], 1)


def test_names_that_are_no_utf8_do_not_cost_the_event(file: Path) -> None:
    """Nothing that a caller can write is in our journal; a site may add a field all the same."""
    named = line(1)[:-2] + b', "calleridname": "\xd8\xb2\xff"}\n'
    events, journal = read(written(file, [named, line(2)]))
    assert instants(events)[-1] == 2
    assert len(events) + journal.unreadable == 2


def test_extra_that_is_no_json_costs_only_what_stood_in_it(file: Path) -> None:
    events, _ = read(written(file, [line(1, EventExtra="{broken"), line(2, "HANGUP", EventExtra="{broken")]))
    assert events == [ev.ChannelEnded(after(1), ChannelId("1767600000.0"), "1767600000.0", 0)]


def test_a_line_without_measure_is_passed_over_whole(file: Path) -> None:
    inside = line(1).decode().rstrip()
    endless = line(1, AppData="x" * 3 * LINE_LIMIT)
    tail = b"x" * LINE_LIMIT + inside.encode() + b"\n"
    events, journal = read(written(file, [endless, tail, line(2)]))
    assert (instants(events), journal.unreadable) == ([2], 2)


def test_a_time_that_has_not_come_yet_is_not_believed(file: Path) -> None:
    written(file, [line(1), line(86400 * 300), line(2)])
    events, journal = read(file)
    assert (instants(events), journal.unreadable) == ([1, 2], 1)


def test_the_file_before_the_last_rotation_is_read_first(file: Path) -> None:
    written(file.with_name("cel.jsonl.1"), [line(1), line(2)])
    assert instants(read(file)[0]) == [1, 2], "rotated, and nothing written since"
    written(file, [line(3)])
    assert instants(read(file, after(2))[0]) == [2, 3]


def test_a_rotated_file_that_can_not_be_read_does_not_hide_the_present_one(file: Path) -> None:
    file.with_name("cel.jsonl.1").mkdir()
    events, journal = read(written(file, [line(3)]))
    assert instants(events) == [3]
    assert len(journal.problems) == 1
