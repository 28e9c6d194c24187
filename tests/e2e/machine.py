"""A small machine with systemd as its first process: a Debian in systemd-nspawn, with azsyncd
installed as docs/install.md says. It shares this machine's loopback, where the servers are."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = os.environ.get("AZSYNCD_DEBIAN_SUITE", "trixie")
_MIRROR = os.environ.get("AZSYNCD_DEBIAN_MIRROR", "http://deb.debian.org/debian")
_CACHE = Path.home() / ".cache" / "azsyncd-tests"
_64_BIT_TIME = "" if SUITE == "bookworm" else "t64"
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libsqlite3-0", "libffi8", "zlib1g", "libbz2-1.0"),
    *("liblzma5", "libexpat1", "libuuid1", "libncursesw6"),
    *(f"libssl3{_64_BIT_TIME}", f"libreadline8{_64_BIT_TIME}"),
)
_WRAPPER = """\
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/opt/azsyncd/source:/opt/azsyncd/packages
exec /opt/python/bin/python3 -m azsyncd "$@"
"""


_CHECKOUT = "root/azsyncd"


def installation() -> str:
    """What docs/install.md tells to type for the units, as root types it."""
    page = (ROOT / "docs" / "install.md").read_text()
    section = page[page.index("## The systemd units") :]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1].replace("sudo ", "")


def missing() -> str:
    """Why there can be no machine here; "" = there can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    for tool in ("debootstrap", "systemd-nspawn", "nsenter"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return ""


class NoSystem(Exception):
    """There is no Debian here, and no mirror to make one from."""


def _system() -> Path:
    """A Debian without azsyncd, made once and kept. Raises NoSystem."""
    kept = _CACHE / SUITE
    if not kept.exists():
        draft = _CACHE / f"{SUITE}.{os.getpid()}"
        _CACHE.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
             SUITE, str(draft), _MIRROR],
            check=False, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise NoSystem(f"debootstrap: {(made.stdout + made.stderr).strip()[-300:]}")
        try:
            draft.rename(kept)
        except OSError:  # another run of these tests was faster
            shutil.rmtree(draft, ignore_errors=True)
    return kept


def install(folder: Path) -> None:
    """Make the machine's disk: the program, and a checkout with systemd/."""
    subprocess.run(["cp", "--archive", str(_system()), str(folder)], check=True, timeout=120)
    shutil.copytree(ROOT / "systemd", folder / _CHECKOUT / "systemd")
    for name in ("opt/python", "opt/azsyncd/source/azsyncd", "opt/azsyncd/packages"):
        (folder / name).mkdir(parents=True)
    executable = folder / "opt/azsyncd/bin/azsyncd"
    executable.parent.mkdir()
    executable.write_text(_WRAPPER)
    executable.chmod(0o755)


@dataclass
class Machine:
    """One that runs. Commands run inside it."""

    folder: Path
    leader: int

    async def run(self, *command: str, expect: int | None = 0, timeout: float = 60) -> str:
        """Run a command as root inside; what it printed."""
        process = await asyncio.create_subprocess_exec(
            "nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--pid", "--cgroup",
            "--root", "--wdns=/", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8", *command,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        text = out.decode()
        if expect is not None and process.returncode != expect:
            log = "" if command[0] == "journalctl" else await self.journal()
            raise AssertionError(f"{command}: {process.returncode}\n{text}\n{log}")
        return text

    async def azsyncd(self, *arguments: str, expect: int | None = 0) -> str:
        """The command line, as root has it."""
        return await self.run("/opt/azsyncd/bin/azsyncd", *arguments, expect=expect)

    async def journal(self) -> str:
        """What azsyncd and systemd said about it."""
        return await self.run(
            "journalctl", "--unit=azsyncd.service", "--unit=azsyncd.socket", "--no-pager",
            "--lines=60", "--output=cat", expect=None,
        )  # fmt: skip

    async def show(self, what: str, unit: str = "azsyncd.service") -> str:
        """One property of a unit."""
        text = await self.run("systemctl", "show", unit, f"--property={what}", "--value")
        return text.strip()

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file inside, as root's."""
        file = self.folder / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def gid(self, group: str) -> int:
        """The number of a group inside."""
        lines = (self.folder / "etc/group").read_text().splitlines()
        return next(int(parts[2]) for line in lines if (parts := line.split(":"))[0] == group)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def booted(folder: Path, log: Path) -> AsyncIterator[Machine]:
    """The machine, up; it is switched off at the end, whatever happens."""
    prefix = Path(sys.base_prefix)
    old = SUITE == "bookworm"
    binds = {
        prefix: "/opt/python",
        ROOT / "azsyncd": "/opt/azsyncd/source/azsyncd",
        Path(sysconfig.get_path("purelib")): "/opt/azsyncd/packages",
    }
    with log.open("wb") as console:
        process = await asyncio.create_subprocess_exec(
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            *(f"--bind-ro={source}:{place}" for source, place in binds.items()),
            f"--directory={folder}", "--boot",
            stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console,
            # Debian 12's systemd does not start here otherwise.
            env={**os.environ, **({"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"} if old else {})},
        )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            machine = Machine(folder, await _leader(process.pid))
            while "running" not in (
                state := await machine.run("systemctl", "is-system-running", expect=None)
            ):
                if "degraded" in state:
                    break
                await asyncio.sleep(0.2)
            await machine.run("sh", "-ec", f"cd /{_CHECKOUT}\n{installation()}")
        yield machine
    finally:
        if process.returncode is None:
            process.terminate()  # nspawn asks systemd to power off
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _leader(nspawn: int) -> int:
    """The process id, seen from here, of the machine's first process, once it is systemd."""
    while True:
        for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            comm = Path(f"/proc/{child}/comm")
            if comm.exists() and comm.read_text().strip() == "systemd":
                return int(child)
        await asyncio.sleep(0.1)
