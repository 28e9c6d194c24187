"""How it decides about one user: account and memberships.

 desired   current    link           →  change                   reason
 ───────   ───────    ─────────────     ──────────────────────   ──────────────────────────────
 yes       -          -                 create                   new (inactive: nothing)
 yes       -          live              create, same link        drift (after a second read),
                                                                 or returned
 yes       yes        - one match       adopt, then update if ≠  adopted
 yes       yes        - two match       -                        withheld: conflict, never guess
 yes       yes        live, name ≠      rename                   changed (cannot: unsupported)
 yes       yes        live, attrs ≠     update                   changed | drift
 disabled  active     live              deactivate               disabled
 enabled   inactive   live              reactivate               changed (if we deactivated it)
 -         yes        live              as accounts.leavers says left scope | deleted
 -         yes        -                 -                        not ours: never touched
 edges: wanted, absent → add · ours, not wanted → remove · foreign → kept (or removed, if
 configured) · frozen for leavers
Pending links are settled before planning, by reading the name that was sent (matching.is_ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from azsyncd.model.accounts import Account, differences, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason, Waiting, Withheld
from azsyncd.model.identities import ObjectId
from azsyncd.model.links import AccountLink, LinkState, Origin
from azsyncd.plan import edges
from azsyncd.plan.desk import Desk
from azsyncd.plan.facts import Standing, UserFacts
from azsyncd.plan.matching import Match, Matched, is_marked, marked_ours, match
from azsyncd.plan.wishes import Kind as WishKind
from azsyncd.plan.wishes import Wish, wish_for


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPlan:
    """What follows for one user.

    `judged`: memberships whose ownership is settled by this look (rule 21). `leaver`: True if she
    is one now, False if not, None if that cannot be said; the state keeps since when.
    `takes_over`: the old owner whose link ends because of a re-hire. `opened`: her account was
    stripped instead of deactivated, and may be used again.
    """

    changes: tuple[Change, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    judged: Mapping[ObjectId, bool] = field(default_factory=dict)
    leaver: bool | None = None
    stripped: tuple[ObjectId, ...] | None = None
    takes_over: ObjectId | None = None
    opened: bool = False


def plan_user(facts: UserFacts, desk: Desk, wish: Wish | None = None) -> UserPlan:
    """Decide for one user. `wish` may be given if it was made already."""
    wish = wish or wish_for(facts.user, facts.groups, desk)
    if wish.kind is WishKind.HANDS_OFF:
        return _hands_off(facts, wish)
    if wish.kind is WishKind.UNDECIDED:
        return _undecided(facts, wish, desk)
    if wish.kind is WishKind.GONE:
        return (
            _leaver(facts, facts.link, wish, desk) if facts.link else _stranded(facts, wish, desk)
        )
    wanted = wish.account
    assert wanted is not None
    if facts.link is None:
        return _newcomer(facts, wanted, desk, Reason.NEW)
    if facts.link.state is LinkState.PENDING:
        return UserPlan(leaver=False)  # settled before the next look
    if facts.account is None:
        gone = Reason.DRIFT if facts.link.left_at is None else Reason.RETURNED
        return _newcomer(facts, wanted, desk, gone)
    return _linked(facts, facts.link, facts.account, wanted, desk)


def _wait(
    facts: UserFacts, reason: Withheld, detail: str, hint: str = "", change: Change | None = None
) -> Waiting:
    return Waiting(object_id=facts.user.id, reason=reason, detail=detail, hint=hint, change=change)


def _change(
    facts: UserFacts,
    kind: Kind,
    reason: Reason,
    phase: Phase,
    before: Account | None,
    after: Account | None,
    rank: int = 0,
) -> Change:
    return Change(
        kind=kind,
        reason=reason,
        object_id=facts.user.id,
        before=before,
        after=after,
        phase=phase,
        rank=rank,
    )


def _hands_off(facts: UserFacts, wish: Wish) -> UserPlan:
    if facts.link is None:
        return UserPlan()
    return UserPlan(waiting=(_wait(facts, Withheld.EXCLUDED, wish.why),))


def _undecided(facts: UserFacts, wish: Wish, desk: Desk) -> UserPlan:
    """She keeps what she has; but one whom Entra has surely disabled is shut out (rule 27)."""
    if facts.link is None and wish.by_absence:
        return UserPlan()
    hint = "azsyncd explain shows which rule needs what"
    waiting = _wait(facts, wish.withheld, wish.why, hint)
    return _shut_out(facts, waiting, desk) if wish.inactive else UserPlan(waiting=(waiting,))


def _shut_out(facts: UserFacts, waiting: Waiting, desk: Desk) -> UserPlan:
    """Entra has disabled her, which waits for nothing (rule 2), whatever the rest waits for."""
    link, account = facts.link, facts.account
    if link is None or account is None:
        return UserPlan(waiting=(waiting,))
    account = _best_known(account, link)
    if why := desk.protects_user(account.username):
        protected = _wait(facts, Withheld.PROTECTED, f"{account.username}: {why}")
        return UserPlan(waiting=(waiting, protected))
    facts = replace(facts, account=account)
    shut = _deactivate(facts, link, account, Reason.DISABLED, Phase.BLOCK, desk)
    return UserPlan(changes=shut.changes, waiting=(waiting, *shut.waiting))


# Without an account -----------------------------------------------------------------------------


def _newcomer(facts: UserFacts, wanted: Account, desk: Desk, reason: Reason) -> UserPlan:
    """Nobody has an account for her (`reason` NEW), or somebody deleted it (DRIFT, rule 19), or
    did so by the time she came back (RETURNED): that is a leaver's account tidied up, no drift."""
    # Who comes back has left until her account stands, else this would be drift at the next look.
    here = None if reason is Reason.RETURNED else False
    found = match(facts.user, wanted, facts.names, desk, known=facts.link is not None)
    if found.match is Match.NONE and not wanted.active:
        return UserPlan(leaver=here)  # nothing would be made for her anyhow (rule 17)
    if found.match is Match.NONE:
        waiting = _wait(facts, found.withheld, found.why, found.hint)
        return UserPlan(waiting=(waiting,), leaver=here)
    if found.match is Match.CREATE:
        return _create(facts, wanted, desk, reason, here)
    return _adopt(facts, wanted, found, desk)


