"""Rows and the head of a spool file as JSON text.

Promises: `decode(encode(row)) == row` for every row that `storable` let through; text that PostgreSQL or UTF-8 cannot
hold (NUL, lone surrogates) is replaced by U+FFFD here, at the border, once, so that memory, disk and database say the
same. A payload that can't be understood raises `ValueError`, whatever is wrong with it.

Knows nothing of files, offsets or checksums.
"""

import re
from dataclasses import fields, replace
from datetime import datetime
from functools import partial

import msgspec

from ccsvc.domain.records import ROW_TYPES, Row
from ccsvc.domain.stats import StatsState
from ccsvc.postgres.fold import Fold

HEAD = "head"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode
_PREFIX = {kind: b'{"t":"%b","r":' % kind.table.encode() for kind in ROW_TYPES}
_DECODE = {kind.table: msgspec.json.Decoder(kind).decode for kind in ROW_TYPES}


class Envelope(msgspec.Struct):
    """`t` is the table (or `head`), `r` the row's JSON."""

    t: str
    r: msgspec.Raw


class HeadMark(msgspec.Struct):
    """The cheap part of a head: which file this is, and how many rows were appended before it, ever."""

    file_id: str
    rows_before: int


class Head(HeadMark):
    """The whole state at the beginning of a file, so that older files may go."""

    last_at: datetime | None
    stats: StatsState
    open_rows: list[Envelope]


_envelope = msgspec.json.Decoder(Envelope).decode
_head = msgspec.json.Decoder(Head).decode
_mark = msgspec.json.Decoder(HeadMark).decode


def storable(row: Row) -> tuple[Row, bytes]:
    """The row as it can be kept, and its payload. Nearly always the same row."""
    try:
        payload = encode(row)
    except UnicodeEncodeError:
        row = cleaned(row)
        return row, encode(row)
    if b"\\u0000" in payload:
        row = cleaned(row)
        payload = encode(row)
    return row, payload


def encode(row: Row) -> bytes:
    return _PREFIX[type(row)] + _encode(row) + b"}"


def decode(payload: bytes) -> Row | HeadMark:
    """A row, or the mark of a head. Raises `ValueError`."""
    envelope = _envelope(payload)
    return _mark(envelope.r) if envelope.t == HEAD else _row(envelope)


def encode_head(mark: HeadMark, fold: Fold) -> bytes:
    kept = [Envelope(row.table, msgspec.Raw(_encode(row))) for row in fold.open_rows]
    head = Head(mark.file_id, mark.rows_before, fold.last_at, fold.stats, kept)
    return _encode(Envelope(HEAD, msgspec.Raw(_encode(head))))


def decode_head(payload: bytes) -> tuple[HeadMark, Fold]:
    """A head and the state in it. Raises `ValueError`, also for a payload that is a row."""
    envelope = _envelope(payload)
    if envelope.t != HEAD:
        raise ValueError(f"the first record of a spool file is a {envelope.t!r}, not its head")
    head = _head(envelope.r)
    return head, Fold.of([_row(kept) for kept in head.open_rows], head.stats, head.last_at)


def cleaned(row: Row) -> Row:
    """The row with U+FFFD in place of everything that can't be stored."""
    changes = {f.name: _clean(getattr(row, f.name)) for f in fields(row)}
    return replace(row, **changes)  # type: ignore[arg-type]


def _row(envelope: Envelope) -> Row:
    decoder = _DECODE.get(envelope.t)
    if decoder is None:
        raise ValueError(f"no row type has the table {envelope.t!r}")
    return decoder(envelope.r)


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _replace_unstorable(value)
    if isinstance(value, tuple):
        return tuple(_clean(part) for part in value)
    return value


_replace_unstorable = partial(_UNSTORABLE.sub, "\ufffd")
