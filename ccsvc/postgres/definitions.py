"""How a queue's numbers are defined, kept beside the numbers, so that old days are never silently computed anew.

Promises: a row is added when a definition differs from the last one of that queue, and only then; nothing is changed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ccsvc.settings import QueueSettings

_ADD = """
INSERT INTO ccsvc.queue_definition (pbx, queue, valid_from, service_level, target_s, short_abandon_s)
SELECT $1, $2, $3, $4, $5, $6
WHERE NOT EXISTS (
    SELECT FROM (
        SELECT * FROM ccsvc.queue_definition WHERE pbx = $1 AND queue = $2 ORDER BY valid_from DESC LIMIT 1
    ) AS last
    WHERE last.service_level = $4 AND last.target_s = $5 AND last.short_abandon_s = $6
)
ON CONFLICT DO NOTHING
"""


async def remember_definitions(
    connection: Any, pbx: str, queues: Sequence[QueueSettings], valid_from: datetime
) -> None:
    """`valid_from`: when these settings came into force, which may be long before the database could be told."""
    await connection.executemany(
        _ADD, [(pbx, q.name, valid_from, q.service_level, q.target_s, q.short_abandon_s) for q in queues]
    )
