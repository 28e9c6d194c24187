"""Whether what is sent is what the vendors document: checked after every test, and shown here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azsyncd.model.accounts import TargetGroup

from .rigs import Rig
from .specs import FOLDER, Requests, specification


async def test_a_whole_life_is_in_the_vendors_specification(over_http: Rig) -> None:
    """Every path, method, query parameter and key of it."""
    if specification(over_http.entry.kind, over_http.entry.version or "") is None:
        pytest.skip(f"the vendors' specifications are not at hand ({FOLDER.name})")
    rig = over_http
    made = await rig.make(attributes={"department": "one"})
    staff = await rig.target.create_group(TargetGroup(name="staff"))
    await rig.target.add_members(staff, [made])
    if rig.can("rename"):
        made = await rig.target.rename_account(made, replace(made, username="bob"))
    if rig.can("deactivate"):
        made = await rig.target.set_active(made, False)
    await rig.members("staff")
    await rig.target.remove_members(staff, [made])
    await rig.target.delete_account(made)
    await rig.target.delete_group(staff)
    assert rig.requests.unknown == []
    assert rig.requests.checked > 15


def test_the_check_finds_what_is_not_documented() -> None:
    """A path, a method, a parameter, a key: each is named."""
    if specification("jira", "11.3.0") is None:
        pytest.skip("the vendors' specifications are not at hand")
    requests = Requests("jira", "11.3.0", "/base")
    requests.note("GET", "/base/rest/api/2/users", set(), b"")
    requests.note("PUT", "/base/rest/api/2/group", set(), b"")
    requests.note("GET", "/base/rest/api/2/group/member", {"groupname", "cursor"}, b"")
    requests.note("POST", "/base/rest/api/2/group", set(), b'{"name": "a", "description": "b"}')
    assert len(requests.unknown) == 4
