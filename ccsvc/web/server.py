"""The HTTP server: routes, errors, headers and limits.

Promises: every answer is bounded and carries the security headers; every error is JSON with a stable code, and an
unexpected one is logged and told without its inside; a port that is taken is said in one sentence before anything
else starts. A metrics text is at most `METRICS_MAX_AGE_S` old: making one holds the loop for some milliseconds.
It starts nothing until `start`, and knows neither the centre nor Prometheus: both come in as functions.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from ccsvc.domain.view import CentreView
from ccsvc.errors import CannotListen, PortTaken
from ccsvc.settings import HttpSettings
from ccsvc.web import api
from ccsvc.web.openapi import document

MAX_BODY_BYTES = 16 * 1024
BODY_DEADLINE_S = 5.0
KEEP_ALIVE_S = 30.0
SHUTDOWN_S = 2.0
METRICS_MAX_AGE_S = 1.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "ccsvc",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
CODES = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "body_too_large"}
MESSAGES = {
    404: "nothing is there; see /api/v1/openapi.json",
    405: "this can only be read (GET or HEAD)",
    408: f"the request's body did not come within {BODY_DEADLINE_S:g} s",
    413: f"a request's body may have {MAX_BODY_BYTES} bytes",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = structlog.get_logger()


class WebServer:
    """Serves the metrics, the health and the API of one daemon on `settings.host` and `settings.port`."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        view: Callable[[], CentreView],
        metrics: Callable[[], bytes],
        readiness: Callable[[], list[str]],
    ) -> None:
        """`readiness` returns why calls can't be taken, in sentences; empty: they can. All three must be quick."""
        self._settings = settings
        self._view, self._metrics, self._readiness = view, metrics, readiness
        self._runner: web.AppRunner | None = None
        self._rendered: tuple[float, bytes] | None = None
        self._document = msgspec.json.encode(document())

    @property
    def port(self) -> int:
        """The port that is really listened on, for a configured 0. Raises `RuntimeError` while not started."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the web server is not started")
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Raises `PortTaken`, or `CannotListen` for any other reason not to get the port."""
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=SHUTDOWN_S,
        )
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise PortTaken("HTTP", host, port) from error
            raise CannotListen("HTTP", host, port, error.strerror or str(error)) from error
        self._runner = runner

    async def close(self) -> None:
        """Stop listening; requests under way have `SHUTDOWN_S` to end. A second time does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def routes(self) -> dict[str, Handler]:
        """Every path that is served, all of them with GET."""
        return {
            "/metrics": self._get_metrics,
            "/health/live": self._get_live,
            "/health/ready": self._get_ready,
            "/api/v1/queues": self._picture(api.queues_body),
            "/api/v1/agents": self._picture(api.agents_body),
            "/api/v1/calls": self._picture(api.calls_body),
            "/api/v1/openapi.json": self._get_document,
        }

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_outermost])
        for path, handler in self.routes().items():
            app.router.add_get(path, handler)
        return app

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        now = asyncio.get_running_loop().time()
        if self._rendered is None or now - self._rendered[0] > METRICS_MAX_AGE_S:
            self._rendered = (now, self._metrics())
        return web.Response(body=self._rendered[1], headers={"Content-Type": METRICS_TYPE})

    async def _get_live(self, _request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def _get_ready(self, _request: web.Request) -> web.Response:
        reasons = self._readiness()
        return _json(reasons, 503 if reasons else 200)

    async def _get_document(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    def _picture(self, body: Callable[[CentreView], msgspec.Struct]) -> Handler:
        async def get(_request: web.Request) -> web.Response:
            return _json(body(self._view()))

        return get


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _error(request: web.Request, status: int, headers: dict[str, str] | None = None) -> web.Response:
    code, message = CODES.get(status, "bad_request"), MESSAGES.get(status, "the request can't be understood")
    if status >= 500:
        code, message = "internal", "a fault of ccsvc; its log says more"
    detail = api.ErrorDetail(code=code, message=message, path=request.path[:200])
    response = _json(api.ErrorBody(error=detail), status)
    response.headers.update(headers or {})
    return response


@web.middleware
async def _outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever happens into an answer with the headers."""
    response = await _answer(request, handler)
    response.headers.update(SECURITY_HEADERS)
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        await _swallow_body(request)
        return await handler(request)
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _error(request, error.status, allowed)
    except Exception:  # noqa: BLE001  the border of a request: logged in full, told without its inside
        _log.exception("request failed", method=request.method, path=request.path[:200])
        return _error(request, 500)


async def _swallow_body(request: web.Request) -> None:
    """No request here needs a body: one that comes is read within its limits, to keep the connection in step."""
    if not request.body_exists:
        return
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
