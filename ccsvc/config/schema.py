"""The JSON Schema of `ccsvc.toml`, for editors and for whoever writes the file by program.

Promises: made from the same types that read the file, so it can't disagree with them field by field. What only the
whole file can show (`ccsvc.domain.consistency`) is not in it.
"""

import msgspec

from ccsvc.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, object]:
    """The schema as plain data."""
    return {"$schema": DIALECT, "title": "ccsvc.toml", **msgspec.json.schema(Settings)}


def schema_text() -> str:
    """The schema as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(schema()).decode(), indent=2)
