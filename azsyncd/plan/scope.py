"""Who is in scope, and who says so (rules 9 to 13).

Three answers are kept apart: in, out, and *undecided*. Undecided never reads as out: nothing is
created, changed or removed because of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache

from azsyncd.model.accounts import fold
from azsyncd.model.identities import Group, ObjectId, Presence, User
from azsyncd.plan.expressions import Expression, ExpressionFailed, Unread
from azsyncd.plan.policy import Entry, GroupScope, Scope, UserScope

Matcher = Callable[[Group], bool]


class Verdict(StrEnum):
    """What a scope says of a user or group."""

    IN = "in"
    OUT = "out"
    EXCLUDED = "excluded"  # hands off: neither created nor changed nor removed (rule 9)
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class UserVerdict:
    """A verdict with its evidence; `member_of` are the scope's groups that she was found in.
    `may_be_excluded`: undecided is whether she is left alone altogether (rule 9)."""

    verdict: Verdict
    why: str
    member_of: frozenset[ObjectId] = frozenset()
    may_be_excluded: bool = False


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """A verdict with its evidence; `entry` is the `Entry.key` that decided, if one did."""

    verdict: Verdict
    why: str
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class ScopeFacts:
    """What the scope's entries mean at the moment.

    `member_of`: the groups that the `members_of` entries name now. `uncertain`: why one of these
    entries cannot be trusted (rule 11). `excluded`: the ids pinned by excludes by UPN (rule 9).
    """

    member_of: frozenset[ObjectId] = frozenset()
    uncertain: str | None = None
    excluded: frozenset[ObjectId] = field(default_factory=frozenset)


# Groups ---------------------------------------------------------------------------------------


class Entries:
    """Entries that name groups, compiled."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._matchers = {entry: _matcher(entry) for entry in self.entries}
        self.properties: frozenset[str] = frozenset().union(
            *(
                Expression(entry.where, "group").properties
                for entry in entries
                if entry.where is not None
            )
        )

    def matches(self, entry: Entry, group: Group) -> bool:
        """Whether one of the entries names this group; raises Unread and ExpressionFailed.

        Groups that are gone from Entra are named by nothing.
        """
        return group.presence is Presence.PRESENT and self._matchers[entry](group)


def _matcher(entry: Entry) -> Matcher:
    if entry.id is not None:
        wanted = entry.id.lower()
        return lambda group: group.id == wanted
    if entry.where is not None:
        expression = Expression(entry.where, "group")
        return lambda group: expression({**group.properties, "id": group.id})
    by_name = _by_regex(entry.regex) if entry.name is None else _by_glob(entry.name)
    if entry.type == "any":
        return by_name
    return lambda group: by_name(group) and _is_security(group)


def _by_glob(glob: str) -> Matcher:
    folded = fold(glob)
    pattern = re.compile(translate(folded))

    def matches(group: Group) -> bool:
        name = fold(_display_name(group))
        return name == folded or pattern.match(name) is not None

    return matches


def _by_regex(regex: str | None) -> Matcher:
    pattern = re.compile(regex or "")
    return lambda group: pattern.fullmatch(_display_name(group)) is not None


def _display_name(group: Group) -> str:
    return str(_read(group.properties, "displayName") or "")


def _is_security(group: Group) -> bool:
    """Rule 12: names select only security groups, for every employee can create the others."""
    for name in ("securityEnabled", "groupTypes"):
        _read(group.properties, name)
    return group.is_security


def _read(properties: Mapping[str, object], name: str) -> object:
    if name not in properties:
        raise Unread(name)
    return properties[name]


