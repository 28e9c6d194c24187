"""The feeds: how they start, how pages die, and the targeted questions."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.entra.client import ForeignLink, Graph, GraphRefused
from azsyncd.entra.delta import Delta
from azsyncd.errors import CredentialRefused, DeltaExpired, PageExpired, SourceError
from azsyncd.model.identities import MemberKind, ObjectId

USER = ObjectId("0f7e3b1a-1111-4444-8888-5f2406dee5bd")


@pytest.fixture
def delta(graph: Graph) -> Delta:
    return Delta(
        graph,
        user_properties=("displayName", "accountEnabled"),
        group_properties=("displayName", "securityEnabled"),
    )


def page(fake: Any, **link: str) -> dict[str, Any]:
    links = {f"@odata.{name}": f"{fake.url}/v1.0/{rest}" for name, rest in link.items()}
    return {"value": [], **links}


def test_first_request_selects_explicitly(delta: Delta, fake: Any) -> None:
    """What is not selected is neither returned nor tracked; members only for groups."""
    root = f"{fake.url}/v1.0"
    assert delta.first_url("users") == f"{root}/users/delta?$select=id,displayName,accountEnabled"
    assert delta.first_url("groups") == (
        f"{root}/groups/delta?$select=id,displayName,securityEnabled,members"
    )


def test_selection_changes_with_what_is_selected(graph: Graph) -> None:
    """Order and repetition do not count, nor does the other feed."""

    def select(*users: str) -> str:
        return Delta(graph, user_properties=users, group_properties=()).selection("users")

    assert select("mail", "displayName") == select("displayName", "mail", "id", "mail")
    assert select("mail") != select("displayName")
    assert Delta(graph, user_properties=("x",), group_properties=()).selection("groups") == Delta(
        graph, user_properties=("y",), group_properties=()
    ).selection("groups")


async def test_crawl_asks_for_low_priority(delta: Delta, fake: Any) -> None:
    """Graph throttles them before others; rounds do not say it."""
    fake.says(200, page(fake, deltaLink="users/delta?$deltatoken=1"))
    await delta.page("users", delta.first_url("users"), low_priority=True)
    await delta.page("users", delta.first_url("users"))
    priorities = [headers.get("x-ms-throttle-priority") for _, _, headers, _ in fake.requests]
    assert priorities == ["Low", None]


DEAD = [
    ("$skiptoken=x", 400, "BadRequest", PageExpired),
    ("$skiptoken=x", 404, "Directory_ExpiredPageToken", PageExpired),
    ("%24skiptoken=x", 400, "DirectoryPageTokenNotFoundException", PageExpired),
    ("$skiptoken=x", 400, "syncStateNotFound", DeltaExpired),
    ("$skiptoken=x", 410, "resyncRequired", DeltaExpired),
    ("$deltatoken=x", 400, "BadRequest", DeltaExpired),
    ("$deltatoken=x", 404, "resyncRequired", DeltaExpired),
    ("$deltaToken=x", 410, "anything", DeltaExpired),
    ("$deltatoken=x", 403, "Authorization_RequestDenied", CredentialRefused),
    ("$skiptoken=x", 403, "Authorization_RequestDenied", CredentialRefused),
    ("$select=id", 400, "BadRequest", GraphRefused),
]


@pytest.mark.parametrize(("query", "status", "code", "wanted"), DEAD)
async def test_dead_links(
    delta: Delta, fake: Any, query: str, status: int, code: str, wanted: type[Exception]
) -> None:
    """A nextLink that dies ends the round, a deltaLink wants a crawl, a right wants a person."""
    fake.says(status, {"error": {"code": code, "message": "words"}})
    with pytest.raises(SourceError) as caught:
        await delta.page("users", f"{fake.url}/v1.0/users/delta?{query}")
    assert type(caught.value) is wanted


@pytest.mark.parametrize("name", ["nextLink", "deltaLink"])
async def test_foreign_link_on_a_page_is_refused_before_it_is_stored(
    delta: Delta, fake: Any, name: str
) -> None:
    """Rule 8 already on receipt."""
    fake.says(200, {"value": [], f"@odata.{name}": "https://evil.example/v1.0/users"})
    with pytest.raises(ForeignLink):
        await delta.page("users", delta.first_url("users"))


@pytest.mark.parametrize(
    ("query", "wanted"), [("$skiptoken=x", PageExpired), ("$deltatoken=x", DeltaExpired)]
)
async def test_stored_link_of_another_host_is_dead(
    delta: Delta, fake: Any, query: str, wanted: type[Exception]
) -> None:
    """After graph_url has changed, old links want a new start; nothing is sent anywhere."""
    with pytest.raises(wanted):
        await delta.page("users", f"https://old.example/v1.0/users/delta?{query}")
    assert fake.requests == []


async def test_410_with_a_foreign_location_is_not_followed(delta: Delta, fake: Any) -> None:
    """The crawl starts from the configured address, whatever Location says."""
    fake.says(410, {"error": {"code": "resyncRequired"}}, Location="https://evil.example/users")
    with pytest.raises(DeltaExpired):
        await delta.page("users", f"{fake.url}/v1.0/users/delta?$deltatoken=x")
    assert len(fake.requests) == 1


async def test_page_that_names_itself_is_dead(delta: Delta, fake: Any) -> None:
    """The smallest nextLink loop."""
    url = f"{fake.url}/v1.0/users/delta?$skiptoken=x"
    fake.says(200, page(fake, nextLink="users/delta?$skiptoken=x"))
    with pytest.raises(PageExpired):
        await delta.page("users", url)


async def test_members_of_a_group_over_pages(delta: Delta, fake: Any) -> None:
    """All pages, all kinds; ids in lower case."""
    fake.says(
        200,
        {
            "value": [
                {"@odata.type": "#microsoft.graph.user", "id": "A"},
                {"@odata.type": "#microsoft.graph.device", "id": "B"},
            ],
            "@odata.nextLink": f"{fake.url}/v1.0/groups/g/members?$skiptoken=2",
        },
    )
    fake.says(200, {"value": [{"@odata.type": "#microsoft.graph.group", "id": "C"}]})
    members = await delta.group_members(ObjectId("g"))
    assert [(m.id, m.kind) for m in members] == [
        ("a", MemberKind.USER),
        ("b", MemberKind.OTHER),
        ("c", MemberKind.GROUP),
    ]
    assert fake.requests[0][1] == "/v1.0/groups/g/members?$select=id&$top=999"


async def test_list_that_goes_round_in_a_circle_ends(delta: Delta, fake: Any) -> None:
    """Two pages that name one another."""
    first, second = (f"{fake.url}/v1.0/groups/g/members?$skiptoken={n}" for n in (1, 2))
    for link in (first, second, first):
        fake.says(200, {"value": [], "@odata.nextLink": link})
    with pytest.raises(SourceError, match="circle"):
        await delta.group_members(ObjectId("g"))


async def test_gone_group_is_not_an_empty_one(delta: Delta, fake: Any, example: Any) -> None:
    """A 404 never reads as "no members"."""
    fake.says(404, example("error-404-user-resourcenotfound-after-softdelete"))
    with pytest.raises(GraphRefused) as caught:
        await delta.group_members(ObjectId("g"))
    assert caught.value.status == 404


async def test_groups_of_a_user(delta: Delta, fake: Any) -> None:
    """Direct groups alone: no administrative units, no directory roles."""
    fake.says(
        200,
        {
            "value": [
                {"@odata.type": "#microsoft.graph.group", "id": "G"},
                {"@odata.type": "#microsoft.graph.directoryRole", "id": "R"},
            ]
        },
    )
    assert await delta.groups_of("users", USER) == ["g"]


async def test_presence_of_a_user(delta: Delta, fake: Any, example: Any) -> None:
    """200 is there, 404 is not, anything else is no answer."""
    gone = example("error-404-user-resourcenotfound-after-softdelete")
    fake.says(200, {"id": USER})
    fake.says(404, gone)
    fake.says(200, {"id": USER})
    fake.says(404, gone)
    fake.says(403, example("error-403-authorization-requestdenied"))
    assert await delta.user_exists(USER) is True
    assert await delta.user_exists(USER) is False
    assert await delta.deleted_user(USER) is True
    assert await delta.deleted_user(USER) is False
    with pytest.raises(CredentialRefused):
        await delta.user_exists(USER)
    assert fake.requests[2][1] == f"/v1.0/directory/deletedItems/{USER}?$select=id"


# Managers -----------------------------------------------------------------------------------------

BOSS = {"@odata.type": "#microsoft.graph.user", "id": "B0"}
NOBODY = {"error": {"code": "Request_ResourceNotFound", "message": "no manager"}}
UNKNOWN = {"error": {"code": "BadRequest", "message": "not supported: manager"}}
LISTING = "/v1.0/users?$select=id&$top=999"
EXPANDED = f"{LISTING}&$expand=manager($select=id)"


@pytest.fixture
def managed(graph: Graph) -> Delta:
    return Delta(graph, user_properties=("displayName", "manager"), group_properties=())


def asked(fake: Any) -> list[str]:
    return [path for _, path, _, _ in fake.requests]


async def test_the_listing_says_who_is_whose_manager(managed: Delta, fake: Any) -> None:
    """Page by page; whoever has none comes without one. At its end it starts over."""
    more = f"{fake.url}/v1.0/users?$skiptoken=2"
    fake.says(200, {"value": [{"id": "A", "manager": BOSS}, {"id": "B0"}], "@odata.nextLink": more})
    fake.says(200, {"value": [{"id": "C", "manager": {"id": "A"}}]})
    first = await managed.page("managers", managed.first_url("managers"))
    assert [(seen.id, seen.properties) for seen in first.items] == [
        ("a", {"manager": "b0"}),
        ("b0", {"manager": None}),
    ]
    assert (first.next_link, first.delta_link) == (more, None)
    last = await managed.page("managers", more)
    assert [seen.properties for seen in last.items] == [{"manager": "a"}]
    assert (last.next_link, last.delta_link) == (None, managed.first_url("managers"))
    assert asked(fake) == [EXPANDED, "/v1.0/users?$skiptoken=2"]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_page_that_shows_nobodys_manager_proves_nothing(
    managed: Delta, fake: Any, refused: bool
) -> None:
    """The expansion may be unknown, or ignored: each user is asked for."""
    if refused:
        fake.says(400, UNKNOWN)
    fake.says(200, {"value": [{"id": "A"}, {"id": "B0"}]})
    fake.says(200, BOSS)
    fake.says(404, NOBODY)
    fake.says(200, {"id": "B0"})
    page = await managed.page("managers", managed.first_url("managers"))
    assert [(seen.id, seen.properties["manager"]) for seen in page.items] == [
        ("a", "b0"),
        ("b0", None),
    ]
    listed = [EXPANDED, LISTING] if refused else [EXPANDED]
    assert asked(fake) == [
        *listed,
        "/v1.0/users/a/manager?$select=id",
        "/v1.0/users/b0/manager?$select=id",
        "/v1.0/users/b0?$select=id&$expand=manager($select=id)",
    ]


async def test_once_managers_are_shown_a_page_without_any_is_believed(
    managed: Delta, fake: Any
) -> None:
    """A page of guests, for instance."""
    for value in ([{"id": "A", "manager": BOSS}], [{"id": "C"}]):
        fake.says(200, {"value": value})
    for _ in range(2):
        page = await managed.page("managers", managed.first_url("managers"))
    assert [(seen.id, seen.properties["manager"]) for seen in page.items] == [("c", None)]
    assert len(fake.requests) == 2


async def test_an_attribute_does_not_keep_a_crawl_from_its_end(managed: Delta, fake: Any) -> None:
    """Whoever is not answered for is left out of the page: she is due."""
    fake.says(200, {"value": [{"id": "A"}]})
    fake.says(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    page = await managed.page("managers", managed.first_url("managers"))
    assert page.items == () and page.delta_link is not None


async def test_a_listing_that_is_denied_ends(managed: Delta, fake: Any) -> None:
    fake.says(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    page = await managed.page("managers", managed.first_url("managers"))
    assert page.items == () and page.delta_link is not None


async def test_whoever_is_not_there_herself_has_no_known_manager(managed: Delta, fake: Any) -> None:
    """Her 404 is the same: a replica may be late (graph.md §2.4)."""
    fake.says(404, NOBODY)
    assert await managed.managers_of([USER]) == {}
    assert len(fake.requests) == 2


async def test_a_late_replica_takes_nobodys_manager_away(managed: Delta, fake: Any) -> None:
    """The second answer shows her together with her manager."""
    fake.says(404, NOBODY)
    fake.says(200, {"id": USER, "manager": BOSS})
    assert await managed.managers_of([USER]) == {USER: "b0"}


async def test_a_feed_that_refuses_the_manager_is_read_without(managed: Delta, fake: Any) -> None:
    """Some tenants are said to: then only the listing knows."""
    for _ in range(2):
        fake.says(400, UNKNOWN)
        fake.says(200, page(fake, deltaLink="users/delta?$deltatoken=1"))
    await managed.page("users", managed.first_url("users"))
    await managed.probe("users")
    assert [path.partition("$select=")[2] for path in asked(fake)] == [
        "id,displayName,manager",
        "id,displayName",
        "id,displayName,manager&$deltatoken=latest",
        "id,displayName&$deltatoken=latest",
    ]


async def test_other_mistakes_are_not_laid_to_the_manager(managed: Delta, fake: Any) -> None:
    fake.says(400, UNKNOWN)
    fake.says(400, {"error": {"code": "BadRequest", "message": "no such property"}})
    with pytest.raises(GraphRefused, match="no such property"):
        await managed.page("users", managed.first_url("users"))


async def test_no_answer_about_a_manager_is_not_nobody(managed: Delta, fake: Any) -> None:
    """One who is refused is left out; where several in a row are, nothing is asked any more."""
    ids = [ObjectId(f"u{number}") for number in range(30)]
    for _ in range(12):
        fake.says(200, BOSS)
    fake.says(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    with pytest.raises(CredentialRefused):
        await managed.managers_of(ids)
    assert len(fake.requests) == 24
    fake.says(200, BOSS)
    assert len(await managed.managers_of(ids[:8])) == 7


def test_managers_are_selected_in_their_own_way(managed: Delta) -> None:
    assert managed.selection("managers") != managed.selection("users")
