"""What should be, before anybody looks at the target: in scope? as whom? or a leaver?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from azsyncd.model.accounts import Account, InvalidValue
from azsyncd.model.changes import Reason, Withheld
from azsyncd.model.identities import ObjectId, Presence, User
from azsyncd.plan.desk import Desk
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.plan.scope import Verdict


class Kind(StrEnum):
    """What is wished for a user in a target."""

    ACCOUNT = "account"  # an account like `account`
    GONE = "gone"  # a leaver: whatever the policy says, if there is an account of ours
    HANDS_OFF = "hands_off"  # excluded: left exactly as it is
    UNDECIDED = "undecided"  # nothing is created, changed or removed


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish and its evidence. `why` is one line for people.

    With HANDS_OFF and UNDECIDED, `account` is what she would be, as far as that can be worked out.

    `inactive` is set with UNDECIDED and LEFT_SCOPE when Entra surely says that the account must not
    be used, whatever is in doubt otherwise: a positive fact waits for nothing (rule 2).

    With UNDECIDED, `withheld` says which kind of doubt; `by_absence` if she was found nowhere, and
    only the scope is in doubt (rule 11): that concerns who has an account.
    """

    kind: Kind
    why: str
    account: Account | None = None
    reason: Reason = Reason.NEW
    withheld: Withheld = Withheld.UNDECIDED
    inactive: bool = False
    by_absence: bool = False


def wish_for(user: User, groups: frozenset[ObjectId], desk: Desk) -> Wish:
    """Judge scope, then map."""
    if not user.properties:
        return Wish(Kind.UNDECIDED, "Entra has shown nothing but the id of this user so far")
    if (why := desk.let_go.get(user.id)) is not None:
        return Wish(Kind.HANDS_OFF, why, account=_as_far_as_known(user, desk))
    verdict = desk.users.verdict(user, groups, desk.scope)
    if verdict.verdict is Verdict.EXCLUDED:
        return Wish(Kind.HANDS_OFF, verdict.why, account=_as_far_as_known(user, desk))
    if user.presence is not Presence.PRESENT:
        how = "deleted" if user.presence is Presence.SOFT_DELETED else "deleted for good"
        return Wish(Kind.GONE, f"{how} in Entra", reason=Reason.DELETED)
    if verdict.verdict is Verdict.UNDECIDED:
        absent = desk.scope.uncertain is not None and verdict.why == desk.scope.uncertain
        account = _as_far_as_known(user, desk)
        shut = not verdict.may_be_excluded and _surely_inactive(user, desk)
        return Wish(Kind.UNDECIDED, verdict.why, account=account, inactive=shut, by_absence=absent)
    if verdict.verdict is Verdict.OUT:
        shut = _surely_inactive(user, desk)
        return Wish(Kind.GONE, verdict.why, reason=Reason.LEFT_SCOPE, inactive=shut)
    return _mapped(user, verdict.why, desk)


def _as_far_as_known(user: User, desk: Desk) -> Account | None:
    try:
        return desk.mapping.account(user)
    except (Unread, ExpressionFailed, InvalidValue):
        return None


def _surely_inactive(user: User, desk: Desk) -> bool:
    try:
        return not desk.mapping.active(user)
    except (Unread, ExpressionFailed):
        return False


def _mapped(user: User, why: str, desk: Desk) -> Wish:
    try:
        inactive = not desk.mapping.active(user)
    except (Unread, ExpressionFailed) as error:
        return Wish(Kind.UNDECIDED, f"accounts.active: {error}")
    try:
        account = desk.mapping.account(user)
    except (Unread, ExpressionFailed) as error:
        return Wish(Kind.UNDECIDED, str(error), inactive=inactive)
    except InvalidValue as error:
        return Wish(Kind.UNDECIDED, str(error), withheld=Withheld.INVALID_VALUE, inactive=inactive)
    return Wish(Kind.ACCOUNT, why, account=account)
