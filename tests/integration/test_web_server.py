"""The HTTP server on a real port: what it serves, how it refuses, and that it tells nothing of its inside."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientSession

from ccsvc.domain.view import AgentView, CallView, CentreView, QueueView, WaitingView
from ccsvc.errors import CannotListen, PortTaken
from ccsvc.settings import HttpSettings
from ccsvc.web import server
from ccsvc.web.openapi import document
from ccsvc.web.server import MAX_BODY_BYTES, SECURITY_HEADERS, WebServer

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CALLER = "+989121234567"
WAITING = WaitingView("pbx1/1.1", CALLER, "Canary Name", AT, 1, "101")
VIEW = CentreView(
    at=AT,
    pbx="pbx1",
    connected=True,
    queues=(QueueView("sales", (WAITING,), 3.5, {"idle": 1}, 1, {"answered": 0}, 0),),
    agents=(AgentView("101", "Agent 101", "ready", "ringing", "", AT, "d101", "ringing", None, ("sales",)),),
    calls=(CallView("pbx1/1.1", CALLER, "Canary Name", "2001", "fa", AT, "ringing", "sales", "101"),),
)


class Centre:
    """What a test lets the server see. `faulty` makes every look at it fail."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.faulty = False
        self.renderings = 0

    def view(self) -> CentreView:
        if self.faulty:
            raise RuntimeError("canary of the inside")
        return VIEW

    def metrics(self) -> bytes:
        self.renderings += 1
        return f"ccsvc_renderings_total {self.renderings}\n".encode()

    def readiness(self) -> list[str]:
        return self.reasons


class Client:
    def __init__(self, session: ClientSession, server: WebServer, centre: Centre) -> None:
        self.session, self.server, self.centre = session, server, centre

    async def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, dict[str, str], bytes]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.session.request(method, url, **more) as response:
            return response.status, dict(response.headers), await response.read()

    async def json(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        status, headers, body = await self.ask(path, method, **more)
        assert headers["Content-Type"].startswith("application/json")
        return status, json.loads(body)


@asynccontextmanager
async def served() -> AsyncIterator[Client]:
    centre = Centre()
    web = WebServer(HttpSettings(port=0), view=centre.view, metrics=centre.metrics, readiness=centre.readiness)
    await web.start()
    try:
        async with ClientSession() as session:
            yield Client(session, web, centre)
    finally:
        await web.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with served() as client:
        yield client


async def test_metrics_are_served_in_the_text_format_of_prometheus(client: Client) -> None:
    status, headers, body = await client.ask("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body == b"ccsvc_renderings_total 1\n"


async def test_an_eager_scraper_gets_the_same_rendering_for_a_while(client: Client) -> None:
    bodies = {(await client.ask("/metrics"))[2] for _ in range(5)}
    assert bodies == {b"ccsvc_renderings_total 1\n"}


async def test_live_is_always_and_ready_says_why_not(client: Client) -> None:
    assert await client.json("/health/live") == (200, {"status": "alive"})
    assert await client.json("/health/ready") == (200, [])
    client.centre.reasons = ["the PBX is not connected"]
    assert await client.json("/health/ready") == (503, ["the PBX is not connected"])
    assert await client.json("/health/live") == (200, {"status": "alive"})


async def test_the_picture_is_served_without_callers_whole_numbers(client: Client) -> None:
    for name in ("queues", "agents", "calls"):
        status, body = await client.json(f"/api/v1/{name}")
        assert (status, body["pbx"], body["connected"], body["at"]) == (200, "pbx1", True, "2026-11-22T12:00:00Z")
        assert len(body[name]) == 1
        assert "912" not in json.dumps(body)


async def test_a_queue_an_agent_and_a_call_have_the_fields_of_the_document(client: Client) -> None:
    schemas = document()["components"]["schemas"]
    for name, kind in (("queues", "Queue"), ("agents", "Agent"), ("calls", "Call")):
        _, body = await client.json(f"/api/v1/{name}")
        assert set(body[name][0]) == set(schemas[kind]["properties"]) == set(schemas[kind]["required"])
    (queue,) = (await client.json("/api/v1/queues"))[1]["queues"]
    (waiting,) = queue["waiting"]
    assert (waiting["caller"], waiting["position"], waiting["ringing_agent"]) == ("•••67", 1, "101")


async def test_every_path_of_the_document_is_served_and_every_served_path_is_in_it(client: Client) -> None:
    status, served_document = await client.json("/api/v1/openapi.json")
    assert (status, served_document) == (200, json.loads(json.dumps(document())))
    assert set(served_document["paths"]) == set(client.server.routes())
    for path, methods in served_document["paths"].items():
        status, headers, _ = await client.ask(path)
        answers = methods["get"]["responses"]
        assert str(status) in answers
        assert headers["Content-Type"].split(";")[0] in answers[str(status)]["content"]


@pytest.mark.parametrize("path", ["/", "/api/v1/none", "/api/v1/queues/", "/%2e%2e/etc/passwd", "/" + "x" * 3000])
async def test_what_is_not_there_is_a_404_in_json(client: Client, path: str) -> None:
    status, body = await client.json(path)
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert len(body["error"]["path"]) <= 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(client: Client, method: str) -> None:
    status, headers, body = await client.ask("/api/v1/queues", method)
    assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in headers["Allow"]


async def test_a_fault_inside_is_a_500_that_tells_nothing_and_the_next_request_works(client: Client) -> None:
    client.centre.faulty = True
    status, body = await client.json("/api/v1/calls")
    assert (status, body["error"]["code"], body["error"]["path"]) == (500, "internal", "/api/v1/calls")
    assert "canary" not in json.dumps(body)
    client.centre.faulty = False
    assert (await client.json("/api/v1/calls"))[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_long_is_refused_however_it_is_sent(client: Client, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * (MAX_BODY_BYTES // 4)

    data = pieces() if chunked else b"x" * (MAX_BODY_BYTES + 1)
    status, body = await client.json("/api/v1/queues", data=data)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


async def test_a_body_that_does_not_come_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_DEADLINE_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
    writer.write(b"GET /api/v1/queues HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    status_line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert status_line.split()[1] == b"408"


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/api/v1/calls", "/none"])
async def test_every_answer_carries_the_security_headers(client: Client, path: str) -> None:
    _, headers, _ = await client.ask(path)
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_head_is_answered_without_a_body(client: Client) -> None:
    status, _, body = await client.ask("/api/v1/queues", "HEAD")
    assert (status, body) == (200, b"")


async def test_a_port_that_is_taken_is_said_in_one_sentence(client: Client) -> None:
    second = WebServer(HttpSettings(port=client.server.port), view=lambda: VIEW, metrics=lambda: b"", readiness=list)
    with pytest.raises(PortTaken, match=f"HTTP can't listen on 127.0.0.1 port {client.server.port}: another program"):
        await second.start()


async def test_an_address_that_is_not_ours_is_said_too() -> None:
    elsewhere = WebServer(
        HttpSettings(host="192.0.2.1", port=0), view=lambda: VIEW, metrics=lambda: b"", readiness=list
    )
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        await elsewhere.start()


async def test_after_close_the_port_is_free_and_a_second_close_does_nothing() -> None:
    async with served() as client:
        port = client.server.port
        await client.ask("/health/live")
    await client.server.close()
    with pytest.raises(RuntimeError, match="not started"):
        _ = client.server.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
