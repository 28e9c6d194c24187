"""Whatever is asked, Graph answers with its own JSON, and breaks nothing."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from azsyncd.sandbox.apps import Apps
from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.tenant import Tenant

WORDS = st.sampled_from(
    [
        *("users", "groups", "delta", "members", "memberOf", "transitiveMembers", "manager"),
        *("directory", "deletedItems", "microsoft.graph.user", "subscriptions", "reauthorize"),
        *("applications(appId='x')", "ann@x.example", "team", "organization"),
    ]
)
NAMES = st.sampled_from(
    ["$select", "$top", "$filter", "$skiptoken", "$deltatoken", "$count", "$expand", "$orderby"]
)
VALUES = st.one_of(
    st.sampled_from(
        ["id", "id,members", "1", "999", "latest", "id eq 'x'", "YXQ6LTU=", "YXQ6OTk5", "true", ""]
    ),
    st.text(max_size=12),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "changeType",
                    "resource",
                    "notificationUrl",
                    "expirationDateTime",
                    "clientState",
                    "x",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
    path=st.lists(WORDS | st.text(max_size=8), max_size=5),
    params=st.dictionaries(NAMES, VALUES, max_size=4),
    body=st.one_of(JSON, st.binary(max_size=12)),
)
def test_any_call_is_answered(
    method: str, path: list[str], params: dict[str, str], body: Any
) -> None:
    """No call raises; every refusal has a code and a status that says so."""
    tenant = Tenant(clock=FakeClock())
    ann = tenant.add_user("ann@x.example")
    tenant.add_group("team", members=[ann])
    apps = Apps(tenant.tenant_id, clock=tenant.clock)
    server = GraphServer(tenant, apps)
    token = apps.issue(apps.register(roles=["Directory.Read.All"]), audience="graph")
    where = "/".join(quote(part, safe="()'=@") for part in path)
    query = urlencode(params, errors="replace")
    answer = asyncio.run(
        server.call(
            method,
            f"https://graph.example/v1.0/{where}?{query}",
            {"Authorization": f"Bearer {token}"},
            body if isinstance(body, bytes) else orjson.dumps(body),
        )
    )
    orjson.dumps(answer.body)
    if answer.status >= 300:
        assert 400 <= answer.status < 500
        assert answer.body["error"]["code"]
    assert tenant.user("ann@x.example").id == ann
