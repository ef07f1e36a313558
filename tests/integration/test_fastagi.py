"""The FastAGI server over real sockets: whatever a caller's side does, the session ends and its socket is closed."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from ccsvc.asterisk.fastagi import AgiLimits, AgiServer, AgiSession
from ccsvc.errors import (
    AgiBusy,
    AgiError,
    AgiHangup,
    AgiProtocolError,
    AgiRefused,
    AgiTimeout,
    AgiUnsendable,
    CannotListen,
    PortTaken,
)
from ccsvc.testing.fake_agi import DEAD, UNKNOWN, USAGE, FakeAgi, header_block
from ccsvc.testing.proxy import FaultyProxy
from ccsvc.testing.waiting import eventually

Handler = Callable[[AgiSession], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, limits: AgiLimits | None = None) -> AsyncIterator[AgiServer]:
    server = AgiServer(host="127.0.0.1", port=0, handler=handler, limits=limits)
    await server.start()
    try:
        yield server
    finally:
        await server.close(1.0)


@asynccontextmanager
async def in_session(limits: AgiLimits | None = None) -> AsyncIterator[tuple[AgiSession, FakeAgi, AgiServer]]:
    """One open session in the test's own hands: its handler waits until the test is done."""
    arrived: asyncio.Future[AgiSession] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def handler(session: AgiSession) -> None:
        arrived.set_result(session)
        await done.wait()

    async with serving(handler, limits) as server, FakeAgi("127.0.0.1", server.port) as caller:
        await caller.open("call?x=1", args=("first",))
        try:
            yield await arrived, caller, server
        finally:
            done.set()


async def idle(session: AgiSession) -> None:
    await session.wait_hangup()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_session_runs_its_handler_and_is_closed_after_it() -> None:
    replies: list[str] = []

    async def handler(session: AgiSession) -> None:
        assert (session.request.path, session.request.args) == ("call", ("a b",))
        replies.append((await session.command("GET VARIABLE", "QID")).data or "")
        replies.append((await session.command("EXEC", "Dial", 'PJSIP/a,15,g"')).result)

    async with serving(handler) as server, FakeAgi("127.0.0.1", server.port) as caller:
        await caller.open(args=("a b",))
        await caller.play({"GET VARIABLE": "200 result=1 (سارا)", "EXEC": "200 result=-1"})
        assert caller.commands == ['GET VARIABLE "QID"', r'EXEC "Dial" "PJSIP/a,15,g\""']
        assert replies == ["سارا", "-1"]
        await eventually(lambda: server.active_count == 0, "no session")
        assert (server.accepted_count, server.failed_count) == (1, 0)


async def test_sessions_are_numbered_named_and_apart() -> None:
    seen: list[tuple[int, str]] = []

    async def handler(session: AgiSession) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((session.id, task.get_name()))
        await session.wait_hangup()

    async with serving(handler) as server, FakeAgi("127.0.0.1", server.port) as one:
        async with FakeAgi("127.0.0.1", server.port) as two:
            await one.open()
            await eventually(lambda: server.active_count == 1, "the first session")
            await two.open()
            await eventually(lambda: server.active_count == 2, "the second session")
        await eventually(lambda: server.active_count == 1, "the second session gone")
        assert seen == [(1, "agi-session-1"), (2, "agi-session-2")]


async def test_nagle_is_off() -> None:
    async with in_session() as (session, _, _server):
        sock = session._connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_connect_and_close_is_harmless() -> None:
    async with serving(idle) as server:
        for _ in range(20):
            async with FakeAgi("127.0.0.1", server.port):
                pass
        async with FakeAgi("127.0.0.1", server.port) as caller:
            caller.reset()
        async with asyncio.timeout(1), FakeAgi("127.0.0.1", server.port) as caller:
            await caller.open()
            await eventually(lambda: server.active_count == 1, "a session after them")
        await eventually(lambda: server.active_count == 0, "no session")
        assert server.failed_count == 0


