"""The switch behind a scripted manager interface: looks, losses, the safety net, the heartbeat, the modules."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from ccsvc.app.jobs import Jobs
from ccsvc.asterisk.modules import NEEDED, TELLS
from ccsvc.asterisk.switch import AsteriskSwitch
from ccsvc.domain import events as ev
from ccsvc.domain.ids import AgentId, ChannelId, DeviceName, QueueName
from ccsvc.errors import AmiDown, AmiLoginRefused, AmiRefused
from ccsvc.settings import PbxSettings
from ccsvc.testing.fake_ami import FakeAmi, Headers, error, listing, success
from ccsvc.testing.fakes import ListInbox, captured_log
from ccsvc.testing.waiting import eventually
from ccsvc.wire.ami import AmiMessage

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
A, D, SALES, SUPPORT = AgentId("101"), DeviceName("d1"), QueueName("sales"), QueueName("support")


class FakePbx(FakeAmi):
    """Answers looks, keeps queue members as a PBX does, and says which modules it has."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[tuple[str, str], tuple[str, bool]] = {}
        self.queues = {"sales", "support", "vip"}
        self.lacks: set[str] = set()
        self.channels: list[Headers] = []
        self.devices: list[Headers] = []
        self.on("CoreShowChannels", self._list_channels)
        self.on("DeviceStateList", self._list_devices)
        self.on("QueueStatus", self._list_members)
        self.on("QueueAdd", self._add)
        self.on("QueueRemove", self._remove)
        self.on("QueuePause", self._pause)
        self.on("Setvar", success())
        self.on("Hangup", success())
        self.on("Getvar", self._module)

    def hold_looks(self) -> asyncio.Event:
        """Leave looks without their last answer; tells when there is one that waits."""
        held = asyncio.Event()

        def note(_: AmiMessage) -> Iterable[Headers]:
            held.set()
            return ()

        self.on("DeviceStateList", note)
        return held

    def let_looks_go(self) -> None:
        """Answer the look that was held, and all that come."""
        self.on("DeviceStateList", self._list_devices)
        action = self.actions("DeviceStateList")[-1]
        for peer in set(self._peers):
            if peer.logged_in and not peer.events:
                peer._send(action, *self._list_devices(action))

    def cut_events(self) -> None:
        """Close the session that wants events, and only that."""
        for peer in set(self._peers):
            if peer.events:
                peer.writer.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    def _list_channels(self, action: AmiMessage) -> Iterable[Headers]:
        return listing(self.channels, "CoreShowChannelsComplete")(action)

    def _list_members(self, action: AmiMessage) -> Iterable[Headers]:
        return listing(self._rows(), "QueueStatusComplete")(action)

    def _list_devices(self, action: AmiMessage) -> Iterable[Headers]:
        return listing(self.devices, "DeviceStateListComplete")(action)

    def _rows(self) -> Iterable[Headers]:
        for queue in sorted(self.queues):
            yield {"Event": "QueueParams", "Queue": queue, "Max": "0"}
        for (queue, interface), (name, paused) in self.members.items():
            member = {"Event": "QueueMember", "Queue": queue, "Name": name, "Location": interface}
            yield {**member, "Membership": "dynamic", "Paused": str(int(paused))}

    def _add(self, action: AmiMessage) -> Iterable[Headers]:
        where = (action.get("Queue"), action.get("Interface"))
        if where[0] not in self.queues:
            return error("Unable to add interface to queue: No such queue")(action)
        if where in self.members:
            return error("Unable to add interface: Already there")(action)
        self.members[where] = (action.get("MemberName"), action.get("Paused") == "true")
        return success()(action)

    def _remove(self, action: AmiMessage) -> Iterable[Headers]:
        if self.members.pop((action.get("Queue"), action.get("Interface")), None) is None:
            return error("Unable to remove interface: Not there")(action)
        return success()(action)

    def _pause(self, action: AmiMessage) -> Iterable[Headers]:
        where = (action.get("Queue"), action.get("Interface"))
        self.members[where] = (self.members[where][0], action.get("Paused") == "true")
        return success()(action)

    def _module(self, action: AmiMessage) -> Iterable[Headers]:
        module = action.get("Variable").removeprefix("IFMODULE(").removesuffix(")")
        can_say = "" if TELLS in self.lacks else "0" if module in self.lacks else "1"
        return [{"Response": "Success", "Variable": action.get("Variable"), "Value": can_say}]

    def names(self) -> list[str]:
        """Every action so far, without logins and pings."""
        names = [message.get("Action") for message in self.received]
        return [name for name in names if name not in ("Login", "Ping", "Getvar")]


