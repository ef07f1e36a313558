"""Log lines: what must not be read is not in them, and nothing a caller sends can begin another line."""

import io
import json
import logging
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st

from ccsvc.domain.commands import CheckPin
from ccsvc.domain.dialog import Verify
from ccsvc.domain.events import Answered, CallArrived
from ccsvc.domain.ids import ChannelId, SessionId
from ccsvc.settings import Settings
from ccsvc.telemetry import logs
from ccsvc.telemetry.masking import MAX_DEPTH, MAX_TEXT, mask_number, masker
from tests.unit.config_samples import right, settings

NUMBER = "+989121234567"
PIN = "47110815"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The log of a daemon that knows the canaries, at its most talkative."""
    written = io.StringIO()
    root = logging.getLogger()
    logs.configure("debug", secrets=logs.secrets_of(with_canaries()), stream=written)
    yield written
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.setLevel(logging.WARNING)
    for handler in [known for known in root.handlers if known.get_name() == logs.HANDLER]:
        root.removeHandler(handler)


AT = datetime(2026, 11, 22, tzinfo=UTC)
CANARIES = {
    "ami": "canary-of-the-manager",
    "database": "canary-of-the-database",
    "phone": "canary-of-the-phone",
    "pin": PIN,
}


def with_canaries() -> Settings:
    raw = right()
    raw["pbx"]["ami_secret"] = CANARIES["ami"]
    raw["postgres"]["dsn"] = f"postgresql://ccsvc:{CANARIES['database']}@db/ccsvc"
    raw["device"][0]["secret"] = CANARIES["phone"]
    raw["agent"][0]["pin"] = CANARIES["pin"]
    return settings(raw)


def fail(message: str) -> None:
    raise ValueError(message)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_event_and_call(stream: io.StringIO) -> None:
    log = structlog.get_logger()
    with logs.about_call("pbx1/1763812800.1"):
        log.info("offered", agent="101", wait_s=1.5)
    log.warning("quiet")
    first, second = lines_of(stream)
    assert list(first)[:4] == ["timestamp", "level", "event", "call_id"]
    assert first["timestamp"].endswith("Z")
    assert (first["level"], first["call_id"], first["agent"], first["wait_s"]) == (
        "info",
        "pbx1/1763812800.1",
        "101",
        1.5,
    )
    assert "call_id" not in second


def test_no_canary_gets_out_whatever_it_is_logged_as(stream: io.StringIO) -> None:
    log = structlog.get_logger()
    held = with_canaries()
    caller = {"caller": NUMBER, "caller_name": f"Name {NUMBER}"}
    arrived = CallArrived(AT, SessionId(1), ChannelId("1.1"), "1.1", "PJSIP/t-1", "2001", **caller)
    for say in (log.info, log.warning, log.error):
        say("settings", settings=held, agent=held.agent[0], devices=held.device)
        say("asked", command=CheckPin(SessionId(1), 2, "agent", "101", PIN), request=Verify("agent", "101", PIN))
        say("pressed", event_seen=Answered(AT, SessionId(1), 2, PIN), digits=PIN, pin=PIN, new_pin=PIN)
        say("arrived", arrived=arrived, **caller, nested=caller)
        say(f"connecting to {held.postgres.dsn} as {CANARIES['ami']} for {NUMBER}, pin {PIN}, pin={PIN}")
        say("action", action={"ActionID": 1, "Secret": CANARIES["ami"], "Variable": [f"CALLERID(num)={NUMBER}"]})
        say("text", line=f"Username: x\r\nSecret: {CANARIES['ami']}\r\n", to=f"PJSIP/{NUMBER}@trunk")
    try:
        fail(f"bad secret {CANARIES['phone']} of {NUMBER}")
    except ValueError as error:
        log.exception("failed", error=error)
        logging.getLogger("library").exception("failed with %s", held.postgres.dsn)
    text = stream.getvalue()
    assert len(lines_of(stream)) == 23
    assert [canary for canary in CANARIES.values() if canary in text] == []
    assert NUMBER.removeprefix("+98") not in text
    assert "•••67" in text


def test_debug_shows_whole_numbers_and_still_no_secret(stream: io.StringIO) -> None:
    structlog.get_logger().debug("arrived", caller=NUMBER, pin=PIN, text=CANARIES["ami"])
    (line,) = lines_of(stream)
    assert (line["caller"], line["pin"], line["text"]) == (NUMBER, "***", "***")


def test_ids_and_times_stay_whole_so_that_lines_can_be_followed(stream: io.StringIO) -> None:
    fields = {"channel": "PJSIP/d101-0000001a", "uniqueid": "1763812800.12", "at": "2026-11-22T12:00:00.123456+00:00"}
    structlog.get_logger().info("pbx1/1763812800.12 left", **fields, status="from 101 to 102")
    (line,) = lines_of(stream)
    assert {key: line[key] for key in fields} == fields
    assert line["event"] == "pbx1/1763812800.12 left"
    assert line["status"] == "from 101 to 102"


@pytest.mark.parametrize(
    "hostile",
    [
        'x\r\n{"level":"info","event":"forged"}',
        "x\u2028{}\u2029{}\x85{}\x0b\x0c\x1c",
        "\u202eevil\u2066",
        "\x1b[2J\x9b31m\x7f",
        "\ud800 half",
        "x" * 100_000,
    ],
)
def test_hostile_text_stays_in_its_line(stream: io.StringIO, hostile: str) -> None:
    structlog.get_logger().info(hostile, caller_name=hostile, k=hostile)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1
    assert len(text) < 4 * MAX_TEXT
    assert all(character.isprintable() for character in text.removesuffix("\n"))
    assert json.loads(text)["k"][:2000] == hostile[:2000]


def test_persian_text_stays_readable(stream: io.StringIO) -> None:
    structlog.get_logger().info("x", title="پشتیبانی‌ها")
    assert "پشتیبانی" in stream.getvalue()


def test_libraries_and_warnings_come_out_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("library").error("lost %s", f"secret={CANARIES['ami']}")
    warnings.warn("careful", stacklevel=1)
    first, second = lines_of(stream)
    assert (first["level"], first["event"]) == ("error", "lost secret=***")
    assert "careful" in second["event"]


def test_below_the_level_nothing_is_written(stream: io.StringIO) -> None:
    logs.configure("warning", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == ""


def test_configured_twice_every_line_comes_once(stream: io.StringIO) -> None:
    logs.configure("info", stream=stream)
    structlog.get_logger().info("once")
    assert len(lines_of(stream)) == 1


def test_a_line_that_can_not_be_written_is_said_without_its_content(stream: io.StringIO) -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise RuntimeError(CANARIES["ami"])

    root = logging.getLogger()
    for runners_own in [other for other in root.handlers if other.get_name() != logs.HANDLER]:
        root.removeHandler(runners_own)  # it would raise instead of logging
    structlog.get_logger().info("x", value=Unspeakable(), pin=PIN)
    (line,) = lines_of(stream)
    assert line["event"] == "a log line could not be written"
    assert CANARIES["ami"] not in stream.getvalue()


def test_a_log_whose_stream_is_closed_does_not_stop_the_daemon(stream: io.StringIO) -> None:
    stream.close()
    structlog.get_logger().info("unheard")
    assert stream.closed


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("", ""),
        ("1", "•••"),
        ("12", "•••"),
        ("101", "•••01"),
        (NUMBER, "•••67"),
        ("+98 912-123", "•••23"),
        ("x", "•••"),
    ],
)
def test_a_number_keeps_its_last_two_digits(number: str, shown: str) -> None:
    assert mask_number(number) == shown


def test_masked_data_is_bounded_in_depth_and_width() -> None:
    deep: Any = "end"
    for _ in range(MAX_DEPTH * 3):
        deep = {"in": deep}
    masked = json.dumps(masker().mask("x", {"deep": deep, "wide": list(range(10_000))}))
    assert "end" not in masked
    assert len(masked) < 1000


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.datetimes(),
        st.just(Path("/")),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=10,
)


@unhurried(deadline=None)
@given(st.text(max_size=10), VALUES)
def test_anything_can_be_masked_into_json(key: str, value: Any) -> None:
    json.dumps(masker(["a-known-secret"]).mask(key, value), allow_nan=False)


@unhurried(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_a_known_secret_is_found_wherever_it_stands(before: str, after: str) -> None:
    secret = "s3cr3t-canary"
    assert secret not in str(masker([secret]).mask("text", f"{before}{secret}{after}"))


@pytest.mark.parametrize("unit", ["_pin", "secret_", "a_", "://", 'pin="', "pin ", "+1 ", "9 ", "0", "'", "pin:\t"])
def test_no_text_costs_more_than_its_length(unit: str) -> None:
    """A caller chooses their display name: it must not be able to hold the daemon."""

    def cost_s(length: int) -> float:
        text, begun = (unit * length)[:length], time.perf_counter()
        for key in ("text", "caller_name", "caller", text):
            masker(["a-known-secret"]).mask(key, text)
        return time.perf_counter() - begun

    assert min(cost_s(2 * MAX_TEXT) for _ in range(3)) < 0.2
