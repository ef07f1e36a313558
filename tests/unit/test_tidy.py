"""The source itself, held to the house style: floors of import, sizes, banned calls, words that promise work.

Every complaint names file, line and remedy. Each rule is first shown a sample that breaks it.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = {
    "errors": 0,
    "resources": 0,
    "": 0,
    "domain": 1,
    "wire": 1,
    "settings": 1,
    "app": 2,
    "asterisk": 3,
    "postgres": 3,
    "web": 3,
    "telemetry": 3,
    "config": 3,
    "speech": 3,
    "bootstrap": 4,
    "watchdog": 4,
    "cli": 5,
    "__main__": 5,
    "status": 5,
    "testing": 5,
}
ADAPTERS = 3
PURE = ("domain", "wire", "settings")
CLOCKS_AND_CHANCE = ("time", "random", "secrets")
OUTSIDE = ("socket", "ssl", "os", "io", "sys", "pathlib", "shutil", "tempfile", "logging", "structlog")
SIDE_BY_SIDE = ("asyncio", "threading", "multiprocessing", "subprocess", "select", "signal")
IMPURE_MODULES = frozenset({*CLOCKS_AND_CHANCE, *OUTSIDE, *SIDE_BY_SIDE})
FUNCTION_LINES = 70
FILE_LINES = 600
PROMISES = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
TEXT_SUFFIXES = frozenset({".py", ".sql", ".conf", ".toml", ".md", ".yml", ".yaml", ".json", ".service", ""})
SKIPPED_FOLDERS = frozenset({".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "run"})
PRINTERS = ("cli", "testing", "watchdog")


@dataclass(frozen=True)
class Source:
    """One Python file. `path` is relative to the repository."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called, as in `asyncio.sleep`."""
        return [(node, ast.unparse(node.func)) for node in self.nodes if isinstance(node, ast.Call)]

    @property
    def top(self) -> str:
        """Its place on the floors: `domain` of ccsvc/domain/centre.py; "tests" for a test."""
        parts = Path(self.path).with_suffix("").parts
        if parts[0] != "ccsvc":
            return parts[0]
        return "" if parts[1] == "__init__" else parts[1]

    def fault(self, node: ast.AST | int, what: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {what}"


Rule = Callable[[Source], Iterator[str]]


@cache
def python_files() -> list[Source]:
    paths = [path for folder in ("ccsvc", "tests", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in SKIPPED_FOLDERS:
            yield from text_files(path)
        elif path.is_file() and path.suffix in TEXT_SUFFIXES:
            yield path


def nodes(source: Source, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in source.nodes if isinstance(node, kinds))


def imports(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Every module that is imported, wherever, with its full name; of `from a import b` both a and a.b."""
    package = Path(source.path).parent.parts
    for node in nodes(source, ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "ccsvc" else [module]
            yield from ((node, name) for name in names)


# -- the rules -------------------------------------------------------------------------------------------------------


def floors_hold(source: Source) -> Iterator[str]:
    if source.top not in FLOORS:
        return
    for node, name in imports(source):
        first, _, rest = name.partition(".")
        top = rest.partition(".")[0]
        if first != "ccsvc" or top == source.top:
            continue
        own, wanted = FLOORS[source.top], FLOORS.get(top, 0)
        if wanted > own:
            yield source.fault(node, f"{name} is on a higher floor: ask for a Protocol of your own instead")
        elif wanted == own == ADAPTERS:
            yield source.fault(node, f"{name} is a sibling adapter: join the two in bootstrap.py")
        if top == "testing" and source.top not in ("cli", "testing"):
            yield source.fault(node, f"{name}: nothing in the product but the command line knows testing/")


def every_module_has_a_floor(source: Source) -> Iterator[str]:
    if source.path.startswith("ccsvc/") and source.top not in FLOORS:
        yield source.fault(1, f"{source.top} stands on no floor: give it one in FLOORS")


def the_core_is_pure(source: Source) -> Iterator[str]:
    if source.top not in PURE or not source.path.startswith("ccsvc/"):
        return
    for node, name in imports(source):
        if name.partition(".")[0] in IMPURE_MODULES:
            yield source.fault(node, f"{name} in {source.top}: the core decides, I/O and clocks belong above it")
    for call, name in source.calls:
        if re.search(r"\b(datetime|date)\.(now|utcnow|today)$", name):
            yield source.fault(call, f"{name}(): time is an argument; take it from the event")


def functions_and_files_are_small(source: Source) -> Iterator[str]:
    for node in nodes(source, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES:
            yield source.fault(
                node, f"{node.name} has {lines} lines: take functions out until it has {FUNCTION_LINES}"
            )
    lines = source.text.count("\n")
    if lines > FILE_LINES:
        yield source.fault(lines, f"{lines} lines: divide the file by ideas until each has {FILE_LINES}")


def nothing_is_swallowed(source: Source) -> Iterator[str]:
    for node in nodes(source, ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        if all(isinstance(each, ast.Pass) or _is_ellipsis(each) for each in node.body):
            yield source.fault(
                node, "an error is swallowed: handle it, or contextlib.suppress with the reason beside it"
            )


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def waits_are_for_conditions(source: Source) -> Iterator[str]:
    if source.top != "tests":
        return
    for call, name in source.calls:
        if name in ("asyncio.sleep", "time.sleep", "sleep") and call.args and _number(call.args[0]):
            yield source.fault(
                call, f"{name} of a fixed time: wait for a condition with ccsvc.testing.waiting.eventually"
            )


def _number(node: ast.expr) -> bool:
    """A written number other than 0."""
    try:
        return ast.literal_eval(node) not in (0, 0.0)
    except ValueError:
        return False


def unit_tests_patch_nothing(source: Source) -> Iterator[str]:
    if not source.path.startswith("tests/unit/"):
        return
    for node in nodes(source, ast.Import, ast.ImportFrom):
        if re.search(r"\bmock\b", ast.unparse(node)):
            yield source.fault(
                node, "mock: give the code a small class that implements its port (ccsvc.testing.fakes)"
            )


def modules_say_what_they_promise(source: Source) -> Iterator[str]:
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield source.fault(1, "no docstring: say what the module promises and what it does not know")


def banned_calls_are_not_made(source: Source) -> Iterator[str]:
    for call, name in source.calls:
        last = name.rpartition(".")[2]
        if name in ("asyncio.ensure_future", "ensure_future"):
            yield source.fault(call, f"{name}: asyncio.create_task(…, name=…), kept by an owner who ends it")
        elif last == "create_task" and not _is_named(call) and source.top != "tests":
            yield source.fault(call, f"{name} without name=: a task that hangs must be found by its name")
        elif name.endswith("datetime.utcnow"):
            yield source.fault(call, f"{name} is naive: datetime.now(UTC), or the injected clock")
        elif name.endswith("datetime.now") and not (call.args or call.keywords):
            yield source.fault(call, f"{name}() is naive: datetime.now(UTC), or the injected clock")


def _is_named(call: ast.Call) -> bool:
    return any(keyword.arg in ("name", None) for keyword in call.keywords)


def lines_of_the_wire_end_where_the_protocol_says(source: Source) -> Iterator[str]:
    if not source.path.startswith(("ccsvc/wire/", "ccsvc/asterisk/")):
        return
    for call, name in source.calls:
        if name.endswith(".splitlines"):
            yield source.fault(call, 'splitlines also splits at U+2028 and U+0085, which callers send: split("\\n")')


def only_the_command_line_prints(source: Source) -> Iterator[str]:
    if not source.path.startswith("ccsvc/") or source.top in PRINTERS:
        return
    for call, name in source.calls:
        if name == "print":
            yield source.fault(call, "print: log it with structlog, or return it to cli.py")


RULES: dict[Rule, tuple[str, str]] = {
    floors_hold: ("ccsvc/domain/x.py", "from ccsvc.app.jobs import Jobs"),
    every_module_has_a_floor: ("ccsvc/attic/x.py", "x = 1"),
    the_core_is_pure: ("ccsvc/wire/x.py", "import asyncio"),
    functions_and_files_are_small: ("ccsvc/app/x.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    nothing_is_swallowed: ("ccsvc/app/x.py", "try:\n    f()\nexcept OSError:\n    pass"),
    waits_are_for_conditions: ("tests/unit/x.py", "await asyncio.sleep(0.1)"),
    unit_tests_patch_nothing: ("tests/unit/x.py", "from unittest.mock import patch"),
    modules_say_what_they_promise: ("ccsvc/app/x.py", "x = 1"),
    banned_calls_are_not_made: ("ccsvc/app/x.py", "asyncio.create_task(f())"),
    lines_of_the_wire_end_where_the_protocol_says: ("ccsvc/wire/x.py", "text.splitlines()"),
    only_the_command_line_prints: ("ccsvc/app/x.py", "print(1)"),
}
FURTHER_SAMPLES: list[tuple[Rule, str, str]] = [
    (floors_hold, "ccsvc/asterisk/x.py", "import ccsvc.postgres.spool"),
    (floors_hold, "ccsvc/asterisk/x.py", "from ..web import api"),
    (floors_hold, "ccsvc/status.py", "from ccsvc.testing.fakes import MemorySpool"),
    (floors_hold, "ccsvc/app/x.py", "from ccsvc import bootstrap"),
    (the_core_is_pure, "ccsvc/domain/x.py", "at = datetime.datetime.now(UTC)"),
    (the_core_is_pure, "ccsvc/settings.py", "from pathlib import Path"),
    (functions_and_files_are_small, "tests/unit/x.py", "x = 1\n" * (FILE_LINES + 1)),
    (nothing_is_swallowed, "tests/x.py", "try:\n    f()\nexcept:\n    ..."),
    (waits_are_for_conditions, "tests/x.py", "time.sleep(30)"),
    (banned_calls_are_not_made, "ccsvc/app/x.py", "asyncio.ensure_future(f())"),
    (banned_calls_are_not_made, "ccsvc/app/x.py", "group.create_task(f())"),
    (banned_calls_are_not_made, "ccsvc/app/x.py", "datetime.now()"),
    (banned_calls_are_not_made, "ccsvc/app/x.py", "datetime.utcnow()"),
]
HARMLESS: list[tuple[Rule, str, str]] = [
    (floors_hold, "ccsvc/domain/x.py", "from ccsvc.settings import Settings"),
    (floors_hold, "ccsvc/bootstrap.py", "from ccsvc.watchdog import pulse"),
    (floors_hold, "ccsvc/cli.py", "from ccsvc import __version__\nfrom ccsvc.testing.demo import main"),
    (the_core_is_pure, "ccsvc/domain/x.py", "from datetime import datetime"),
    (waits_are_for_conditions, "tests/x.py", "await asyncio.sleep(0)\nawait asyncio.sleep(every_s)"),
    (banned_calls_are_not_made, "ccsvc/app/x.py", "asyncio.create_task(f(), name='x')\ndatetime.now(UTC)"),
    (only_the_command_line_prints, "ccsvc/cli.py", "print(1)"),
]


def name_of(rule: object) -> str:
    return getattr(rule, "__name__", str(rule)).replace("_", " ")


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    faults = [fault for source in python_files() for fault in rule(source)]
    assert not faults, "\n" + "\n".join(faults)


SAMPLES = [*((rule, *sample) for rule, sample in RULES.items()), *FURTHER_SAMPLES]


@pytest.mark.parametrize(("rule", "path", "text"), SAMPLES, ids=name_of)
def test_a_sample_that_breaks_the_rule_is_found_with_its_line_and_a_remedy(rule: Rule, path: str, text: str) -> None:
    faults = list(rule(Source(path, text)))
    assert len(faults) == 1
    assert re.match(rf"{re.escape(path)}:\d+: .{{20,}}", faults[0])


@pytest.mark.parametrize(("rule", "path", "text"), HARMLESS, ids=name_of)
def test_a_sample_that_keeps_the_rule_is_left_alone(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []


def promises(paths: Iterable[Path]) -> list[str]:
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
            if PROMISES.search(line):
                found.append(f"{path}:{number}: a promise of work: do it now, or open an issue: {line.strip()[:60]}")
    return found


def test_nothing_is_left_for_later() -> None:
    faults = promises(text_files())
    assert not faults, "\n" + "\n".join(faults)


def test_what_is_left_for_later_is_found(tmp_path: Path) -> None:
    file = tmp_path / "x.sql"
    file.write_text("-- fine\n-- TO" + "DO: later\n")
    (fault,) = promises(text_files(tmp_path))
    assert fault.startswith(f"{file}:2: ")


def unmarked(path: Path) -> list[str]:
    """What is missing of dbmate's two marks, in their order."""
    text = path.read_text(encoding="utf-8")
    up, down = text.find("-- migrate:up"), text.find("-- migrate:down")
    if up >= 0 and down > up:
        return []
    return [f"{path}:1: no `-- migrate:up` with a `-- migrate:down` after it: ccsvc migrate could not take it"]


def test_every_migration_has_its_marks() -> None:
    """`schema.sql` is none: it is what all of them together come to."""
    files = [path for path in sorted((ROOT / "sql").rglob("*.sql")) if path.name != "schema.sql"]
    assert files
    faults = [fault for path in files for fault in unmarked(path)]
    assert not faults, "\n" + "\n".join(faults)


def test_a_migration_without_its_marks_is_found(tmp_path: Path) -> None:
    (tmp_path / "1.sql").write_text("-- migrate:down\n-- migrate:up\n")
    assert unmarked(tmp_path / "1.sql")