def _create(
    facts: UserFacts, wanted: Account, desk: Desk, reason: Reason, here: bool | None
) -> UserPlan:
    if not wanted.active:
        return UserPlan(leaver=here)  # nobody gets an account that would be inactive (rule 17)
    change = _change(facts, Kind.CREATE, reason, Phase.ACCOUNTS, None, wanted)
    if reason is Reason.DRIFT and desk.policy.drift == "report":
        detail = f"{wanted.username} was deleted by hand in the product"
        return UserPlan(waiting=(_wait(facts, Withheld.MODE, detail, "drift: report", change),))
    if not desk.capabilities.creates_accounts:
        return UserPlan(waiting=(_unsupported(facts, change, "creates_accounts", desk),))
    joined = edges.plan_edges(replace(facts, edges={}), desk)
    return UserPlan(
        changes=(change, *joined.changes),
        waiting=joined.waiting,
        judged=joined.judged,
        leaver=here,
    )


def _adopt(facts: UserFacts, wanted: Account, found: Matched, desk: Desk) -> UserPlan:
    standing = found.standing
    assert standing is not None
    account, reason = standing.account, Reason.ADOPTED
    rehired = found.match is Match.REHIRE
    link = AccountLink(
        object_id=facts.user.id,
        origin=facts.link.origin if facts.link else _origin(standing, facts, desk),
        state=LinkState.LIVE,
        key=account.key,
        written=account,
        deactivated=rehired and standing.deactivated,
    )
    known = replace(facts, link=link, account=account, edges=standing.edges)
    rest = _linked(known, link, account, wanted, desk, reason)
    # Before whatever follows of it: an account that is deactivated must be ours first.
    first = min((change.phase for change in rest.changes), default=Phase.ACCOUNTS)
    phase = min(first, Phase.ACCOUNTS)
    adopt = _change(facts, Kind.ADOPT, reason, phase, account, account, rank=-1)
    return replace(
        rest,
        changes=(adopt, *rest.changes),
        takes_over=standing.owner if rehired else None,
    )