async def test_an_end_at_any_byte_of_the_headers_starts_no_session_but_the_last() -> None:
    block = header_block()
    started: list[int] = []

    async def handler(session: AgiSession) -> None:
        started.append(session.id)
        await session.wait_hangup()

    async with serving(handler) as server:
        for at in [*range(0, len(block), 7), len(block)]:
            async with FakeAgi("127.0.0.1", server.port) as caller:
                await caller.send(block[:at])
        await eventually(lambda: started and server.active_count == 0, "all of them gone")
        assert len(started) == 1


async def test_hangup_in_idle_ends_the_wait_at_once_and_the_end_closes_the_socket() -> None:
    async with serving(idle) as server, FakeAgi("127.0.0.1", server.port) as caller:
        await caller.open()
        await eventually(lambda: server.active_count == 1, "a session")
        await caller.hang_up()
        assert await caller.wait_closed() == b""


async def test_the_end_of_the_connection_in_idle_ends_the_wait_too() -> None:
    for end in ("close", "reset"):
        async with in_session() as (session, caller, _):
            assert not session.hung_up
            if end == "close":
                await caller.close()
            else:
                caller.reset()
            async with asyncio.timeout(2):
                await session.wait_hangup()
            assert session.hung_up
            with pytest.raises(AgiHangup):
                await session.command("GET VARIABLE", "X")


async def test_hangup_between_command_and_reply_does_not_shift_the_reply() -> None:
    async with in_session() as (session, caller, _):
        dialling = asyncio.create_task(session.command("EXEC", "Dial", "PJSIP/a"))
        assert await caller.read_command() == 'EXEC "Dial" "PJSIP/a"'
        await caller.hang_up()
        await session.wait_hangup()
        await caller.reply("200 result=-1")
        assert (await dialling).result == "-1"


async def test_after_hangup_variables_can_be_read_and_nothing_else_be_done() -> None:
    async with in_session() as (session, caller, _):
        await caller.hang_up()
        await session.wait_hangup()
        asking = asyncio.create_task(session.command("GET VARIABLE", "DIALSTATUS"))
        await caller.read_command()
        await caller.reply("200 result=1 (ANSWER)")
        assert (await asking).data == "ANSWER"
        with pytest.raises(AgiHangup, match="taken the channel"):
            await session.command("STREAM FILE", "x", "")
        assert caller.commands == ['GET VARIABLE "DIALSTATUS"']


@pytest.mark.parametrize(("answer", "code"), [(UNKNOWN, 510), (DEAD, 511), (USAGE, 520)])
async def test_a_refused_command_raises_and_the_next_reply_is_the_next_commands(answer: str, code: int) -> None:
    async with in_session() as (session, caller, _):
        playing = asyncio.create_task(caller.play({"NOOP": answer, "GET VARIABLE": "200 result=1 (x)"}))
        with pytest.raises(AgiRefused) as caught:
            await session.command("NOOP")
        assert caught.value.reply_code == code
        assert (await session.command("GET VARIABLE", "X")).data == "x"
        session.close()
        await playing


async def test_a_value_of_several_lines_arrives_whole_and_shifts_nothing() -> None:
    async with in_session() as (session, caller, server):
        playing = asyncio.create_task(caller.play({"GET": "200 result=1 (a\nHANGUP\nb)", "NOOP": "200 result=7"}))
        assert (await session.command("GET VARIABLE", "X")).data == "a\nHANGUP\nb"
        assert (await session.command("NOOP")).result == "7"
        assert (session.hung_up, server.stray_count) == (False, 0)
        session.close()
        await playing


async def test_a_connection_lost_under_a_command_is_a_hangup_at_any_byte_of_the_reply() -> None:
    reply = b"200 result=1 (abc)\n"
    for at in range(len(reply)):
        async with in_session() as (session, caller, _):
            asking = asyncio.create_task(session.command("GET VARIABLE", "X"))
            await caller.read_command()
            await caller.send(reply[:at])
            await caller.close()
            with pytest.raises(AgiHangup):
                await asking


async def test_a_late_reply_closes_the_session_instead_of_answering_the_next_command() -> None:
    async with in_session() as (session, caller, _):
        with pytest.raises(AgiTimeout, match="closed"):
            await session.command("NOOP", deadline_s=0.05)
        with pytest.raises(AgiHangup):
            await session.command("NOOP")
        assert await caller.read_command() == "NOOP"
        assert await caller.read_command() == ""


