"""Delta feeds over any history: who merges by id ends up with what the tenant has."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from azsyncd.sandbox.clock import FakeClock
from azsyncd.sandbox.delta import LIFETIME_SECONDS, DeltaFeeds
from azsyncd.sandbox.layout import Oddities
from azsyncd.sandbox.nodes import Refusal, Sort
from azsyncd.sandbox.odata import Ask, Refused
from azsyncd.sandbox.tenant import Tenant

SELECT = {
    "users": "id,displayName,accountEnabled,department,manager",
    "groups": "id,displayName,members",
}
ALL = frozenset({"Directory.Read.All"})


class Reader:
    """Merges pages by id, as everybody must."""

    def __init__(self, feeds: DeltaFeeds, roles: frozenset[str] = ALL) -> None:
        self.feeds = feeds
        self.roles = roles
        self.links: dict[str, str] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.members: dict[str, set[str]] = {}
        self.pages = 0

    def get(self, feed: str, url: str, **headers: str) -> dict[str, Any]:
        params = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        self.pages += 1
        ask = Ask(
            method="GET",
            path=f"{feed}/delta",
            params=params,
            base="https://graph.example",
            headers=headers,
            roles=self.roles,
        )
        return self.feeds.page(feed, ask)

    def round(self, feed: str, *, most: int = 400) -> list[dict[str, Any]]:
        """One round to its deltaLink; returns what it said."""
        url = self.links.get(feed) or f"https://graph.example/?$select={SELECT[feed]}"
        said: list[dict[str, Any]] = []
        for _ in range(most):
            body = self.get(feed, url)
            assert ("@odata.nextLink" in body) != ("@odata.deltaLink" in body)
            for item in body["value"]:
                said.append(item)
                self.merge(item)
            if "@odata.deltaLink" in body:
                self.links[feed] = body["@odata.deltaLink"]
                return said
            url = body["@odata.nextLink"]
        raise AssertionError("no end")

    def merge(self, item: dict[str, Any]) -> None:
        if "@removed" in item:
            self.objects.pop(item["id"], None)
            return
        known = self.objects.setdefault(item["id"], {})
        known.update({k: v for k, v in item.items() if "@" not in k})
        members = self.members.setdefault(item["id"], set())
        for member in item.get("members@delta", ()):
            if "@removed" in member:
                members.discard(member["id"])
            else:
                members.add(member["id"])

    def agrees_with(self, tenant: Tenant) -> None:
        living = {node.id for node in (*tenant.users(), *tenant.groups())}
        assert self.objects.keys() == living
        for node in tenant.users():
            for name in ("displayName", "accountEnabled", "department"):
                assert self.objects[node.id].get(name) == node.properties.get(name)
        for group in tenant.groups():
            assert self.objects[group.id]["displayName"] == group.properties["displayName"]
            seen = {found for found in self.members[group.id] if found in living}
            assert seen == {member.id for member in tenant.members(group.id)} & living


def small(**oddities: Any) -> Oddities:
    return Oddities(
        **{"page_size": 4, "member_slice": 3, "lists_soft_deleted_members": True, **oddities}
    )


def live_on(tenant: Tenant, chance: random.Random, steps: int) -> None:
    """Some days in the life of a tenant."""
    for _ in range(steps):
        users = [node.id for node in tenant.users()]
        groups = [node.id for node in tenant.groups()]
        gone = [n.id for feed in ("users", "groups") for n in tenant.deleted(feed)]
        some = users + groups
        what = chance.randrange(9)
        try:
            if what == 0 or not users:
                tenant.add_user(f"u{tenant.seq}@x.example", department=chance.choice("AB"))
            elif what == 1 or not groups:
                chosen = chance.sample(some, min(len(some), chance.randrange(8)))
                tenant.add_group(f"g{tenant.seq}", members=chosen)
            elif what == 2:
                tenant.update(chance.choice(users), accountEnabled=chance.random() < 0.5)
            elif what == 3:
                tenant.update(chance.choice(users), department=chance.choice(["A", "B", None]))
            elif what == 4:
                tenant.add_member(chance.choice(groups), chance.choice(some))
            elif what == 5:
                group = chance.choice(groups)
                if tenant.nodes[group].places:
                    tenant.remove_member(group, chance.choice(list(tenant.nodes[group].places)))
            elif what == 6:
                tenant.delete(chance.choice(some))
            elif what == 7 and gone:
                tenant.restore(chance.choice(gone))
            elif what == 8 and gone and chance.random() < 0.3:
                tenant.purge(chance.choice(gone))
        except (Refusal, KeyError):
            pass  # the directory does not allow it just now


WAYS: dict[str, Callable[[], Oddities]] = {
    "a good day": small,
    "empty pages": lambda: small(empty_pages=2),
    "any order, and twice": lambda: small(shuffles=True, repeats=0.4),
    "replays": lambda: small(replays=7),
    "gone ones in the crawl": lambda: small(removed_in_first_round=True),
    "each change told": lambda: small(keeps_each_change=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(6))
def test_reader_who_merges_has_what_the_tenant_has(way: str, seed: int) -> None:
    """Any history, any oddity that is no loss: after each round both agree."""
    chance = random.Random(seed)
    tenant = Tenant(clock=FakeClock(), seed=seed)
    for number in range(12):
        tenant.add_user(f"first{number}@x.example", department="A")
    tenant.add_group("all", members=[node.id for node in tenant.users()])
    reader = Reader(DeltaFeeds(tenant, oddities=WAYS[way](), seed=seed))
    for _ in range(8):
        for feed in ("users", "groups"):
            reader.round(feed)
        reader.agrees_with(tenant)
        live_on(tenant, chance, 25)


@pytest.mark.parametrize("seed", range(5))
def test_changes_in_the_middle_of_a_round_are_in_the_next(seed: int) -> None:
    """Paging takes time, and the tenant does not wait."""
    chance = random.Random(seed)
    tenant = Tenant(clock=FakeClock(), seed=seed)
    live_on(tenant, chance, 80)
    reader = Reader(DeltaFeeds(tenant, oddities=small(), seed=seed))
    for _ in range(4):
        for feed in ("users", "groups"):
            url = reader.links.get(feed) or f"https://graph.example/?$select={SELECT[feed]}"
            for _ in range(500):
                body = reader.get(feed, url)
                for item in body["value"]:
                    reader.merge(item)
                live_on(tenant, chance, 2)
                url = body.get("@odata.nextLink", "")
                if not url:
                    reader.links[feed] = body["@odata.deltaLink"]
                    break
    for feed in ("users", "groups"):
        reader.round(feed)
    reader.agrees_with(tenant)


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(clock=FakeClock(moves=False), seed=3)


@pytest.fixture
def feeds(tenant: Tenant) -> DeltaFeeds:
    return DeltaFeeds(tenant, oddities=Oddities())


@pytest.fixture
def reader(feeds: DeltaFeeds) -> Reader:
    return Reader(feeds)


def test_documented_deletions(tenant: Tenant, reader: Reader) -> None:
    """The matrix: soft delete, restore and purge in the users' feed; nothing in the groups'."""
    ann = tenant.add_user("ann@x.example")
    tenant.add_group("team", members=[ann])
    reader.round("users"), reader.round("groups")
    tenant.delete(ann)
    assert reader.round("users") == [{"id": ann, "@removed": {"reason": "changed"}}]
    assert reader.round("groups") == []
    tenant.restore(ann)
    (item,) = reader.round("users")
    assert (item["id"], item["displayName"]) == (ann, "ann")
    assert "@removed" not in item
    assert reader.round("groups") == []
    tenant.purge(ann)
    assert reader.round("users") == [{"id": ann, "@removed": {"reason": "deleted"}}]
    assert reader.round("groups") == []


def test_purge_may_be_announced_to_groups(tenant: Tenant, reader: Reader) -> None:
    """As is documented; people report otherwise."""
    tenant.announces_purged_members = True
    ann = tenant.add_user("ann@x.example")
    tenant.add_group("team", members=[ann])
    reader.round("groups")
    tenant.purge(ann)
    (item,) = reader.round("groups")
    (member,) = item["members@delta"]
    assert (member["id"], member["@removed"]) == (ann, {"reason": "deleted"})


@pytest.mark.parametrize(
    ("kind", "extra", "reason"),
    [
        ("m365", {}, "changed"),
        ("security", {}, "changed"),
        ("mail_security", {}, "deleted"),
        ("distribution", {}, "deleted"),
        ("security", {"onPremisesSyncEnabled": True}, "deleted"),
    ],
)
def test_deleted_groups(
    tenant: Tenant, reader: Reader, kind: str, extra: dict[str, Any], reason: str
) -> None:
    """Which kinds can be restored."""
    group = tenant.add_group("team", kind=kind, **extra)
    reader.round("groups")
    tenant.delete(group)
    assert reader.round("groups") == [{"id": group, "@removed": {"reason": reason}}]


def test_restored_member_whom_the_crawl_did_not_show_is_not_told(
    tenant: Tenant, reader: Reader
) -> None:
    """Who comes back has to be asked for her groups."""
    ann = tenant.add_user("ann@x.example")
    team = tenant.add_group("team", members=[ann])
    tenant.delete(ann)
    (item,) = reader.round("groups")
    assert "members@delta" not in item
    tenant.restore(ann)
    assert reader.round("groups") == []
    assert [member.id for member in tenant.members(team)] == [ann]


def test_restored_group_may_come_without_its_members(
    tenant: Tenant, feeds: DeltaFeeds, reader: Reader
) -> None:
    """Nobody knows: both are possible."""
    ann = tenant.add_user("ann@x.example")
    team = tenant.add_group("team", members=[ann])
    for relists in (True, False):
        feeds.oddities.relists_restored_groups = relists
        reader.round("groups")
        tenant.delete(team)
        reader.round("groups")
        tenant.restore(team)
        (item,) = reader.round("groups")
        assert item["displayName"] == "team"
        assert ("members@delta" in item) is relists


@pytest.mark.parametrize("forgets", [False, True])
def test_removal_just_before_a_group_went(
    tenant: Tenant, feeds: DeltaFeeds, reader: Reader, forgets: bool
) -> None:
    """The page of the deletion has no room for it; after the restore it may be told, or not."""
    feeds.oddities.forgets_removals = forgets
    ann, bob = tenant.add_user("ann@x.example"), tenant.add_user("bob@x.example")
    team = tenant.add_group("team", members=[ann, bob])
    reader.round("groups")
    tenant.remove_member(team, bob)
    tenant.delete(team)
    assert reader.round("groups") == [{"id": team, "@removed": {"reason": "changed"}}]
    tenant.restore(team)
    reader.round("groups")
    assert reader.members[team] == ({ann, bob} if forgets else {ann})


def test_null_is_told_and_never_set_is_absent(tenant: Tenant, reader: Reader) -> None:
    """Absent is not null."""
    tenant.add_user("ann@x.example", department=None)
    (item,) = reader.round("users")
    assert item["department"] is None
    tenant.add_user("bob@x.example")
    (item,) = reader.round("users")
    assert "department" not in item


def test_what_is_not_selected_is_not_tracked(tenant: Tenant, reader: Reader) -> None:
    """A change of anything else is no change."""
    ann = tenant.add_user("ann@x.example")
    reader.round("users")
    tenant.update(ann, jobTitle="Boss")
    assert reader.round("users") == []


def test_minimal_answers_name_what_changed(tenant: Tenant, reader: Reader) -> None:
    """`Prefer: return=minimal` on a deltaLink; a new object comes whole."""
    ann = tenant.add_user("ann@x.example", department="A")
    reader.round("users")
    tenant.update(ann, department="B")
    link = reader.links["users"]
    assert reader.get("users", link, Prefer="return=minimal")["value"] == [
        {"id": ann, "department": "B"}
    ]
    assert "displayName" in reader.get("users", link)["value"][0]


def test_large_group_comes_in_slices(tenant: Tenant) -> None:
    """The same group again and again, each time with other members."""
    ids = [tenant.add_user(f"u{n}@x.example") for n in range(10)]
    tenant.add_group("big", members=ids)
    said = Reader(DeltaFeeds(tenant, oddities=small())).round("groups")
    assert [len(item["members@delta"]) for item in said] == [3, 3, 3, 1]
    assert [m["id"] for item in said for m in item["members@delta"]] == ids


def test_members_of_other_kinds_are_named_by_type(tenant: Tenant, reader: Reader) -> None:
    """Devices, service principals, contacts and groups."""
    ids = [
        tenant.add_other(sort, "x") for sort in (Sort.DEVICE, Sort.SERVICE_PRINCIPAL, Sort.CONTACT)
    ]
    inner = tenant.add_group("inner")
    tenant.add_group("outer", members=[*ids, inner])
    said = {item["id"]: item for item in reader.round("groups")}
    kinds = [m["@odata.type"] for m in said[tenant.group("outer").id]["members@delta"]]
    assert kinds == [
        "#microsoft.graph.device",
        "#microsoft.graph.servicePrincipal",
        "#microsoft.graph.orgContact",
        "#microsoft.graph.group",
    ]
    assert "members@delta" not in said[inner]


def test_hidden_members_take_a_permission(tenant: Tenant, feeds: DeltaFeeds) -> None:
    """Member.Read.Hidden; Directory.Read.All does not do."""
    ann = tenant.add_user("ann@x.example")
    tenant.add_group("secret", members=[ann], visibility="HiddenMembership")
    (item,) = Reader(feeds).round("groups")
    assert "members@delta" not in item
    (item,) = Reader(feeds, ALL | {"Member.Read.Hidden"}).round("groups")
    assert [m["id"] for m in item["members@delta"]] == [ann]


def test_first_round_may_show_who_left(tenant: Tenant) -> None:
    """`@removed` in a crawl: objects and members."""
    ann, bob = tenant.add_user("ann@x.example"), tenant.add_user("bob@x.example")
    tenant.add_group("team", members=[ann, bob])
    tenant.remove_member(tenant.group("team").id, ann)
    tenant.delete(bob)
    reader = Reader(DeltaFeeds(tenant, oddities=Oddities(removed_in_first_round=True)))
    assert [("@removed" in item) for item in reader.round("users")] == [False, True]
    (item,) = reader.round("groups")
    assert item["members@delta"] == [
        {"@odata.type": "#microsoft.graph.user", "id": ann, "@removed": {"reason": "deleted"}}
    ]


def test_replication_lags_behind(tenant: Tenant, feeds: DeltaFeeds, reader: Reader) -> None:
    """Empty right after the change, there some seconds later."""
    feeds.oddities.lag = 5.0
    reader.round("users")
    tenant.add_user("ann@x.example")
    assert reader.round("users") == []
    clock = tenant.clock
    assert isinstance(clock, FakeClock)
    clock.advance(6)
    assert len(reader.round("users")) == 1


def test_one_feed_may_stand_still(tenant: Tenant, feeds: DeltaFeeds, reader: Reader) -> None:
    """Groups then name members whom the users' feed has not told yet."""
    reader.round("users"), reader.round("groups")
    feeds.freeze("users")
    ann = tenant.add_user("ann@x.example")
    tenant.add_group("team", members=[ann])
    assert reader.round("users") == []
    assert reader.round("groups")[0]["members@delta"][0]["id"] == ann
    feeds.thaw()
    assert [item["id"] for item in reader.round("users")] == [ann]


