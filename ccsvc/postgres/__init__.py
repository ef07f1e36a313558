"""How ccsvc remembers: a spool on the daemon's own disk first, PostgreSQL after it.

    append ──▶ Spool (files, survives kill -9) ──▶ Writer (batches, idempotent) ──▶ PostgreSQL (sql/)

- `spool.FileSpool`: what is appended is on disk before anything is done about it, and folded into the state
  (open rows, counters) from which the next life of the daemon begins.
- `writer.Writer`: brings the spool's rows to the database in order, whenever there is one. A database that is
  slow or away never holds up an append.
- `migrate`: the schema, from the files of `sql/`.

Everything here is an adapter below `ccsvc.app.ports`; it knows neither the PBX nor the web.
"""