def _origin(standing: Standing, facts: UserFacts, desk: Desk) -> Origin:
    """Who carries our mark for her was hers before: it follows her name again."""
    return Origin.CREATED if is_marked(standing, facts.user, desk) else Origin.ADOPTED


def _stranded(facts: UserFacts, wish: Wish, desk: Desk) -> UserPlan:
    """A leaver without a link. If an account carries our mark for her, a database was lost: whom
    Entra says to be deleted is shut out; who is merely out of scope is left to a person, for it
    may be another azsyncd of our name whose scope she is in."""
    nothing = UserPlan(leaver=True)
    ours = [each for each in marked_ours(facts.user, facts.names, desk) if each.account.active]
    if len(ours) != 1 or desk.protects_user(ours[0].account.username) or ours[0].administers:
        return nothing
    account = ours[0].account
    if wish.reason is not Reason.DELETED:
        detail = f"the account {account.username!r} carries our mark for her, and {wish.why}"
        hint = "azsyncd link WHO ACCOUNT --target NAME makes a leaver of her; or deactivate it"
        waiting = _wait(facts, Withheld.NOT_OWNED, detail, hint)
        return UserPlan(waiting=(waiting,), leaver=True)
    link = AccountLink(
        object_id=facts.user.id,
        origin=Origin.CREATED,
        state=LinkState.LIVE,
        key=account.key,
        written=account,
    )
    known = replace(facts, link=link, account=account, edges=ours[0].edges)
    rest = _leaver(known, link, wish, desk)
    first = min((change.phase for change in rest.changes), default=Phase.ACCOUNTS)
    phase = min(first, Phase.ACCOUNTS)
    adopt = _change(facts, Kind.ADOPT, Reason.ADOPTED, phase, account, account, rank=-1)
    return replace(rest, changes=(adopt, *rest.changes))


# With a link ------------------------------------------------------------------------------------


def _linked(
    facts: UserFacts,
    link: AccountLink,
    account: Account,
    wanted: Account,
    desk: Desk,
    reason: Reason | None = None,
) -> UserPlan:
    account = _best_known(account, link)
    facts = replace(facts, account=account)
    if why := desk.protects_user(account.username):
        waiting = _wait(facts, Withheld.PROTECTED, f"{account.username}: {why}")
        return UserPlan(waiting=(waiting,), leaver=False)
    parts = [
        _activity(facts, link, account, wanted, desk),
        _rename(facts, link, account, wanted, desk),
        _update(facts, link, account, wanted, desk, reason),
    ]
    if wanted.active or not account.active or _can_deactivate(facts, account, desk):
        parts.append(edges.plan_edges(facts, desk))
    # Else her groups are stripped instead of her account (rule 32), and none is given back.
    return UserPlan(
        changes=tuple(change for part in parts for change in part.changes),
        waiting=tuple(waiting for part in parts for waiting in part.waiting),
        judged={group: ours for part in parts for group, ours in part.judged.items()},
        leaver=False,
        stripped=() if link.stripped else None,
        opened=bool(
            wanted.active
            and link.deactivated
            and (desk.capabilities.strips_accounts or account.active)
        ),
    )


def _best_known(account: Account, link: AccountLink) -> Account:
    """What this product does not show is what we wrote last."""
    if account.email is None and link.written is not None:
        account = replace(account, email=link.written.email)
    if account.active is None:
        account = replace(account, active=not link.deactivated)
    return account