@pytest.mark.parametrize(
    ("style", "status", "location"),
    [
        ("sync_state_not_found", 400, ""),
        ("resync_required", 400, ""),
        ("gone", 410, "https://graph.example/v1.0/users/delta?$deltatoken="),
        ("gone_elsewhere", 410, "https://graph.attacker.example/v1.0/users/delta?$deltatoken="),
    ],
)
def test_expired_links(
    feeds: DeltaFeeds, reader: Reader, style: str, status: int, location: str
) -> None:
    """Each way of saying so; a new crawl works at once."""
    reader.round("users")
    feeds.expire(style=style)
    with pytest.raises(Refused) as caught:
        reader.round("users")
    assert caught.value.status == status
    assert caught.value.headers.get("Location", "") == location
    reader.links.clear()
    reader.round("users")
    reader.round("users")


def test_links_live_for_seven_days(tenant: Tenant, reader: Reader) -> None:
    """From when they were handed out."""
    reader.round("users")
    clock = tenant.clock
    assert isinstance(clock, FakeClock)
    clock.advance(LIFETIME_SECONDS - 60)
    reader.round("users")
    clock.advance(LIFETIME_SECONDS + 60)
    with pytest.raises(Refused, match="sync state"):
        reader.round("users")


def test_next_links_die_alone(tenant: Tenant, feeds: DeltaFeeds, reader: Reader) -> None:
    """A slow reader loses the page, not the delta link."""
    feeds.oddities.page_size = 1
    reader.round("users")
    for name in ("ann", "bob"):
        tenant.add_user(f"{name}@x.example")
    link = reader.get("users", reader.links["users"])["@odata.nextLink"]
    feeds.kill_next_links()
    with pytest.raises(Refused) as caught:
        reader.get("users", link)
    assert caught.value.code == "Directory_ExpiredPageToken"
    assert len(reader.round("users")) == 2


