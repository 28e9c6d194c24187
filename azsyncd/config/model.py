"""The whole file (surface.md §1). One class a section; planning's own are those of plan.policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from azsyncd.config.entra import Entra
from azsyncd.config.secrets import Secret
from azsyncd.config.sections import (
    Admin,
    Alert,
    Audit,
    Heartbeat,
    Logging,
    Notifications,
    Schedule,
    State,
)
from azsyncd.config.targets import Target
from azsyncd.model.identities import GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.expressions import Expression, Template
from azsyncd.plan.policy import Policy, Scope, Settings
from azsyncd.plan.scope import Entries, GroupRule, UserRule

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class Config(Settings):
    """The configuration of azsyncd."""

    instance: Name = "azsyncd"
    """This installation's name: it is written into ownership marks. Two installations that write to
    one product need two names."""
    entra: Entra
    """The tenant that is read."""
    schedule: Schedule = Schedule()
    """When azsyncd looks, notifications apart."""
    notifications: Notifications = Notifications()
    """How azsyncd hears of changes before the next poll."""
    scope: Scope = Scope()
    """Who and what is synced, for every target. A target's own keys replace these one by one,
    `exclude` adds up."""
    targets: Annotated[dict[Name, Target], Field(min_length=1)]
    """The products, each under a name of your choice: it appears in logs, metrics and the state."""
    state: State = State()
    """What azsyncd remembers."""
    admin: Admin = Admin()
    """Where azsyncd answers its operators."""
    alerts: tuple[Alert, ...] = ()
    """Whom to tell when something is wrong."""
    heartbeat: Heartbeat = Heartbeat()
    """An address that is called while all is well."""
    audit: Audit = Audit()
    """A file for a SIEM."""
    logging: Logging = Logging()
    """What is logged."""

    def policy(self, target: str) -> Policy:
        """What planning for one target needs, with the common scope merged into its own."""
        return self.targets[target].policy(self.scope)

    def ca_file(self, target: str) -> str | None:
        """Whom to trust beside the system's authorities when talking to a target."""
        return self.targets[target].ca_file or self.entra.ca_file

    def properties(self) -> tuple[frozenset[str], frozenset[str]]:
        """What must be read of users and of groups: the core sets, and whatever is mentioned."""
        users, groups = set(USER_PROPERTIES), set(GROUP_PROPERTIES)
        for name in self.targets:
            mentioned = _mentioned(self.policy(name))
            users |= mentioned[0]
            groups |= mentioned[1]
        return frozenset(users), frozenset(groups)

    def secrets(self) -> Iterator[tuple[str, Secret]]:
        """Each secret of the file with its key; none is opened."""
        for key, secret in self.entra.credential.secrets():
            yield f"entra.credential.{key}", secret
        for name, target in self.targets.items():
            for key, secret in target.secrets():
                yield f"targets.{name}.{key}", secret
        yield from self._other_secrets()

    def _other_secrets(self) -> Iterator[tuple[str, Secret]]:
        if self.notifications.tls is not None:
            yield "notifications.tls.private_key", self.notifications.tls.private_key
        if self.admin.token is not None:
            yield "admin.token", self.admin.token
        for number, alert in enumerate(self.alerts):
            if alert.webhook is not None:
                yield f"alerts[{number}].webhook.url", alert.webhook.url
            if alert.email is not None and alert.email.password is not None:
                yield f"alerts[{number}].email.password", alert.email.password
        if self.heartbeat.url is not None:
            yield "heartbeat.url", self.heartbeat.url


def _mentioned(policy: Policy) -> tuple[frozenset[str], frozenset[str]]:
    accounts = policy.accounts
    templates = (
        accounts.username,
        accounts.email,
        accounts.display_name,
        *accounts.attributes.values(),
    )
    users = frozenset().union(
        UserRule(policy.scope.users).properties,
        Expression(accounts.active, "user").properties,
        *(Template(source, "user").properties for source in templates),
    )
    groups = frozenset().union(
        GroupRule(policy.scope.groups).properties,
        Entries(policy.scope.users.members_of or ()).properties,
        Template(policy.groups.name, "group").properties,
    )
    return users, groups