def _can_deactivate(facts: UserFacts, account: Account, desk: Desk) -> bool:
    able = desk.capabilities.deactivates_accounts
    return able and account.writable and not facts.blocked


Part = edges.Part


def _activity(
    facts: UserFacts, link: AccountLink, account: Account, wanted: Account, desk: Desk
) -> Part:
    if account.active == wanted.active:
        return Part()
    if not wanted.active:
        return _deactivate(facts, link, account, Reason.DISABLED, Phase.BLOCK, desk)
    change = _change(
        facts,
        Kind.REACTIVATE,
        Reason.RETURNED if link.left_at is not None else Reason.CHANGED,
        Phase.ACCOUNTS,
        account,
        replace(account, active=True),
        rank=1,
    )
    if not link.deactivated:
        change = replace(change, reason=Reason.DRIFT)
        if desk.policy.drift == "report":
            detail = f"{account.username} was deactivated in the product by somebody else"
            hint = "reactivate it there, or set drift: repair"
            return Part(waiting=(_wait(facts, Withheld.BLOCKED, detail, hint, change),))
    if not desk.capabilities.deactivates_accounts:
        return Part(waiting=(_unsupported(facts, change, "deactivates_accounts", desk),))
    if not account.writable:
        return Part(waiting=(_read_only(facts, account, change),))
    return Part(changes=(change,))


def _deactivate(
    facts: UserFacts,
    link: AccountLink,
    account: Account,
    reason: Reason,
    phase: Phase,
    desk: Desk,
) -> Part:
    change = _change(facts, Kind.DEACTIVATE, reason, phase, account, replace(account, active=False))
    if not account.active:
        return Part()
    if facts.last_admin:
        return Part(waiting=(edges.last_admin(facts, change, desk),))
    if _can_deactivate(facts, account, desk):
        return Part(changes=(change,))
    # Where an account cannot be deactivated its groups are stripped instead (rule 32).
    stripped = edges.strip(facts, desk, reason)
    judged = {**edges.follow_leaver(facts, desk).judged, **stripped.judged}
    changes = stripped.changes
    able = desk.capabilities
    still = able.strips_accounts and (facts.licensed or not link.deactivated)
    if still or (able.strips_licences and not link.deactivated):
        rights = _change(facts, Kind.STRIP, reason, phase, account, account)
        licences = desk.capabilities.licence_groups
        rest = (c for c in changes if c.group_id and _group(c.group_id, desk) not in licences)
        changes = (rights, *rest)
    if not desk.capabilities.deactivates_accounts:
        waiting = _unsupported(facts, change, "deactivates_accounts", desk)
    elif not account.writable:  # its groups may stand in another directory
        waiting = _read_only(facts, account, change)
    else:  # this one is refused: it is tried again, though
        return Part((change, *changes), stripped.waiting, judged)
    return Part(changes, (waiting, *stripped.waiting), judged)


def _group(group: ObjectId, desk: Desk) -> str:
    return fold(desk.groups[group].name)


