"""The state is lost, or an old backup is put in its place, on a running installation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .stage import Stage, staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


def keys(stage: Stage) -> dict[str, set[str]]:
    """Every account that stands, by product: a second one for somebody would be seen here."""
    return {
        name: {person.key for each in product.people.all for person in each.people.values()}
        for name, product in stage.world.products.items()
    }


@pytest.mark.parametrize("instead", ["an old backup", "nothing"])
async def test_nobody_gets_a_second_account(tmp_path: Path, instead: str) -> None:
    async with staged(tmp_path, users=30) as stage:
        tenant = stage.world.tenant
        backup = tmp_path / "backup.db"
        await stage.run("sync", expect=None)
        await stage.converged()
        await stage.run("backup", str(backup))
        # After the backup: one comes, and one is disabled.
        new = tenant.add_user("first.name@fabrikam.example", mail="new@fabrikam.example")
        tenant.add_member(stage.world.scope_group, new)
        jo, ada = stage.world.employees()[3:5]
        tenant.update(jo.id, accountEnabled=False)
        await stage.run("sync", expect=None)
        await stage.converged()
        # While nobody looks: she gets another name; and the state is lost.
        tenant.update(new, userPrincipalName="other.name@fabrikam.example")
        tenant.update(ada.id, displayName="Ada New")
        before = keys(stage)
        for file in (tmp_path / "state").glob("azsyncd.db*"):
            file.unlink()
        if instead != "nothing":
            shutil.copy(backup, tmp_path / "state" / "azsyncd.db")
        daemon = await stage.start()
        await stage.answers(daemon)
        if instead == "nothing":
            await stage.run("sync", expect=None)
        await stage.converged()
        assert keys(stage) == before
        assert await stage.stop(daemon) == 0
        assert stage.violations() == []
        history = (await stage.run("history", "--format", "json")).json
        assert not [row for row in history if row["change"] in ("create", "delete")
                    and row["name"] == "other.name@fabrikam.example"]  # fmt: skip


async def test_a_command_alone_brings_an_old_backup_up_to_date_once(tmp_path: Path) -> None:
    """Without a daemon: everything is read, and then it is a state like any other."""
    async with staged(tmp_path, users=20) as stage:
        await stage.run("sync", expect=None)
        backup = tmp_path / "backup.db"
        await stage.run("backup", str(backup))
        for file in (tmp_path / "state").glob("azsyncd.db*"):
            file.unlink()
        shutil.copy(backup, tmp_path / "state" / "azsyncd.db")
        first = await stage.run("sync", expect=None)
        again = await stage.run("sync", expect=None)
        assert "state.restored" in first.err and "state.restored" not in again.err
        await stage.converged()
        assert stage.violations() == []