class Room:
    """A switch and what it told."""

    def __init__(self, port: int, secret: str = "secret") -> None:
        self.inbox, self.now = ListInbox(), NOW
        self.log, self.lines = captured_log()
        self.jobs = Jobs(self.log)
        self.switch = AsteriskSwitch(
            PbxSettings(host="127.0.0.1", ami_port=port, ami_username="ccsvc", ami_secret=secret),
            queues=["sales", "support"],
            inbox=self.inbox,
            jobs=self.jobs,
            clock=lambda: self.now,
            log=self.log,
        )

    def told(self, kind: type[ev.Event]) -> list[Any]:
        return [event for event in self.inbox.events if isinstance(event, kind)]

    @property
    def looks(self) -> list[bool]:
        """Of every look that was told, whether it was the first one on its stream."""
        return [seen.fresh for seen in self.told(ev.SwitchSeen)]

    async def until_looked(self, count: int) -> None:
        await eventually(lambda: len(self.looks) == count, f"{count} looks: {self.looks}")

    def said(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]


@asynccontextmanager
async def switched_on(port: int) -> AsyncIterator[Room]:
    room = Room(port)
    try:
        await room.switch.start()
        yield room
    finally:
        await room.jobs.close(1)
        await room.switch.close()


@asynccontextmanager
async def connected(pbx: FakePbx) -> AsyncIterator[Room]:
    async with switched_on(pbx.port) as room:
        await room.until_looked(1)
        yield room


CHANNEL = {
    "Event": "CoreShowChannel",
    "Channel": "PJSIP/d1-0000000a",
    "Uniqueid": "1.2",
    "Linkedid": "1.1",
    "BridgeId": "b1",
    "Application": "AppDial",
}


async def test_after_connecting_it_is_told_what_the_switch_carries_before_anything_else() -> None:
    async with FakePbx() as pbx:
        pbx.channels = [CHANNEL]
        pbx.devices = [
            {"Event": "DeviceStateChange", "Device": "PJSIP/d1", "State": "INUSE"},
            {"Event": "DeviceStateChange", "Device": "Queue:sales", "State": "INUSE"},
        ]
        async with connected(pbx) as room:
            live = ev.LiveChannel(ChannelId("1.2"), "1.1", "PJSIP/d1-0000000a", D, "b1", "AppDial")
            assert room.inbox.events == [ev.SwitchSeen(NOW, (live,), ((D, "in_use"),), fresh=True)]
            assert pbx.names()[:2] == ["CoreShowChannels", "DeviceStateList"]
            assert room.switch.connected


async def test_events_are_told_in_the_order_in_which_they_came() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        pbx.push(*({**CHANNEL, "Event": "Hold" if n % 2 else "Unhold", "Uniqueid": f"1.{n}"} for n in range(200)))
        await eventually(lambda: len(room.inbox.events) == 201, "all told")
        assert [event.channel for event in room.inbox.events[1:]] == [f"1.{n}" for n in range(200)]  # type: ignore[attr-defined]


async def test_an_event_of_no_interest_is_not_told() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        pbx.push({"Event": "PeerStatus", "Peer": "PJSIP/d1"}, {**CHANNEL, "Event": "Hold"})
        await eventually(lambda: room.told(ev.HoldStarted), "the one of interest")
        assert len(room.inbox.events) == 2


async def test_a_cut_is_told_and_after_it_the_first_look_is_fresh_again() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.look()
        assert room.looks == [True, False]
        pbx.drop()
        await room.until_looked(3)
        assert room.looks == [True, False, True]
        kinds = [type(event) for event in room.inbox.events]
        assert kinds == [ev.SwitchSeen, ev.SwitchSeen, ev.SwitchLost, ev.SwitchSeen]


async def test_while_the_switch_is_away_it_is_not_connected_and_says_why() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await pbx.close()
        await eventually(lambda: not room.switch.connected, "the loss noticed")
        assert room.switch.trouble
        with pytest.raises(AmiDown):
            await room.switch.look()
        with pytest.raises(AmiDown):
            await room.switch.stamp_alive(1)
        await pbx.start()
        await room.until_looked(2)
        assert (room.switch.connected, room.switch.trouble) == (True, "")


async def test_a_pbx_that_is_away_at_the_start_is_waited_for() -> None:
    pbx = FakePbx()
    await pbx.start()
    await pbx.close()
    async with switched_on(pbx.port) as room:
        assert not room.switch.connected
        assert room.inbox.events == []
        async with pbx:
            await room.until_looked(1)
            assert room.looks == [True]