class GroupRule:
    """Which groups are written."""

    def __init__(self, scope: GroupScope) -> None:
        self._include = Entries(scope.include)
        self._exclude = Entries([excluding(entry) for entry in scope.exclude])
        self.properties = self._include.properties | self._exclude.properties

    def verdict(self, group: Group) -> GroupVerdict:
        """Excludes go first, also for a group that is gone; then one match is enough."""
        present = Group(group.id, group.properties)
        excluded = self._judge(self._exclude, present)
        if excluded.verdict is Verdict.IN:
            return GroupVerdict(
                Verdict.EXCLUDED, f"named by groups.exclude ({excluded.entry})", excluded.entry
            )
        if excluded.verdict is Verdict.UNDECIDED:
            return GroupVerdict(Verdict.UNDECIDED, f"groups.exclude: {excluded.why}")
        if group.presence is not Presence.PRESENT:
            return GroupVerdict(Verdict.OUT, "deleted in Entra")
        included = self._judge(self._include, group)
        if included.verdict is Verdict.IN:
            return GroupVerdict(
                Verdict.IN, f"named by groups.include ({included.entry})", included.entry
            )
        if included.verdict is Verdict.UNDECIDED:
            return GroupVerdict(Verdict.UNDECIDED, f"groups.include: {included.why}")
        return GroupVerdict(Verdict.OUT, self._why_out(group))

    def _judge(self, entries: Entries, group: Group) -> GroupVerdict:
        doubt = ""
        for entry in entries.entries:
            try:
                if entries.matches(entry, group):
                    return GroupVerdict(Verdict.IN, "", entry.key)
            except (Unread, ExpressionFailed) as error:
                doubt = doubt or f"{entry.key}: {error}"
        return GroupVerdict(Verdict.UNDECIDED if doubt else Verdict.OUT, doubt)

    def _why_out(self, group: Group) -> str:
        """Says so where only the type of the group is in the way: nobody guesses that."""
        if not self._include.entries:
            return "groups.include is empty"
        if group.is_security:
            return "named by no entry of groups.include"
        for entry in self._include.entries:
            anyway = entry.model_copy(update={"type": "any"})
            if entry.type == "security" and (entry.name or entry.regex) and _cached(anyway)(group):
                return (
                    f"({entry.key}) names security groups only, and this is none; "
                    "add `type: any` to take it"
                )
        return "named by no entry of groups.include"


@lru_cache(maxsize=256)
def _cached(entry: Entry) -> Matcher:
    return _matcher(entry)


def excluding(entry: Entry | str) -> Entry:
    """An entry of `exclude`: hands off is meant widely: of any type; plain text is an object id
    or a name."""
    if isinstance(entry, Entry):
        return entry.model_copy(update={"type": "any"})
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", entry):
        return Entry(id=entry)
    return Entry(name=entry, type="any")


# Users ----------------------------------------------------------------------------------------