def test_pages_may_go_round_in_a_circle(tenant: Tenant) -> None:
    """A nextLink that was there before, once; the round then ends."""
    for number in range(5):
        tenant.add_user(f"u{number}@x.example")
    feeds = DeltaFeeds(tenant, oddities=Oddities(page_size=2, loops=1))
    reader = Reader(feeds)
    assert len(reader.round("users")) == 10
    feeds.oddities.loops = 1000
    with pytest.raises(AssertionError, match="no end"):
        Reader(feeds).round("users", most=20)


def test_a_page_may_fail_for_ever(tenant: Tenant) -> None:
    """Whatever one does, behind it nobody gets."""
    for number in range(5):
        tenant.add_user(f"u{number}@x.example")
    feeds = DeltaFeeds(tenant, oddities=Oddities(page_size=2, broken_page=1))
    for _ in range(3):
        with pytest.raises(Refused, match="timed out"):
            Reader(feeds).round("users")
    feeds.oddities.broken_page = None
    assert len(Reader(feeds).round("users")) == 5


@pytest.mark.parametrize("style", ["ids", "nulls"])
def test_permission_lost_in_mid_crawl(tenant: Tenant, style: str) -> None:
    """Pages go on as 200 with ids alone, or with nulls."""
    for number in range(4):
        tenant.add_user(f"u{number}@x.example", department="A")
    oddities = Oddities(page_size=2, limited={"users": style}, limited_from=1)
    said = Reader(DeltaFeeds(tenant, oddities=oddities)).round("users")
    assert [item.get("displayName") for item in said] == ["u0", "u1", None, None]
    assert [item.get("@odata.type") for item in said[2:]] == ["#microsoft.graph.user"] * 2
    assert ("displayName" in said[3]) is (style == "nulls")


