"""From `ccsvc.toml`, the files beside it and the environment to one frozen `Settings`, or to a list of all faults.

Promises: a configuration is accepted whole or refused whole; a refusal names every fault with its place in the
file, what was expected, what was found and what to do; no secret is ever part of a message. This package does
not know what the settings are for: see `ccsvc.settings` and `ccsvc.domain.consistency`.

- `load` reads the file; `secrets` makes missing secrets and keeps the PINs; `schema` publishes the JSON Schema
- `tomlfile` · `walk` · `words` · `resolve`: its steps (syntax, types, their description, files and environment)
"""
