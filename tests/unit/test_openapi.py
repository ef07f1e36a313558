"""The API's document is well-formed OpenAPI 3.1: what a validator would ask, asked here."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ccsvc.web.api import masked
from ccsvc.web.openapi import document

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def references(part: Any) -> Iterator[str]:
    """Every `$ref`, wherever it stands."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, item in document()["paths"].items() for operation in item.values()]


def test_the_document_has_the_parts_that_openapi_asks_for() -> None:
    whole = document()
    assert re.fullmatch(r"3\.1\.\d+", whole["openapi"])
    assert set(whole["info"]) >= {"title", "version"}
    assert set(whole) <= {"openapi", "info", "servers", "paths", "components", "tags", "security"}
    assert all(path.startswith("/") and set(item) <= METHODS for path, item in whole["paths"].items())
    assert json.loads(json.dumps(whole)) == whole


def test_every_operation_has_its_own_id_and_answers_with_descriptions() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(set(ids)) == len(ids)
    for _, operation in operations():
        assert operation["summary"]
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert answer["description"]
            assert all("schema" in content for content in answer["content"].values())


def test_every_reference_leads_to_a_schema_and_every_schema_is_used() -> None:
    whole = document()
    used = {ref.removeprefix("#/components/schemas/") for ref in references(whole)}
    assert used == set(whole["components"]["schemas"])


def test_schemas_are_objects_whose_required_fields_exist() -> None:
    for schema in document()["components"]["schemas"].values():
        assert schema["type"] == "object"
        assert set(schema.get("required", ())) <= set(schema["properties"])


def test_the_document_says_that_callers_are_masked_for_want_of_tokens() -> None:
    assert "no tokens yet" in document()["info"]["description"]
    assert "last two digits" in document()["components"]["schemas"]["Call"]["properties"]["caller"]["description"]


@pytest.mark.parametrize(
    ("number", "shown"), [("+989121234567", "•••67"), ("101", "•••01"), ("12", "•••"), ("anonymous", "•••"), ("", "")]
)
def test_a_callers_number_keeps_its_last_two_digits(number: str, shown: str) -> None:
    assert masked(number) == shown