def test_manager_is_a_relation_and_not_reliable(tenant: Tenant, feeds: DeltaFeeds) -> None:
    """`manager@delta`, which some have never seen."""
    boss = tenant.add_user("boss@x.example")
    ann = tenant.add_user("ann@x.example")
    reader = Reader(feeds)
    reader.round("users")
    tenant.update(ann, manager=boss)
    (item,) = reader.round("users")
    assert item["manager@delta"] == [{"@odata.type": "#microsoft.graph.user", "id": boss}]
    feeds.oddities.unreliable_manager = True
    tenant.update(ann, manager=None)
    assert reader.round("users") == []
    feeds.oddities.hides_manager = True
    tenant.update(ann, manager=boss, displayName="Ann")
    (item,) = reader.round("users")
    assert "manager@delta" not in item
    feeds.oddities.refuses_manager = True
    with pytest.raises(Refused, match="manager"):
        Reader(feeds).round("users")


def test_sync_from_now(tenant: Tenant, reader: Reader) -> None:
    """`$deltatoken=latest` shows nothing and starts here."""
    tenant.add_user("ann@x.example")
    url = f"https://graph.example/?$select={SELECT['users']}&$deltatoken=latest"
    body = reader.get("users", url)
    assert body["value"] == []
    reader.links["users"] = body["@odata.deltaLink"]
    assert reader.round("users") == []
    bob = tenant.add_user("bob@x.example")
    assert [item["id"] for item in reader.round("users")] == [bob]


