"""The `ccsvc` command: every verb in one place, each a few lines that call what does the work.

Promises: what goes wrong on purpose (`CcsvcError`) is one clear text on standard error and exit status 1, without a
traceback; a wrong command line is status 2. Heavy modules load only for the verb that needs them.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ccsvc import __version__
from ccsvc.errors import CcsvcError
from ccsvc.settings import Settings

Verb = Callable[[argparse.Namespace], int]


class Unwritable(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """A file or folder that a verb was to write can't be written."""

    code = "unwritable"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    args = _parser().parse_args(argv)
    verb: Verb = args.verb
    try:
        return verb(args)
    except CcsvcError as error:
        print(f"ccsvc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ccsvc", description="The control service of an Asterisk contact centre.")
    parser.add_argument("--version", action="version", version=f"ccsvc {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    run = _verb(verbs, "run", _run, "the daemon")
    run.add_argument("--no-watchdog", action="store_true", help="without the guard that kills a hung daemon")

    check = _verb(verbs, "check", _check, "validate the configuration: every fault at once")
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of the configuration instead")

    _verb(verbs, "migrate", _migrate, "bring the database to this version's schema")

    render = _verb(verbs, "render", _render, "write the PBX's configuration")
    render.add_argument("directory", type=Path, help="where to write it, as in /etc/asterisk")

    _verb(verbs, "status", _status, "one screen about the running daemon")

    demo = verbs.add_parser("demo", help="a real PBX, database and phones, to watch calls as they happen")
    demo.add_argument("--once", action="store_true", help="one pass that checks itself; exit status 0 or 1")
    demo.add_argument("--dir", type=Path, default=None, help="where to keep its files (default: run/demo)")
    demo.set_defaults(verb=_demo)
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, verb: Verb, help_: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help_)
    default = os.environ.get("CCSVC_CONFIG", "ccsvc.toml")
    parser.add_argument("--config", type=Path, default=Path(default), help=f"default: $CCSVC_CONFIG, else {default}")
    parser.set_defaults(verb=verb)
    return parser


def _load(args: argparse.Namespace) -> Settings:
    from ccsvc.config.load import load

    return load(args.config)


def _run(args: argparse.Namespace) -> int:
    from ccsvc.watchdog import Guard, is_guarded

    settings = _load(args)  # what can be refused is refused before anything heavy begins
    if not args.no_watchdog and not is_guarded():
        return Guard([sys.executable, "-m", "ccsvc", "run", "--no-watchdog", "--config", str(args.config)]).run()
    from ccsvc.bootstrap import run

    asyncio.run(run(settings))
    return 0


def _check(args: argparse.Namespace) -> int:
    if args.schema:
        from ccsvc.config.schema import schema_text

        print(schema_text())
        return 0
    from ccsvc.config.load import cautions

    settings = _load(args)
    for caution in cautions(settings):
        print(f"ccsvc: note: {caution}", file=sys.stderr)
    print(
        f"{args.config}: good: {len(settings.queue)} queues, {len(settings.agent)} agents, "
        f"{len(settings.device)} devices, {len(settings.did)} numbers, {len(settings.ivr)} menus"
    )
    return 0


def _migrate(args: argparse.Namespace) -> int:
    from ccsvc.postgres.migrate import migrate

    applied = asyncio.run(migrate(_load(args).postgres.dsn, print))
    print(f"the database is up to date ({len(applied)} migrations applied now)")
    return 0


def _render(args: argparse.Namespace) -> int:
    from ccsvc.asterisk.render import make_directories, render
    from ccsvc.bootstrap import make_prompts
    from ccsvc.config.secrets import ensure_secrets

    for made in ensure_secrets(args.config):
        print(f"made {made}")
    settings = _load(args)
    prompts = make_prompts(settings)
    try:
        make_directories(settings)
        written = render(settings, args.directory, prompts=prompts)
    except OSError as error:
        raise Unwritable(f"{error.filename}: {error.strerror}: run this as a user who may write there") from error
    for path in written:
        print(f"wrote {path}")
    print(f"{args.directory} is up to date; `asterisk -rx 'core reload'` makes a running PBX take it")
    return 0


def _status(args: argparse.Namespace) -> int:
    from ccsvc.status import show

    return asyncio.run(show(_load(args).http))


def _demo(args: argparse.Namespace) -> int:
    from ccsvc.testing.demo import main as demo

    return demo(once=args.once, directory=args.dir)
