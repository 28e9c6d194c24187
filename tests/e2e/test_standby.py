"""A cold standby takes over with a copy of the state that is not quite new (docs/operations.md)."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from .stage import staged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


async def test_a_standby_takes_over_with_an_old_copy(tmp_path: Path) -> None:
    """Nothing is made twice, nobody is removed wrongly, and what was missed is caught up with."""
    async with staged(tmp_path) as stage:
        stage.config["schedule"]["full_sync"] = ""
        stage.write_config()
        await stage.run("sync")
        assert stage.differences() == []
        active = await stage.start()
        await stage.answers(active)
        await stage.run("backup", str(tmp_path / "copy.db"))
        tenant = stage.world.tenant
        jo, ada, bo, cy = stage.world.employees()[3:7]
        new = tenant.add_user("after.backup@fabrikam.example", displayName="After", mail=None)
        tenant.add_member(stage.world.scope_group, new)
        tenant.add_member(stage.world.projects[0], new)
        tenant.update(jo.id, userPrincipalName="jo.other@fabrikam.example")
        tenant.update(ada.id, accountEnabled=False)
        await stage.converged()
        await stage.stop(active, signal.SIGKILL)
        # While nobody runs: somebody leaves, somebody comes back.
        tenant.delete(bo.id)
        tenant.update(ada.id, accountEnabled=True)
        tenant.update(cy.id, displayName="Cy Elsewhere")
        state = tmp_path / "standby" / "azsyncd.db"
        state.parent.mkdir()
        shutil.copy(tmp_path / "copy.db", state)
        stage.config["state"]["path"] = str(state)
        stage.config["admin"]["socket"] = str(tmp_path / "standby.sock")
        stage.write_config()
        began = time.monotonic()
        standby = await stage.start()
        await stage.converged(60)
        print(f"the standby was up to date after {time.monotonic() - began:.1f} s")
        for product in stage.world.products.values():
            names = Counter(person.name.casefold() for person in product.users())
            assert max(names.values()) == 1
        assert stage.violations() == []
        assert await stage.stop(standby) == 0
