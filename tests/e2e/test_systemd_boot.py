"""The service under a real systemd that was booted for it, installed as docs/install.md says."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import machine
from .machine import Machine
from .stage import PASSWORD, SECRET, TOKEN, Stage, staged

WHY_NOT = machine.missing()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("machine"),  # one at a time
    pytest.mark.timeout(900),  # the first time a small Debian is made
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, users=40) as made:
        yield made


@pytest.fixture
async def booted(stage: Stage, tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine with configuration and secrets, and nothing started."""
    folder = tmp_path / "machine"
    try:
        await asyncio.to_thread(machine.install, folder)
    except machine.NoSystem as error:
        pytest.skip(str(error))
    try:
        async with machine.booted(folder, tmp_path / "console.log") as made:
            credentials = {"entra": SECRET, "jira": TOKEN, "crowd": PASSWORD}
            for name, secret in credentials.items():
                made.write(f"/etc/azsyncd/credentials/{name}", f"{secret}\n", 0o600)
            made.write("/etc/azsyncd/ca.pem", stage.authority.ca_file.read_text())
            configure(made, stage)
            await made.run("systemctl", "daemon-reload")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def configure(made: Machine, stage: Stage, **more: Any) -> None:
    """The stage's configuration, with everything where a package has it."""
    config = {key: value for key, value in stage.config.items() if key not in ("state", "admin")}
    entra = {**config["entra"], "ca_file": "/etc/azsyncd/ca.pem"}
    entra["credential"] = {"client_secret": {"credential": "entra"}}
    targets = {name: dict(target) for name, target in config["targets"].items()}
    targets["jira"]["auth"] = {"token": {"credential": "jira"}}
    targets["crowd"]["auth"] = {"username": "azsyncd", "password": {"credential": "crowd"}}
    text = yaml.safe_dump({**config, "entra": entra, "targets": targets, **more})
    file = made.write("/etc/azsyncd/config.yaml", text, 0o640)
    shutil.chown(file, group=made.gid("azsyncd"))


def post(url: str, ca: Path) -> int:
    """A validation handshake, as Graph makes one; the status."""
    request = urllib.request.Request(f"{url}?validationToken=hello+world", method="POST")
    context = ssl.create_default_context(cafile=str(ca)) if url.startswith("https") else None
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        assert answer.read() == b"hello world"
        return int(answer.status)


async def test_the_service_lives_a_whole_life(stage: Stage, booted: Machine) -> None:
    """check as root first, start, sync, reload, a rejected file, stop, and a start again."""
    checked = json.loads(await booted.azsyncd("check", "--json"))
    assert not [line for line in checked if line["verdict"] == "failed"], checked

    await booted.run("systemctl", "start", "azsyncd")  # returns with READY=1
    assert await booted.show("ActiveState") == "active"
    synced = json.loads(await booted.azsyncd("sync", "--json"))
    assert synced["outcome"] == "converged"
    await stage.converged()
    assert "Entra:" in await booted.show("StatusText")
    owner = await booted.run("stat", "--format=%U %a", "/var/lib/azsyncd/azsyncd.db")
    assert owner.split() == ["azsyncd", "600"]

    main = await booted.show("MainPID")
    configure(booted, stage, logging={"level": "debug"})
    await booted.run("systemctl", "reload", "azsyncd")
    shown = json.loads(await booted.azsyncd("status", "--json"))
    assert shown["config"]["last_reload_ok"] is True

    configure(booted, stage, wrong="yes")
    await booted.run("systemctl", "reload", "azsyncd", expect=1)
    shown = json.loads(await booted.azsyncd("status", "--json", expect=1))
    assert shown["config"]["last_reload_ok"] is False
    assert await booted.show("MainPID") == main
    assert await booted.show("ActiveState") == "active"

    configure(booted, stage)
    await booted.run("systemctl", "stop", "azsyncd")
    assert await booted.show("Result") == "success"
    assert await booted.show("ExecMainStatus") == "0"
    await booted.run("systemctl", "start", "azsyncd")
    status = json.loads(await booted.azsyncd("status", "--json"))
    assert status["health"] == "healthy"
    assert not stage.violations()


async def test_a_wrong_file_is_not_started_again_and_again(stage: Stage, booted: Machine) -> None:
    """Exit code 78."""
    configure(booted, stage, wrong="yes")
    await booted.run("systemctl", "start", "azsyncd", expect=1)
    assert await booted.show("ActiveState") == "failed"
    assert await booted.show("ExecMainStatus") == "78"
    assert await booted.show("NRestarts") == "0"
    assert "wrong" in await booted.journal()


