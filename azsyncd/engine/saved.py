"""Plans that are kept in a file, and what of one still holds.

Every change of a saved plan carries its own evidence: digests of what is wanted and of what was
seen, whose account and group it is about, and whether the membership stood. A change holds as long
as the planner, asked again, plans it from the same evidence; whatever happened to others does not
matter. So a plan has no version that a change somewhere in a tenant of 100,000 would make stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from azsyncd.engine.figures import change_row
from azsyncd.errors import AzsyncdError
from azsyncd.model.accounts import Account, TargetGroup, differences, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason, Withheld
from azsyncd.operations import ChangeRow
from azsyncd.plan.order import is_step, leaves, names_of, takes
from azsyncd.plan.policy import Mode
from azsyncd.state import codec, links, mirror, nesting, questions, spill
from azsyncd.state.holds import Item
from azsyncd.state.spill import Planned
from azsyncd.state.standing import Standing, standing
from azsyncd.state.store import Connection

FORMAT = "azsyncd-plan"
VERSION = 1
"""Another version is refused: what it says might be read wrongly."""

MEMBERSHIPS = (Kind.ADD_MEMBER, Kind.REMOVE_MEMBER)
CHILDREN = (Kind.ADD_CHILD, Kind.REMOVE_CHILD)
_MAKE = (Kind.CREATE, Kind.ADOPT, Kind.CREATE_GROUP, Kind.ADOPT_GROUP)

Key = tuple[str, str, str, str]
"""(kind, object, group, foreign account): what a change is about, in names that are not the
database's."""


def key_of(change: Change) -> Key:
    """What a change is about."""
    return change.kind.value, change.object_id or "", change.group_id or "", change.akey


# Evidence -----------------------------------------------------------------------------------------


def evidence_of(db: Connection, planned: Planned, now: Standing) -> dict[str, Any]:
    """What a change was planned from: of its sides that which it would write, so that another
    change of the same account does not void it (as for holds, rule 38)."""
    change = planned.change
    _, _, before, after = codec.load(codec.change_digest(change))
    account = now.account.key if now.account is not None else None
    group = (now.group.key or now.group.name) if now.group is not None else None
    if change.kind is Kind.ADOPT and isinstance(change.before, Account):
        account = change.before.key
    if change.kind is Kind.ADOPT_GROUP and isinstance(change.before, TargetGroup):
        group = change.before.key or change.before.name
    found: dict[str, Any] = {
        "desired": _digest(after),
        "observed": _digest(before),
        "account": account,
        "group": group,
    }
    if change.kind in CHILDREN:
        found["account"] = now.child.key if now.child is not None else None
        found["edge"] = nesting.stands(db, now.g, now.c)
    if change.kind in MEMBERSHIPS:
        found["edge"] = links.edge_stands(db, now.g, now.a)
    return found


def _digest(side: object) -> str | None:
    return None if side is None else hashlib.sha256(codec.dump(side).encode()).hexdigest()


def saved_changes(db: Connection, t: int, mode: Mode) -> list[dict[str, Any]]:
    """What `plan` says would be written, each change with its evidence. Of a target in `manual`
    mode that is everything that no guard withholds: to apply it is the approval (rule 40)."""
    found = []
    for planned in spill.rows(db, t):
        item, change = planned.item, planned.change
        sent = planned.held is None or (mode is Mode.MANUAL and planned.held == Withheld.MODE)
        if not sent or is_step(change):
            continue
        found.append(
            {
                "change": change.kind.value,
                "reason": change.reason.value,
                "object_id": change.object_id,
                "group_id": change.group_id,
                "account_key": change.account_key,
                "name": _name_of(db, planned),
                "group": questions.name_of(db, item.gn) if item.gn else None,
                "before": codec.side_to_dict(change.before),
                "after": codec.side_to_dict(change.after),
                "evidence": evidence_of(db, planned, standing(db, t, planned)),
            }
        )
    return found


def _name_of(db: Connection, planned: Planned) -> str:
    if planned.change.object_id is not None:
        return questions.name_of(db, planned.item.n)
    return str(getattr(planned.change.before, "username", "") or planned.item.akey)


# The file -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saved:
    """One change of a file."""

    change: Change
    name: str
    group: str | None
    evidence: Mapping[str, Any]

    @property
    def key(self) -> Key:
        return key_of(self.change)


