"""The link to the manager interface over a real socket, against a scripted Asterisk and through a faulty proxy."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from ccsvc.asterisk.ami_link import AmiLimits, AmiLink
from ccsvc.errors import AmiBusy, AmiDown, AmiLoginRefused, AmiProtocolError, AmiRefused, AmiTimeout, AmiUnsendable
from ccsvc.testing.fake_ami import FakeAmi, Headers, as_bytes, error, listing, nothing
from ccsvc.testing.proxy import FaultyProxy
from ccsvc.testing.waiting import eventually
from ccsvc.wire.ami import AmiMessage

QUICK = AmiLimits(
    connect_deadline_s=2,
    login_deadline_s=0.5,
    boot_deadline_s=2,
    ping_interval_s=0.05,
    ping_deadline_s=0.2,
    first_retry_s=0.01,
    last_retry_s=0.05,
    refused_retry_s=0.5,
)
CALM = AmiLimits(first_retry_s=0.01, last_retry_s=0.05, ping_interval_s=60)


class Owner:
    """Notes what the link says, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events: list[AmiMessage] = []

    def on_event(self, message: AmiMessage) -> None:
        self.said.append(message.event)
        self.events.append(message)

    def on_up(self) -> None:
        self.said.append("up")

    def on_down(self, reason: str) -> None:
        self.said.append(f"down: {reason}")

    def count(self, start: str) -> int:
        return sum(word.startswith(start) for word in self.said)

    @property
    def numbers(self) -> list[int]:
        return [int(event.get("N")) for event in self.events if event.event == "Numbered"]


def made(
    port: int, owner: Owner, limits: AmiLimits = CALM, *, events: bool = True, secret: str = "secret"
) -> AmiLink:
    return AmiLink(
        host="127.0.0.1",
        port=port,
        username="ccsvc",
        secret=secret,
        on_event=owner.on_event,
        on_up=owner.on_up,
        on_down=owner.on_down,
        events=events,
        limits=limits,
    )


@asynccontextmanager
async def linked(
    port: int, limits: AmiLimits = CALM, *, events: bool = True, owner: Owner | None = None
) -> AsyncIterator[tuple[AmiLink, Owner]]:
    owner = owner or Owner()
    link = made(port, owner, limits, events=events)
    await link.start()
    try:
        yield link, owner
    finally:
        await link.close()


def numbered(n: int) -> Headers:
    return {"Event": "Numbered", "N": str(n), "Name": "سارا\u2028"}


def came_up_again(owner: Owner, ups: int) -> bool:
    return owner.count("up") > ups


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_it_comes_up_then_tells_events_in_their_order() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, owner):
        assert link.connected
        ami.push(*[numbered(n) for n in range(500)])
        await eventually(lambda: len(owner.numbers) == 500, "all events")
        assert owner.numbers == list(range(500))
        assert owner.said[:2] == ["up", "FullyBooted"]
        assert owner.events[-1].get("Name") == "سارا\u2028"


async def test_up_is_told_before_the_first_event_even_if_both_come_at_once() -> None:
    async with FakeAmi(fully_booted=False) as ami:
        owner = Owner()
        link = made(ami.port, owner)
        starting = asyncio.create_task(link.start())
        await eventually(lambda: ami.session_count, "a session")
        assert not link.connected
        ami.push_bytes(as_bytes({"Event": "FullyBooted"}) + as_bytes(numbered(1)))
        await starting
        await eventually(lambda: owner.numbers, "an event")
        assert owner.said == ["up", "FullyBooted", "Numbered"]
        await link.close()


async def test_a_pbx_that_never_says_it_is_booted_is_taken_as_it_is() -> None:
    async with FakeAmi(fully_booted=False) as ami, linked(ami.port, AmiLimits(boot_deadline_s=0.05)) as (link, owner):
        assert link.connected
        assert owner.said == ["up"]


async def test_without_events_none_come_and_actions_work() -> None:
    async with FakeAmi() as ami, linked(ami.port, events=False) as (link, owner):
        assert (await link.action("Ping")).get("Ping") == "Pong"
        ami.push(numbered(1))
        assert (await link.action("Ping")).response == "Success"
        assert owner.said == ["up"]
        assert ami.actions("Login")[0].get("Events") == "off"


async def test_an_action_returns_its_own_response_among_many() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, _):
        ami.on("Getvar", lambda action: [{"Response": "Success", "Value": action.get("Variable")}])
        answers = await asyncio.gather(*[link.action("Getvar", {"Variable": str(n)}) for n in range(200)])
        assert [answer.get("Value") for answer in answers] == [str(n) for n in range(200)]


