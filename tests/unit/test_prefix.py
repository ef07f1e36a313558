"""Where packages come from is read from the host; what is found is judged before it is used."""

import multiprocessing
import os
import shutil
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

import pytest

from ccsvc.asterisk.render import needed_modules
from ccsvc.testing import debian, prefix
from ccsvc.testing.ports import BLOCK_PORTS, claim_ports

DEB822 = """Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://mirror.example/sources
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://mirror.example/off
Suites: bookworm
Components: main
"""
CLASSIC = """# deb http://mirror.example/off bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main non-free # why
deb-src http://mirror.example/debian bookworm main
deb [trusted=yes] file:/srv/packages ./
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


@pytest.fixture
def bookworm(tmp_path: Path) -> Path:
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n')
    return path


def test_sid_comes_from_the_host_s_own_mirror_with_the_host_s_own_key(apt: Path, bookworm: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    assert debian.sid_sources(apt, bookworm) == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian.gpg\n"
    )


def test_the_classic_form_of_source_list_is_read_as_well(apt: Path, bookworm: Path) -> None:
    (apt / "sources.list").write_text(CLASSIC)
    assert [source.uris for source in debian.host_sources(apt)] == ["http://mirror.example/debian"]
    assert "Signed-By: /k.gpg\n" in debian.sid_sources(apt, bookworm)


def test_the_host_s_own_suite_includes_its_updates_with_a_key_that_is_written_into_the_list(
    apt: Path, bookworm: Path
) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    (apt / "sources.list.d/other.list").write_text("deb http://third.example/apt stable main\n")
    sources = debian.host_suite_sources(apt, bookworm)
    assert "Suites: bookworm bookworm-updates\n" in sources
    assert "Suites: bookworm-security\n" in sources
    assert "Signed-By: \n -----BEGIN PGP" in sources
    assert "third.example" not in sources
    assert "/off" not in sources


def test_a_host_that_is_not_debian_has_no_mirror_of_sid(apt: Path, tmp_path: Path) -> None:
    (apt / "sources.list").write_text("deb http://mirror.example/ubuntu noble main\n")
    release = tmp_path / "other-release"
    release.write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    with pytest.raises(debian.PackagesUnavailable, match="not Debian"):
        debian.sid_sources(apt, release)


def test_a_debian_without_a_mirror_is_said_so(apt: Path, bookworm: Path) -> None:
    with pytest.raises(debian.PackagesUnavailable, match="no Debian mirror"):
        debian.sid_sources(apt, bookworm)


def fake_asterisk(folder: Path, version: str) -> None:
    program = folder / "asterisk"
    program.write_text(f"#!/bin/sh\necho 'Asterisk {version}'\n")
    program.chmod(0o755)


@pytest.fixture
def bare_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shell = shutil.which("sh")
    assert shell is not None
    (folder / "sh").symlink_to(shell)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_nothing_here_and_nothing_to_fetch_with_names_the_command_that_helps(bare_host: Path) -> None:
    with pytest.raises(prefix.AsteriskMissing, match=r"apt-get.*apt-get install asterisk"):
        prefix.find_asterisk(path=str(bare_host), root=bare_host)
    with pytest.raises(prefix.SippMissing, match="apt-get install sip-tester"):
        prefix.ensure_sipp()


def test_an_asterisk_that_is_too_old_is_named(bare_host: Path) -> None:
    fake_asterisk(bare_host, "18.9.0")
    with pytest.raises(prefix.AsteriskMissing, match=r"18\.9\.0, needed is 20"):
        prefix.find_asterisk(path=str(bare_host), root=bare_host)


def test_an_asterisk_without_our_modules_is_named_with_what_it_lacks(bare_host: Path) -> None:
    fake_asterisk(bare_host, "20.5.0")
    with pytest.raises(prefix.AsteriskMissing, match=r"20\.5\.0 lacks .*res_cdrel_custom\.so"):
        prefix.find_asterisk(path=str(bare_host), root=bare_host)


def test_an_asterisk_that_does_not_run_is_named(bare_host: Path) -> None:
    fake_asterisk(bare_host, "none at all")
    with pytest.raises(prefix.AsteriskMissing, match="does not run"):
        prefix.find_asterisk(path=str(bare_host), root=bare_host)


def cached_tree(cache: Path) -> Path:
    """As a finished copy looks, with a program that is a script."""
    tree = cache / "ccsvc/asterisk"
    modules = tree / "usr/lib/x86_64-linux-gnu/asterisk/modules"
    modules.mkdir(parents=True)
    for module in needed_modules():
        (modules / module).touch()
    (tree / "usr/share/asterisk/documentation").mkdir(parents=True)
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    loader.write_text("#!/bin/sh\necho Asterisk 22.10.1\n")
    loader.chmod(0o755)
    (tree / ".complete").touch()
    return tree


def test_a_whole_copy_in_the_cache_is_used_as_it_is(bare_host: Path, tmp_path: Path) -> None:
    tree = cached_tree(tmp_path / "cache")
    install = prefix.find_asterisk(path=str(bare_host), root=bare_host)
    assert install.version == "22.10.1"
    assert install.series == 22
    assert install.modules_dir == tree / "usr/lib/x86_64-linux-gnu/asterisk/modules"
    assert install.data_dir == tree / "usr/share/asterisk"


@pytest.mark.parametrize("damage", [".complete", "usr/lib/x86_64-linux-gnu/asterisk/modules/res_agi.so"])
def test_a_copy_that_is_not_whole_is_made_again(bare_host: Path, tmp_path: Path, damage: str) -> None:
    (cached_tree(tmp_path / "cache") / damage).unlink()
    with pytest.raises(prefix.AsteriskMissing, match="apt-get is not on this host"):  # it went to fetch one
        prefix.find_asterisk(path=str(bare_host), root=bare_host)


def hold_ports(taken: "multiprocessing.Queue[int]", release: EventType) -> None:
    block = claim_ports()
    taken.put(block.first)
    release.wait(30)


def test_ports_that_another_process_holds_are_not_given_out_until_it_ends() -> None:
    context = multiprocessing.get_context("spawn")
    taken, release = context.Queue(), context.Event()
    process = context.Process(target=hold_ports, args=(taken, release))
    process.start()
    theirs = taken.get(timeout=30)
    blocks = [claim_ports() for _ in range(3)]
    firsts = [block.first for block in blocks]
    assert len({theirs, *firsts}) == 4
    assert all(first % BLOCK_PORTS == 0 for first in firsts)
    release.set()
    process.join(30)
    for block in blocks:
        block.release()
    assert os.waitstatus_to_exitcode(process.exitcode or 0) == 0
