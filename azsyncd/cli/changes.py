"""Changes as text: `+ ~ -`, what becomes what, and why."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from azsyncd.cli.output import coloured
from azsyncd.operations import ChangeRow

COLUMNS = tuple(ChangeRow.__annotations__)
"""The columns of CSV, in their order: a promise."""

EXAMPLES = 20
"""Shown of each kind of change; JSON and CSV have them all."""

SIGNS = {
    "create": "+",
    "reactivate": "+",
    "create_group": "+",
    "add_member": "+",
    "add_child": "+",
    "adopt": "~",
    "adopt_group": "~",
    "update": "~",
    "rename": "~",
    "deactivate": "-",
    "strip": "-",
    "delete": "-",
    "remove_member": "-",
    "remove_child": "-",
    "delete_group": "-",
}
_WORDS = {
    "adopt_group": "adopt group",
    "create_group": "create group",
    "delete_group": "delete group",
    "add_member": "add",
    "remove_member": "remove",
    "add_child": "add group",
    "remove_child": "remove group",
}
_REASONS = {
    "new": "new",
    "changed": "changed in Entra",
    "adopted": "stands there already",
    "drift": "changed in the product",
    "left_scope": "left the scope",
    "disabled": "disabled in Entra",
    "deleted": "deleted in Entra",
    "returned": "is back",
}
_MEMBERS = ("add_member", "remove_member", "add_child", "remove_child")
_SAY_IT_ALL = frozenset({*_MEMBERS, "deactivate", "reactivate", "strip", "delete", "delete_group"})
"""Kinds whose name says what becomes of the object."""
_NOT_WRITTEN = frozenset({"key", "mark", "writable", "directory"})
_NOTHING: tuple[Any, ...] = (None, "", [], {})
_WIDTH = max(map(len, [*_WORDS.values(), "deactivate", "reactivate"]))


def by_kind(rows: Iterable[ChangeRow]) -> dict[str, list[ChangeRow]]:
    """The rows of each kind, in the order of `SIGNS`."""
    found: dict[str, list[ChangeRow]] = defaultdict(list)
    for row in rows:
        found[row["change"]].append(row)
    order = list(SIGNS)
    return dict(
        sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in SIGNS else 99)
    )


def all_lines(rows: Iterable[ChangeRow]) -> Iterator[str]:
    """Every change, for whoever decides about them."""
    for kind in by_kind(rows).values():
        for row in kind:
            yield from change_lines(row)


def examples(rows: list[ChangeRow], total: int | None = None) -> Iterator[str]:
    """The first twenty, and how many there are beside them."""
    for row in rows[:EXAMPLES]:
        yield from change_lines(row)
    rest = (len(rows) if total is None else total) - min(len(rows), EXAMPLES)
    if rest > 0:
        yield f"    {'':<{_WIDTH}} … and {rest:,} more"


def change_lines(row: ChangeRow) -> Iterator[str]:
    """One change: what, to whom, why, and each value that becomes another."""
    sign = SIGNS.get(row["change"], "~")
    head = coloured(sign, f"{sign} {word(row['change']):<{_WIDTH}}")
    yield f"  {head} {who(row)}{_why(row)}"
    if row["change"] not in _SAY_IT_ALL:
        yield from _values(row["before"], row["after"], row["name"])


def waiting_lines(rows: list[ChangeRow], total: int) -> Iterator[str]:
    """What is withheld for one reason: whom it concerns, and what is said of each."""
    told = {_said(row) for row in rows}
    alike = told.pop() if len(told) == 1 else ""
    if alike:
        yield f"      {alike}"
    for row in rows[:EXAMPLES]:
        sign = SIGNS.get(row["change"], " ")
        yield f"      {sign} {word(row['change']):<{_WIDTH}} {who(row)}{_why(row)}"
        if not alike and _said(row):
            yield f"        {'':<{_WIDTH}} {_said(row)}"
    rest = total - min(len(rows), EXAMPLES)
    if rest > 0:
        yield f"        {'':<{_WIDTH}} … and {rest:,} more"


def word(kind: str) -> str:
    """A kind of change in words: `add_member` is `add`, for the group stands beside it."""
    return _WORDS.get(kind, kind.replace("_", " "))


def who(row: ChangeRow) -> str:
    """Who or what is changed; for a membership also in which group."""
    name = row["name"] or row["object_id"] or row["group"] or "?"
    if not row["group"] or row["group"] == name:
        return name
    if row["change"] in _MEMBERS:
        return f"{name} {'to' if row['change'].startswith('add') else 'from'} {row['group']}"
    return f"{name} / {row['group']}"


def _why(row: ChangeRow) -> str:
    reason = _REASONS.get(row["reason"], row["reason"])
    return f"  ({reason})" if reason else ""


def _said(row: ChangeRow) -> str:
    return " — ".join(part for part in (row["detail"], row["hint"]) if part)


def _values(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, name: str
) -> Iterator[str]:
    """A new object's values in one line; an old one's each on its own, before → after."""
    old, new = _flat(before or {}), _flat(after or {})
    if before is None:
        told = [
            f"{key} {_shown(value)}"
            for key, value in new.items()
            # An account is created active, and mostly under the name that stands there already.
            if value not in (*_NOTHING, True) and (key, value) not in _named(name)
        ]
        if told:
            yield f"{_INDENT}{', '.join(told)}"
        return
    if after is None:
        return
    # None = not known: unknown is never different.
    changed = [key for key in new if new[key] is not None and old.get(key) != new[key]]
    columns = max(map(len, changed), default=0)
    for key in changed:
        was = "?" if old.get(key) is None else _shown(old[key])
        yield f"{_INDENT}{key:<{columns}}  {was} → {_shown(new[key])}"


def _named(name: str) -> tuple[tuple[str, str], ...]:
    return ("username", name), ("name", name)


_INDENT = " " * (_WIDTH + 5)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """`attributes: {department: x}` as `attributes.department: x`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in _NOT_WRITTEN:
            continue
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            flat[key] = value
    return flat


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