async def test_a_wrong_secret_is_refused_at_the_start() -> None:
    async with FakePbx() as pbx:
        room = Room(pbx.port, secret="wrong")
        with pytest.raises(AmiLoginRefused, match="ami_username and ami_secret against"):
            await room.switch.start()
        await room.switch.close()


async def test_nothing_is_told_of_a_pbx_that_has_not_booted() -> None:
    async with FakePbx() as pbx:
        pbx.fully_booted = False
        room = Room(pbx.port)
        starting = asyncio.create_task(room.switch.start(), name="starting")
        await eventually(lambda: pbx.session_count == 2, "both sessions")
        assert (room.inbox.events, room.switch.connected) == ([], False)
        pbx.boot()
        await starting
        await room.until_looked(1)
        await room.jobs.close(1)
        await room.switch.close()


async def test_when_the_pbx_says_since_when_it_runs_the_look_says_so_too() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        pbx.push({"Event": "FullyBooted", "Uptime": "59", "Status": "Fully Booted"})
        pbx.push({**CHANNEL, "Event": "Hold"})
        await eventually(lambda: room.told(ev.HoldStarted), "the stream worked off")
        await room.switch.look()
        assert room.told(ev.SwitchSeen)[-1].booted_at == NOW - timedelta(seconds=60)


# -- looks that cross with a cut ---------------------------------------------------------------------------------


async def test_what_was_asked_on_an_older_stream_is_not_told_but_asked_again() -> None:
    """The events link is cut and back while a look is under way: whatever happened between is in no event."""
    async with FakePbx() as pbx, connected(pbx) as room:
        held = pbx.hold_looks()
        room.jobs.once("look", room.switch.look)
        await held.wait()
        pbx.cut_events()
        await eventually(lambda: pbx.login_count == 3 and room.switch.connected, "the stream is back")
        pbx.let_looks_go()
        await room.until_looked(2)
        kinds = [type(event) for event in room.inbox.events]
        assert kinds == [ev.SwitchSeen, ev.SwitchLost, ev.SwitchSeen]
        assert room.looks == [True, True]
        assert len(pbx.actions("DeviceStateList")) == 3


async def test_what_is_seen_while_there_is_no_stream_is_not_told() -> None:
    """It would say that everything is known, while events are lost."""
    async with FakePbx() as pbx, connected(pbx) as room:
        held = pbx.hold_looks()
        looking = asyncio.create_task(room.switch.look(), name="looking")
        await held.wait()
        pbx.fully_booted = False
        pbx.cut_events()
        await eventually(lambda: room.told(ev.SwitchLost), "the loss told")
        pbx.let_looks_go()
        with pytest.raises(AmiDown, match="no event stream"):
            await looking
        assert isinstance(room.inbox.events[-1], ev.SwitchLost)


# -- the time without events -------------------------------------------------------------------------------------


async def test_the_time_without_events_is_counted_while_it_lasts_and_never_goes_back() -> None:
    async with FakePbx() as pbx:
        room = Room(pbx.port)
        room.now += timedelta(seconds=5)
        assert room.switch.gap_s == 5
        room.now -= timedelta(seconds=2)
        assert room.switch.gap_s == 5, "the clock went back, the count does not"
        room.now += timedelta(seconds=5)
        await room.switch.start()
        assert room.switch.gap_s == 8
        room.now += timedelta(seconds=100)
        assert room.switch.gap_s == 8, "connected"
        await room.switch.close()
        room.now += timedelta(seconds=1)
        assert room.switch.gap_s == 9
        await room.jobs.close(1)


# -- actions -----------------------------------------------------------------------------------------------------


async def test_the_heartbeat_is_stamped_where_the_dialplan_looks() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.stamp_alive(1767600000)
        (stamp,) = pbx.actions("Setvar")
        assert (stamp.get("Variable"), stamp.get("Value"), "Channel" in stamp) == ("CCSVC_ALIVE", "1767600000", False)


async def test_a_channel_is_hung_up_and_a_refusal_raises() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.hang_up(ChannelId("1.2"))
        assert pbx.actions("Hangup")[0].get("Channel") == "1.2"
        pbx.on("Hangup", error("No such channel"))
        with pytest.raises(AmiRefused, match="No such channel"):
            await room.switch.hang_up(ChannelId("1.2"))


# -- the safety net ----------------------------------------------------------------------------------------------


async def test_an_agent_is_brought_into_the_queues_paused_and_out_again() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.set_safety_net(A, D, (SALES, SUPPORT), paused=False)
        assert pbx.members == {("sales", "PJSIP/d1"): ("101", False), ("support", "PJSIP/d1"): ("101", False)}
        await room.switch.set_safety_net(A, D, (SALES,), paused=True)
        assert pbx.members == {("sales", "PJSIP/d1"): ("101", True)}
        await room.switch.set_safety_net(A, None, (SALES,), paused=False)
        assert pbx.members == {}