@dataclass(frozen=True, slots=True)
class SavedTarget:
    """What a file says of one target."""

    name: str
    fingerprint: str | None
    changes: tuple[Saved, ...]


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A file that was read."""

    made_at: str
    tenant_id: str
    instance: str
    targets: tuple[SavedTarget, ...]


def read_plan(document: Any) -> SavedPlan:
    """The plan of a file. Raises AzsyncdError, with what is wrong, for anything else."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise AzsyncdError("this is no plan of azsyncd's", "azsyncd plan --out FILE makes one")
    if document.get("version") != VERSION:
        raise AzsyncdError(
            f"this plan has format {document.get('version')!r}; this azsyncd reads {VERSION}",
            "make a new one with this version: azsyncd plan --out FILE",
        )
    try:
        return SavedPlan(
            str(document["made_at"]),
            str(document["tenant_id"]),
            str(document["instance"]),
            tuple(
                SavedTarget(
                    str(each["target"]),
                    each["fingerprint"],
                    tuple(_change(row) for row in each["changes"]),
                )
                for each in document["targets"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AzsyncdError(
            f"this plan is damaged: {type(error).__name__}: {error}",
            "make a new one: azsyncd plan --out FILE",
        ) from error


def _change(row: Mapping[str, Any]) -> Saved:
    change = Change(
        kind=Kind(row["change"]),
        reason=Reason(row["reason"]),
        object_id=row["object_id"],
        group_id=row["group_id"],
        account_key=row["account_key"],
        before=codec.side_of(row["before"]),
        after=codec.side_of(row["after"]),
        phase=Phase.BLOCK,  # where it goes is planned anew
    )
    evidence = row["evidence"]
    if not isinstance(evidence, dict):
        raise TypeError("a change without evidence")
    return Saved(change, str(row["name"]), row["group"], evidence)


# What still holds ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Chosen:
    """The changes of a file for one target, while they are sent: what becomes of each."""

    t: int
    wanted: dict[Key, Saved]
    mode: Mode
    done: set[Key] = field(default_factory=set)
    refused: set[Key] = field(default_factory=set)
    already: set[Key] = field(default_factory=set)
    moved: dict[Key, str] = field(default_factory=dict)
    others: int = 0
    """Changes that are planned and not in the file, when it was looked last."""

    @classmethod
    def of(cls, t: int, changes: Sequence[Saved], mode: Mode) -> Chosen:
        """Nothing is sent yet."""
        return cls(t, {saved.key: saved for saved in changes}, mode)

    def numbers(self, db: Connection) -> list[int]:
        """The objects of the file that are known."""
        ids = {saved.change.object_id or saved.change.group_id for saved in self.wanted.values()}
        found = [mirror.number_of(db, each) for each in sorted(filter(None, ids))]
        return [n for n in found if n is not None]

    def observe(self, planned: Planned, outcome: str) -> None:
        """A change of the file was answered."""
        (self.done if outcome == "done" else self.refused).add(key_of(planned.change))

    def choose(self, db: Connection) -> None:
        """Of what is planned now, let through what the file says, on the same evidence, and
        nothing else. Whoever applies it has seen it: it spends no allowance (rule 37)."""
        left = {k: s for k, s in self.wanted.items() if k not in self.done | self.refused}
        planned: dict[Key, Planned] = {}
        steps: dict[int, list[int]] = {}
        for row in spill.of_objects(db, self.t, self.numbers(db)):
            if is_step(row.change):
                steps.setdefault(row.item.n, []).append(row.seq)
            else:
                planned[key_of(row.change)] = row
        self.moved.clear()
        chosen: dict[Key, Planned] = {}
        for key, saved in left.items():
            found = planned.get(key)
            why = self._moved(db, saved, found)
            if why is None and found is not None:
                chosen[key] = found
            elif why:
                self.moved[key] = why
        self._without_followers(db, chosen)
        self._without_ground(db, chosen)
        self.others = spill.hold_all(db, self.t, Withheld.MODE)
        renamed = [row.item.n for row in chosen.values() if row.change.kind is Kind.RENAME]
        seqs = [row.seq for row in chosen.values()]
        seqs += [seq for n in renamed for seq in steps.get(n, ())]
        spill.let_through(db, seqs)
        self.others -= len(seqs)

    def _moved(self, db: Connection, saved: Saved, row: Planned | None) -> str | None:
        """Why a change of the file does not hold any more; None = it does, "" = it is so now."""
        if row is None:
            if self._is_so(db, saved):
                self.already.add(saved.key)
                return ""
            return self._why_not_planned(db, saved)
        change = row.change
        if change.reason is not saved.change.reason:
            return f"the reason is {change.reason.value} now, and was {saved.change.reason.value}"
        now = evidence_of(db, row, standing(db, self.t, row))
        for side, was, is_ in (
            ("desired", saved.change.after, change.after),
            ("observed", saved.change.before, change.before),
        ):
            if now[side] != saved.evidence.get(side):
                return _difference(side, codec.side_to_dict(was), codec.side_to_dict(is_))
        for what in ("account", "group", "edge"):
            was = saved.evidence.get(what)
            # It came into being since.
            made_by_us = was is None and change.kind in (*MEMBERSHIPS, *CHILDREN)
            if not made_by_us and now.get(what) != was:
                return f"it is about another {what} now: {now.get(what)}, and was {was}"
        if row.held == Withheld.REJECTED:
            return "somebody has rejected it since"
        if row.held == Withheld.MODE and self.mode is not Mode.MANUAL:
            return f"mode: {self.mode.value} does not write it"
        return None

    def _why_not_planned(self, db: Connection, saved: Saved) -> str:
        object_id = saved.change.object_id or saved.change.group_id
        n = mirror.number_of(db, object_id) if object_id else None
        if n is None:
            return "it is not known in Entra any more"
        group = mirror.number_of(db, saved.change.group_id) if saved.change.group_id else 0
        rows = questions.waiting_of(db, self.t, n)
        same = [r for r in rows if (r["change"], r["gn"]) == (saved.change.kind.value, group)]
        for row in same or [r for r in rows if not r["change"]]:
            if row["reason"] != Withheld.GRACE:
                said = " — ".join(part for part in (row["detail"], row["hint"]) if part)
                return f"withheld now ({row['reason'].replace('_', ' ')}): {said}"
        return "it is not wanted any more"

    def _is_so(self, db: Connection, saved: Saved) -> bool:
        """Whether the product is already as the change would have made it."""
        change = saved.change
        object_id = change.object_id or change.group_id
        n = mirror.number_of(db, object_id) if object_id else None
        gn = mirror.number_of(db, change.group_id) if change.group_id else 0
        if n is None or gn is None:
            return False
        akey = saved.key[3]
        now = standing(db, self.t, Planned(0, Item(n, gn, akey, change), None, False, None))
        account, after = now.account, change.after
        match change.kind:
            case Kind.ADD_MEMBER:
                return links.edge_stands(db, now.g, now.a) is not None
            case Kind.REMOVE_MEMBER:
                return now.group is not None and links.edge_stands(db, now.g, now.a) is None
            case Kind.ADD_CHILD:
                return nesting.stands(db, now.g, now.c) is not None
            case Kind.REMOVE_CHILD:
                return now.group is not None and nesting.stands(db, now.g, now.c) is None
            case Kind.CREATE_GROUP | Kind.ADOPT_GROUP:
                return now.group is not None
            case Kind.DELETE | Kind.DELETE_GROUP:
                return now.link is None
        if account is None or not isinstance(after, Account):
            return False
        match change.kind:
            case Kind.UPDATE:
                return not differences(account, after)
            case Kind.RENAME:
                return takes(change) <= names_of(account)
            case Kind.DEACTIVATE | Kind.REACTIVATE:
                return account.active == after.active
            case Kind.CREATE | Kind.ADOPT:
                return fold(account.username) == fold(after.username) and bool(account.active)
        return False

    def _without_followers(self, db: Connection, chosen: dict[Key, Planned]) -> None:
        """A rename to a name that somebody has whose own rename is not among them would only be
        refused, or stop a swap half-way."""
        owners = {
            name: key_of(row.change)
            for row in spill.renames(db, self.t)
            if not is_step(row.change)
            for name in leaves(row.change)
        }
        while True:
            stuck = [
                key
                for key, row in chosen.items()
                if row.change.kind is Kind.RENAME
                and any(name in owners and owners[name] not in chosen for name in takes(row.change))
            ]
            if not stuck:
                return
            for key in stuck:
                self.moved[key] = "its new name is not free: another rename must go first"
                del chosen[key]

    def _without_ground(self, db: Connection, chosen: dict[Key, Planned]) -> None:
        """A membership whose account or group is to be made by a change that moved would only be
        refused."""
        made = {row.item.n for row in chosen.values() if row.change.kind in _MAKE}
        for key, row in list(chosen.items()):
            evidence = self.wanted[key].evidence
            if row.change.kind not in (*MEMBERSHIPS, *CHILDREN) or None not in (
                evidence.get("account"),
                evidence.get("group"),
            ):
                continue
            now = standing(db, self.t, row)
            one = now.child if row.change.kind in CHILDREN else now.account
            for stands, n, what in (
                (one, row.item.n, "account"),
                (now.group, row.item.gn, "group"),
            ):
                if stands is None and n not in made:
                    self.moved[key] = f"the {what} is not made by what still holds of this file"
                    chosen.pop(key, None)

    # Afterwards -----------------------------------------------------------------------------------

    def unsent(self, db: Connection) -> Iterator[tuple[Saved, str]]:
        """What held, and was not sent all the same: with why, as far as somebody said so."""
        answered = self.done | self.refused | self.already | self.moved.keys()
        for key, saved in self.wanted.items():
            if key not in answered:
                why = self._why_not_planned(db, saved)
                yield saved, "" if why == "it is not wanted any more" else why


_WORDS = {"desired": "wanted", "observed": "in the product"}


def _difference(side: str, was: Mapping[str, Any] | None, is_: Mapping[str, Any] | None) -> str:
    """`wanted: email is 'b@x' now, and was 'a@x'`."""
    old, new = was or {}, is_ or {}
    names = [n for n in (*old, *new) if n not in ("mark", "key") and old.get(n) != new.get(n)]
    if not names:
        return f"{_WORDS[side]}: it is not as it was"
    first = names[0]
    more = f" (and {len(set(names)) - 1} more)" if len(set(names)) > 1 else ""
    return f"{_WORDS[side]}: {first} is {new.get(first)!r} now, and was {old.get(first)!r}{more}"


def row_of(target: str, saved: Saved, detail: str, hint: str = "") -> ChangeRow:
    """A change of a file as a row."""
    return change_row(
        target, saved.change, name=saved.name, group=saved.group, detail=detail, hint=hint
    )