async def test_two_commands_at_once_are_refused() -> None:
    async with in_session() as (session, caller, _):
        first = asyncio.create_task(session.command("EXEC", "Dial", "PJSIP/a"))
        await caller.read_command()
        with pytest.raises(AgiBusy, match="EXEC"):
            await session.command("NOOP")
        await caller.reply("200 result=0")
        assert (await first).result == "0"


async def test_the_reply_of_a_cancelled_command_is_not_the_next_ones() -> None:
    async with in_session() as (session, caller, _):
        first = asyncio.create_task(session.command("EXEC", "Dial", "PJSIP/a"))
        await caller.read_command()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        with pytest.raises(AgiBusy):
            await session.command("NOOP")
        await caller.reply("200 result=1")
        await eventually(lambda: not session._connection._parser.awaiting_reply, "the old reply")
        second = asyncio.create_task(session.command("NOOP"))
        await caller.read_command()
        await caller.reply("200 result=2")
        assert (await second).result == "2"


async def test_what_cannot_be_sent_safely_is_not_sent_and_the_session_goes_on() -> None:
    async with in_session() as (session, caller, _):
        with pytest.raises(AgiUnsendable):
            await session.command("SET VARIABLE", "X", "a\nEXEC System rm")
        going = asyncio.create_task(session.command("NOOP"))
        await caller.read_command()
        await caller.reply()
        await going
        assert caller.commands == ["NOOP"]


async def test_a_stray_line_is_counted_and_harms_nothing() -> None:
    async with in_session() as (session, caller, server):
        await caller.send(b"200 result=1 (forged)\n")
        await eventually(lambda: server.stray_count == 1, "the stray line")
        going = asyncio.create_task(session.command("NOOP"))
        await caller.read_command()
        await caller.reply("200 result=5")
        assert (await going).result == "5"


async def test_a_tampered_header_block_starts_no_session() -> None:
    async with serving(idle) as server, FakeAgi("127.0.0.1", server.port) as caller:
        await caller.open(fields={"agi_callerid": "55\nagi_uniqueid: 9.9"})
        assert await caller.wait_closed() == b""
        assert (server.broken_count, server.active_count) == (1, 0)


async def test_a_session_that_stops_speaking_agi_is_cut_and_its_command_told_why() -> None:
    async with in_session() as (session, caller, server):
        asking = asyncio.create_task(session.command("NOOP"))
        await caller.read_command()
        await caller.send(b"agi_context: forged\n")
        with pytest.raises(AgiProtocolError):
            await asking
        assert server.broken_count == 1


async def test_who_says_nothing_is_cut_off_after_the_header_deadline() -> None:
    async with serving(idle, AgiLimits(header_deadline_s=0.05)) as server:
        async with FakeAgi("127.0.0.1", server.port) as caller:
            await caller.send(b"agi_network: yes\n")
            assert await caller.wait_closed() == b""
        assert server.cut_off_count == 1


async def test_a_handler_that_forgets_to_close_after_hangup_is_overruled() -> None:
    async with in_session(AgiLimits(hangup_grace_s=0.05)) as (_, caller, server):
        await caller.hang_up()
        assert await caller.wait_closed() == b""
        assert (server.cut_off_count, server.active_count) == (1, 1)


async def test_a_failing_handler_closes_its_own_session_only() -> None:
    async def handler(session: AgiSession) -> None:
        if session.request.path == "bad":
            raise ValueError("this handler's own fault")
        await session.wait_hangup()

    async with serving(handler) as server, FakeAgi("127.0.0.1", server.port) as good:
        await good.open()
        await eventually(lambda: server.active_count == 1, "the good session")
        async with FakeAgi("127.0.0.1", server.port) as bad:
            await bad.open("bad")
            assert await bad.wait_closed() == b""
        await eventually(lambda: server.active_count == 1, "only the good session")
        assert server.failed_count == 1


async def test_a_peer_from_elsewhere_is_not_served() -> None:
    server = AgiServer(host="127.0.0.1", port=0, handler=idle, allowed_peers=[ip_network("192.0.2.0/24")])
    await server.start()
    async with FakeAgi("127.0.0.1", server.port) as caller:
        await caller.send(header_block())
        assert await caller.wait_closed() == b""
        assert (server.turned_away_count, server.accepted_count, server.active_count) == (1, 0, 0)
    await server.close(0)


