"""The OpenAPI 3.1 document of the API, made from the types that write its bodies.

Promises: every path that the server serves is in it (a test holds that), with the body of each answer. It knows
neither sockets nor the centre.
"""

from typing import Any

import msgspec

from ccsvc import __version__
from ccsvc.web import api

Document = dict[str, Any]

JSON = "application/json"

_DESCRIPTION = """\
The live picture of one contact centre, read-only.

There are no tokens yet: callers' numbers show their last two digits only, their names are as they were sent. Keep the
port on loopback, or behind a proxy that asks who is there.
"""
_ERRORS = {
    "404": "Nothing is there.",
    "405": "It can only be read.",
    "413": "The request has a body that is too long.",
}
_PICTURES: tuple[tuple[str, type, str], ...] = (
    ("queues", api.Queues, "Every queue: who waits, who serves it, what it has counted."),
    ("agents", api.Agents, "Every agent: what they chose and what they do."),
    ("calls", api.Calls, "Every call that is not over."),
)


def document() -> Document:
    """The document as plain data."""
    types = [api.ErrorBody, *(body for _, body, _ in _PICTURES)]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    error, *bodies = references
    paths = {
        f"/api/v1/{name}": _picture(name, text, body, error)
        for (name, _, text), body in zip(_PICTURES, bodies, strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "ccsvc", "version": __version__, "description": _DESCRIPTION},
        "paths": {**paths, **_others()},
        "components": {"schemas": components},
    }


def _picture(name: str, text: str, body: Document, error: Document) -> Document:
    responses = {"200": _answer(text, JSON, body)}
    responses |= {status: _answer(why, JSON, error) for status, why in _ERRORS.items()}
    responses["500"] = _answer("A fault of ccsvc; its log says more.", JSON, error)
    return {"get": {"operationId": f"list_{name}", "summary": text, "responses": responses}}


def _others() -> Document:
    reasons = {"type": "array", "items": {"type": "string"}}
    ready = {
        "200": _answer("Ready: an empty list.", JSON, reasons),
        "503": _answer("Not ready: why not, in sentences.", JSON, reasons),
    }
    alive = {"type": "object", "properties": {"status": {"const": "alive"}}, "required": ["status"]}
    return {
        "/api/v1/openapi.json": _get(
            "openapi", "This document.", {"200": _answer("OpenAPI 3.1", JSON, {"type": "object"})}
        ),
        "/health/live": _get("live", "Whether the process answers.", {"200": _answer("It does.", JSON, alive)}),
        "/health/ready": _get("ready", "Whether calls can be taken.", ready),
        "/metrics": _get(
            "metrics", "Prometheus metrics.", {"200": _answer("Text format.", "text/plain", {"type": "string"})}
        ),
    }


def _get(operation: str, summary: str, responses: Document) -> Document:
    return {"get": {"operationId": operation, "summary": summary, "responses": responses}}


def _answer(description: str, content_type: str, schema: Document) -> Document:
    return {"description": description, "content": {content_type: {"schema": schema}}}