async def test_what_is_already_so_is_not_sent() -> None:
    async with FakePbx() as pbx:
        pbx.members = {("sales", "PJSIP/d1"): ("101", False)}
        async with connected(pbx) as room:
            await room.switch.set_safety_net(A, D, (SALES,), paused=False)
            assert pbx.actions("QueueAdd") == []
            assert len(pbx.actions("QueueStatus")) == 1


async def test_members_that_are_not_ours_are_left_alone() -> None:
    foreign = {
        ("vip", "PJSIP/d1"): ("101", False),
        ("sales", "Local/101@site"): ("101", False),
        ("sales", "PJSIP/d9"): ("109", False),
    }
    async with FakePbx() as pbx:
        pbx.members = dict(foreign)
        async with connected(pbx) as room:
            await room.switch.set_safety_net(A, D, (SALES,), paused=False)
            await room.switch.set_safety_net(A, None, (), paused=False)
            assert pbx.members == foreign


async def test_a_refusal_because_it_was_so_already_is_no_error() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.set_safety_net(A, D, (), paused=False)
        pbx.members = {("sales", "PJSIP/d1"): ("101", False)}
        await room.switch.set_safety_net(A, D, (SALES,), paused=False)
        pbx.members.clear()
        await room.switch.set_safety_net(A, None, (), paused=False)
        assert pbx.members == {}


async def test_a_refusal_that_stays_one_raises_and_the_other_queues_are_served() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        pbx.queues.discard("sales")
        with pytest.raises(AmiRefused, match="No such queue"):
            await room.switch.set_safety_net(A, D, (SALES, SUPPORT), paused=False)
        assert pbx.members == {("support", "PJSIP/d1"): ("101", False)}


async def test_what_could_not_be_sent_is_brought_about_when_the_switch_is_back() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.set_safety_net(A, D, (SALES,), paused=False)
        await pbx.close()
        await eventually(lambda: not room.switch.connected, "the loss noticed")
        with pytest.raises(AmiDown):
            await room.switch.set_safety_net(A, D, (SALES, SUPPORT), paused=True)
        pbx.members.clear()
        await pbx.start()
        wanted = {("sales", "PJSIP/d1"): ("101", True), ("support", "PJSIP/d1"): ("101", True)}
        await eventually(lambda: pbx.members == wanted, f"the net as wanted: {pbx.members}")


async def test_members_that_a_pbx_lost_with_its_former_life_are_there_again() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await room.switch.set_safety_net(A, D, (SALES,), paused=False)
        pbx.members.clear()
        pbx.drop()
        await eventually(lambda: pbx.members == {("sales", "PJSIP/d1"): ("101", False)}, "the net as wanted")


# -- modules -----------------------------------------------------------------------------------------------------


async def test_a_pbx_with_every_module_is_asked_once_a_connection_and_nothing_is_said() -> None:
    async with FakePbx() as pbx, connected(pbx) as room:
        await eventually(lambda: len(pbx.actions("Getvar")) == len(NEEDED) + 1, "every module asked for")
        await room.switch.look()
        assert room.switch.missing == ()
        assert room.said("module missing") == []
        assert len(pbx.actions("Getvar")) == len(NEEDED) + 1


async def test_every_module_that_is_missing_is_said_with_what_it_is_needed_for() -> None:
    async with FakePbx() as pbx:
        pbx.lacks = {"app_dial.so", "app_chanspy.so"}
        async with connected(pbx) as room:
            await eventually(lambda: room.switch.missing, "the modules missed")
            assert [missing.module for missing in room.switch.missing] == ["app_dial.so", "app_chanspy.so"]
            line = room.said("module missing")[0]
            assert (line["module"], line["code"]) == ("app_dial.so", "pbx_module_missing")
            assert "ringing agents" in line["reason"]


async def test_a_module_that_is_there_after_a_restart_is_not_missed_any_more() -> None:
    async with FakePbx() as pbx:
        pbx.lacks = {"app_dial.so"}
        async with connected(pbx) as room:
            await eventually(lambda: room.switch.missing, "the module missed")
            pbx.lacks = set()
            pbx.drop()
            await eventually(lambda: not room.switch.missing, "not missed any more")


async def test_a_pbx_that_can_not_say_is_not_accused() -> None:
    async with FakePbx() as pbx:
        pbx.lacks = {TELLS}
        async with connected(pbx) as room:
            await eventually(lambda: room.said("this Asterisk can't say which modules it runs"), "the doubt said")
            assert room.switch.missing == ()