class UserRule:
    """Which users have an account. Every condition that is given must hold."""

    def __init__(self, scope: UserScope) -> None:
        self._where = None if scope.where is None else Expression(scope.where, "user")
        self._members_of = scope.members_of is not None
        self._any = scope.everybody or self._members_of or self._where is not None
        self._exclude = frozenset(fold(name) for name in scope.exclude)
        self._has_upns = any("@" in name for name in self._exclude)
        self.properties = frozenset() if self._where is None else self._where.properties

    def verdict(self, user: User, groups: frozenset[ObjectId], facts: ScopeFacts) -> UserVerdict:
        """`groups` are all groups she is in, at any depth. Whether she is still in Entra is not
        asked here."""
        if (excluded := self._excluded(user, facts)) is not None:
            return excluded
        if not self._any:
            return UserVerdict(Verdict.OUT, "scope.users names nobody")
        by_where, why_where = self._by_where(user)
        if by_where is Verdict.OUT:
            return UserVerdict(Verdict.OUT, why_where)
        found = groups & facts.member_of
        if self._members_of and not found:
            if facts.uncertain is not None:
                return UserVerdict(Verdict.UNDECIDED, facts.uncertain)
            return UserVerdict(Verdict.OUT, "in none of the groups of scope.users.members_of")
        if by_where is Verdict.UNDECIDED:
            return UserVerdict(Verdict.UNDECIDED, why_where, found)
        return UserVerdict(Verdict.IN, self._why_in(found, why_where), found)

    def excludes(self, id_: ObjectId, facts: ScopeFacts) -> bool:
        """Whether an object is excluded by its id, whatever it is called by now."""
        return id_ in facts.excluded or fold(id_) in self._exclude

    def evidence(
        self, user: User, groups: frozenset[ObjectId], facts: ScopeFacts
    ) -> tuple[tuple[str, str, str], ...]:
        """What each rule of the scope says by itself: (rule, verdict, why), for `explain`."""
        excluded = self._excluded(user, facts)
        told = []
        if excluded is not None:
            told.append(("exclude", excluded.verdict.value, excluded.why))
        elif self._exclude or facts.excluded:
            told.append(("exclude", "no", "not named there"))
        if self._where is not None:
            verdict, why = self._by_where(user)
            told.append(("where", verdict.value, why))
        if self._members_of:
            found = groups & facts.member_of
            if found:
                told.append(("members_of", Verdict.IN.value, self._why_in(found, "")))
            elif facts.uncertain is not None:
                told.append(("members_of", Verdict.UNDECIDED.value, facts.uncertain))
            else:
                told.append(("members_of", Verdict.OUT.value, "in none of these groups"))
        if not told:
            told.append(("everybody", "in" if self._any else "out", ""))
        return tuple(told)

    def _excluded(self, user: User, facts: ScopeFacts) -> UserVerdict | None:
        if self.excludes(user.id, facts):
            return UserVerdict(Verdict.EXCLUDED, "named by scope.users.exclude")
        if not self._has_upns:
            return None
        if "userPrincipalName" not in user.properties:
            why = f"scope.users.exclude: {Unread(_UPN)}"
            return UserVerdict(Verdict.UNDECIDED, why, may_be_excluded=True)
        if fold(str(user.properties[_UPN] or "")) in self._exclude:
            return UserVerdict(Verdict.EXCLUDED, "named by scope.users.exclude (UPN)")
        return None

    def _by_where(self, user: User) -> tuple[Verdict, str]:
        if self._where is None:
            return Verdict.IN, ""
        try:
            holds = self._where({**user.properties, "id": user.id})
        except (Unread, ExpressionFailed) as error:
            return Verdict.UNDECIDED, f"scope.users.where: {error}"
        source = self._where.source
        values = ", ".join(f"{n} = {v!r}" for n, v in self._where.values(user.properties))
        evidence = f"scope.users.where ({source}) is {str(holds).lower()}"
        return (
            Verdict.IN if holds else Verdict.OUT
        ), f"{evidence}: {values}" if values else evidence

    def _why_in(self, found: frozenset[ObjectId], why_where: str) -> str:
        reasons = []
        if found:
            count = "a group" if len(found) == 1 else f"{len(found)} groups"
            reasons.append(f"member of {count} of scope.users.members_of")
        if why_where:
            reasons.append(why_where)
        return "; ".join(reasons) or "scope.users.everybody"


_UPN = "userPrincipalName"


# A target's own scope -------------------------------------------------------------------------


def merged(common: Scope, own: Scope) -> Scope:
    """A target's scope: its own keys replace the common ones one by one, `exclude` adds up.

    `everybody: true` of its own also lifts the common conditions, which would narrow it again.
    """
    users, groups = own.users, own.groups
    given = {name: getattr(users, name) for name in users.model_fields_set - {"exclude"}}
    lifted = {"where": None, "members_of": None} if given.get("everybody") else {}
    return Scope(
        users=common.users.model_copy(
            update={
                **lifted,
                **given,
                "exclude": tuple(dict.fromkeys((*common.users.exclude, *users.exclude))),
            }
        ),
        groups=common.groups.model_copy(
            update={
                **({"include": groups.include} if "include" in groups.model_fields_set else {}),
                "exclude": tuple(dict.fromkeys((*common.groups.exclude, *groups.exclude))),
            }
        ),
    )
