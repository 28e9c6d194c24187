"""Runs applications on 127.0.0.1, each below its context path, as long as a `with` lasts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(
    apps: Mapping[str, web.Application], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve `{"/jira": app, …}` on a free port; the address comes without a path. `{"/": app}`
    serves one application at the root, where the login service must be.

    Example:
        async with serving({"/jira": jira.app()}) as address:
            ...  # jira is at f"{address}/jira"
    """
    if set(apps) == {"/"}:
        root = apps["/"]
    else:
        root = web.Application()
        for path, app in apps.items():
            root.add_subapp(path, app)
    runner = web.AppRunner(root, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
