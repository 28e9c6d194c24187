"""What an account or group is called, worked out from Entra's properties (rules 13 to 15)."""

from __future__ import annotations

from collections.abc import Mapping

from azsyncd.model.accounts import Account, Dialect, InvalidValue
from azsyncd.model.identities import Group, User
from azsyncd.plan.expressions import Expression, ExpressionFailed, Template
from azsyncd.plan.policy import AccountRules, GroupRules


class AccountMapping:
    """`accounts` of one target, compiled."""

    def __init__(self, rules: AccountRules, dialect: Dialect) -> None:
        self._dialect = dialect
        self._active = Expression(rules.active, "user")
        self._named = {
            "username": Template(rules.username, "user"),
            "email": Template(rules.email, "user"),
            "display_name": Template(rules.display_name, "user"),
        }
        self._attributes = {
            name: Template(source, "user") for name, source in rules.attributes.items()
        }
        templates = (*self._named.values(), *self._attributes.values())
        self.properties = self._active.properties.union(*(each.properties for each in templates))

    def active(self, user: User) -> bool:
        """Whether the account may be used; raises Unread and ExpressionFailed."""
        return self._active(_values(user))

    def account(self, user: User) -> Account:
        """The account as the product would store it.

        Raises Unread, ExpressionFailed, or InvalidValue where username, mail or display name is
        empty or cannot be made legal. An empty attribute stays "": it is cleared.
        """
        values = _values(user)
        named = {name: self._value(name, each, values) for name, each in self._named.items()}
        for name, value in named.items():
            if not value:
                raise InvalidValue(
                    f"accounts.{name} ({self._named[name].source}) is empty for this user"
                )
        attributes = {
            name: self._value(f"attributes.{name}", template, values)
            for name, template in self._attributes.items()
        }
        account = Account(
            username=named["username"],
            email=named["email"],
            display_name=named["display_name"],
            active=self._active(values),
            attributes=attributes,
        )
        return self._dialect.account(account)

    def _value(self, name: str, template: Template, values: Mapping[str, object]) -> str:
        try:
            return template(values)
        except ExpressionFailed as error:
            raise ExpressionFailed(f"accounts.{name}: {error}") from None


class GroupMapping:
    """`groups` of one target, compiled."""

    def __init__(self, rules: GroupRules) -> None:
        self._name = Template(rules.name, "group")
        self.properties = self._name.properties

    def name(self, group: Group) -> str:
        """The wanted name, before the product's own rules for names.

        Raises Unread, ExpressionFailed, or InvalidValue where it is empty.
        """
        try:
            name = self._name({**group.properties, "id": group.id})
        except ExpressionFailed as error:
            raise ExpressionFailed(f"groups.name: {error}") from None
        if not name:
            raise InvalidValue(f"groups.name ({self._name.source}) is empty for this group")
        return name


def _values(user: User) -> Mapping[str, object]:
    return {**user.properties, "id": user.id}
