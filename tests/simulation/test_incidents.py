"""Incidents of other tools (reliability design), each twice: with the protection taken away it
happens here too, so that the test is known to see it; with the protection it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from azsyncd.engine import noticing, pull, recording, writes
from azsyncd.engine.noticing import Seen as Noticed
from azsyncd.errors import TargetUnavailable
from azsyncd.model.identities import Seen
from azsyncd.model.links import Origin
from azsyncd.plan import guard
from azsyncd.plan.policy import (
    AccountRules,
    Budget,
    GroupRules,
    GuardClass,
    GuardRules,
    Policy,
)
from azsyncd.sandbox.odata import Ask
from azsyncd.state import facts, folding, links, mirror, staging, targets, waiting
from azsyncd.state.store import Connection

from .comparing import differences
from .world import SCOPE_RULES, World

Make = Callable[..., World]
Patch = pytest.MonkeyPatch

each_way = pytest.mark.parametrize("protected", [False, True], ids=["unprotected", "protected"])


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Eight people, in both products, at peace; what they lose is counted."""
    made: list[World] = []

    def make(*, live_before: bool = True, **rules: Any) -> World:
        world = World(3, tmp_path / "state.db", policy=Policy(scope=SCOPE_RULES, **rules))
        made.append(world)
        people = [world.tenant.add_user(f"u{i}@fabrikam.example") for i in range(8)]
        world.tenant.add_group("staff", members=people)
        world.tenant.add_group("atl-all", members=people)
        world.watch.entra_changed()
        if live_before:
            world.live()
            assert differences(world) == []
        return world

    with capture_logs():
        yield make
        for world in made:
            world.close()


def full_sync(world: World) -> None:
    """Entra and the products are read completely, and everything is compared."""
    world.pull.owe_crawl("full")
    world.live()
    write(world, targets.all_due)
    for target in world.targets.values():
        target.bell.ring("full")
    world.live()


def write(world: World, work: Callable[[Connection], Any]) -> Any:
    return world.loop.run_until_complete(world.store.write(work))


def active(world: World, name: str = "marked") -> int:
    return sum(bool(account.active) for account in world.products[name].held.values())


