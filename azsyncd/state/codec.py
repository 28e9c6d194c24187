"""Model values to and from the JSON that the database keeps."""

from __future__ import annotations

from typing import Any

import orjson

from azsyncd.model.accounts import Account, Mark, TargetGroup
from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Page, Seen


def dump(value: object) -> str:
    """JSON text, always the same for the same value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def load(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return orjson.loads(text)


def account_to_dict(account: Account) -> dict[str, Any]:
    """What is known of an account; unknown fields are left out."""
    found: dict[str, Any] = {"username": account.username}
    for name in ("email", "display_name", "active", "key", "directory"):
        if (value := getattr(account, name)) is not None:
            found[name] = value
    if account.attributes:
        found["attributes"] = dict(account.attributes)
    if account.mark is not None:
        found["mark"] = [account.mark.instance, account.mark.object_id]
    if not account.writable:
        found["writable"] = False
    return found


def account_from_dict(value: dict[str, Any]) -> Account:
    """The inverse of `account_to_dict`."""
    mark = value.get("mark")
    rest = {name: part for name, part in value.items() if name != "mark"}
    return Account(**rest, mark=Mark(*mark) if mark else None)


def group_to_dict(group: TargetGroup) -> dict[str, Any]:
    """What is known of a target's group."""
    found: dict[str, Any] = {"name": group.name}
    for name in ("key", "description"):
        if (value := getattr(group, name)) is not None:
            found[name] = value
    if not group.writable:
        found["writable"] = False
    return found


def group_from_dict(value: dict[str, Any]) -> TargetGroup:
    """The inverse of `group_to_dict`."""
    return TargetGroup(**value)


def account_text(account: Account | None) -> str | None:
    """An account for a column."""
    return None if account is None else dump(account_to_dict(account))


def account_of(text: str | None) -> Account | None:
    """An account from a column."""
    return None if text is None else account_from_dict(load(text))


def group_text(group: TargetGroup | None) -> str | None:
    """A target's group for a column."""
    return None if group is None else dump(group_to_dict(group))


def group_of(text: str | None) -> TargetGroup | None:
    """A target's group from a column."""
    return None if text is None else group_from_dict(load(text))


def side_to_dict(side: Account | TargetGroup | None) -> dict[str, Any] | None:
    """The before or after of a change."""
    if side is None:
        return None
    return account_to_dict(side) if isinstance(side, Account) else group_to_dict(side)


def side_of(value: dict[str, Any] | None) -> Account | TargetGroup | None:
    """The inverse of `side_to_dict`."""
    if value is None:
        return None
    return account_from_dict(value) if "username" in value else group_from_dict(value)


def change_text(change: Change) -> str:
    """A change for a column: a list, since there may be millions of them."""
    return dump(
        [
            change.kind,
            change.reason,
            change.object_id,
            change.group_id,
            change.account_key,
            side_to_dict(change.before),
            side_to_dict(change.after),
            int(change.phase),
            change.rank,
            change.people,
        ]
    )


def change_of(text: str) -> Change:
    """The inverse of `change_text`."""
    kind, reason, object_id, group_id, account_key, before, after, phase, rank, people = load(text)
    return Change(
        kind=Kind(kind),
        reason=Reason(reason),
        object_id=object_id,
        group_id=group_id,
        account_key=account_key,
        before=side_of(before),
        after=side_of(after),
        phase=Phase(phase),
        rank=rank,
        people=people,
    )


_DECIDED: dict[Kind, tuple[str, ...]] = {
    Kind.RENAME: ("username",),
    Kind.UPDATE: ("email", "display_name", "attributes"),
    Kind.DEACTIVATE: ("active",),
    Kind.REACTIVATE: ("active",),
    Kind.STRIP: ("active",),
    Kind.DELETE: ("key",),
    Kind.DELETE_GROUP: ("name",),
}
_VOLATILE = ("mark", "directory", "writable", "key")


def change_digest(change: Change) -> str:
    """What of a change must stay the same for a decision about it to hold (rule 38): what it would
    write. Another change of the same account, which was let through, voids nothing."""
    sides = []
    before, after = side_to_dict(change.before), side_to_dict(change.after)
    wanted = _DECIDED.get(change.kind)
    if change.kind is Kind.RENAME and (before or {}).get("email") != (after or {}).get("email"):
        wanted = ("username", "email")  # where an address is its owner's alone
    for side in (before, after):
        if side is not None:
            side = {
                name: value
                for name, value in side.items()
                if (name not in _VOLATILE if wanted is None else name in wanted)
            }
        sides.append(side)
    return dump([change.kind, change.group_id, *sides])


def page_text(page: Page) -> str:
    """A page for the staging table."""
    return dump(
        [
            [
                seen.id,
                seen.properties,
                seen.removed,
                [[member.id, member.kind, member.removed] for member in seen.members],
            ]
            for seen in page.items
        ]
    )


def page_items(text: str) -> list[Seen]:
    """The items of a staged page."""
    return [
        Seen(
            id=ObjectId(id_),
            properties=properties,
            removed=removed,
            members=tuple(
                MemberSeen(ObjectId(m), MemberKind(kind), gone) for m, kind, gone in members
            ),
        )
        for id_, properties, removed, members in load(text)
    ]
