"""Anything at all, told in any order: that must not break the core, and nothing may live on for ever."""

from collections.abc import Callable
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccsvc.domain import commands as cmd
from ccsvc.domain import events as ev
from ccsvc.domain.centre import HANDLERS, Centre
from ccsvc.domain.ids import AgentId, CallId, ChannelId, DeviceName, OfferId, SessionId
from ccsvc.domain.records import CallRow, OfferRow, QueueEntryRow, Row, SegmentRow, is_open, key_of
from ccsvc.domain.resume import Place, encode
from ccsvc.domain.stats import StatsState, observe
from ccsvc.domain.vocabulary import DeviceState
from tests.unit.centre_invariants import Watch, world_of
from tests.unit.centre_parts import T0, quick_settings

CHANNELS = tuple(ChannelId(f"1.{n}") for n in range(6))
CHANNEL = st.sampled_from(CHANNELS)
SESSION = st.integers(1, 5).map(SessionId)
BRIDGE = st.sampled_from(["b1", "b2"])
DEVICE = st.sampled_from([DeviceName(name) for name in ("d1", "d4", "d6")])
SOMETIMES_DEVICE = st.none() | DEVICE
STATUS = st.sampled_from(["ANSWER", "NOANSWER", "BUSY", "CHANUNAVAIL", "CONGESTION", "CANCEL", "UNKNOWN"])
CALLER = ("0912", "")
STEP = st.sampled_from([0.0, 0.0, 0.001, 1.0, 6.0, 50.0, -0.5])


class Wild:
    """A core without a switch: events are told as drawn; tokens, offers and timers are often the real ones."""

    def __init__(self) -> None:
        self.centre = Centre(quick_settings())
        self.stats = StatsState()
        self.at = T0
        self.latest: dict[tuple[object, ...], Row] = {}
        self.timers: list[ev.Timer] = []
        self.dials: list[cmd.DialAgent] = []
        self.watch = Watch()

    def tell(self, event: ev.Event) -> None:
        commands = self.centre.handle(event)
        for command in commands:
            match command:
                case cmd.Write(row):
                    self._keep(row)
                case cmd.StartTimer(timer):
                    self.timers.append(timer)
                case cmd.DialAgent():
                    self.dials.append(command)
        self.watch.see(self.centre, commands, self.stats)

    def _keep(self, row: Row) -> None:
        before = self.latest.get(key_of(row))
        if isinstance(row, CallRow | QueueEntryRow | OfferRow | SegmentRow):
            assert before is None or is_open(before), f"written again after it was closed: {row}"
        _assert_no_time_runs_backwards(row)
        if before is None or not is_open(row):
            observe(self.stats, row)
        self.latest[key_of(row)] = row


def _assert_no_time_runs_backwards(row: Row) -> None:
    for name in ("wait_s", "talk_s", "hold_s", "wrap_up_s", "duration", "billsec", "duration_s", "talk_offset_s"):
        value = getattr(row, name, None)
        assert value is None or value >= 0, f"{name} of {row}"
    started_at = next((at for name in BEGINNINGS if (at := getattr(row, name, None)) is not None), None)
    for name in ("ended_at", "left_at"):
        ended_at = getattr(row, name, None)
        assert ended_at is None or started_at is None or started_at <= ended_at, f"{name} of {row}"


BEGINNINGS = ("started_at", "entered_at", "offered_at")
Told = Callable[[Wild], ev.Event]


def _arrived(
    session: SessionId, channel: ChannelId, did: str, place: Place | None, dial_status: str, transferred_by: str
) -> Told:
    resume = encode(place) if place is not None else ""
    name = f"PJSIP/x-{channel}"
    return lambda wild: ev.CallArrived(
        wild.at, session, channel, channel, name, did, *CALLER, resume, dial_status, transferred_by
    )


def _place(channel: ChannelId, queue: str, n: int, ivr: str, served: bool) -> Place:
    node = "main" if ivr else ""
    return Place(CallId(f"pbx1/{channel}"), T0, "fa", ivr, node, queue, n, T0, 0, served)


