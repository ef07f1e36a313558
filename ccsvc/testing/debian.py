"""Debian packages in a private folder, without root and without touching the host.

Promises: nothing outside the folder is written; mirror, keyring and proxy are the ones this host's own apt uses;
everything has a time limit. It needs apt-get and dpkg-deb, and a Debian host when another suite is asked for. It
does not know what the packages are for, and runs no maintainer script: what those would do (links, users) is the
caller's to mend.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsvc.errors import CcsvcError

Progress = Callable[[str, int, int, float], None]  # what is being done, done, total (0: unknown), seconds so far

FETCH_LIMIT_S = 900.0
FREE_DISK_BYTES = 700_000_000
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_POLL_S = 0.2
_CLASSIC = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
_NETWORK_OPTION = re.compile(r"Acquire::(https?|socks|Retries|ForceIPv[46])\b", re.IGNORECASE)


class PackagesUnavailable(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """Debian packages could not be fetched. The message says why."""

    code = "packages_unavailable"


@dataclass(frozen=True, slots=True)
class Source:
    """One archive of this host's apt. `trust` is its Signed-By or Trusted line(s) of deb822, verbatim."""

    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    trust: str

    def stanza(self, suites: Sequence[str]) -> str:
        """The archive in deb822 form, for other suites."""
        return f"Types: deb\nURIs: {self.uris}\nSuites: {' '.join(suites)}\nComponents: main\n{self.trust}\n"


def host_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """The enabled binary archives with a `main`, of both forms of source list."""
    found = [source for path in sorted(etc_apt.glob("sources.list.d/*.sources")) for source in _deb822(path)]
    for path in [etc_apt / "sources.list", *sorted(etc_apt.glob("sources.list.d/*.list"))]:
        found += _classic(path) if path.is_file() else []
    return [source for source in found if "main" in source.components]