async def test_a_refused_action_raises_with_asterisks_words() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, _):
        ami.on("Hangup", error("No such channel"))
        with pytest.raises(AmiRefused, match="No such channel") as caught:
            await link.action("Hangup", {"Channel": "x"})
        assert (caught.value.action, caught.value.message) == ("Hangup", "No such channel")
        with pytest.raises(AmiRefused, match="unknown command"):
            await link.listing("Nope")


async def test_a_list_returns_its_items_without_head_and_end() -> None:
    items = [{"Event": "CoreShowChannel", "Channel": f"PJSIP/a-{n}"} for n in range(50)]
    async with FakeAmi() as ami, linked(ami.port) as (link, owner):
        ami.on("CoreShowChannels", listing(items, "CoreShowChannelsComplete"))
        found = await link.listing("CoreShowChannels")
        assert [message.get("Channel") for message in found] == [f"PJSIP/a-{n}" for n in range(50)]
        ami.on("CoreShowChannels", listing([], "CoreShowChannelsComplete"))
        assert await link.listing("CoreShowChannels") == []
        assert owner.said == ["up", "FullyBooted"]


async def test_a_list_without_end_is_cut_at_its_limit() -> None:
    items = [{"Event": "CoreShowChannel"} for _ in range(11)]
    async with FakeAmi() as ami, linked(ami.port, AmiLimits(list_count=10)) as (link, _):
        ami.on("CoreShowChannels", listing(items, "CoreShowChannelsComplete"))
        with pytest.raises(AmiProtocolError, match="more than 10"):
            await link.listing("CoreShowChannels")


async def test_an_action_can_wait_for_a_named_event_of_its_own() -> None:
    def originate(_: AmiMessage) -> list[Headers]:
        return [
            {"Response": "Success", "Message": "Originate successfully queued"},
            {"Event": "Other", "Uniqueid": "9"},
            {"Event": "OriginateResponse", "Reason": "4"},
        ]

    async with FakeAmi() as ami, linked(ami.port) as (link, owner):
        ami.on("Originate", originate)
        ended = await link.action("Originate", {"Channel": "PJSIP/a"}, expect="OriginateResponse")
        assert ended.get("Reason") == "4"
        assert (await link.action("Originate", {"Channel": "PJSIP/a"})).get("Message").startswith("Originate")
        await eventually(lambda: owner.count("OriginateResponse"), "the event")
        assert owner.said == ["up", "FullyBooted", "Other", "Other", "OriginateResponse"]


async def test_an_unanswered_action_ends_at_its_deadline_and_leaves_nothing_behind() -> None:
    limits = AmiLimits(pending_count=1)
    async with FakeAmi() as ami, linked(ami.port, limits) as (link, _):
        ami.on("Originate", nothing)
        for _ in range(3):
            with pytest.raises(AmiTimeout) as caught:
                await link.action("Originate", deadline_s=0.02)
        assert caught.value.deadline_s == 0.02
        late = ami.actions("Originate")[0].action_id
        ami.push_bytes(as_bytes({"Response": "Success", "ActionID": late, "Message": "late"}))
        await eventually(lambda: link.unasked_count, "the late answer")
        assert (await link.action("Ping")).response == "Success"


async def test_only_so_many_actions_may_wait() -> None:
    async with FakeAmi() as ami, linked(ami.port, AmiLimits(pending_count=3)) as (link, _):
        ami.on("Slow", nothing)
        waiting = [asyncio.create_task(link.action("Slow", deadline_s=5)) for _ in range(3)]
        await eventually(lambda: len(ami.actions("Slow")) == 3, "three actions")
        with pytest.raises(AmiBusy, match="3 actions wait"):
            await link.action("Ping")
        assert ami.actions("Ping") == []
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await link.action("Ping")).response == "Success"


async def test_a_pbx_that_does_not_read_is_not_written_to_for_ever() -> None:
    async with FakeAmi() as ami, linked(ami.port, AmiLimits(unsent_bytes=10_000, pending_count=10_000)) as (link, _):
        ami.stop_reading()
        await asyncio.gather(link.action("Ping", deadline_s=0.02), return_exceptions=True)
        fields = {"Variable": ["x" * 1000] * 100}
        results: list[object] = []
        while not any(isinstance(result, AmiBusy) for result in results):
            assert len(results) < 1000
            results += await asyncio.gather(link.action("Setvar", fields, deadline_s=0.01), return_exceptions=True)
        assert {type(result) for result in results} == {AmiTimeout, AmiBusy}
        ami.resume_reading()


async def test_what_cannot_be_sent_safely_is_not_sent_at_all() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, _):
        with pytest.raises(AmiUnsendable):
            await link.action("Setvar", {"Value": "a\r\n\r\nAction: Originate"})
        await link.action("Ping")
        assert [message.get("Action") for message in ami.received] == ["Login", "Ping"]