PLACE = st.builds(
    _place,
    CHANNEL,
    st.sampled_from(["", "sales", "support", "gone"]),
    st.integers(0, 3),
    st.sampled_from(["", "welcome", "gone"]),
    st.booleans(),
)
ARRIVED = st.builds(
    _arrived,
    SESSION,
    CHANNEL,
    st.sampled_from(["100", "200", "300", "999"]),
    st.none() | PLACE,
    st.just("") | STATUS,
    st.sampled_from(["", "", "PJSIP/d1-1"]),
)


def _token(wild: Wild, session: SessionId, old: int) -> int:
    return world_of(wild.centre).tokens.get(session, 1) - old


def _offer(wild: Wild, back: int) -> tuple[SessionId, OfferId]:
    dial = wild.dials[-1 - back % len(wild.dials)] if wild.dials else None
    return (dial.session, dial.offer) if dial is not None else (SessionId(1), OfferId("pbx1/1.1/q1/o1"))


def _timer(wild: Wild, back: int) -> ev.Timer:
    return wild.timers[-1 - back % len(wild.timers)] if wild.timers else ev.Timer("forget", "x")


def _dial_finished(back: int, result: int, status: ev.DialStatus, by: str) -> Told:
    return lambda wild: ev.DialFinished(wild.at, *_offer(wild, back), result, status, by)


def _bridged_both(channel: ChannelId, leg: ChannelId, device: DeviceName, bridge: str) -> list[Told]:
    """The usual news of a conversation in a row, so that some come about."""
    return [
        lambda wild: ev.LegDialled(wild.at, channel, leg, f"PJSIP/{device}-1", device),
        lambda wild: ev.BridgeEntered(wild.at, leg, channel, bridge),
        lambda wild: ev.BridgeEntered(wild.at, channel, channel, bridge),
    ]


def _logged_in(session: SessionId, agent: str, device: DeviceName) -> list[Told]:
    return [
        lambda wild: ev.DeviceStateChanged(wild.at, device, "idle"),
        lambda wild: ev.FeatureDialled(wild.at, session, ChannelId("9.9"), device, "login", ""),
        lambda wild: ev.Answered(wild.at, session, _token(wild, session, 0), agent),
        lambda wild: ev.Answered(wild.at, session, _token(wild, session, 0), "1234"),
        lambda wild: ev.PinChecked(wild.at, session, _token(wild, session, 0), True),
        lambda wild: ev.SessionEnded(wild.at, session),
    ]


def _snapshot(channels: list[ev.LiveChannel], old_s: float, booted_s: float | None, fresh: bool) -> Told:
    def tell(wild: Wild) -> ev.Event:
        booted_at = wild.at - timedelta(seconds=booted_s) if booted_s is not None else None
        devices: tuple[tuple[DeviceName, DeviceState], ...] = ((DeviceName("d1"), "idle"), (DeviceName("d4"), "idle"))
        return ev.SwitchSeen(
            wild.at - timedelta(seconds=old_s),
            tuple(channels),
            devices,
            fresh,
            booted_at,
        )

    return tell


def one(make: Callable[..., ev.Event], *drawn: st.SearchStrategy[object]) -> st.SearchStrategy[list[Told]]:
    """An event whose fields after `at` are drawn."""
    return st.tuples(*drawn).map(lambda fields: [lambda wild: make(wild.at, *fields)])


