"""Brings the spool's rows to PostgreSQL, in order, whenever there is a PostgreSQL.

Promises:
- rows and the position behind them are committed together, so that a commit whose answer was lost is found out about
  from the database itself, and nothing is written twice or left out;
- whatever goes wrong, the rows stay in the spool and the writer tries again, waiting up to `BACKOFF_LONGEST_S`;
- a row that its table will not take does not hold up the others: it goes to `ccsvc.rejected_row`, and is counted;
- it waits for an append, it does not poll.

Does not know what rows mean. Never blocks an append: the spool is only read, in a worker thread.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import structlog
from msgspec.structs import replace

from ccsvc.domain.records import Row
from ccsvc.errors import CcsvcError, DatabaseDown
from ccsvc.postgres.definitions import remember_definitions
from ccsvc.postgres.files import Position
from ccsvc.postgres.migrate import check_schema
from ccsvc.postgres.reader import Chunk
from ccsvc.postgres.rowtext import encode
from ccsvc.postgres.spool import FileSpool
from ccsvc.postgres.upsert import UPSERTS, as_json, latest
from ccsvc.settings import QueueSettings

_log = structlog.get_logger(__name__)

BACKOFF_SHORTEST_S = 0.1
BACKOFF_LONGEST_S = 5.0
CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0

_EXPECTED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, CcsvcError)
"""What an absent, busy or outdated database raises. Anything else is a fault of ours and logged with its trace."""

_UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What a row raises that its table will never take."""

_READ_CHECKPOINT = """
SELECT file, file_id, byte_offset, row_count, written FROM ccsvc.writer_checkpoint WHERE pbx = $1
"""
_WRITE_CHECKPOINT = """
INSERT INTO ccsvc.writer_checkpoint (pbx, file, file_id, byte_offset, row_count, written)
VALUES ($1, $2, $3, $4, $5, $6::jsonb)
ON CONFLICT (pbx) DO UPDATE SET file = excluded.file, file_id = excluded.file_id,
    byte_offset = excluded.byte_offset, row_count = excluded.row_count, written = excluded.written, updated_at = now()
"""
_REJECT = """
INSERT INTO ccsvc.rejected_row (pbx, file, file_id, byte_offset, table_name, content, problem)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
"""


