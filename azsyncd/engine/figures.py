"""Plans and states as plain dictionaries, as `operations.py` promises them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from azsyncd.clock import iso
from azsyncd.model.accounts import Capabilities, Seats
from azsyncd.model.changes import Change
from azsyncd.model.identities import ObjectId
from azsyncd.operations import ChangeRow, HoldRow
from azsyncd.plan import guard
from azsyncd.plan.policy import GuardClass, Policy
from azsyncd.state import codec, holds, mirror, questions
from azsyncd.state.spill import Planned
from azsyncd.state.store import Connection, Row

MOST_ROWS = 200_000
"""So many changes are shown; counts are of all of them."""

Budgets = dict[str, dict[str, float | None]]


def budgets_of(
    db: Connection,
    t: int,
    policy: Policy,
    window_start: float,
    wanted: dict[str, int] | None = None,
) -> Budgets:
    """By class: the allowance of the window (None = unlimited), what of it is spent, what open
    holds keep of it, and, for a plan, what is wanted beside that. `shrink_group` is that of the
    group with the least left: each has its own (`shrinking_of`)."""
    sizes = holds.sizes(db, t, window_start, ())
    spent = holds.spent(db, t, window_start)
    held = holds.held_by_kind(db, t)
    found: Budgets = {}
    for class_ in GuardClass:
        if class_ is GuardClass.SHRINK_GROUP:
            limit = policy.guard.limit(class_)
            rows = shrinking_of(db, t, policy, window_start)
            count = None if limit is None else float(limit.count)
            least = rows[0] if rows else {"allowance": count, "spent": 0.0}
            row = {key: least[key] for key in ("allowance", "spent")}
            found[class_.value] = {**row, "held": float(held.get(class_.value, 0))}
            continue
        allowed = guard.allowance(class_, policy.guard, sizes)
        row = {
            "allowance": None if allowed is None else float(allowed),
            "spent": float(spent.get((class_, None), 0)),
            "held": float(held.get(class_.value, 0)),
        }
        if wanted is not None:
            row["wanted"] = float(wanted.get(class_.value, 0))
        found[class_.value] = row
    return found


def shrinking_of(
    db: Connection,
    t: int,
    policy: Policy,
    window_start: float,
    wanted: Mapping[ObjectId, int] | None = None,
) -> list[dict[str, Any]]:
    """By group of which members were removed, or (for a plan) are to be: its allowance, what of it
    is spent, what is wanted; the group with the least left first."""
    if policy.guard.limit(GuardClass.SHRINK_GROUP) is None:
        return []
    shrink = GuardClass.SHRINK_GROUP
    spent = {g: n for (class_, g), n in holds.spent(db, t, window_start).items()
             if class_ is shrink and g is not None}  # fmt: skip
    groups = sorted({*spent, *(wanted or ())})
    sizes = holds.sizes(db, t, window_start, groups)
    found = []
    for group in groups:
        allowed = guard.allowance(shrink, policy.guard, sizes, group) or 0
        row: dict[str, Any] = {
            "group": questions.name_of(db, mirror.number_of(db, group) or 0) or group,
            "allowance": float(allowed),
            "spent": float(spent.get(group, 0)),
        }
        if wanted is not None:
            row["wanted"] = float(wanted.get(group, 0))
        found.append(row)
    return sorted(found, key=lambda row: (row["allowance"] - row["spent"], row["group"]))


def change_row(
    target: str,
    change: Change,
    *,
    name: str,
    group: str | None = None,
    withheld: str | None = None,
    detail: str = "",
    hint: str = "",
) -> ChangeRow:
    """One change as a row."""
    return ChangeRow(
        target=target,
        change=change.kind.value,
        reason=change.reason.value,
        object_id=change.object_id,
        name=name,
        group=group,
        before=codec.side_to_dict(change.before),
        after=codec.side_to_dict(change.after),
        withheld=withheld,
        detail=detail,
        hint=hint,
    )


def planned_row(db: Connection, target: str, planned: Planned) -> ChangeRow:
    """A change of the plan as a row."""
    item = planned.item
    name = questions.name_of(db, item.n) if item.change.object_id else _account_name(item.change)
    group = questions.name_of(db, item.gn) if item.gn else None
    return change_row(target, item.change, name=name, group=group, withheld=planned.held)


_HELPS = {
    "guard": "azsyncd holds",
    "source": "azsyncd holds",
    "mode": "azsyncd holds",
    "rejected": "azsyncd release {who}",
    "first_contact": "azsyncd plan --target {target}",
    "paused": "azsyncd resume --target {target}",
    "backing_off": "azsyncd sync --target {target}",
    "blocked": "azsyncd sync --target {target}",
    "licence": "azsyncd check",
    "read_only": "azsyncd check",
    "incomplete_read": "azsyncd sync --full",
    "undecided": "azsyncd sync --full",
}


def helping(reason: str, target: str, who: str) -> str:
    """The command that helps, or shows most, where something waits for this reason."""
    shown = shlex.quote(who)
    return _HELPS.get(reason, "azsyncd explain {who}").format(target=target, who=shown)


def tried(attempts: int, retry_at: float | None) -> str:
    """`refused 3 times, tried again at …`; empty if it was never tried."""
    if not attempts:
        return ""
    times = "once" if attempts == 1 else f"{attempts} times"
    again = f", tried again at {iso(retry_at)}" if retry_at is not None else ""
    return f"refused {times}{again}"


def _with_tries(row: Row) -> str:
    told = tried(row["attempts"], row["retry_at"])
    return f"{row['detail']} ({told})" if told else str(row["detail"])


def waiting_row(db: Connection, target: str, row: Row) -> ChangeRow:
    """What waits as a row; without a change, the object itself is what waits."""
    group = questions.name_of(db, row["gn"]) if row["gn"] else None
    name = questions.name_of(db, row["n"])
    if row["body"]:
        change = codec.change_of(row["body"])
        return change_row(
            target,
            change,
            name=name if change.object_id else _account_name(change),
            group=group,
            withheld=row["reason"],
            detail=_with_tries(row),
            hint=row["hint"] or helping(row["reason"], target, name),
        )
    return ChangeRow(
        target=target,
        change=row["change"],
        reason="",
        object_id=row["id"],
        name=name,
        group=group,
        before=None,
        after=None,
        withheld=row["reason"],
        detail=_with_tries(row),
        hint=row["hint"] or helping(row["reason"], target, name),
    )


def history_row(db: Connection, row: Row) -> dict[str, Any]:
    """One write, as `history` and the audit file show it."""
    return {
        "at": iso(row["at"]),
        "target": row["target"],
        "run": row["run"],
        "round": row["revision"],
        "change": row["change"],
        "reason": row["reason"],
        "object_id": row["object_id"],
        "name": row["name"],
        "group": questions.name_of(db, row["gn"]) if row["gn"] else None,
        "before": codec.load(row["before"]) if row["before"] else None,
        "after": codec.load(row["after"]) if row["after"] else None,
        "outcome": row["outcome"],
        "answer": row["answer"],
        "cause": row["cause"],
        "seconds": round(row["seconds"], 3),
        "configuration": row["config"][:12] if row["config"] else None,
    }


def configuration_row(row: Row) -> dict[str, Any]:
    """One configuration that was in force, without its text."""
    return {
        "digest": row["digest"],
        "at": iso(row["at"]),
        "by": row["by"],
        "file": row["file"],
        "writes": row["writes"],
    }


def hold_row(hold: holds.Hold, target: str | None) -> HoldRow:
    """A hold without its changes."""
    return HoldRow(
        id=hold.id,
        target=target,
        kind=hold.kind,
        state=hold.state,
        opened_at=iso(hold.opened_at) or "",
        items=hold.items,
        detail=hold.detail,
        decided_by=hold.decided_by,
        decided_at=iso(hold.decided_at),
        decision_reason=hold.decision,
    )


def absent_row(db: Connection, kind: str, n: int, gn: int | None) -> ChangeRow:
    """What Entra did not show, in a hold about a reading that is not believed."""
    return ChangeRow(
        target="",
        change=f"absent_{kind}",
        reason="",
        object_id=questions.id_of(db, n),
        name=questions.name_of(db, n),
        group=None if gn is None else questions.name_of(db, gn),
        before=None,
        after=None,
        withheld="source",
        detail="",
        hint="",
    )


def hold_item_rows(db: Connection, hold: int, target: str) -> list[ChangeRow]:
    """The changes that a hold keeps."""
    found = []
    for row in holds.items(db, hold):
        change = codec.change_of(row["body"])
        group = questions.name_of(db, row["gn"]) if row["gn"] else None
        name = questions.name_of(db, row["n"]) if change.object_id else _account_name(change)
        state = {"open": "guard", "rejected": "rejected"}.get(row["state"])
        found.append(change_row(target, change, name=name, group=group, withheld=state))
    return found


def seat_rows(
    capabilities: Capabilities | None, now: tuple[Seats, ...] = ()
) -> list[dict[str, object]]:
    """Licences as rows."""
    known = now or (capabilities.seats if capabilities else ())
    return [
        {"application": each.application, "total": each.total, "remaining": each.remaining}
        for each in known
    ]


def _account_name(change: Change) -> str:
    return str(getattr(change.before, "username", "") or change.account_key or "")
