"""The documentation says what the code has: every setting, metric, word and dependency, and no other."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from ccsvc.config.load import load
from ccsvc.domain import vocabulary
from ccsvc.domain.centre import Centre
from ccsvc.domain.stats import StatsState
from ccsvc.settings import IvrNodeSettings, Settings
from ccsvc.telemetry.metrics import CentreCollector, Health
from ccsvc.testing.sample import sample_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MENU_HEADING = "[ivr.<name>]"
NODE_HEADING = "[ivr.<name>.node.<node>]"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

_ROW = re.compile(r"^\| `(?P<first>[^`]+)` \| (?P<second>[^|]*) \|", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def sections(page: Path) -> dict[str, str]:
    """What stands below each heading of a page, by the heading without its marks."""
    parts = re.split(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)[1:]
    return {heading.strip("` "): body for heading, body in zip(parts[::2], parts[1::2], strict=True)}


# -- configuration -------------------------------------------------------------------------------------------------


def tables() -> dict[str, type[msgspec.Struct]]:
    """Every table of the configuration that has keys of its own, by the heading of its section."""
    found: dict[str, type[msgspec.Struct]] = {"Top level": Settings}
    for name, annotation in get_type_hints(Settings).items():
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            found[f"[{name}]"] = annotation
        elif get_args(annotation):
            _add_items(found, name, get_args(annotation))
    return found


def _add_items(found: dict[str, type[msgspec.Struct]], name: str, arguments: tuple[object, ...]) -> None:
    item = next((one for one in arguments if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)
    if item is not None:
        found[MENU_HEADING if name == "ivr" else f"[[{name}]]"] = item
    if name == "ivr":
        found[NODE_HEADING] = IvrNodeSettings


def described(heading: str) -> dict[str, str]:
    """The keys that a section of the page describes, and the default that it says."""
    body = sections(DOCS / "configuration.md")[heading]
    return {row["first"]: row["second"].strip("` ") for row in _ROW.finditer(body)}


def own_keys(table: type[msgspec.Struct]) -> dict[str, object]:
    """The keys of a table and their defaults. Those of the whole file that are tables have sections of their own."""
    fields = {field.name: _default(field) for field in msgspec.structs.fields(table)}
    return {key: fields[key] for key in plain_keys()} if table is Settings else fields


def plain_keys() -> list[str]:
    """The keys of the whole file that are no tables."""
    return [name for name, annotation in get_type_hints(Settings).items() if annotation in (str, int, float, bool)]


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.required:
        return "required"
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def as_toml(value: object) -> object:
    """A default as TOML reads it."""
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("heading", tables())
def test_every_setting_is_described_with_its_default_and_nothing_else_is(heading: str) -> None:
    keys = own_keys(tables()[heading])
    told = described(heading)
    assert list(told) == list(keys)
    for key, default in keys.items():
        shown = told[key] if told[key] == "required" else tomllib.loads(f"value = {told[key]}")["value"]
        expected = as_toml(default)
        assert (shown, type(shown)) == (expected, type(expected)), key


def test_every_section_of_the_configuration_is_named() -> None:
    headings = {heading.strip("[]").partition(".")[0] for heading in sections(DOCS / "configuration.md")}
    assert set(Settings.__struct_fields__) - set(plain_keys()) <= headings


def test_the_default_pause_reasons_are_those_that_are_shown() -> None:
    body = sections(DOCS / "configuration.md")["[pause_reasons]"]
    shown = tomllib.loads(code(body, "toml"))
    assert shown == {"pause_reasons": Settings().pause_reasons}


# -- the first configuration ---------------------------------------------------------------------------------------


def code(text: str, language: str) -> str:
    """The first block of code in that language."""
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no block of {language}"
    return found[1]


def test_the_first_configuration_of_the_readme_is_good_and_has_at_most_ten_lines(tmp_path: Path) -> None:
    written = code(text_of(ROOT / "README.md"), "toml")
    path = tmp_path / "ccsvc.toml"
    path.write_text(written, encoding="utf-8")
    settings = load(path, {})
    assert len(written.splitlines()) <= 10
    assert (len(settings.queue), len(settings.agent), len(settings.device), len(settings.did)) == (1, 1, 2, 1)


# -- metrics -------------------------------------------------------------------------------------------------------


def exported() -> dict[str, set[str]]:
    """The metrics that the code exports, as Prometheus calls them, with their labels."""
    settings = sample_settings()
    view = Centre(settings).view(NOW, StatsState())
    collector = CentreCollector(StatsState(), view, Health(), settings.queue, NOW)
    found: dict[str, set[str]] = {}
    for family in collector.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = labels - {"le"}
    return found


def told_metrics() -> dict[str, set[str]]:
    rows = re.findall(
        r"^\| `(ccsvc_\w+)` \| (?:counter|gauge|histogram) \|([^|]*)\|", text_of(DOCS / "metrics.md"), re.MULTILINE
    )
    return {name: {label.strip() for label in labels.split(",") if label.strip()} for name, labels in rows}


def test_every_exported_metric_is_explained_with_its_labels_and_no_other_is() -> None:
    assert told_metrics() == exported()


# -- words ---------------------------------------------------------------------------------------------------------


def closed_lists() -> Iterator[str]:
    """Every word of every closed list."""
    for value in vars(vocabulary).values():
        yield from (word for word in get_args(value) if isinstance(word, str))


def test_every_word_of_a_closed_list_stands_in_the_glossary() -> None:
    glossary = text_of(DOCS / "glossary.md")
    assert [word for word in closed_lists() if f"`{word}`" not in glossary] == []


def test_the_glossary_names_files_that_exist() -> None:
    named = re.findall(r"`((?:ccsvc|tests|dialplan)/[^`]+)`", text_of(DOCS / "glossary.md"))
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_log_event_of_the_runbook_is_one_that_the_code_says() -> None:
    rows = re.findall(r"^\| (`.*?) \|", sections(DOCS / "runbook.md")["Log events"], re.MULTILINE)
    named = [event for row in rows for event in re.findall(r"`([^`]+)`", row)]
    code_text = "".join(text_of(path) for path in (ROOT / "ccsvc").rglob("*.py"))
    assert len(named) > 25
    assert [event for event in named if f'"{event}"' not in code_text] == []


# -- dependencies and links ----------------------------------------------------------------------------------------


def dependencies() -> set[str]:
    project: Mapping[str, object] = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    tree = msgspec.convert(project, _Project)
    wanted = [*tree.build.requires, *tree.project.dependencies, *chain(*tree.project.extras.values())]
    return {re.split(r"[<>=!~\[; ]", one, maxsplit=1)[0] for one in wanted}


class _Build(msgspec.Struct):
    requires: list[str]


class _Table(msgspec.Struct):
    dependencies: list[str]
    extras: dict[str, list[str]] = msgspec.field(name="optional-dependencies")


class _Project(msgspec.Struct):
    project: _Table
    build: _Build = msgspec.field(name="build-system")


def test_every_dependency_has_its_line_in_the_decisions() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)`", sections(DOCS / "decisions.md")["Dependencies"], re.MULTILINE)
    assert set(rows) == dependencies()


def anchors(page: Path) -> set[str]:
    """The headings of a page as links to them are written."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_leads_nowhere(page: Path) -> None:
    for link in _LINK.finditer(_FENCE.sub("", text_of(page))):
        target = (page.parent / link["path"]).resolve() if link["path"] else page
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]
