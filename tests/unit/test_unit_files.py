"""The files under systemd/, tried with systemd's own tools and against what the program reads."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from azsyncd.config import Secret, secrets
from azsyncd.config.sections import Admin, Notifications, State

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICE = UNITS / "azsyncd.service"
SOCKET = UNITS / "azsyncd.socket"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(path: Path) -> dict[str, dict[str, list[str]]]:
    """section → key → values, in their order; an empty value starts anew, as for systemd."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            values = found.setdefault(section, {}).setdefault(key, [])
            values[:] = [*values, value] if value else []
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
    )


def systemd_version() -> int:
    if shutil.which("systemd-analyze") is None:
        return 0
    found = re.match(r"systemd (\d+)", analyze("--version").stdout)
    return int(found[1]) if found else 0


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory of units as on a machine, with an executable that is really there."""
    executable = tmp_path / "azsyncd"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    for unit in (SERVICE, SOCKET, UNITS / "examples" / "azsyncd-failed@.service"):
        text = unit.read_text().replace("/usr/bin/azsyncd", str(executable))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def drop_in(installed: Path, name: str) -> None:
    directory = installed / "azsyncd.service.d"
    directory.mkdir(exist_ok=True)
    text = (UNITS / "drop-ins" / name).read_text()
    (directory / name).write_text(text.replace("/opt/azsyncd/bin/", f"{installed}/"))


@needs_systemd
def test_the_service_is_confined_to_a_score_of_1_2() -> None:
    """The neighbours: redis 1.2, prometheus 4.0, caddy 9.0."""
    result = analyze("security", "--offline=yes", "--threshold=12", str(SERVICE))
    assert result.returncode == 0, result.stdout


@needs_systemd
@pytest.mark.parametrize("unit", ["azsyncd.service", "azsyncd.socket", "azsyncd-failed@x.service"])
def test_systemd_finds_nothing_to_complain_about(installed: Path, unit: str) -> None:
    """It returns 0 also for unknown keys: only an empty stderr says that all is well."""
    (installed / "azsyncd-failed@x.service").symlink_to("azsyncd-failed@.service")
    result = analyze("verify", "--man=no", str(installed / unit))
    assert (result.returncode, result.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", sorted(path.name for path in (UNITS / "drop-ins").iterdir()))
def test_each_drop_in_fits_the_service(installed: Path, name: str) -> None:
    """Type=notify-reload came with systemd 253."""
    if name == "notify-reload.conf" and systemd_version() < 253:
        pytest.skip(f"systemd {systemd_version()} does not know Type=notify-reload")
    drop_in(installed, name)
    result = analyze("verify", "--man=no", str(installed / "azsyncd.service"))
    assert (result.returncode, result.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_key_would_be_found(installed: Path) -> None:
    """The tests above can fail."""
    unit = installed / "azsyncd.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSeconds="))
    assert "WatchDogSeconds" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_service_tells_when_it_is_ready_and_is_watched() -> None:
    """Type=notify works with every systemd; only the main process is listened to."""
    service = settings(SERVICE)["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["WatchdogSec"]
    assert service["ExecReload"] == ["/usr/bin/azsyncd reload"]
    assert service["RestartPreventExitStatus"] == ["78"]


def test_directories_of_the_service_are_those_of_the_defaults() -> None:
    """State and admin socket lie where systemd makes directories for them."""
    service = settings(SERVICE)["Service"]
    state, runtime = Path(State().path), Path(Admin().socket)
    assert state.parent == Path("/var/lib") / service["StateDirectory"][0]
    assert runtime.parent == Path("/run") / service["RuntimeDirectory"][0]
    assert service["StateDirectoryMode"] == ["0700"]
    assert "ConfigurationDirectory" not in service  # it would be writable for the service


def test_the_static_user_is_the_services() -> None:
    """Type, name, id, description, home."""
    lines = (UNITS / "sysusers.d" / "azsyncd.conf").read_text().splitlines()
    entries = [line.split() for line in lines if line and not line.startswith("#")]
    assert [entry[:2] for entry in entries] == [["u", settings(SERVICE)["Service"]["User"][0]]]
    assert entries[0][-1] == str(Path(State().path).parent)


def test_the_configuration_is_readable_and_the_secrets_are_roots_alone() -> None:
    """LoadCredential= fails at the start where its directory is missing."""
    lines = (UNITS / "tmpfiles.d" / "azsyncd.conf").read_text().splitlines()
    entries = {
        entry[1]: (entry[0], entry[2], entry[3], entry[4])
        for entry in (line.split() for line in lines if line and not line.startswith("#"))
    }
    assert entries["/etc/azsyncd"] == ("d", "0750", "root", "azsyncd")
    assert entries[str(secrets.CREDENTIALS)] == ("d", "0700", "root", "root")
    assert entries[str(Path(State().path).parent)] == ("d", "0700", "azsyncd", "azsyncd")
    loaded = settings(SERVICE)["Service"]["LoadCredential"]
    assert [one.partition(":")[2] for one in loaded] == [str(secrets.CREDENTIALS)]


def test_a_credential_is_found_under_the_name_that_the_unit_gives_it(tmp_path: Path) -> None:
    """LoadCredential=ID:DIRECTORY makes ID_FILE of each file in it; one of its own goes first."""
    identifier = settings(SERVICE)["Service"]["LoadCredential"][0].partition(":")[0]
    (tmp_path / f"{identifier}_jira-token").write_text("from the directory\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    secret = Secret("credential", "jira-token")
    assert secret.read(environment) == "from the directory"
    (tmp_path / "jira-token").write_text("from a line of its own\n")
    assert secret.read(environment) == "from a line of its own"


def test_the_socket_is_where_notifications_are_listened_for() -> None:
    """The unit has the address that the configuration would have used."""
    socket = settings(SOCKET)["Socket"]
    assert socket["ListenStream"] == [Notifications().listen]
    assert socket["FileDescriptorName"] == ["notifications"]
    assert "Service" not in socket  # it is azsyncd.service by its name


def test_every_file_is_text_that_systemd_reads() -> None:
    """Comments stand on lines of their own: systemd knows no other ones."""
    for path in (p for p in UNITS.rglob("*") if p.suffix in (".service", ".socket", ".conf")):
        for line in path.read_text().splitlines():
            assert line.startswith("#") or " #" not in line, f"{path}: {line}"
    parser = configparser.RawConfigParser(strict=False)
    parser.read(SOCKET)
    assert parser.sections() == ["Unit", "Socket", "Install"]
