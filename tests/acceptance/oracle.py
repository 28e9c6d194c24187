"""What a product should hold, worked out from the rules of behaviour and from Entra's truth alone.

It walks the simulated tenant as a person would, and keeps a small history of its own: whose an
account is, since when somebody is away, in which groups a leaver was left. It shares nothing with
the planner. Where the rules leave it open what comes out, either is taken:

 - a name that somebody wants who cannot have an account just now (she is disabled, or has no
   legal address), or whose account keeps its name, may or may not count against the others;
 - what a person did by hand may stand until the next full sync, and for ever with `drift: report`;
 - a membership that a person made is ours or not, as it was wanted or not when it was first seen;
 - stages count from the round in which a change was seen: while a product is down, from the first
   day on which it could be, or from the first on which it was;
 - what stands in a group that is kept after it left Entra, of people who come and go later;
 - whether `keep` and `strip_groups` alone leave a leaver active who is deleted or disabled too;
 - whose values cannot be had (`invalid_value`) keeps or follows her memberships;
 - a group that waits for the name of another that is kept, or only wishes for it;
 - a name whose account somebody deleted is free, or kept for its owner;
 - who is put back by hand right after she was taken out may seem to be in through another group;
 - a foreign member whose name or address somebody has who waits;
 - whether a group that was adopted, not made, is deleted or left with `gone: delete`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from azsyncd.model.accounts import Account
from azsyncd.sandbox.nodes import Node, Sort
from azsyncd.sandbox.tenant import Tenant
from azsyncd.targets.memory import Memory

from .rules import HOUR, Entry, Rules

LONGEST = 255


def fold(name: str) -> str:
    return name.casefold()


@dataclass(frozen=True, slots=True)
class Want:
    """What somebody in scope should have; `legal` False: her values cannot be had."""

    name: str
    mail: str
    shown: str
    attributes: Mapping[str, str]
    active: bool
    legal: bool = True


@dataclass(slots=True)
class Link:
    """One account that is hers."""

    key: str
    adopted: bool
    want: Want
    active: bool = True
    away: tuple[float, float] | None = None  # since when she is a leaver: earliest, latest
    edges: set[str] = field(default_factory=set)  # groups (by their name here) that were ours
    locked: bool = False  # somebody locked or unlocked it by hand: until it is right once more


@dataclass(slots=True)
class Place:
    """One group of the product that belongs to a group of Entra; `own:NAME`: a default group."""

    name: str  # folded
    adopted: bool
    gone: bool = False
    frozen: bool = False  # excluded


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a leaver; a set of these is what may."""

    active: bool
    stripped: bool
    deleted: bool


class Truth:
    """What Entra says on one day, read once for all products."""

    def __init__(self, tenant: Tenant, parents: Mapping[str, frozenset[str]]) -> None:
        self.tenant = tenant
        self.users = {user.id: user for user in tenant.users()}
        self.groups = {group.id: group for group in tenant.groups()}
        self.parents = parents  # of people who are gone for good: where they were last
        self._below: dict[str, frozenset[str]] = {}

    def properties(self, who: str) -> dict[str, Any]:
        """A user's, with those of her manager, if there is one, under `manager`."""
        user = self.users[who].properties
        manager = self.users.get(str(user.get("manager")))
        return {**user, "manager": None if manager is None else manager.properties}

    def below(self, group: str) -> frozenset[str]:
        """Every user below a group, at any depth; those who are deleted keep their places."""
        if group not in self._below:
            seen, todo, found = {group}, [group], set[str]()
            while todo:
                here = todo.pop()
                for child in self.tenant.nodes[here].places:
                    node = self.tenant.nodes[child]
                    if node.sort is Sort.USER:
                        found.add(child)
                    elif node.sort is Sort.GROUP and node.living and child not in seen:
                        seen.add(child)
                        todo.append(child)
                found |= {who for who, groups in self.parents.items() if here in groups}
            self._below[group] = frozenset(found)
        return self._below[group]

    def direct(self, group: str) -> frozenset[str]:
        nodes = self.tenant.nodes
        found = {each for each in nodes[group].places if nodes[each].sort is Sort.USER}
        found |= {who for who, groups in self.parents.items() if group in groups}
        return frozenset(found)

    def matched(self, entries: Iterable[Entry]) -> list[Node]:
        """The living groups that one of these entries names."""
        return [
            group
            for group in self.groups.values()
            if any(entry.matches(group.id, group.properties) for entry in entries)
        ]