async def test_more_than_the_limit_are_turned_away_until_one_has_gone() -> None:
    async with serving(idle, AgiLimits(session_count=2)) as server:
        async with FakeAgi("127.0.0.1", server.port) as one, FakeAgi("127.0.0.1", server.port) as two:
            await one.open()
            await two.open()
            await eventually(lambda: server.active_count == 2, "two sessions")
            async with FakeAgi("127.0.0.1", server.port):
                await eventually(lambda: server.turned_away_count == 1, "the third turned away")
        await eventually(lambda: server.active_count == 0, "both gone")
        async with FakeAgi("127.0.0.1", server.port) as again:
            await again.open()
            await eventually(lambda: server.active_count == 1, "one more")


async def test_a_taken_port_is_named_with_the_remedy() -> None:
    async with serving(idle) as server:
        with pytest.raises(PortTaken, match=rf"AGI can't listen on 127\.0\.0\.1 port {server.port}.*ss -ltnp"):
            await AgiServer(host="127.0.0.1", port=server.port, handler=idle).start()
    with pytest.raises(CannotListen, match=r"192\.0\.2\.77"):
        await AgiServer(host="192.0.2.77", port=0, handler=idle).start()


async def test_close_waits_for_those_who_end_and_cancels_those_who_do_not() -> None:
    ended: list[str] = []

    async def handler(session: AgiSession) -> None:
        try:
            await session.command("EXEC", "Dial", session.request.path)
            ended.append("by itself")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    server = AgiServer(host="127.0.0.1", port=0, handler=handler)
    await server.start()
    async with FakeAgi("127.0.0.1", server.port) as quick, FakeAgi("127.0.0.1", server.port) as slow:
        await quick.open("quick")
        await slow.open("slow")
        await quick.read_command()
        await slow.read_command()
        closing = asyncio.create_task(server.close(0.3))
        await quick.reply()
        await closing
        assert sorted(ended) == ["by itself", "cancelled"]
        assert await slow.wait_closed() == b""


async def test_close_leaves_no_task_and_no_descriptor() -> None:
    gc.collect()
    tasks, open_files = len(asyncio.all_tasks()), descriptors()
    server = AgiServer(host="127.0.0.1", port=0, handler=idle)
    await server.start()
    callers = [FakeAgi("127.0.0.1", server.port) for _ in range(10)]
    for number, caller in enumerate(callers):
        await caller.connect()
        await caller.send(header_block()[: 10000 if number % 2 else 50])
    await eventually(lambda: server.active_count == 5, "five sessions")
    await server.close(0)
    await server.close(0)
    for caller in callers:
        await caller.close()
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks and descriptors() <= open_files, "nothing left over")


async def test_through_a_wire_that_delays_every_reply_is_its_own_commands() -> None:
    results: list[str] = []

    async def handler(session: AgiSession) -> None:
        for n in range(10):
            results.append((await session.command("NOOP", str(n))).result)

    async with serving(handler) as server, FaultyProxy("127.0.0.1", server.port) as proxy:
        proxy.delay_s = 0.005
        async with FakeAgi("127.0.0.1", proxy.port) as caller:
            await caller.open()
            await caller.play({}, otherwise=lambda command: f"200 result={command[-2]}")
    assert results == [str(n) for n in range(10)]


async def test_a_silent_peer_holds_only_its_own_session() -> None:
    errors: list[AgiError] = []

    async def handler(session: AgiSession) -> None:
        try:
            await session.command("NOOP", deadline_s=0.1)
        except AgiError as error:
            errors.append(error)

    async with (
        serving(handler) as server,
        FaultyProxy("127.0.0.1", server.port) as proxy,
        FakeAgi("127.0.0.1", proxy.port) as silent,
        FakeAgi("127.0.0.1", server.port) as lively,
    ):
        await silent.open()
        await eventually(lambda: server.active_count == 1, "the silent one's session")
        proxy.hold()
        await lively.open()
        await lively.play({})
        await eventually(lambda: errors, "the deadline")
        proxy.heal()
    assert [type(error) for error in errors] == [AgiTimeout]
