"""Root gives itself up before it touches the state: the service must be able to read it after.

Which user that is, is written on the state itself. Files that root alone may read (secrets) are
opened before, and read through what was opened.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azsyncd.errors import AzsyncdError, StateError

_SYSTEM = Path("/var/lib")
"""Nobody's playground: nothing that belongs to root is left there."""

_PROGRAM = (Path(os.__file__), Path(__file__))
"""Python's library and ours: much of both is loaded when it is needed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user that is not root."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """As people know it."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def groups(self) -> list[int]:
        """All the groups that it is in."""
        try:
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:
            return [self.gid]


def step_down(config: Path) -> None:
    """As root: become the state's owner, for good. As anybody else: nothing.

    Raises AzsyncdError if the state's folder is not there, or its owner cannot read the file.
    """
    owner = _owner_for(config)
    if owner is None:
        return
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    _must_read(config, owner)


@contextmanager
def stepping_down(config: Path) -> Iterator[None]:
    """The same for a while; root comes back."""
    owner = _owner_for(config)
    if owner is None:
        yield
        return
    before = os.getgroups(), os.getegid()
    try:
        os.setgroups(owner.groups)
        os.setegid(owner.gid)
        os.seteuid(owner.uid)
        _must_read(config, owner)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[1])
        os.setgroups(before[0])


def owner_of(state: Path) -> Owner | None:
    """Whom the state belongs to, or will: its file's owner, its folder's, or that of the nearest
    folder that is there. None = root."""
    place = state
    while not place.exists() and place != place.parent:
        place = place.parent
    found = place.stat()
    if found.st_uid != 0:
        return Owner(found.st_uid, found.st_gid)
    if not state.parent.exists() and _SYSTEM in state.parents:
        raise StateError(
            f"{state.parent} is not there, and must not be root's",
            f"start the service once, or: install -d -o azsyncd -g azsyncd -m 700 {state.parent}",
        )
    return None


def _owner_for(config: Path) -> Owner | None:
    if os.geteuid() != 0:
        return None
    from azsyncd.config import load
    from azsyncd.config.secrets import keep_open

    settings = load(config).config
    owner = owner_of(Path(settings.state.path))
    if owner is not None:
        keep_open(secret for _, secret in settings.secrets())
    return owner


def _must_read(config: Path, owner: Owner) -> None:
    for program in _PROGRAM:
        if not os.access(program, os.R_OK, effective_ids=True):
            raise AzsyncdError(
                f"{owner.name}, whom the state belongs to, cannot read {program.parent}",
                f"install azsyncd and its Python where {owner.name} can read them",
            )
    try:
        config.open("rb").close()
    except OSError as error:
        raise AzsyncdError(
            f"{owner.name}, whom the state belongs to, cannot read {config}: {error.strerror}",
            f"neither can the service; chgrp azsyncd {config} and its folder, and chmod g+r",
        ) from None