class Oracle:
    """One product. `look` is called on every day on which the product could be reached."""

    def __init__(self, name: str, rules: Rules, product: Memory, admins: frozenset[str]) -> None:
        self.name = name
        self.rules = rules
        self.product = product
        self.admins = admins
        self.links: dict[str, Link] = {}
        self.places: dict[str, Place] = {}
        self.strangers: dict[str, Account] = {}  # by key: made by hand, and linked to nobody
        self.by_hand: set[tuple[str, str]] = set()  # (group, key): memberships hands touched
        self.touched: set[str] = set()  # keys of our accounts whose values hands changed
        self.lost: set[str] = set()  # ids whose account somebody deleted
        self.pinned: set[str] = set()
        self.wrong: list[str] = []
        self.hand_groups: set[str] = set()  # folded names of groups that hands made
        self.left_groups: set[str] = set()  # … of groups that no group of Entra goes with any more
        self.admin_members: dict[str, set[str]] = {}
        self._left_at: dict[str, float] = {}  # since when somebody is away, down or not
        self._moved: set[str] = set()  # groups that were made or taken over today
        self._back: set[str] = set()  # leavers who came back for some days, perhaps unseen
        self._ended: set[tuple[str, str]] = set()  # (group or its name, who): what has ended
        self._stood: dict[str, set[str]] = {}  # who of ours was in each group, by its name
        self._was_dead: set[str] = set()  # linked groups that were deleted for some days
        self._called: dict[str, str] = {}  # what each group is called in Entra
        self._formerly: dict[str, str] = {}  # … and was, before its last change
        self._been: dict[str, set[str]] = {}  # … and on days that were not compared
        self._now, self._full = 0.0, False
        self._well: set[str] = set()  # who is in scope, with legal values
        self._owners: dict[str, str] = {}
        self._named: dict[str, Account] = {}

    # Hands ----------------------------------------------------------------------------------------

    def stranger(self, account: Account) -> None:
        """Somebody made an account."""
        self.strangers[str(account.key)] = account

    def owner(self, key: str) -> str | None:
        """Whose account it is."""
        return next((who for who, link in self.links.items() if link.key == key), None)

    # Looking --------------------------------------------------------------------------------------

    def note(self, truth: Truth, now: float) -> None:
        """Take in what Entra says, also on days on which the product is down."""
        inside = self._inside(truth)
        for who in self.links:
            if who in inside:
                self._left_at.pop(who, None)
                self._back.add(who)
            else:
                self._left_at.setdefault(who, now)
        self._was_dead |= self.places.keys() - truth.groups.keys()
        for g, group in truth.groups.items():
            name = str(group.properties["displayName"])
            if self._called.get(g, name) != name:
                self._formerly[g] = self._called[g]
            self._called[g] = name
            self._been.setdefault(g, set()).add(fold(name.strip()))

    def look(self, truth: Truth, now: float, *, full: bool) -> list[str]:
        """Every difference between what is there and what should be. `full`: a full sync was
        done today, after whatever hands have done."""
        self.wrong = []
        self._full, self._now = full, now
        inside = self._inside(truth)
        wants = {who: self._want(truth.properties(who)) for who in inside}
        self._well = {who for who, want in wants.items() if want.legal}
        self._owners = {link.key: who for who, link in self.links.items()}
        self._named = {fold(a.username): a for a in self.product.held.values()}
        self._met_again(wants)
        self._leavers(truth, wants, now)
        self._names(truth, wants)
        self._back.clear()
        self._overdue(truth, now)
        self._accounts(truth, wants)
        self._groups(truth)
        self._members(truth, wants)
        self._strangers()
        if full and self.rules.drift == "repair":
            # Who is away is not put right before she is back, and a full sync has seen her.
            self.touched -= {self.links[who].key for who in self._well & self.links.keys()}
        return [f"{self.name}: {line}" for line in self.wrong]

    # Who is in scope ------------------------------------------------------------------------------

    def _inside(self, truth: Truth) -> set[str]:
        rules = self.rules
        for who, user in truth.users.items():
            upn = str(user.properties["userPrincipalName"])
            if who in rules.exclude or upn in rules.exclude:
                self.pinned.add(who)
        found = set(truth.users)
        if rules.members_of is not None:
            roots = truth.matched(rules.members_of)
            found &= set().union(*(truth.below(root.id) for root in roots))
        if rules.where is not None:
            where = rules.where.means
            found = {who for who in found if where(truth.users[who].properties)}
        return found - self.pinned

    def _want(self, user: Mapping[str, Any]) -> Want:
        rules = self.rules
        name, mail = (str(said.means(user)).strip() for said in (rules.username, rules.email))
        shown = " ".join(str(rules.display_name.means(user)).split())[:LONGEST].rstrip()
        local, at, domain = mail.partition("@")
        legal_mail = bool(local and at and domain) and "@" not in domain
        legal_mail = legal_mail and " " not in mail and len(mail) <= LONGEST
        legal = 0 < len(name) <= LONGEST and legal_mail and bool(shown)
        attributes = {key: str(said.means(user)) for key, said in rules.attributes.items()}
        return Want(name, mail, shown, attributes, bool(rules.active.means(user)), legal)

    # Accounts: gone, and made again ---------------------------------------------------------------

    def _met_again(self, wants: Mapping[str, Want]) -> None:
        """Accounts that somebody deleted come again under the same link, with another key."""
        for who in sorted(self.lost & self.links.keys()):
            link = self.links[who]
            if link.key in self.product.held:
                self.lost.discard(who)
                continue
            if who not in wants:
                continue  # nothing is made for a leaver
            names = {fold(wants[who].name)}
            adopts = self.rules.adopt == "username"
            for key, account in self.product.held.items():
                known = key in self._owners
                if key in self.strangers:
                    known = not adopts or not self._looks_like(account, who, wants[who])
                known = known or (account.mark is not None and account.mark.object_id != who)
                if fold(account.username) in names and not known:
                    link.key = key
                    link.want = replace(link.want, name=account.username)
                    self._owners[key] = who
                    self.strangers.pop(key, None)
                    link.active = True
                    link.edges.clear()
                    self.lost.discard(who)
                    break
            else:
                must = wants[who]
                if must.legal and must.active and self._put_right:
                    others = [w for o, w in wants.items() if o != who and fold(w.name) in names]
                    if not others and names.isdisjoint(self._named):
                        self.wrong.append(f"{link.want.name}: deleted by hand, not made again")

    @property
    def _put_right(self) -> bool:
        return self._full and self.rules.drift == "repair"

    # Leavers --------------------------------------------------------------------------------------

    def _leavers(self, truth: Truth, wants: Mapping[str, Want], now: float) -> None:
        for who, link in list(self.links.items()):
            if who in self.pinned:
                continue
            if who in wants:
                link.away = None
                continue
            if link.away is None:
                link.away = (min(now, self._left_at.get(who, now)), now)
            elif who in self._back:
                link.away = (link.away[0], now)
            if link.key not in self.product.held:
                if who in self.lost and not self._full:
                    continue  # nobody has seen it so far
                fates = self._fates(truth, who, now)
                if who not in self.lost and not any(fate.deleted for fate in fates):
                    self.wrong.append(f"{link.want.name}: her account is gone")
                del self.links[who]
                self.lost.discard(who)

    def _overdue(self, truth: Truth, now: float) -> None:
        """Who should be deleted by now, unless somebody took her account over."""
        for who, link in self.links.items():
            if link.away is None or link.key not in self.product.held or who in self.pinned:
                continue
            if all(fate.deleted for fate in self._fates(truth, who, now)):
                self.wrong.append(f"{link.want.name}: should be deleted by now")

    def _fates(self, truth: Truth, who: str, now: float) -> set[Fate]:
        """What may have become of a leaver by now (rules 33 and 34)."""
        link = self.links[who]
        assert link.away is not None
        return {
            fate for since in link.away for fate in self._fate(truth, who, (now - since) / HOUR)
        }

    def _fate(self, truth: Truth, who: str, hours: float) -> list[Fate]:
        stages, link = self.rules.leavers, self.links[who]
        user = truth.users.get(who)
        done = {do for after, do in stages if after <= hours}
        off = bool(done & {"deactivate", "delete"})
        kept = all(do == "keep" for _, do in stages)
        deactivates = any(do in ("deactivate", "delete") for _, do in stages)
        stripped = "strip_groups" in done
        either_strip = False
        if user is None and not kept:
            # A blocked sign-in: what stands before the first deactivating stage does not apply.
            off = off or deactivates
            either_strip = stripped
        disabled = user is not None and not user.properties["accountEnabled"]
        active = link.active and not off and not (disabled and deactivates)
        actives = {active}
        if (user is None or disabled) and not deactivates:
            actives.add(False)
        if user is not None and not disabled and not self.rules.active.means(user.properties):
            actives.add(False)
        strips = {stripped, False} if either_strip else {stripped}
        return [Fate(a, s, "delete" in done) for a in actives for s in strips]

    # Who has which name (rules 14 to 23) ----------------------------------------------------------

    def _names(self, truth: Truth, wants: Mapping[str, Want]) -> None:
        legal = {who: want for who, want in wants.items() if want.legal}
        unsure = {who for who, want in wants.items() if want.name and not want.legal}
        unsure |= {who for who, want in legal.items() if not want.active and who not in self.links}
        unsure |= {who for who in legal if who in self.links and not self._renames(who)}
        strict = self._solve(
            truth, legal, {w: wants[w] for w in {*legal, *unsure}}, set(self.links)
        )
        loose = self._solve(
            truth,
            legal,
            {w: legal[w] for w in legal.keys() - unsure},
            self.links.keys() - self.lost,
        )
        for who, want in legal.items():
            outcomes = {strict[who], loose[who]}
            if not want.active and any(outcome.startswith("take:") for outcome in outcomes):
                outcomes.add("none")  # nobody needs an account that she may not use
            if who in self.links:
                self._has_name(who, want, outcomes)
            else:
                self._is_met(truth, who, want, outcomes)

    def _renames(self, who: str) -> bool:
        link = self.links[who]
        return self.rules.rename and (self.rules.rename_adopted or not link.adopted)

    def _solve(
        self,
        truth: Truth,
        legal: Mapping[str, Want],
        claims: Mapping[str, Want],
        holding: set[str],
    ) -> dict[str, str]:
        """For each: stay, move, create, adopt, take:ID, or none."""
        claimed: dict[str, set[str]] = {}
        for who, want in claims.items():
            claimed.setdefault(fold(want.name), set()).add(who)
        free = {fold(a.username): key for key, a in self.strangers.items()
                if key in self.product.held}  # fmt: skip
        moving = {
            who
            for who, want in legal.items()
            if who in self.links
            and self._renames(who)
            and fold(want.name) != fold(self._was(who))
            and claimed.get(fold(want.name), set()) <= {who}
            and fold(want.name) not in free
        }
        holders = {fold(self._was(who)): who for who in holding}
        while True:
            stuck = {
                who
                for who in moving
                if (holder := holders.get(fold(legal[who].name))) is not None
                and holder != who
                and holder not in moving
            }
            if not stuck:
                break
            moving -= stuck
        found: dict[str, str] = {}
        for who, want in legal.items():
            name = fold(want.name)
            holder = holders.get(name)
            if who in self.links:
                found[who] = "move" if who in moving else "stay"
            elif not claimed.get(name, set()) <= {who}:
                found[who] = "none"
            elif holder is not None and holder not in moving:
                found[who] = f"take:{holder}" if self._rehires(truth, who, holder) else "none"
            elif name in free:
                adopts = self.rules.adopt == "username" and not name.startswith("local.")
                found[who] = "adopt" if adopts else "none"
            else:
                found[who] = "create" if want.active else "none"
        return found

    def _was(self, who: str) -> str:
        """The name of her account before today."""
        return self.links[who].want.name

    def _rehires(self, truth: Truth, who: str, old: str) -> bool:
        """Whether a new object may take over the account of an old one (rule 23)."""
        node = truth.tenant.nodes[old]
        if self.rules.rehire == "never" or node.living or old in self.lost:
            return False
        if node.purged:
            return True
        new_id = truth.users[who].properties.get("employeeId")
        same = bool(new_id) and new_id == node.properties.get("employeeId")
        return self.rules.rehire == "deleted" and same

    def _has_name(self, who: str, want: Want, outcomes: set[str]) -> None:
        link = self.links[who]
        held = self.product.held.get(link.key)
        if held is None:
            return
        allowed = {fold(want.name) if outcome == "move" else fold(self._was(who))
                   for outcome in outcomes}  # fmt: skip
        if fold(held.username) not in allowed:
            self.wrong.append(f"{held.username} should be called {' or '.join(sorted(allowed))}")
        kept = Want(held.username, want.mail, want.shown, want.attributes, want.active)
        link.want = kept

    def _is_met(self, truth: Truth, who: str, want: Want, outcomes: set[str]) -> None:
        """Somebody without an account: it is made, adopted, taken over, or she waits."""
        if outcomes == {"none"}:
            return
        found = self._named.get(fold(want.name))
        (outcome,) = outcomes - {"none"} if len(outcomes - {"none"}) == 1 else ("?",)
        optional = len(outcomes) > 1
        if found is None:
            if not optional:
                self.wrong.append(f"{want.name} has no account ({outcome})")
            return
        key = str(found.key)
        if outcome.startswith("take:"):
            old = outcome.removeprefix("take:")
            link = self.links[old]
            if optional and not self._looks_like(found, who, want):
                return
            del self.links[old]
            self.links[who] = Link(key, link.adopted, want, True, edges=set(link.edges))
            self.links[who].locked = link.locked
        elif outcome == "adopt":
            if optional and not self._looks_like(found, who, want):
                return
            self.strangers.pop(key, None)
            self.links[who] = Link(key, True, want, want.active)
            self.links[who].want = Want(found.username, want.mail, want.shown, want.attributes,
                                        want.active)  # fmt: skip
        elif key not in self._owners and key not in self.strangers:
            if optional and not self._looks_like(found, who, want):
                return
            self.links[who] = Link(key, False, want)
            self._owners[key] = who
        elif not optional:
            self.wrong.append(f"{want.name} has no account of her own ({outcome})")

    def _looks_like(self, found: Account, who: str, want: Want) -> bool:
        if found.mark is not None:
            return found.mark.object_id == who
        same_mail = fold(str(found.email)) == fold(want.mail)
        return same_mail and found.display_name == want.shown

    # What accounts say ----------------------------------------------------------------------------

    def _accounts(self, truth: Truth, wants: Mapping[str, Want]) -> None:
        now_held = self.product.held
        seen = {link.key for link in self.links.values()} | self.strangers.keys()
        for key, account in now_held.items():
            if key not in seen:
                self.wrong.append(f"the account {account.username} should not be there")
        for name, number in Counter(fold(a.username) for a in now_held.values()).items():
            if number > 1:
                self.wrong.append(f"two accounts are called {name}")
        for who, link in self.links.items():
            held = now_held.get(link.key)
            if held is None:
                if who not in self.lost and (who in wants or who in self.pinned):
                    self.wrong.append(f"{link.want.name}: her account is gone")
                continue
            if held.mark is not None and held.mark.object_id != who:
                self.wrong.append(f"{held.username} carries the mark of {held.mark.object_id}")
            self._values(who, link, held)
            self._activity(truth, who, link, held, wants.get(who))

    def _values(self, who: str, link: Link, held: Account) -> None:
        """Leavers and the like keep the values that they had."""
        if link.key in self.touched and not self._put_right:
            return
        if link.key in self.touched and who not in self._well:
            return
        want = link.want
        if fold(held.username) != fold(want.name):
            self.wrong.append(f"{held.username} should be called {want.name}")
        if fold(str(held.email)) != fold(want.mail):
            self.wrong.append(f"{held.username} has the address {held.email}, not {want.mail}")
        if held.display_name != want.shown:
            self.wrong.append(f"{held.username} is shown as {held.display_name}, not {want.shown}")
        if self.product.capabilities.has_attributes:
            for name, value in want.attributes.items():
                if held.attributes.get(name, "") != value:
                    self.wrong.append(f"{held.username}: {name} is not {value!r}")

    def _activity(
        self, truth: Truth, who: str, link: Link, held: Account, want: Want | None
    ) -> None:
        if who in self.pinned:
            allowed = {True, False}
        elif link.away is not None:
            allowed = {fate.active for fate in self._fates(truth, who, self._now)}
        elif want is not None and want.legal:
            allowed = {want.active}
        else:
            enabled = bool(truth.users[who].properties["accountEnabled"])
            allowed = {True, False} if enabled else {False}
        if link.locked and not (self._put_right and link.away is None):
            allowed |= {True, False}
        if held.active not in allowed:
            self.wrong.append(f"{held.username} is active: {held.active}")
        if want is not None and held.active and want.active:
            link.locked = False
        link.active = bool(held.active)

    # Groups ---------------------------------------------------------------------------------------

    def _groups(self, truth: Truth) -> None:
        """Which group of the product belongs to which of Entra (rules 12, 16 and 31)."""
        inside = self._groups_inside(truth)
        names = {g: fold(str(group.properties["displayName"]).strip())
                 for g, group in inside.items()}  # fmt: skip
        kept = {g for g, place in self.places.items() if g in names and place.name != names[g]}
        nodes = truth.tenant.nodes
        out = {
            g
            for g in self.places.keys() & nodes.keys()
            if any(each.matches(g, nodes[g].properties) for each in self.rules.exclude_groups)
        }
        # Whoever is renamed and deleted on one day is known by the name before.
        out |= {g for g, p in self.places.items() if p.frozen and g not in truth.groups}
        out -= {g for g in out - truth.groups.keys() if self._was_emptied(self.places[g])}
        for g, place in self.places.items():
            place.frozen = g in out  # hands off, as with people (rule 9)
        for g in out - truth.groups.keys():  # deleted with its last name unread: gone, not excluded
            if self.places[g].name not in self.product.held_groups:
                del self.places[g]
        gone = {g for g in self.places if g not in inside and not g.startswith("own:")} - out
        self._heirs(truth, inside, names, gone)
        gone &= self.places.keys()
        strict = self._solve_groups(names, wishing=set(names), holding=set(self.places))
        loose = self._solve_groups(
            names, wishing=names.keys() - kept, holding=self.places.keys() - gone - out
        )
        self._moved.clear()
        may_go: set[str] = set()
        for g in sorted(gone):
            self._goes(g, may_go)
        for g in sorted(inside):
            self._comes(g, names[g], {strict[g], loose[g]}, may_go)
        taken = {place.name for place in self.places.values()}
        for name in may_go - taken:
            if name in self.product.held_groups:
                self.wrong.append(f"the group {name} should be deleted")
        self._own()
        for place in self.places.values():
            if place.name not in self.product.held_groups:
                self.wrong.append(f"there is no group {place.name}")
        known = {place.name for place in self.places.values()}
        known |= self.hand_groups | self.left_groups | self.admins
        for name in self.product.held_groups.keys() - known:
            self.wrong.append(f"the group {name} should not be there")

    def _was_emptied(self, place: Place) -> bool:
        """Whether a group that was excluded and deleted on one day went as a deleted one: its last
        name was not read."""
        held = self.product.held_groups.get(place.name)
        if place.frozen or self.rules.gone != "empty" or held is None:
            return False
        return not any(link.key in held.members for link in self.links.values())

    def _heirs(
        self,
        truth: Truth,
        inside: Mapping[str, Node],
        names: Mapping[str, str],
        gone: set[str],
    ) -> None:
        """The name of a group that is deleted in Entra is free, with all that is ours in it; for
        one that came by being renamed as well: a person agrees to it on the same day (rule 12)."""
        for dead in sorted(g for g in gone if not g.startswith("own:") and g not in truth.groups):
            name = self.places[dead].name
            moves = self.rules.on_rename == "new_group"
            heirs = [g for g in inside if names[g] == name and (moves or g not in self.places)]
            if len(heirs) != 1 or name in self.admins or name not in self.product.held_groups:
                continue
            (heir,) = heirs
            if heir not in self.places:
                self.places[heir] = self.places.pop(dead)
                for link in self.links.values():
                    if dead in link.edges:
                        link.edges.add(heir)
            elif self.rules.on_rename == "new_group":
                self.left_groups.add(name)
                del self.places[dead]
        for back in sorted(self._was_dead & inside.keys() & self.places.keys()):
            self._restored(truth, back, inside, names)
        self._was_dead.clear()
        self._been.clear()

    def _restored(
        self, truth: Truth, back: str, inside: Mapping[str, Node], names: Mapping[str, str]
    ) -> None:
        """It was deleted while the product was down. Whoever wanted its name may have got it in
        that time: the members tell."""
        name = self.places[back].name
        heirs = [g for g in inside if name in self._been[g] and g != back]
        if not heirs or name not in self.product.held_groups:
            return
        owners = {link.key: who for who, link in self.links.items()}
        held = self.product.held_groups[name].members
        have = {owners[key] for key in held if key in owners} & self._well
        here = self._well & self.links.keys()

        def strange(g: str) -> int:
            return len(have ^ (self._path(truth, g) & here))

        heir = min(heirs, key=strange)
        if strange(heir) >= strange(back):
            return
        left = self.places.pop(heir, None)
        if left is not None:
            self.left_groups.add(left.name)
        self.places[heir] = self.places.pop(back)
        for link in self.links.values():
            if back in link.edges:
                link.edges.add(heir)

    def _came_by_renaming(self, g: str, group: Node) -> bool:
        if g not in self._formerly:
            return False
        before = {**group.properties, "displayName": self._formerly[g]}
        rules = (*self.rules.include, *self.rules.exclude_groups)
        return not any(each.matches(g, before) for each in rules)

    def _groups_inside(self, truth: Truth) -> dict[str, Node]:
        """What was synced once is followed by its id; who is excluded is out, whatever matches."""
        rules = self.rules
        found = {group.id: group for group in truth.matched(rules.include)}
        found |= {g: truth.groups[g] for g in self.places if g in truth.groups}
        out = {group.id for group in truth.matched(rules.exclude_groups)}
        return {g: group for g, group in found.items() if g not in out}

    def _solve_groups(
        self, names: Mapping[str, str], *, wishing: set[str], holding: set[str]
    ) -> dict[str, str]:
        """For each: stay, move, make or none."""
        follows = self.rules.on_rename == "new_group"
        claims: dict[str, set[str]] = {}
        for g in wishing:
            claims.setdefault(names[g], set()).add(g)
        holders = {self.places[g].name: g for g in holding}
        forbidden = self.admins

        def alone(g: str) -> bool:
            return claims.get(names[g], set()) <= {g} and names[g] not in forbidden

        moving = {g for g in names if g in self.places and follows
                  and names[g] != self.places[g].name and alone(g)}  # fmt: skip
        while stuck := {g for g in moving if holders.get(names[g], g) not in {g, *moving}}:
            moving -= stuck
        found: dict[str, str] = {}
        for g, name in names.items():
            holder = holders.get(name)
            if g in self.places:
                found[g] = "move" if g in moving else "stay"
            elif not alone(g) or (holder is not None and holder not in moving):
                found[g] = "none"
            else:
                found[g] = "make"
        return found

    def _goes(self, g: str, may_go: set[str]) -> None:
        """A linked group left the scope, or Entra."""
        place = self.places[g]
        if self.rules.gone == "delete" and not place.adopted:
            may_go.add(place.name)
            del self.places[g]
        elif self.rules.gone == "delete" and place.name not in self.product.held_groups:
            self.hand_groups.discard(place.name)
            del self.places[g]
        else:
            place.gone = True

    def _comes(self, g: str, name: str, outcomes: set[str], may_go: set[str]) -> None:
        stands = name in self.product.held_groups
        others = {place.name for other, place in self.places.items() if other != g}
        if g not in self.places:
            if outcomes == {"none"}:
                return
            if stands and (name not in others or outcomes == {"make"}):
                self.places[g] = Place(name, name in self.hand_groups | self.left_groups)
                self._moved.add(name)
            elif outcomes == {"make"}:
                self.wrong.append(f"there is no group {name}")
            return
        place = self.places[g]
        place.gone = False
        if outcomes == {"stay"} or (len(outcomes) > 1 and (not stands or name in others)):
            return
        left = place.name
        self.places[g] = Place(name, name in self.hand_groups | self.left_groups)
        self._moved.add(name)
        if self.rules.gone == "delete" and not place.adopted:
            may_go.add(left)
        elif self.rules.gone == "delete" and left not in self.product.held_groups:
            self.hand_groups.discard(left)
        else:
            self.left_groups.add(left)

    def _own(self) -> None:
        for name in self.rules.default:
            self.places.setdefault(f"own:{name}", Place(fold(name), fold(name) in self.hand_groups))

    # Memberships (rules 21, 32 and 33) ------------------------------------------------------------

    def _members(self, truth: Truth, wants: Mapping[str, Want]) -> None:
        owners = {link.key: who for who, link in self.links.items()}
        edges: dict[str, set[str]] = {who: set() for who in self.links}
        for g, place in self.places.items():
            held = self.product.held_groups.get(place.name)
            if held is None:
                continue
            for who in {owners[key] for key in held.members if key in owners}:
                edges[who].add(g)
            if place.gone or place.frozen:
                self._gone_members(g, place, held.members, owners, wants)
                continue
            path = self._path(truth, g)
            for who in path & wants.keys() & self.links.keys():
                key = self.links[who].key
                by_hand = (place.name, key) in self.by_hand and not self._put_right
                here = key in held.members or key not in self.product.held
                if not here and wants[who].legal and not by_hand:
                    self._say(who, "is missing in", place)
            for key in held.members:
                self._one_member(truth, g, place, key, owners.get(key), path, wants)
            for who, link in self.links.items():
                if link.away is not None and link.key not in held.members:
                    self._missing_leaver(truth, g, place, who, link, path)
        for name, held in self.product.held_groups.items():
            now = {owners[key] for key in held.members if key in owners}
            self._ended |= {(name, who) for who in self._stood.get(name, set()) - now}
            self._stood[name] = now
        for who, found in edges.items():
            self._ended |= {(g, who) for g in self.links[who].edges - found}
            self.links[who].edges = found

    def _path(self, truth: Truth, g: str) -> frozenset[str]:
        if g.startswith("own:"):
            return frozenset(self.links)
        return truth.direct(g) if self.rules.nested == "ignore" else truth.below(g)

    def _say(self, who: str, what: str, place: Place) -> None:
        self.wrong.append(f"{self.links[who].want.name} {what} {place.name}")

    def _one_member(
        self,
        truth: Truth,
        g: str,
        place: Place,
        key: str,
        who: str | None,
        path: frozenset[str],
        wants: Mapping[str, Want],
    ) -> None:
        """Whether somebody may be in a group who is."""
        removes = self.rules.foreign_members == "remove" and not g.startswith("own:")
        removes = removes and self._full
        if who is None:
            account = self.product.held.get(key)
            protected = account is not None and account.username.startswith("local.")
            if removes and not protected and not self._is_wanted(account, wants):
                name = key if account is None else account.username
                self.wrong.append(f"{name}, who is foreign, should not be in {place.name}")
            return
        if who in self.pinned or (who in wants and (who in path or not wants[who].legal)):
            return
        foreign = (place.name, key) in self.by_hand or place.name in self._moved
        ended = not self._ended.isdisjoint({(g, who), (place.name, who)})
        if foreign and (not (removes and who in wants) or ended):
            return
        if who in wants:
            self._say(who, "should not be in", place)
            return
        link = self.links[who]
        fates = self._fates(truth, who, self._now)
        if all(fate.stripped for fate in fates):
            self._say(who, "has left and should be stripped of", place)
        elif g not in link.edges:
            self._say(who, "has left and should not have come into", place)
        elif who not in path and who in truth.users:
            self._say(who, "was taken out of", place)

    def _is_wanted(self, account: Account | None, wants: Mapping[str, Want]) -> bool:
        """Whether somebody waits who has this name or address."""
        if account is None:
            return False
        names = {fold(account.username), fold(str(account.email))}
        return any(fold(w.name) in names or fold(w.mail) in names for w in wants.values())

    def _missing_leaver(
        self, truth: Truth, g: str, place: Place, who: str, link: Link, path: frozenset[str]
    ) -> None:
        if g not in link.edges or who not in path or link.key not in self.product.held:
            return
        if (place.name, link.key) in self.by_hand or place.name in self._moved:
            return
        if not any(fate.stripped for fate in self._fates(truth, who, self._now)):
            self._say(who, "has left and should have been left in", place)

    def _gone_members(
        self,
        g: str,
        place: Place,
        members: set[str],
        owners: Mapping[str, str],
        wants: Mapping[str, Want],
    ) -> None:
        """What stays of a group that is not Entra's any more."""
        keeps = self.rules.gone == "keep" or place.frozen
        for key in members:
            who = owners.get(key)
            if who is None or (place.name, key) in self.by_hand or who in self.pinned:
                continue
            if keeps and g not in self.links[who].edges:
                self._say(who, "should not have come any more into", place)
            if not keeps and who in self._well:
                self._say(who, "should be gone from the group that is gone,", place)
        for who, link in self.links.items():
            here = link.key in members or link.key not in self.product.held
            by_hand = (place.name, link.key) in self.by_hand
            if keeps and g in link.edges and not here and who in self._well and not by_hand:
                self._say(who, "should have been left in", place)

    # What is not ours (rules 20 and 24) -----------------------------------------------------------

    def _strangers(self) -> None:
        for key, account in self.strangers.items():
            now = self.product.held.get(key)
            if now != account:
                self.wrong.append(f"the stranger {account.username} was touched: {now}")
        for name, members in self.admin_members.items():
            if self.product.held_groups[name].members != members:
                self.wrong.append(f"the administrators' group {name} was touched")