async def test_secrets_are_in_no_file_that_the_service_can_read_by_itself(
    stage: Stage, booted: Machine
) -> None:
    """LoadCredential= hands them over; the directory stays root's."""
    await booted.run("systemctl", "start", "azsyncd")
    listed = await booted.run("runuser", "-u", "azsyncd", "--", "ls", "/etc/azsyncd/credentials",
                              expect=2)  # fmt: skip
    assert "Permission denied" in listed
    text = await booted.journal()
    environment = await booted.run("cat", f"/proc/{await booted.show('MainPID')}/environ")
    for secret in (SECRET, TOKEN, PASSWORD):
        assert secret not in text
        assert secret not in environment


async def test_who_decides_is_known_by_name(stage: Stage, booted: Machine) -> None:
    """A member of the group may, and the kernel says who she is (no PrivateUsers=)."""
    await booted.run("useradd", "--groups=azsyncd", "jo")
    await booted.run("useradd", "mallory")
    await booted.run("systemctl", "start", "azsyncd")
    paused = ("/opt/azsyncd/bin/azsyncd", "pause", "--reason", "lunch", "--json")
    told = json.loads(await booted.run("runuser", "-u", "jo", "--", *paused))
    assert "jo" in told["by"]
    refused = await booted.run("runuser", "-u", "mallory", "--", *paused, expect=1)
    assert "Traceback" not in refused


async def test_a_hanging_daemon_is_killed_and_started_again(stage: Stage, booted: Machine) -> None:
    """The watchdog."""
    booted.write("/etc/systemd/system/azsyncd.service.d/soon.conf",
                 "[Service]\nWatchdogSec=2s\nRestartSec=100ms\nTimeoutAbortSec=1s\n")  # fmt: skip
    await booted.run("systemctl", "daemon-reload")
    await booted.run("systemctl", "start", "azsyncd")
    main = await booted.show("MainPID")
    await booted.run("systemctl", "kill", "--signal=STOP", "azsyncd.service")
    async with asyncio.timeout(30):
        while await booted.show("NRestarts") == "0" or await booted.show("ActiveState") != "active":
            await asyncio.sleep(0.2)
    assert await booted.show("MainPID") != main
    await booted.run("systemctl", "stop", "azsyncd")


async def test_no_notification_is_lost_while_the_service_restarts(
    stage: Stage, booted: Machine
) -> None:
    """systemd holds the port: who comes in between waits, and is answered."""
    port = machine.free_port()
    url = f"http://127.0.0.1:{port}/notifications"
    booted.write("/etc/systemd/system/azsyncd.socket.d/port.conf",
                 f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n")  # fmt: skip
    configure(booted, stage, notifications={
        "mode": "webhook", "public_url": f"https://127.0.0.1:{port}/notifications",
        "listen": "systemd",
    })  # fmt: skip
    await booted.run("systemctl", "daemon-reload")
    await booted.run("systemctl", "start", "azsyncd.socket", "azsyncd.service")
    assert await asyncio.to_thread(post, url, stage.authority.ca_file) == 200

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(16) as pool:
        restart = asyncio.create_task(booted.run("systemctl", "restart", "azsyncd.service"))
        calls = []
        while not restart.done() or len(calls) < 128:
            calls.append(loop.run_in_executor(pool, post, url, stage.authority.ca_file))
            await asyncio.sleep(0.02)
        assert set(await asyncio.gather(*calls)) == {200}
        await restart

    configure(booted, stage, logging={"level": "debug"}, notifications={
        "mode": "webhook", "public_url": f"https://127.0.0.1:{port}/notifications",
        "listen": "systemd",
    })  # fmt: skip
    await booted.run("systemctl", "reload", "azsyncd")
    assert await asyncio.to_thread(post, url, stage.authority.ca_file) == 200


async def test_the_service_reloads_by_signal_where_systemd_can(
    stage: Stage, booted: Machine
) -> None:
    """drop-ins/notify-reload.conf: `systemctl reload` returns when the file is in force."""
    version = int((await booted.run("systemctl", "--version")).split()[1])
    if version < 253:
        pytest.skip(f"systemd {version} does not know Type=notify-reload")
    name = "notify-reload.conf"
    text = (machine.ROOT / "systemd" / "drop-ins" / name).read_text()
    booted.write(f"/etc/systemd/system/azsyncd.service.d/{name}", text)
    await booted.run("systemctl", "daemon-reload")
    await booted.run("systemctl", "start", "azsyncd")
    assert await booted.show("Type") == "notify-reload"
    configure(booted, stage, instance="another")
    await booted.run("systemctl", "reload", "azsyncd")
    shown = json.loads(await booted.azsyncd("status", "--json", expect=None))
    assert shown["instance"] == "another"