LIVE = st.builds(
    ev.LiveChannel,
    CHANNEL,
    CHANNEL,
    st.just("x"),
    SOMETIMES_DEVICE,
    st.just("") | BRIDGE,
    st.sampled_from(["", "Queue"]),
)
ANYTHING: st.SearchStrategy[list[Told]] = st.one_of(
    ARRIVED.map(lambda told: [told]),
    ARRIVED.map(lambda told: [told]),
    st.builds(_logged_in, SESSION, st.sampled_from(["1", "4"]), DEVICE),
    st.builds(_bridged_both, CHANNEL, CHANNEL, DEVICE, BRIDGE),
    st.builds(
        _dial_finished,
        st.integers(0, 2),
        st.sampled_from([0, 0, 0, -1]),
        STATUS,
        st.sampled_from(["", "", "PJSIP/d1-1"]),
    ).map(lambda told: [told]),
    st.builds(
        lambda session, old, digits: [lambda wild: ev.Answered(wild.at, session, _token(wild, session, old), digits)],
        SESSION,
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from(["", "1", "2", "9"]),
    ),
    st.builds(lambda back: [lambda wild: ev.TimerFired(wild.at, _timer(wild, back))], st.integers(0, 4)),
    st.builds(lambda back: [lambda wild: ev.TimerFired(wild.at, _timer(wild, back))], st.integers(0, 4)),
    one(ev.SessionEnded, SESSION),
    one(ev.SessionBroke, SESSION, st.just("agi")),
    one(ev.SpyFinished, SESSION, st.integers(1, 3)),
    one(ev.PinChecked, SESSION, st.integers(1, 3), st.booleans()),
    one(
        ev.FeatureDialled,
        SESSION,
        CHANNEL,
        DEVICE,
        st.sampled_from(["login", "logout", "pause", "ready", "end_wrap_up", "waiting_count", "listen"]),
        st.sampled_from(["", "1", "4"]),
    ),
    one(ev.ChannelStarted, CHANNEL, CHANNEL, st.just("x"), SOMETIMES_DEVICE),
    one(ev.ChannelEnded, CHANNEL, CHANNEL, st.just(16)),
    one(ev.HangupRequested, CHANNEL),
    one(ev.LegDialled, CHANNEL, CHANNEL, st.just("x"), SOMETIMES_DEVICE),
    one(ev.LegDialEnded, CHANNEL, STATUS),
    one(ev.BridgeEntered, CHANNEL, CHANNEL, BRIDGE),
    one(ev.BridgeLeft, CHANNEL, BRIDGE),
    one(ev.HoldStarted, CHANNEL),
    one(ev.HoldEnded, CHANNEL),
    one(ev.DeviceStateChanged, DEVICE, st.sampled_from(["idle", "idle", "in_use", "ringing", "unavailable"])),
    one(ev.SpyStarted, CHANNEL, CHANNEL),
    one(ev.RecordingStopped, CHANNEL),
    one(
        ev.RecordingMeasured,
        CHANNEL.map(lambda channel: f"pbx1-{channel}".replace(".", "-")),
        st.none() | st.floats(0, 100),
        st.none() | st.integers(0, 100),
    ),
    one(ev.SwitchLost, st.just("cut")),
    one(
        ev.AgentForced,
        st.sampled_from([AgentId("1"), AgentId("4"), AgentId("nobody")]),
        st.sampled_from(["ready", "paused", "logged_out"]),
        st.just(""),
    ),
    st.builds(
        _snapshot,
        st.lists(LIVE, max_size=4),
        st.sampled_from([0.0, 0.0, 1.0, 30.0]),
        st.none() | st.sampled_from([0.0, 5.0, 500.0]),
        st.booleans(),
    ).map(lambda told: [told]),
)


def test_every_event_has_a_handler() -> None:
    events = {kind for kind in vars(ev).values() if isinstance(kind, type) and issubclass(kind, ev.Event)}
    assert set(HANDLERS) == events - {ev.Event}


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STEP, ANYTHING), max_size=60))
def test_no_sequence_of_events_breaks_the_core_or_lives_for_ever(story: list[tuple[float, list[Told]]]) -> None:
    wild = Wild()
    wild.tell(ev.SwitchSeen(wild.at, (), ((DeviceName("d1"), "idle"), (DeviceName("d4"), "idle")), fresh=True))
    for seconds, events in [(0.0, told) for told in (_start("1", "d1"), _start("4", "d4"))] + story:
        wild.at += timedelta(seconds=seconds)
        for told in events:
            wild.at += timedelta(microseconds=1)
            wild.tell(told(wild))
    wild.at += timedelta(seconds=1000)
    wild.tell(ev.SwitchSeen(wild.at, (), (), fresh=True))
    for timer in list(wild.timers):
        wild.at += timedelta(seconds=1)
        wild.tell(ev.TimerFired(wild.at, timer))
    world = world_of(wild.centre)
    assert world.calls == {}
    assert world.entries == {}
    assert all(queue.entered == queue.left for queue in wild.stats.queues.values())
    assert {agent.activity for agent in world.agents.values()} <= {"idle"}


def _start(agent: str, device: str) -> list[Told]:
    return _logged_in(SessionId(90 + int(agent)), agent, DeviceName(device))