def _rename(
    facts: UserFacts, link: AccountLink, account: Account, wanted: Account, desk: Desk
) -> Part:
    rules = desk.policy.accounts
    stays = not rules.rename or (link.origin == "adopted" and not rules.rename_adopted)
    after = account if stays else replace(account, username=wanted.username)
    if desk.capabilities.unique_emails and wanted.email is not None:
        after = replace(after, email=wanted.email)
    if _is_called(account, after, desk):
        return Part()
    by_hand = link.written is not None and _is_called(link.written, after, desk)
    why_now = Reason.DRIFT if by_hand else Reason.CHANGED
    change = _change(facts, Kind.RENAME, why_now, Phase.FREE_NAMES, account, after)
    if by_hand and desk.policy.drift == "report":
        detail = "renamed by hand in the product"
        return Part(waiting=(_wait(facts, Withheld.MODE, detail, "drift: report", change),))
    if not desk.capabilities.renames_accounts:
        return Part(waiting=(_unsupported(facts, change, "renames_accounts", desk),))
    if fold(account.username) == fold(after.username):  # only another address
        waits = () if account.writable else (_read_only(facts, account, change),)
        return Part(waiting=waits) if waits else Part(changes=(change,))
    if why := desk.protects_user(wanted.username):
        detail = f"{wanted.username}: {why}"
        return Part(waiting=(_wait(facts, Withheld.PROTECTED, detail, change=change),))
    if facts.names.rivals:
        detail = f"other users want the username {wanted.username!r} too: {facts.names.rivals[0]}"
        return Part(waiting=(_wait(facts, Withheld.CONFLICT, detail, change=change),))
    holder = facts.names.under_name
    leaves = holder is not None and holder.wants and fold(holder.wants) != fold(wanted.username)
    if holder is not None and not leaves:
        detail = f"the username {wanted.username!r} is taken by another account"
        hint = "rename or delete that account in the product, or change the UPN"
        return Part(waiting=(_wait(facts, Withheld.CONFLICT, detail, hint, change),))
    if not account.writable:
        return Part(waiting=(_read_only(facts, account, change),))
    return Part(changes=(change,))


def _is_called(have: Account, want: Account, desk: Desk) -> bool:
    if desk.capabilities.unique_emails and "email" in differences(have, want):
        return False
    return fold(have.username) == fold(want.username)


def _update(
    facts: UserFacts,
    link: AccountLink,
    account: Account,
    wanted: Account,
    desk: Desk,
    reason: Reason | None,
) -> Part:
    if not desk.capabilities.has_attributes:
        wanted = replace(wanted, attributes={})
    if desk.capabilities.unique_emails:
        # The address goes with the name, and is neither looked at nor written here.
        account, wanted = replace(account, email=None), replace(wanted, email=None)
    different = differences(account, wanted)
    if not different:
        return Part()
    drifted = link.written is not None and not differences(link.written, wanted)
    after = replace(
        account,
        email=wanted.email if "email" in different else account.email,
        display_name=wanted.display_name,
        attributes={**account.attributes, **wanted.attributes},
    )
    why = reason or (Reason.DRIFT if drifted else Reason.CHANGED)
    change = _change(facts, Kind.UPDATE, why, Phase.ACCOUNTS, account, after, rank=2)
    if not desk.capabilities.updates_accounts:
        return Part(waiting=(_unsupported(facts, change, "updates_accounts", desk),))
    if why is Reason.DRIFT and desk.policy.drift == "report":
        detail = f"changed by hand in the product: {', '.join(different)}"
        return Part(waiting=(_wait(facts, Withheld.MODE, detail, "drift: report", change),))
    if not account.writable:
        return Part(waiting=(_read_only(facts, account, change),))
    return Part(changes=(change,))


def _unsupported(facts: UserFacts, change: Change, ability: str, desk: Desk) -> Waiting:
    instead = desk.capabilities.instead.get(ability, "")
    detail = f"this product cannot {change.kind.replace('_', ' ')} an account through its API"
    return _wait(facts, Withheld.UNSUPPORTED, detail, instead, change)


def _read_only(facts: UserFacts, account: Account, change: Change) -> Waiting:
    where = f" ({account.directory})" if account.directory else ""
    detail = f"{account.username} stands in a read-only directory{where}"
    hint = "change it where that directory comes from, or make the directory writable"
    return _wait(facts, Withheld.READ_ONLY, detail, hint, change)


# Leavers ----------------------------------------------------------------------------------------

_SHUTS = frozenset({"deactivate", "delete"})
"""The steps after which nobody signs in."""