async def test_an_action_cut_off_is_down_with_unknown_outcome_and_is_never_sent_again() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, owner):
        ami.on("Originate", nothing)
        calling = asyncio.create_task(link.action("Originate", {"Channel": "PJSIP/a"}))
        await eventually(lambda: ami.actions("Originate"), "the action")
        ami.drop()
        with pytest.raises(AmiDown, match="outcome is unknown") as caught:
            await calling
        assert caught.value.sent
        await eventually(lambda: owner.count("up") == 2, "the link up again")
        await link.action("Ping")
        assert len(ami.actions("Originate")) == 1
        assert owner.said == ["up", "FullyBooted", "down: Asterisk closed the connection", "up", "FullyBooted"]


async def test_while_down_an_action_is_refused_at_once_and_not_kept_for_later() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, _):
        await ami.close()
        await eventually(lambda: not link.connected, "the link down")
        with pytest.raises(AmiDown, match="was not sent") as caught:
            await link.action("Originate")
        assert not caught.value.sent
        await ami.start()
        await eventually(lambda: link.connected, "the link up")
        await link.action("Ping")
        assert ami.actions("Originate") == []


async def test_an_event_cut_at_any_byte_is_told_whole_or_not_at_all() -> None:
    data = as_bytes(numbered(7))
    async with FakeAmi() as ami, linked(ami.port) as (_, owner):
        for at in range(len(data) + 1):
            told, ups = len(owner.numbers), owner.count("up")
            ami.push_bytes(data[:at], then_close=True)
            await eventually(partial(came_up_again, owner, ups), "the link up again")
            assert len(owner.numbers) - told == (at == len(data))
        assert set(owner.numbers) == {7}


async def test_a_login_cut_at_any_byte_is_tried_again() -> None:
    async with FakeAmi() as ami, FaultyProxy("127.0.0.1", ami.port) as proxy:
        for at in range(0, 120, 5):
            proxy.cut_after(at)
            owner = Owner()
            link = made(proxy.port, owner)
            await link.start(wait=False)
            await eventually(partial(owner.count, "up"), "the link up")
            await link.close()
            assert owner.said[0] == "up"


async def test_a_silent_peer_is_noticed_by_the_ping_and_the_link_comes_back() -> None:
    async with FakeAmi() as ami, FaultyProxy("127.0.0.1", ami.port) as proxy, linked(proxy.port, QUICK) as (_, owner):
        proxy.hold()
        await eventually(lambda: owner.count("down: silent"), "the silence noticed")
        proxy.heal()
        await eventually(lambda: owner.count("up") == 2, "the link up again")


async def test_a_pbx_that_reads_and_answers_nothing_is_noticed_too() -> None:
    async with FakeAmi() as ami, linked(ami.port, QUICK) as (_, owner):
        ami.silent = True
        await eventually(lambda: owner.count("down: silent"), "the silence noticed")
        ami.silent = False
        await eventually(lambda: owner.count("up") == 2, "the link up again")


async def test_events_are_a_sign_of_life_when_the_pong_is_late() -> None:
    async with FakeAmi() as ami, linked(ami.port, QUICK) as (_, owner):
        ami.on("Ping", nothing)
        for n in range(30):
            ami.push(numbered(n))
            await asyncio.sleep(QUICK.ping_interval_s / 2)
        assert len(ami.actions("Ping")) >= 2
        assert owner.count("down") == 0


async def test_a_slow_consumer_loses_nothing_and_is_not_taken_for_silence() -> None:
    class Slow(Owner):
        def on_event(self, message: AmiMessage) -> None:
            super().on_event(message)
            end_s = loop.time() + 0.002
            while loop.time() < end_s:
                pass

    loop = asyncio.get_running_loop()
    async with FakeAmi() as ami, linked(ami.port, QUICK, owner=Slow()) as (link, owner):
        ami.push(*[numbered(n) for n in range(300)])
        await eventually(lambda: len(owner.numbers) == 300, "all events")
        assert owner.numbers == list(range(300))
        assert (await link.action("Ping")).response == "Success"
        assert owner.count("down") == 0


async def test_a_failing_consumer_harms_neither_the_link_nor_the_next_event() -> None:
    class Failing(Owner):
        def on_event(self, message: AmiMessage) -> None:
            super().on_event(message)
            if message.get("N") == "0":
                raise ValueError("not this one")

    async with FakeAmi() as ami, linked(ami.port, owner=Failing()) as (link, owner):
        ami.push(numbered(0), numbered(1))
        await eventually(lambda: owner.numbers == [0, 1], "both events")
        assert link.connected