def test_filter_takes_fifty_ids(tenant: Tenant, reader: Reader) -> None:
    """By id and or alone."""
    ann, _ = tenant.add_user("ann@x.example"), tenant.add_user("bob@x.example")
    base = "https://graph.example/?$select=id&$filter="
    assert [i["id"] for i in reader.get("users", f"{base}id eq '{ann}'")["value"]] == [ann]
    many = " or ".join(["id eq 'x'"] * 51)
    for wrong in (many, "displayName eq 'ann'", "id ne 'x'", f"id eq '{ann}' and id eq 'x'"):
        with pytest.raises(Refused) as caught:
            reader.get("users", base + wrong)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("$select=id,signInActivity", "signInActivity"),
        ("$select=id,licenseAssignmentStates", "licenseAssignmentStates"),
        ("$select=id,colour", "colour"),
        ("$expand=members", "expand"),
        ("$orderby=displayName", "orderby"),
        ("$deltatoken=garbage", "token"),
    ],
)
def test_what_delta_cannot(reader: Reader, query: str, words: str) -> None:
    """400, and a text that names it."""
    with pytest.raises(Refused, match=words) as caught:
        reader.get("users", f"https://graph.example/?{query}")
    assert caught.value.status == 400


def test_top_is_ignored(tenant: Tenant, reader: Reader) -> None:
    """People expect it to work."""
    for number in range(3):
        tenant.add_user(f"u{number}@x.example")
    assert len(reader.get("users", "https://graph.example/?$select=id&$top=1")["value"]) == 3


def test_link_of_one_feed_is_none_of_the_other(reader: Reader) -> None:
    """Nor is a link that somebody has edited."""
    reader.round("users")
    link = reader.links["users"]
    with pytest.raises(Refused):
        reader.get("groups", link)
    with pytest.raises(Refused):
        reader.get("users", link[:-6] + "AAAA%3D")


def test_old_link_can_be_asked_again(tenant: Tenant, reader: Reader) -> None:
    """The daemon that crashed before it stored the new one."""
    reader.round("users")
    old = reader.links["users"]
    ann = tenant.add_user("ann@x.example")
    for _ in range(2):
        reader.links["users"] = old
        assert [item["id"] for item in reader.round("users")] == [ann]