def spoil(world: World, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
    """Whatever Graph answers comes like this."""
    page = world.feeds.page

    def spoiled(feed: str, ask: Ask) -> dict[str, Any]:
        return change(feed, page(feed, ask))

    world.feeds.page = spoiled  # type: ignore[method-assign]


def believe_everything(monkeypatch: Patch) -> None:
    """No crawl is implausible."""
    monkeypatch.setattr(folding, "_doubt", lambda db, counts, crawl: "")


@each_way
@pytest.mark.parametrize("share", ["empty", "partial"])
def test_i2_incident_an_empty_or_partial_answer_read_as_everybody_left(
    make: Make, monkeypatch: Patch, protected: bool, share: str
) -> None:
    """ssosync #194 and #278, group-sync-operator #248."""
    world = make()
    if not protected:
        believe_everything(monkeypatch)
    kept = {u.id for u in list(world.tenant.users())[:5]} if share == "partial" else set()

    def change(feed: str, body: dict[str, Any]) -> dict[str, Any]:
        shown = [each for each in body["value"] if feed != "users" or each["id"] in kept]
        return {**body, "value": shown}

    spoil(world, change)
    full_sync(world)
    assert active(world) == (8 if protected else len(kept))
    assert bool(world.watch.deactivations) is not protected


@each_way
def test_incident_a_user_on_two_pages_aborts_the_whole_sync(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """Crowd CWD-6330."""
    if not protected:
        fold = folding._Fold._object

        def once(self: Any, kind: str, seen: Seen) -> None:
            known = self.__dict__.setdefault("known", set())
            if seen.id in known:
                raise KeyError(f"duplicate key {seen.id}")
            known.add(seen.id)
            fold(self, kind, seen)

        monkeypatch.setattr(folding._Fold, "_object", once)
    world = make(live_before=False)
    world.feeds.oddities.repeats = 1.0
    world.feeds.oddities.shuffles = True
    world.live()
    died = [task for task in world.tasks if task.done() and task.exception()]
    assert bool(died) is not protected
    assert (differences(world) == []) is protected


@each_way
def test_incident_two_groups_of_one_name_drop_one_in_silence(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """CWD-5323: neither gets the name, both are told why, and nobody's members are mixed."""
    if not protected:
        group_facts = facts.group_facts

        def alone(*given: Any) -> Any:
            return replace(group_facts(*given), rivals=())

        monkeypatch.setattr(facts, "group_facts", alone)
    world = make()
    user = next(iter(world.tenant.users())).id
    for _ in range(2):
        world.tenant.add_group("atl-twin", members=[user])
    world.watch.entra_changed()
    world.live()
    t = world.targets["marked"].t
    told = world.loop.run_until_complete(world.store.read(lambda db: waiting.listed(db, t)))
    conflicts = {row["id"] for row in told if row["reason"] == "conflict" and not row["gn"]}
    assert (len(conflicts) == 2) is protected
    assert ("atl-twin" in world.products["marked"].held_groups) is not protected


@each_way
def test_incident_a_rename_makes_a_second_account(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """Atlassian Cloud's default matching, by name."""
    world = make()
    if not protected:
        user_facts = facts.user_facts

        def by_name(db: Connection, t: int, base: Any, wanted: Any, *more: Any) -> Any:
            found = user_facts(db, t, base, wanted, *more)
            if wanted and found.account and found.account.username != wanted.username:
                return replace(found, link=None, account=None, edges={})
            return found

        monkeypatch.setattr(facts, "user_facts", by_name)
        monkeypatch.setattr(writes.Writes, "_confirm_missing", _nothing)
    user = world.tenant.user("u1@fabrikam.example").id
    world.tenant.update(user, userPrincipalName="renamed@fabrikam.example")
    world.watch.entra_changed()
    world.live()
    assert len(world.products["plain"].held) == (8 if protected else 9)


@each_way
def test_incident_deleted_and_made_again_collides_for_ever(make: Make, protected: bool) -> None:
    """resolution's "user exists already": the new object takes over the old one's account."""
    world = make(accounts=AccountRules(rehire="purged" if protected else "never"))
    old = world.tenant.user("u1@fabrikam.example").id
    world.tenant.delete(old)
    world.tenant.purge(old)
    world.watch.entra_changed()
    world.live()
    new = world.tenant.add_user("u1@fabrikam.example")
    world.tenant.add_member(world.tenant.group("staff").id, new)
    world.watch.entra_changed()
    world.live(4000.0)
    account = world.products["plain"].account("u1@fabrikam.example")
    assert account is not None
    assert account.active is protected
    assert len(world.products["plain"].held) == 8


@each_way
def test_i3_incident_a_link_saved_before_its_changes_loses_them_in_a_crash(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """bitwarden's directory connector."""
    world = make()
    user = world.tenant.user("u1@fabrikam.example").id
    world.tenant.update(user, displayName="Changed")
    fold_round = folding.fold_round

    def dies(db: Connection, *given: Any) -> Any:
        if protected:  # together, in one transaction: it dies in the middle of it
            fold_round(db, *given)
        else:  # the links first; what came with them would have been next
            for cursor in staging.cursors(db, staging.ROUND).values():
                db.execute(
                    "UPDATE feed SET delta_link = ? WHERE name = ?",
                    (cursor.delta_link, cursor.feed),
                )
            staging.abandon(db, staging.ROUND)
            db.commit()
            db.execute("BEGIN")
        world.loop.stop()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pull.folding, "fold_round", dies)
        world.pull.ring("notification")
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            world.live()
    world.bury()
    world.live(300.0)
    account = world.products["marked"].account("u1@fabrikam.example")
    assert account is not None
    assert (account.display_name == "Changed") is protected


@each_way
def test_incident_permanent_deletions_are_ignored(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """The same."""
    world = make()
    if not protected:
        gone = folding._Fold._gone

        def only_soft(self: Any, row: Any, kind: str, reason: str) -> None:
            if reason == "changed":
                gone(self, row, kind, reason)

        monkeypatch.setattr(folding._Fold, "_gone", only_soft)
    user = world.tenant.user("u1@fabrikam.example").id
    world.tenant.delete(user)
    world.tenant.purge(user)
    world.watch.entra_changed()
    world.live()
    assert active(world) == (7 if protected else 8)


@each_way
def test_i6_incident_groups_that_somebody_else_made_are_deleted(
    make: Make, protected: bool
) -> None:
    """ssosync and Control Tower: only what is linked is ever removed."""
    rules = GuardRules(delete_group=Budget(count=10))
    world = make(groups=GroupRules(gone="delete"), guard=rules)
    theirs = world.tenant.add_group("control-tower")
    product = world.products["marked"]
    product.put_group("control-tower")
    world.watch.hands_off("marked")
    full_sync(world)
    if not protected:  # whatever has the name of something in Entra is taken for ours

        def link(db: Connection) -> None:
            n = mirror.number_of(db, theirs)
            t = world.targets["marked"].t
            g = db.execute(
                "SELECT g FROM target_group WHERE t = ? AND name = 'control-tower'", (t,)
            ).fetchone()
            assert n is not None
            links.settle_group(db, t, n, g["g"], Origin.ADOPTED, 0.0)

        write(world, link)
    full_sync(world)
    assert ("control-tower" in product.held_groups) is protected


@each_way
def test_rule_36_incident_a_limit_that_stops_everything_stops_the_additions(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """user-sync.py #744."""
    world = make(guard=GuardRules(disable=Budget(count=1)))
    if not protected:
        judge = guard.judge

        def stop_everything(tally: guard.Tally, *given: Any) -> guard.Verdict:
            verdict = judge(tally, *given)
            return (
                guard.Verdict(dict.fromkeys(GuardClass, "stop"), {}) if verdict.classes else verdict
            )

        monkeypatch.setattr(recording.guard, "judge", stop_everything)
    for number in range(4):
        user = world.tenant.user(f"u{number}@fabrikam.example")
        world.tenant.update(user.id, accountEnabled=False)
    staff = world.tenant.group("staff").id
    world.tenant.add_member(staff, world.tenant.add_user("new@fabrikam.example"))
    world.watch.entra_changed()
    world.live()
    assert not world.watch.deactivations
    found = world.products["plain"].account("new@fabrikam.example")
    assert (found is not None) is protected


@each_way
def test_incident_the_first_page_is_taken_for_all(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """group-sync-operator #184 and #370: the first 100 groups, the first 999 members."""
    world = make()
    ends: dict[str, str] = {}
    if not protected:
        believe_everything(monkeypatch)
        links_in_force = world.loop.run_until_complete(world.store.read(staging.links))
        ends = {feed: link.delta_link for feed, link in links_in_force.items()}

    def first_alone(feed: str, body: dict[str, Any]) -> dict[str, Any]:
        if protected or "@odata.nextLink" not in body:
            return body
        rest = {k: v for k, v in body.items() if k != "@odata.nextLink"}
        return {**rest, "@odata.deltaLink": ends[feed]}

    spoil(world, first_alone)
    world.feeds.oddities.page_size, world.feeds.oddities.member_slice = 3, 2
    full_sync(world)
    assert (differences(world) == []) is protected
    assert bool(world.watch.deactivations) is not protected


@each_way
def test_incident_a_secret_runs_out_in_silence(monkeypatch: Patch, protected: bool) -> None:
    """ACCESS-2194: from two months before its last day somebody is told, with what to do."""
    if not protected:
        monkeypatch.setattr(noticing, "stage_of", lambda seconds: "")
    monkeypatch.setattr(noticing, "what_to_do", lambda config, name: f"renew {name}")
    day = 86400.0
    for left, told in ((90.0, False), (59.0, True), (6.5, True), (-1.0, True)):
        seen = Noticed()
        running: Any = SimpleNamespace(credential_ends={"jira": left * day}, config=None)
        noticing._credentials(running, 0.0, seen)
        assert bool(seen.wrong) is (told and protected)
        assert all(wrong.hint == "renew jira" for wrong in seen.wrong)


@each_way
def test_i9_incident_a_large_tenant_on_which_reading_never_settles(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """SailPoint, 400,000 accounts: a process that lives shorter than a crawl takes still ends it,
    for each page is kept with the link that follows it."""
    if not protected:
        load = pull.Pull._start

        async def from_the_beginning(self: Any) -> None:
            await self._store.write(lambda db: staging.abandon(db, staging.CRAWL))
            await load(self)

        monkeypatch.setattr(pull.Pull, "_start", from_the_beginning)
    world = make(live_before=False)
    world.feeds.oddities.page_size = world.feeds.oddities.member_slice = 1
    for number in range(25):
        world.live(0.9)
        if number % 3 == 0:  # and the tenant does not stand still
            user = world.tenant.user("u1@fabrikam.example").id
            world.tenant.update(user, displayName=f"Name {number}")
        world.bury()
    row = world.loop.run_until_complete(_life(world))
    assert bool(row) is protected


async def _life(world: World) -> object:
    await world.start()
    return await world.store.read(mirror.has_proof)


@each_way
def test_i2_incident_a_product_that_shows_only_a_part_is_not_believed(
    make: Make, monkeypatch: Patch, protected: bool
) -> None:
    """A listing that fails half-way closes no inventory: nobody's account is made a second time,
    and nobody is taken for missing."""
    world = make()
    product = world.products["marked"]
    accounts = product.accounts

    async def half() -> Any:
        number = 0
        async for account in accounts():
            number += 1
            if number > 4:
                if protected:
                    raise TargetUnavailable("cut off", target="marked")
                return  # a client that takes what it got for all
            yield account

    with monkeypatch.context() as patch:
        patch.setattr(product, "accounts", half)
        patch.setattr(product, "read_account", _nothing)
        patch.setattr(product, "find_account", _nothing)
        full_sync(world)
    made = [method for method, _ in product.calls if method == "create_account"]
    assert (len(made) == 8) is protected
    assert len(product.held) == 8  # the product itself refused to make them twice


async def _nothing(*given: Any) -> None:
    return None


def test_i5_the_window_is_kept_across_restarts_and_slides(make: Make) -> None:
    """One a day: another is held whatever is restarted in between, and passes when the window has
    moved on and it is released into the room that there is."""
    world = make(guard=GuardRules(disable=Budget(count=1)))
    for number in range(3):
        user = world.tenant.user(f"u{number}@fabrikam.example")
        world.tenant.update(user.id, accountEnabled=False)
        world.watch.entra_changed()
        world.live()
        world.bury()
        world.live()
    assert active(world) == 7
    world.live(90_000.0)
    user = world.tenant.user("u5@fabrikam.example")
    world.tenant.update(user.id, accountEnabled=False)
    world.watch.entra_changed()
    world.live()
    assert active(world) == 6  # a new window, and those that were held wait for a person still


def test_i8_one_object_never_has_two_writes_in_flight_and_the_newest_wins(make: Make) -> None:
    """Whatever comes while a write is under way: the watch counts every pair of calls."""
    world = make(guard=GuardRules(disable="unlimited", update="unlimited"))
    user = world.tenant.user("u1@fabrikam.example").id
    for number in range(30):
        world.tenant.update(user, displayName=f"Name {number}", accountEnabled=number % 2 == 0)
        world.watch.entra_changed()
        world.pull.ring("notification")
        world.live(0.15)
    world.live()
    assert world.watch.wrong == []
    for product in world.products.values():
        account = product.account("u1@fabrikam.example")
        assert account is not None
        assert (account.display_name, account.active) == ("Name 29", False)
    assert differences(world) == []