async def test_a_reset_connection_comes_back() -> None:
    async with FakeAmi() as ami, FaultyProxy("127.0.0.1", ami.port) as proxy, linked(proxy.port) as (_, owner):
        proxy.reset()
        await eventually(lambda: owner.count("up") == 2, "the link up again")
        assert owner.count("down: connection lost") == 1


async def test_a_delayed_wire_changes_nothing_but_time() -> None:
    async with FakeAmi() as ami, FaultyProxy("127.0.0.1", ami.port) as proxy:
        proxy.delay_s = 0.01
        async with linked(proxy.port) as (link, owner):
            ami.push(*[numbered(n) for n in range(20)])
            assert (await link.action("Ping")).response == "Success"
            assert owner.numbers == list(range(20))


async def test_a_wrong_secret_is_refused_once_and_ends_the_link() -> None:
    async with FakeAmi() as ami:
        link = made(ami.port, Owner(), QUICK, secret="wrong")
        with pytest.raises(AmiLoginRefused, match="Authentication failed") as caught:
            await link.start(wait=False)
        assert "wrong" not in str(caught.value)
        assert len(ami.actions("Login")) == 1
        with pytest.raises(AmiDown, match="login of 'ccsvc' refused"):
            await link.action("Ping")


async def test_a_secret_changed_under_way_is_tried_again_rarely() -> None:
    async with FakeAmi() as ami, linked(ami.port, QUICK) as (link, _):
        ami.refuse_login = True
        refused_from = len(ami.actions("Login"))
        loop, began_s = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        ami.drop()
        await eventually(lambda: len(ami.actions("Login")) == refused_from + 2, "two more logins")
        assert loop.time() - began_s >= QUICK.refused_retry_s / 2
        ami.refuse_login = False
        await eventually(lambda: link.connected, "the link up")


async def test_start_says_that_nobody_listens_or_goes_on_trying() -> None:
    ami = FakeAmi()
    await ami.start()
    await ami.close()
    with pytest.raises(AmiDown, match="can't connect"):
        await made(ami.port, Owner()).start()
    owner = Owner()
    link = made(ami.port, owner)
    await link.start(wait=False)
    assert not link.connected
    await ami.start()
    await eventually(lambda: link.connected, "the link up")
    await link.close()
    await ami.close()


async def test_a_peer_that_is_no_asterisk_is_named() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AmiDown, match="manager port"):
        await made(port, Owner(), QUICK).start()
    server.close()
    await server.wait_closed()


async def test_a_peer_that_says_nothing_to_the_login_is_given_up() -> None:
    async with FakeAmi() as ami:
        ami.silent = True
        with pytest.raises(AmiDown, match="no answer to the login"):
            await made(ami.port, Owner(), QUICK).start()


async def test_an_event_that_says_twice_who_it_is_is_not_believed() -> None:
    async with FakeAmi() as ami, linked(ami.port) as (link, owner):
        ami.push_bytes(b"Event: Newchannel\r\nCallerIDNum: 5\r\nUniqueid: 1.1\r\nUniqueid: 2.2\r\n\r\n")
        ami.push({"Event": "Newchannel", "Uniqueid": "3.3", "ChanVariable": ["a=1", "b=2"]})
        await eventually(lambda: owner.count("Newchannel"), "the event")
        assert link.forged_count == 1
        assert owner.events[-1].get("Uniqueid") == "3.3"


async def test_close_is_final_and_leaves_no_task_and_no_descriptor() -> None:
    gc.collect()
    tasks, open_files = len(asyncio.all_tasks()), descriptors()
    async with FakeAmi() as ami:
        owner = Owner()
        link = made(ami.port, owner)
        await link.start()
        ami.on("Slow", nothing)
        waiting = asyncio.create_task(link.action("Slow"))
        await eventually(lambda: ami.actions("Slow"), "the action")
        await link.close()
        await link.close()
        with pytest.raises(AmiDown):
            await waiting
        assert owner.said[-1] == "down: closed by ccsvc"
        logins = ami.login_count
        with pytest.raises(AmiDown):
            await link.action("Ping")
        with pytest.raises(RuntimeError):
            await link.start()
        await eventually(lambda: ami.session_count == 0, "the session gone")
        assert ami.login_count == logins
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks and descriptors() <= open_files, "nothing left over")


async def test_closing_while_it_tries_to_connect_is_quick() -> None:
    async with FakeAmi() as ami, FaultyProxy("127.0.0.1", ami.port) as proxy:
        proxy.hold()
        link = made(proxy.port, Owner(), AmiLimits(login_deadline_s=60))
        starting = asyncio.create_task(link.start())
        await eventually(lambda: proxy.active_count, "a connection")
        starting.cancel()
        async with asyncio.timeout(1):
            await asyncio.gather(starting, return_exceptions=True)
            await link.close()
