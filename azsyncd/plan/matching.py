"""Whose account it is: which one to adopt, when to create, when to keep hands off (rules 16 to 23).

wanted name   address       →  match
───────────   ───────────      ────────────────────────────────────────────────────────────────
any           any              our mark for her: hers, whatever it is called (a database was lost)
an administrator's             protected: never adopted (rule 20)
nobody's      (as adopt asks)  adopt
nobody's      adopt: never     conflict: somebody else's account has the name
another's     whose owner      create, after the owner's rename has freed the name
              wants another
another's     whose owner is   take it over, if `rehire` allows; else conflict
              gone from Entra
another's                      conflict
nobody has it two have the     conflict: never guess
              address
nobody has it                  create
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from azsyncd.model.accounts import Account, fold
from azsyncd.model.changes import Withheld
from azsyncd.model.identities import User
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import NameFacts, Standing


class Match(StrEnum):
    """What to do about an object that has no account yet."""

    CREATE = "create"
    ADOPT = "adopt"
    REHIRE = "rehire"  # adopt, and the old owner loses the link
    NONE = "none"  # withheld


@dataclass(frozen=True, slots=True)
class Matched:
    """A match; `standing` for ADOPT and REHIRE, `withheld` and `why` for NONE."""

    match: Match
    standing: Standing | None = None
    withheld: Withheld = Withheld.CONFLICT
    why: str = ""
    hint: str = ""


def match(
    user: User, wanted: Account, names: NameFacts, desk: Desk, *, known: bool = False
) -> Matched:
    """Decide for a user without an account. `known`: she had one, which somebody deleted: she is
    no successor of anybody."""
    if why := desk.protects_user(wanted.username):
        return Matched(Match.NONE, withheld=Withheld.PROTECTED, why=f"{wanted.username}: {why}")
    ours = marked_ours(user, names, desk)
    if len(ours) > 1:
        called = ", ".join(each.account.username for each in ours[:3])
        return Matched(
            Match.NONE,
            why=f"{len(ours)} accounts carry our mark for her ({called})",
            hint="azsyncd link WHO ACCOUNT --target NAME says which one is hers",
        )
    if ours:
        return Matched(Match.ADOPT, ours[0])
    if names.rivals:
        others = ", ".join(names.rivals[:3])
        return Matched(
            Match.NONE,
            why=f"{len(names.rivals) + 1} users want the username {wanted.username!r} ({others})",
            hint="change the UPN of one, the username template, or exclude one",
        )
    if desk.capabilities.unique_emails and names.mail_rivals:
        return _shared_mail(wanted, names, "change the mail of one, or exclude one")
    adopt = desk.policy.accounts.adopt
    if adopt == "email":
        return _by_mail(user, wanted, names, desk, known)
    standing = names.under_name
    if standing is None:
        return Matched(Match.CREATE)
    if standing.owner is not None:
        return _taken(user, wanted, standing, desk, known)
    if adopt == "username":
        return _adoptable(user, standing, desk)
    if adopt == "username_and_email":
        if _same_mail(standing.account, wanted):
            return _adoptable(user, standing, desk)
        return _occupied(wanted, "and another e-mail address")
    return _occupied(wanted, "and adopt is never")


def marked_ours(user: User, names: NameFacts, desk: Desk) -> tuple[Standing, ...]:
    """The accounts that nobody has and that carry our mark for this very object: no policy is
    needed to know them again."""
    standings = (*names.under_mark, names.under_name, *names.under_mail)
    found: dict[str, Standing] = {}
    for standing in standings:
        if standing is not None and standing.owner is None and is_marked(standing, user, desk):
            found.setdefault(standing.account.key or standing.account.username, standing)
    return tuple(found.values())


def is_marked(standing: Standing, user: User, desk: Desk) -> bool:
    """Whether an account carries the mark of this instance for this user."""
    mark = standing.account.mark
    if mark is None or mark.instance != desk.instance:
        return False
    return fold(mark.object_id) == fold(user.id)


def _by_mail(user: User, wanted: Account, names: NameFacts, desk: Desk, known: bool) -> Matched:
    if user.properties.get("userType") == "Guest":
        free: tuple[Standing, ...] = ()  # by mail never a guest (rule 20)
    else:
        free = tuple(s for s in names.under_mail if s.owner is None)
    if len(free) > 1:
        return Matched(
            Match.NONE,
            why=f"{len(free)} accounts have the address {wanted.email!r}",
            hint="azsyncd link WHO ACCOUNT --target NAME says which one is hers",
        )
    if free and names.mail_rivals:
        hint = "azsyncd link WHO ACCOUNT --target NAME says whose account it is"
        return _shared_mail(wanted, names, hint)
    if free:
        return _adoptable(user, free[0], desk)
    standing = names.under_name
    if standing is None:
        return Matched(Match.CREATE)
    if standing.owner is not None:
        return _taken(user, wanted, standing, desk, known)
    return _occupied(wanted, "and another e-mail address")


def _shared_mail(wanted: Account, names: NameFacts, hint: str) -> Matched:
    others = ", ".join(names.mail_rivals[:3])
    number = len(names.mail_rivals) + 1
    why = f"{number} users have the address {wanted.email!r} ({others})"
    return Matched(Match.NONE, why=why, hint=hint)


def _adoptable(user: User, standing: Standing, desk: Desk) -> Matched:
    account = standing.account
    if (refused := _protected(standing, desk)) is not None:
        return refused
    if why := desk.foreign_mark(account, user.id):
        return Matched(
            Match.NONE,
            withheld=Withheld.NOT_OWNED,
            why=f"the account {account.username!r} is not adopted: {why}",
            hint="two azsyncd write to this product, or give this one its own scope",
        )
    return Matched(Match.ADOPT, standing)


def _protected(standing: Standing, desk: Desk) -> Matched | None:
    name = standing.account.username
    why = desk.protects_user(name)
    if why is None and standing.administers:
        why = "it is in an administrators' group"
    if why is None:
        return None
    hint = "such accounts are never touched; if this is wrong, take it out of that group"
    return Matched(Match.NONE, withheld=Withheld.PROTECTED, why=f"{name}: {why}", hint=hint)


def _taken(user: User, wanted: Account, standing: Standing, desk: Desk, known: bool) -> Matched:
    if standing.wants is not None and fold(standing.wants) != fold(wanted.username):
        if desk.capabilities.renames_accounts and desk.policy.accounts.rename:
            return Matched(Match.CREATE)
    elif standing.gone and not known and _rehire_allowed(user, standing, desk):
        if standing.owner is not None and desk.users.excludes(standing.owner, desk.scope):
            why = f"the account {wanted.username!r} is {standing.owner}'s, whom the scope excludes"
            hint = "take her out of scope.users.exclude, or azsyncd unlink her"
            return Matched(Match.NONE, why=why, hint=hint)
        return _protected(standing, desk) or Matched(Match.REHIRE, standing)
    return Matched(
        Match.NONE,
        why=f"the username {wanted.username!r} belongs to the account of {standing.owner}",
        hint=(
            "accounts.rehire decides whether a new object takes over the account of an old one"
            if standing.gone and not known
            else "it becomes free when that one is renamed or deleted"
        ),
    )


def _rehire_allowed(user: User, standing: Standing, desk: Desk) -> bool:
    """Rule 23."""
    rule = desk.policy.accounts.rehire
    if rule == "never":
        return False
    if standing.gone == "purged":
        return True
    employee = user.properties.get("employeeId")
    return rule == "deleted" and bool(employee) and employee == standing.owner_employee


def _occupied(wanted: Account, rest: str) -> Matched:
    return Matched(
        Match.NONE,
        why=f"an account that azsyncd does not own has the username {wanted.username!r} {rest}",
        hint="accounts.adopt decides what is taken over; azsyncd link does it for one",
    )


def _same_mail(account: Account, wanted: Account) -> bool:
    return bool(account.email and wanted.email) and fold(account.email or "") == fold(
        wanted.email or ""
    )


def is_ours(sent: Account, found: Account, owner: str, instance: str) -> bool:
    """Whether the account that stands under the name that was sent is the one that we created
    and whose answer was lost (rule 18): our mark, or, where no mark is possible, equality with all
    that was sent and can be read."""
    if found.mark is not None:
        return found.mark.instance == instance and found.mark.object_id == owner
    same_mail = found.email is None or fold(found.email) == fold(sent.email or "")
    same_name = found.display_name is None or found.display_name == sent.display_name
    return fold(found.username) == fold(sent.username) and same_mail and same_name


def is_same(known: Account, found: Account, owner: str, instance: str) -> bool:
    """Whether the account that was read by the id of one that we lost sight of is that one. Where
    the id is the name, another may have been made under it since."""
    if found.mark is None and known.key not in (None, fold(known.username)):
        return True
    return is_ours(known, found, owner, instance)
