"""A whole simulated Entra over TLS: tenant, app registration, login service and Graph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from azsyncd.sandbox.apps import LEAST_ROLES, App, Apps
from azsyncd.sandbox.graph import GraphServer
from azsyncd.sandbox.hooks import Hooks
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.login import LoginServer
from azsyncd.sandbox.loopback import serving
from azsyncd.sandbox.tenant import Tenant
from azsyncd.sandbox.tls import Authority

SECRET = "sandbox-secret-value"
"""The first client secret of the registration. It opens nothing but the sandbox."""


@dataclass(slots=True, eq=False)
class Entra:
    """The parts, and where they are served."""

    tenant: Tenant
    apps: Apps
    registration: App
    login: LoginServer
    graph: GraphServer
    hooks: Hooks
    authority: Authority
    login_url: str = ""
    graph_url: str = ""

    @property
    def ca_file(self) -> str:
        """What clients must trust."""
        return str(self.authority.ca_file)


def make_entra(
    authority: Authority,
    *,
    tenant: Tenant | None = None,
    client_id: str = "",
    secret: str = SECRET,
    roles: Iterable[str] = LEAST_ROLES,
    oddities: Oddities | None = None,
    seed: int = 0,
) -> Entra:
    """Put the parts together, not served yet. Notifications go to whom `authority` has signed."""
    tenant = tenant or Tenant(seed=seed)
    apps = Apps(tenant.tenant_id, clock=tenant.clock, seed=seed)
    hooks = Hooks(tenant.tenant_id, clock=tenant.clock, tls=authority.client_context(), seed=seed)
    return Entra(
        tenant=tenant,
        apps=apps,
        registration=apps.register(client_id=client_id, secret=secret, roles=roles),
        login=LoginServer(apps, domains=(tenant.domain,)),
        graph=GraphServer(tenant, apps, hooks=hooks, oddities=oddities, seed=seed),
        hooks=hooks,
        authority=authority,
    )


@asynccontextmanager
async def running(entra: Entra) -> AsyncIterator[Entra]:
    """Serve login and Graph on two free ports of 127.0.0.1.

    Example:
        async with running(make_entra(Authority(folder))) as entra:
            ...  # entra.login_url, entra.graph_url, entra.ca_file, entra.registration.client_id
    """
    tls = entra.authority.server_context
    async with (
        serving({"/": entra.login.app()}, tls=tls("login")) as entra.login_url,
        serving({"/": entra.graph.app()}, tls=tls("graph")) as entra.graph_url,
    ):
        yield entra