def _leaver(facts: UserFacts, link: AccountLink, wish: Wish, desk: Desk) -> UserPlan:
    """Rules 33 and 34: what the stages say that are due, counted from when she was seen gone. Who
    is disabled as well has no days of grace, unless nobody loses an account here."""
    shuts = any(stage.do in _SHUTS for stage in desk.policy.accounts.stages)
    disabled = wish.inactive and shuts
    if wish.reason is Reason.LEFT_SCOPE and not (desk.proof and facts.verified):
        detail = "she seems to have left the scope, but Entra was not read completely yet"
        waiting = _wait(facts, Withheld.INCOMPLETE_READ, detail)
        return _shut_out(facts, waiting, desk) if disabled else UserPlan(waiting=(waiting,))
    if link.state is LinkState.PENDING or facts.account is None:
        return UserPlan(leaver=True)
    account = _best_known(facts.account, link)
    facts = replace(facts, account=account)
    if why := desk.protects_user(account.username):
        waiting = _wait(facts, Withheld.PROTECTED, f"{account.username}: {why}")
        return UserPlan(waiting=(waiting,), leaver=True)
    left_at = desk.now if link.left_at is None else link.left_at
    due, later = _stages(wish, desk, left_at)
    why_shut = Reason.DISABLED if disabled else wish.reason
    phase = Phase.DEACTIVATE if why_shut is Reason.LEFT_SCOPE else Phase.BLOCK
    parts = [edges.follow_leaver(facts, desk)]
    stripped: tuple[ObjectId, ...] | None = None
    if "strip_groups" in due:
        strip = edges.strip(facts, desk, wish.reason)
        parts.append(strip)
        taken = [c.group_id for c in strip.changes if c.group_id is not None]
        stripped = tuple(dict.fromkeys((*link.stripped, *taken)))
    if disabled or due & _SHUTS:
        parts.append(_deactivate(facts, link, account, why_shut, phase, desk))
    if "delete" in due:
        parts.append(_delete(facts, account, wish.reason, desk))
    waits = [each for part in parts for each in part.waiting]
    if later is not None:
        detail = f"{wish.why}; the next step of accounts.leavers is {later[1]}"
        grace = _wait(facts, Withheld.GRACE, detail)
        waits.append(replace(grace, retry_at=left_at + later[0]))
    return UserPlan(
        changes=_unique(tuple(change for part in parts for change in part.changes)),
        waiting=tuple(waits),
        judged={group: ours for part in parts for group, ours in part.judged.items()},
        leaver=True,
        stripped=stripped,
    )


def _stages(wish: Wish, desk: Desk, left_at: float) -> tuple[set[str], tuple[float, str] | None]:
    """What is due now, and the next step with its delay.

    A soft delete is a blocked sign-in: she is shut out at once, and stages before the first
    deactivating one do not apply to her, unless the policy never deactivates.
    """
    stages = desk.policy.accounts.stages
    age = max(0.0, desk.now - left_at)  # a clock that was set back makes nobody younger
    shuts = [number for number, stage in enumerate(stages) if stage.do in _SHUTS]
    at_once: set[str] = set()
    if wish.reason is Reason.DELETED and shuts:
        first = shuts[0] + (stages[shuts[0]].do == "deactivate")
        stages, at_once = stages[first:], {"deactivate"}
    due: set[str] = at_once | {s.do for s in stages if s.after <= age and s.do != "keep"}
    later: list[tuple[float, str]] = [(s.after, s.do) for s in stages if s.after > age]
    return due, min(later) if later else None


def _delete(facts: UserFacts, account: Account, reason: Reason, desk: Desk) -> Part:
    change = _change(facts, Kind.DELETE, reason, Phase.DELETE, account, None)
    if not desk.capabilities.deletes_accounts:
        return Part(waiting=(_unsupported(facts, change, "deletes_accounts", desk),))
    if facts.last_admin:
        return Part(waiting=(edges.last_admin(facts, change, desk),))
    if not account.writable:
        return Part(waiting=(_read_only(facts, account, change),))
    return Part(changes=(change,))


def _unique(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """One change per membership: a leaver's edge may be both followed and stripped."""
    return tuple({(c.kind, c.object_id, c.group_id): c for c in changes}.values())