class Writer:
    """One per daemon. `run` is its task; `close` ends it.

    `batch_rows`: rows per transaction: 500 drain 29,000 rows/s and keep the loop for 5 ms at a time, 1000 for 10 ms.
    `statement_cache_size`: 0 behind a transaction-pooling proxy.
    """

    def __init__(
        self,
        spool: FileSpool,
        dsn: str,
        *,
        pbx: str,
        batch_rows: int = 500,
        command_timeout_s: float = 30.0,
        statement_cache_size: int = 100,
    ) -> None:
        self._dsn, self._spool, self._pbx = dsn, spool, pbx
        self._batch_rows = batch_rows
        self._command_timeout_s = command_timeout_s
        self._statement_cache_size = statement_cache_size
        self._definitions: tuple[Sequence[QueueSettings], datetime] | None = None
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._backoff_s = BACKOFF_SHORTEST_S
        self.connected = False
        self.last_error = ""
        """Empty when the last thing tried succeeded."""
        self.rows_rejected = 0
        """In this life; all of them are in `ccsvc.rejected_row`."""
        spool.subscribe(self._wake.set)

    @property
    def rows_written(self) -> dict[str, int]:
        """Rows that the database has, by table, in all lives. A row's earlier states count too."""
        return dict(self._spool.position.written)

    def define(self, queues: Sequence[QueueSettings], valid_from: datetime) -> None:
        """How the queues' numbers are computed from `valid_from` on: written as soon as there is a database."""
        self._definitions = (queues, valid_from)
        self._wake.set()

    async def run(self) -> None:
        """Until `close`, or cancelled. Returns normally after `close`, drained or not."""
        self._task = asyncio.current_task()
        while True:
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001  the border of a task: rows are safe, the next try may succeed
                self._note(error)
            else:
                return
            if self._closing.is_set():
                return
            await self._pause()

    async def close(self, deadline_s: float) -> int:
        """Drain what can be drained, then end `run`. The rows that stay in the spool for the next life."""
        self._closing.set()
        self._wake.set()
        await asyncio.sleep(0)  # a task that was only just made has its first step now
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=deadline_s)
            for task in late:
                task.cancel()
                await asyncio.wait({task})
        return self._spool.pending_rows

    # -- one connection ----------------------------------------------------------------------------------

    async def _live(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._command_timeout_s,
            statement_cache_size=self._statement_cache_size,
            server_settings={"application_name": f"ccsvc {self._pbx}"},
        )
        try:
            connection.add_termination_listener(self._connection_ended)
            position = await self._resume(connection)
            self.connected = True
            await self._drain(connection, position)
            await connection.close(timeout=CLOSE_TIMEOUT_S)
        finally:
            self.connected = False
            connection.terminate()

    async def _resume(self, connection: Any) -> Position:
        """Where to go on: the database's own word counts, whatever was acknowledged here."""
        await check_schema(connection)
        stored = await connection.fetchrow(_READ_CHECKPOINT, self._pbx)
        written = Counter(self._spool.position.written)
        wanted = Position()
        if stored is not None:
            wanted = Position(stored["file"], stored["file_id"], stored["byte_offset"], stored["row_count"])
            written |= Counter(json.loads(stored["written"]))
        position = self._spool.locate(replace(wanted, written=dict(written)))
        self._spool.acknowledge(position)
        return position

    async def _drain(self, connection: Any, position: Position) -> None:
        while True:
            self._wake.clear()
            await self._define(connection)
            chunk = await asyncio.to_thread(self._spool.read, position, self._batch_rows)
            if chunk.position != position:
                position = await self._write(connection, chunk)
                self._spool.acknowledge(position)
            self._succeeded()
            if chunk.rows:
                continue
            if self._closing.is_set():
                return
            await self._wake.wait()
            if connection.is_closed():
                raise DatabaseDown("PostgreSQL closed the connection")

    async def _define(self, connection: Any) -> None:
        if self._definitions is not None:
            definitions = self._definitions
            await remember_definitions(connection, self._pbx, *definitions)
            if self._definitions is definitions:
                self._definitions = None

    # -- one batch ---------------------------------------------------------------------------------------

    async def _write(self, connection: Any, chunk: Chunk) -> Position:
        """One transaction; the position behind the chunk, with the rows counted."""
        if not chunk.rows:
            return chunk.position
        position = _counting(chunk.position, [row for _, row in chunk.rows])
        try:
            async with connection.transaction():
                for kind, rows in latest(row for _, row in chunk.rows).items():
                    await connection.execute(UPSERTS[kind], as_json(rows))
                await self._checkpoint(connection, position)
        except _UNFIT:
            return await self._write_singly(connection, chunk)
        return position

    async def _write_singly(self, connection: Any, chunk: Chunk) -> Position:
        """As `_write`, row by row, to find those that their tables will not take."""
        fit: list[Row] = []
        async with connection.transaction():
            for offset, row in chunk.rows:
                if await self._write_row(connection, chunk, offset, row):
                    fit.append(row)
            position = _counting(chunk.position, fit)
            await self._checkpoint(connection, position)
        self.rows_rejected += len(chunk.rows) - len(fit)
        return position

    async def _write_row(self, connection: Any, chunk: Chunk, offset: int, row: Row) -> bool:
        """Whether its table took it; otherwise it is in `rejected_row`."""
        try:
            async with connection.transaction():
                await connection.execute(UPSERTS[type(row)], as_json([row]))
        except _UNFIT as error:
            where = (self._pbx, chunk.file, chunk.position.file_id, offset)
            await connection.execute(_REJECT, *where, row.table, encode(row).decode(), str(error))
            _log.error("row rejected by its table", table=row.table, problem=str(error))
            return False
        return True

    async def _checkpoint(self, connection: Any, position: Position) -> None:
        await connection.execute(
            _WRITE_CHECKPOINT,
            self._pbx,
            position.file,
            position.file_id,
            position.offset,
            position.rows,
            json.dumps(position.written),
        )

    # -- trouble -----------------------------------------------------------------------------------------

    def _connection_ended(self, _: object) -> None:
        self.connected = False
        self._wake.set()

    def _succeeded(self) -> None:
        if self.last_error:
            _log.info("database takes rows again", pending_rows=self._spool.pending_rows)
        self.last_error = ""
        self._backoff_s = BACKOFF_SHORTEST_S

    def _note(self, error: Exception) -> None:
        """Say each kind of trouble once, not at every try."""
        text = f"{type(error).__name__}: {error}"
        if text != self.last_error:
            trace = None if isinstance(error, _EXPECTED) else error
            _log.warning("database does not take rows, they wait in the spool", error=text, exc_info=trace)
        self.last_error = text

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):  # the usual end of a wait
            await asyncio.wait_for(self._closing.wait(), self._backoff_s)
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_LONGEST_S)


def _counting(position: Position, rows: Sequence[Row]) -> Position:
    written = Counter(position.written)
    written.update(row.table for row in rows)
    return replace(position, written=dict(written))
