"""The whole planner and writer on every product: what was written is found as it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from azsyncd.engine.reconcile import Reconcile
from azsyncd.model.accounts import Account, TargetGroup
from azsyncd.model.identities import MemberKind, MemberSeen, ObjectId, Seen
from azsyncd.plan.policy import (
    AccountRules,
    Entry,
    GroupRules,
    GroupScope,
    Policy,
    Scope,
    UserScope,
)
from azsyncd.state import drift, targets, waiting
from tests.unit.engine.office import Office, opened

from .rigs import INSTANCE, MemoryHands, Rig

NAMES = (
    "Ann.Upper@Example.COM", "jürgen.groß@example.com", "o'brien@example.com",
    "mary ann@example.com", "eve_contoso.com#EXT#@fabrikam.onmicrosoft.com",
    "plus+sign@example.com",
)  # fmt: skip
SHOWN = ("  Ann   Upper ", "Jürgen Groß", "Tim O’Brien", "Mary  Ann", "Eve (Guest)", "李 小龍")
GROUPS = ("atl-Staff", "atl-Grün & Co")


def people() -> list[Seen]:
    return [
        Seen(
            ObjectId(f"u{number}"),
            {
                "userPrincipalName": name,
                "mail": f"Mail.{number}@Example.COM ",
                "displayName": shown,
                "accountEnabled": True,
                "department": " R&D\t" if number % 2 else "",
            },
        )
        for number, (name, shown) in enumerate(zip(NAMES, SHOWN, strict=True))
    ]


def teams() -> list[Seen]:
    members = tuple(MemberSeen(ObjectId(f"u{n}"), MemberKind.USER) for n in range(len(NAMES)))
    properties = {"securityEnabled": True, "groupTypes": [], "description": " All of them. "}
    return [
        Seen(ObjectId(f"g{number}"), {**properties, "displayName": name}, None, members[number:])
        for number, name in enumerate(GROUPS)
    ]


@pytest.fixture
async def synced(rig: Rig, tmp_path: Path) -> AsyncIterator[Office]:
    """Everybody was written once."""
    if not rig.capabilities.creates_accounts:
        pytest.skip("takes no new accounts")
    attributes = {"department": "{{ user.department }}"} if rig.can("attributes") else {}
    policy = Policy(
        scope=Scope(
            users=UserScope(everybody=True), groups=GroupScope(include=(Entry(name="atl-*"),))
        ),
        accounts=AccountRules(attributes=attributes),
        groups=GroupRules(default=("Everybody",)),
    )
    async with opened(tmp_path) as office:
        row = await office.store.write(lambda db: targets.ensure(db, "main", rig.entry.kind))
        office.reconciles["main"] = Reconcile(
            rig.target,
            policy,
            office.store,
            rig.clock,
            t=row.t,
            instance=INSTANCE,
            policy_digest="1",
            concurrency=2,
            signed_in_as=frozenset,
            signs_in_as=lambda target, account: None,
            mirror_revision=lambda: office.pull.state.revision,
        )
        await office.crawl(*people(), *teams())
        await office.turn("main")
        yield office


async def written(office: Office) -> list[tuple[str, ...]]:
    sql = "SELECT change, name, reason, outcome, answer FROM journal ORDER BY id"
    return await office.store.read(lambda db: [tuple(row) for row in db.execute(sql)])


async def test_rule_22_what_we_wrote_is_no_drift_and_nothing_is_written_again(
    rig: Rig, synced: Office
) -> None:
    """Whatever the product made of capitals, blanks and accents."""
    t = synced.reconciles["main"].t
    before = await written(synced)
    made = {line[1] for line in before if line[:1] == ("create",) and line[3] == "done"}
    assert len(made) >= 3
    for _ in range(2):
        await synced.turn("main", full=True)
    assert await written(synced) == before
    assert await synced.store.read(lambda db: drift.count(db, t)) == 0
    waits = await synced.store.read(lambda db: waiting.counts(db, t))
    assert set(waits) <= {"invalid_value", "backing_off"}, waits
    assert len(await rig.keys("Everybody")) == len(made) == len(await rig.keys("atl-Staff"))


async def test_rule_22_a_membership_that_a_hand_ended_is_found_and_put_back(
    rig: Rig, synced: Office
) -> None:
    """As drift, once."""
    keys = await rig.keys("atl-Staff")
    (account,) = [each async for each in rig.target.accounts() if each.key == keys[0]]
    await rig.target.remove_members(await group(rig, "atl-Staff"), [account])
    before = await written(synced)
    await synced.turn("main", full=True)
    (line,) = (await written(synced))[len(before) :]
    assert (line[0], line[2], line[3]) == ("add_member", "drift", "done")
    assert sorted(await rig.keys("atl-Staff")) == sorted(keys)


async def group(rig: Rig, name: str) -> TargetGroup:
    found = await rig.target.find_group(name)
    assert found is not None
    return found


async def test_rule_32_or_deactivated_whoever_is_disabled_is_out_and_back_again(
    rig: Rig, synced: Office
) -> None:
    """Deactivated, or stripped; and with the same memberships afterwards."""
    keys = sorted(await rig.keys("atl-Staff"))
    first = people()[0]
    out = Seen(first.id, {**first.properties, "accountEnabled": False})
    await synced.crawl(out, whole=False)
    await synced.turn("main")
    account = await hers(rig, synced)
    inside = account.key in await rig.keys("atl-Staff")
    assert account.active is False or not inside
    await synced.crawl(first, whole=False)
    await synced.turn("main")
    assert (await hers(rig, synced)).active is not False
    assert sorted(await rig.keys("atl-Staff")) == keys


async def hers(rig: Rig, synced: Office) -> Account:
    sql = (
        "SELECT ac.key FROM link l JOIN object o ON o.n = l.n JOIN account ac ON ac.a = l.a"
        " WHERE o.id = 'u0'"
    )
    key = await synced.store.read(lambda db: db.execute(sql).fetchone()["key"])
    found = [each async for each in rig.target.accounts() if each.key == key]
    assert len(found) == 1
    return found[0]


# Groups in groups -----------------------------------------------------------------------------


def nest(number: int, *members: str, out: tuple[str, ...] = ()) -> Seen:
    """A group with these in it: `u…` are people, `g…` groups."""

    def seen(id_: str, removed: bool) -> MemberSeen:
        kind = MemberKind.GROUP if id_[0] == "g" else MemberKind.USER
        return MemberSeen(ObjectId(id_), kind, removed)

    properties = {"securityEnabled": True, "groupTypes": [], "displayName": f"atl-{number}"}
    found = (*(seen(each, False) for each in members), *(seen(each, True) for each in out))
    return Seen(ObjectId(f"g{number}"), properties, None, found)


def everybody(rig: Rig, group: str) -> set[str]:
    """Who is in a group, through others too, as the product sees it."""
    if isinstance(rig.hands, MemoryHands):
        return rig.hands.memory.everybody_in(group)
    return {person.name for person in rig.hands.people.members(group, nested=rig.can("nest"))}


async def nested(rig: Rig, office: Office, nested: str) -> None:
    """The engine with this setting, as after a reload; and a full look."""
    policy = Policy(
        scope=Scope(
            users=UserScope(everybody=True), groups=GroupScope(include=(Entry(name="atl-*"),))
        ),
        groups=GroupRules.model_validate({"nested": nested}),
    )
    row = await office.store.write(lambda db: targets.ensure(db, "main", rig.entry.kind))
    office.reconciles["main"] = Reconcile(
        rig.target,
        policy,
        office.store,
        rig.clock,
        t=row.t,
        instance=INSTANCE,
        policy_digest=nested,
        concurrency=2,
        signed_in_as=frozenset,
        signs_in_as=lambda target, account: None,
        mirror_revision=lambda: office.pull.state.revision,
    )
    for _ in range(2):  # the second one, where a full look came to be owed
        await office.turn("main")


async def test_groups_are_kept_in_groups_and_everybody_is_where_flattening_puts_her(
    rig: Rig, tmp_path: Path
) -> None:
    """Three groups in a ring, and one above them; nested, flattened, nested again, undone."""
    if not rig.capabilities.nests_groups:
        pytest.skip("nests no groups")
    seen = people()[:4]
    names = [str(rig.spelt(NAMES[n])).casefold() for n in range(4)]

    def there(*numbers: int) -> set[str]:
        return {names[n] for n in numbers}

    def found(group: str) -> set[str]:
        return {name.casefold() for name in everybody(rig, group)}

    async with opened(tmp_path) as office:
        await office.crawl(
            *seen, nest(0, "u0", "g1"), nest(1, "u1", "g2"), nest(2, "u2", "g3"),
            nest(3, "u3", "g1"),
        )  # fmt: skip
        for setting in ("keep", "flatten", "keep"):
            await nested(rig, office, setting)
            assert found("atl-0") == there(0, 1, 2, 3)
            assert found("atl-1") == found("atl-2") == found("atl-3") == there(1, 2, 3)
            direct = {name.casefold() for name in rig.hands.members("atl-0")}
            kept = setting == "keep" and rig.can("nest")
            assert direct == (there(0) if kept else there(0, 1, 2, 3))
        told = await office.store.read(lambda db: waiting.listed(db, 1))
        assert {row["change"] for row in told} == {"add_child"}
        await office.crawl(nest(0, out=("g1",)), whole=False)
        await office.turn("main")
        assert found("atl-0") == there(0)
        assert found("atl-1") == there(1, 2, 3)