def sid_sources(etc_apt: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")) -> str:
    """A source list for Debian's unstable suite from this host's mirror. Raises `PackagesUnavailable`."""
    about = _os_release(os_release)
    if about.get("ID") != "debian":
        raise PackagesUnavailable("this host is not Debian, so its package mirror has none of Debian's")
    own = {about.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid"} - {""}
    for source in host_sources(etc_apt):
        if own.intersection(source.suites):
            return source.stanza(["sid"])
    raise PackagesUnavailable(f"no Debian mirror is set up in {etc_apt}")


def host_suite_sources(etc_apt: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")) -> str:
    """A source list for this host's own suite and its updates, third parties left out."""
    codename = _os_release(os_release).get("VERSION_CODENAME", "")
    stanzas = [
        source.stanza(suites)
        for source in host_sources(etc_apt)
        if (suites := [suite for suite in source.suites if codename and suite.split("-")[0] == codename])
    ]
    if not stanzas:
        raise PackagesUnavailable(f"no package mirror of this host's own suite is set up in {etc_apt}")
    return "\n".join(stanzas)


class PrivateApt:
    """apt with lists, cache and state of its own below `folder`. `on_top_of_host` leaves out what is installed."""

    def __init__(self, folder: Path, sources: str, *, on_top_of_host: bool, progress: Progress | None = None) -> None:
        self._folder = folder
        self._sources = sources
        self._on_top_of_host = on_top_of_host
        self._progress = progress or _silent
        self._began = time.monotonic()
        self._doing: tuple[str, int, int] = ("", 0, 0)

    def unpack(self, packages: Sequence[str], tree: Path) -> None:
        """Download `packages` with what they need, and unpack all into `tree`. Raises `PackagesUnavailable`."""
        self._check_host()
        self._configure()
        self._report(f"reading the package lists for {', '.join(packages)}", 0, 0)
        self._apt("update", "-q")
        wanted = self._apt("install", "-y", "-qq", "--print-uris", *packages).splitlines()
        self._download(packages, sum(line.startswith("'") for line in wanted))
        debs = sorted((self._folder / "cache/archives").glob("*.deb"))
        for number, deb in enumerate(debs):
            self._report("unpacking", number, len(debs))
            self._run(["dpkg-deb", "-x", str(deb), str(tree)])
        self._report("unpacked", len(debs), len(debs))

    def _check_host(self) -> None:
        for program in ("apt-get", "apt-config", "dpkg-deb"):
            if shutil.which(program) is None:
                raise PackagesUnavailable(f"{program} is not on this host")
        self._folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < FREE_DISK_BYTES:
            raise PackagesUnavailable(f"{self._folder} has less than {FREE_DISK_BYTES // 1_000_000} MB of free disk")

    def _configure(self) -> None:
        for part in ("sources", "lists/partial", "cache/archives/partial", "state"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "sources/mirror.sources").write_text(self._sources, encoding="utf-8")
        (self._folder / "status").touch()
        (self._folder / "apt.conf").write_text(self._options(), encoding="utf-8")

    def _options(self) -> str:
        """The host's apt.conf is left out: its hooks would act on the host. Its way to the network is kept."""
        here = self._folder
        options = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{here}/sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": f"{here}/state",
            "Dir::State::lists": f"{here}/lists",
            "Dir::State::status": str(_DPKG_STATUS if self._on_top_of_host else here / "status"),
            "Dir::Cache": f"{here}/cache",
            "Dir::Log": f"{here}/state",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # the folder may be closed to apt's own user
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",  # sid's release file is now and then past its date
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
            "Debug::NoLocking": "true",
        }
        network = [line for line in self._host_config() if _NETWORK_OPTION.match(line)]
        return "\n".join([*(f'{key} "{value}";' for key, value in options.items()), *network]) + "\n"

    def _host_config(self) -> list[str]:
        return self._run(["apt-config", "dump"]).splitlines()

    def _download(self, packages: Sequence[str], total: int) -> None:
        command = ["apt-get", "install", "-y", "-q", "--download-only", *packages]
        log = self._folder / "download.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                self._watch(process, total)
            finally:
                process.kill()  # no effect on one that has ended
        if process.returncode != 0:
            raise PackagesUnavailable(_last_words("apt-get install", log.read_text(errors="replace")))

    def _watch(self, process: "subprocess.Popen[bytes]", total: int) -> None:
        archives = self._folder / "cache/archives"
        while process.poll() is None:
            self._report("downloading packages", sum(1 for _ in archives.glob("*.deb")), total)
            if time.monotonic() - self._began > FETCH_LIMIT_S:
                raise PackagesUnavailable(f"the download did not end within {FETCH_LIMIT_S:g} s")
            time.sleep(_POLL_S)

    def _apt(self, *arguments: str) -> str:
        return self._run(["apt-get", *arguments], self._environment())

    def _run(self, command: list[str], environment: Mapping[str, str] | None = None) -> str:
        left_s = max(1.0, FETCH_LIMIT_S - (time.monotonic() - self._began))
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                said, complained = self._output(process, left_s)
            finally:
                process.kill()  # no effect on one that has ended
        output = said.decode(errors="replace")
        if process.returncode != 0:
            raise PackagesUnavailable(
                _last_words(" ".join(command[:2]), output + complained.decode(errors="replace"))
            )
        return output

    def _output(self, process: "subprocess.Popen[bytes]", limit_s: float) -> tuple[bytes, bytes]:
        """What it printed, once it has ended. Meanwhile the seconds are told, and whoever is told may raise."""
        give_up_at = time.monotonic() + limit_s
        while True:
            try:
                return process.communicate(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                self._progress(*self._doing, time.monotonic() - self._began)
            if time.monotonic() > give_up_at:
                raise PackagesUnavailable(f"{process.args!r} did not end within {limit_s:.0f} s")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": f"{self._folder}/apt.conf", "LC_ALL": "C"}

    def _report(self, what: str, done: int, total: int) -> None:
        self._doing = (what, done, total)
        self._progress(what, done, total, time.monotonic() - self._began)


def _silent(what: str, done: int, total: int, seconds: float) -> None:
    """Nobody wants to know."""


def _last_words(command: str, said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith(("E:", "W:", "Err", "dpkg"))] or said.splitlines()
    return f"{command} failed: {' '.join(lines[-3:]).strip() or 'it said nothing'}"


def _os_release(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _deb822(path: Path) -> list[Source]:
    stanzas = re.split(r"\n\s*\n", path.read_text(encoding="utf-8"))
    fields = [_deb822_fields(stanza) for stanza in stanzas]
    return [
        Source(
            each.get("uris", ""),
            tuple(each.get("suites", "").split()),
            tuple(each.get("components", "").split()),
            "\n".join(f"{key.title()}: {each[key]}" for key in ("signed-by", "trusted") if key in each),
        )
        for each in fields
        if "deb" in each.get("types", "").split() and each.get("enabled", "yes").lower() not in {"no", "false"}
    ]


def _deb822_fields(stanza: str) -> dict[str, str]:
    """Names in lower case; a value that goes on in further lines (an embedded key) keeps them as they are."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and last:
            fields[last] += "\n" + line
        elif ":" in line:
            last, _, value = line.partition(":")
            last = last.strip().lower()
            fields[last] = value.strip()
    return fields


def _classic(path: Path) -> list[Source]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _CLASSIC.match(line.strip())
        if match is None:
            continue
        options = dict(pair.split("=", 1) for pair in (match["options"] or "").split() if "=" in pair)
        trust = [f"{key.title()}: {options[key]}" for key in ("signed-by", "trusted") if key in options]
        components = tuple(match["components"].partition("#")[0].split())
        found.append(Source(match["uri"], (match["suite"],), components, "\n".join(trust)))
    return found
