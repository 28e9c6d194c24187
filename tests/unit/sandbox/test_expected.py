"""The demo's second opinion, tried on companies that fit on a page."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from azsyncd.sandbox.bitbucket import Bitbucket
from azsyncd.sandbox.cloud import Cloud
from azsyncd.sandbox.confluence import Confluence
from azsyncd.sandbox.crowd import Crowd
from azsyncd.sandbox.datacenter import DataCenter
from azsyncd.sandbox.expected import Expectation
from azsyncd.sandbox.jira import Jira
from azsyncd.sandbox.tenant import Tenant


@dataclass
class Page:
    tenant: Tenant
    product: DataCenter
    scope: str
    ann: str
    dev: str
    _expectation: Expectation | None = None

    @property
    def expectation(self) -> Expectation:
        if self._expectation is None:
            self._expectation = Expectation(
                self.tenant,
                self.product,
                scope_group=self.scope,
                pattern="atl-*",
                attributes=isinstance(self.product, (Crowd, Cloud)),
            )
        return self._expectation

    def look(self) -> list[str]:
        self.expectation.look()
        return sorted(self.expectation.differences().values())

    def make(self, name: str, mail: str, shown: str, **more: object) -> None:
        self.product.add_user(name, email=mail, display_name=shown, **more)  # type: ignore[arg-type]


@pytest.fixture
def page() -> Page:
    return page_of(Jira())


def page_of(product: DataCenter) -> Page:
    """Ann is in scope and in atl-dev, by a group between; ben is a foreign account."""
    tenant = Tenant()
    ann = tenant.add_user("Ann@x.example", displayName="Ann  Lee", mail="ann.lee@x.example")
    team = tenant.add_group("Team", members=[ann])
    scope = tenant.add_group("Atlassian Users", members=[team])
    dev = tenant.add_group("atl-dev", members=[team])
    product.add_group("staff")
    product.add_user("ben", groups=["staff"])
    return Page(tenant, product, scope, ann, dev)


def fulfil(page: Page) -> None:
    page.look()
    page.product.add_group("atl-dev")
    page.make("ann@x.example", "ann.lee@x.example", "Ann Lee", groups=["atl-dev"])
    assert page.look() == []


def test_says_what_is_missing(page: Page) -> None:
    assert page.look() == ["ann@x.example: has no account", "group 'atl-dev' is missing"]


def test_is_content_with_what_should_be(page: Page) -> None:
    fulfil(page)
    assert page.expectation.memberships() == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("email", "other@x.example", "e-mail"),
        ("display_name", "Ann L.", "name 'Ann L.'"),
        ("active", False, "is not active"),
    ],
)
def test_sees_each_field(page: Page, field: str, value: object, said: str) -> None:
    fulfil(page)
    page.product.edit_user("ann@x.example", **{field: value})
    (difference,) = page.look()
    assert said in difference


def test_sees_the_department_in_crowd_alone(page: Page) -> None:
    crowd = Page(page.tenant, Crowd(), page.scope, page.ann, page.dev)
    page.tenant.update(page.ann, department="Sales")
    fulfil(page)
    crowd.look()
    crowd.product.add_group("atl-dev")
    crowd.make("ann@x.example", "ann.lee@x.example", "Ann Lee", groups=["atl-dev"])
    assert crowd.look() == ["ann@x.example: department '', should be 'Sales'"]


def test_sees_missing_and_surplus_memberships(page: Page) -> None:
    fulfil(page)
    page.product.remove_member("atl-dev", "ann@x.example")
    page.product.add_member("staff", "ann@x.example")
    assert page.look() == ["ann@x.example: not in 'atl-dev'; still in 'staff'"]


def test_sees_what_happened_to_foreign_accounts_and_groups(page: Page) -> None:
    fulfil(page)
    page.product.remove_member("staff", "ben")
    assert page.look() == ["the foreign account 'ben' was changed"]
    page.product.remove_user("ben")
    page.product.remove_group("staff")
    assert page.look() == [
        "the foreign account 'ben' is gone",
        "the foreign group 'staff' is gone",
    ]


def test_sees_accounts_and_groups_that_should_not_be_there(page: Page) -> None:
    fulfil(page)
    page.product.add_user("ann2@x.example")
    page.product.add_group("atl-other")
    assert page.look() == [
        "the account 'ann2@x.example' should not be there",
        "the group 'atl-other' should not be there",
    ]


def test_a_leaver_is_inactive_and_leaves_what_she_was_taken_out_of(page: Page) -> None:
    fulfil(page)
    page.tenant.remove_member(page.tenant.group("Team").id, page.ann)
    assert page.look() == ["ann@x.example: is active, should not be; still in 'atl-dev'"]


def test_somebody_deleted_is_inactive_and_keeps_her_groups(page: Page) -> None:
    fulfil(page)
    page.tenant.delete(page.ann)
    assert page.look() == ["ann@x.example: is active, should not be"]
    page.tenant.restore(page.ann)
    assert page.look() == []


def test_somebody_disabled_is_inactive_and_her_groups_follow(page: Page) -> None:
    fulfil(page)
    page.tenant.update(page.ann, accountEnabled=False)
    page.tenant.remove_member(page.dev, page.tenant.group("Team").id)
    assert page.look() == ["ann@x.example: is active, should not be; still in 'atl-dev'"]


def test_nobody_gets_an_account_that_would_be_inactive(page: Page) -> None:
    page.tenant.update(page.ann, accountEnabled=False)
    assert page.look() == ["group 'atl-dev' is missing"]


def test_an_adopted_account_keeps_its_name_and_its_foreign_memberships(page: Page) -> None:
    page.product.add_group("ATL-DEV")
    page.make("ANN@X.example", "old@x.example", "Annie", groups=["staff", "ATL-DEV"])
    assert page.look() == [
        "ANN@X.example: e-mail 'old@x.example', should be 'ann.lee@x.example'; "
        "name 'Annie', should be 'Ann Lee'"
    ]
    page.product.edit_user("ANN@X.example", email="ann.lee@x.example", display_name="Ann Lee")
    page.tenant.update(page.ann, userPrincipalName="ann.new@x.example")
    assert page.look() == []
    page.tenant.remove_member(page.dev, page.tenant.group("Team").id)
    assert page.look() == ["ANN@X.example: still in 'atl-dev'"]


def test_a_created_account_is_renamed(page: Page) -> None:
    fulfil(page)
    page.tenant.update(page.ann, userPrincipalName="New@x.example")
    assert page.look() == [
        "new@x.example: has no account",
        "the account 'ann@x.example' should not be there",
    ]
    page.product.edit_user("ann@x.example", name="new@x.example")
    assert page.look() == []


def test_a_group_keeps_the_name_under_which_it_was_made_and_its_members_when_it_is_gone(
    page: Page,
) -> None:
    fulfil(page)
    page.tenant.update(page.dev, displayName="anything else")
    assert page.look() == []
    page.tenant.delete(page.dev)
    assert page.look() == []


def test_of_two_groups_with_one_name_neither_is_written(page: Page) -> None:
    page.tenant.add_group("ATL-dev")
    assert page.look() == ["ann@x.example: has no account"]


@pytest.mark.parametrize("kind", ["m365", "distribution"])
def test_only_security_groups_are_written(page: Page, kind: str) -> None:
    fulfil(page)
    page.tenant.add_group("atl-social", kind=kind, members=[page.ann])
    assert page.look() == []


def test_asks_again_about_single_differences(page: Page) -> None:
    page.look()
    missing = page.expectation.differences().keys()
    page.product.add_group("atl-dev")
    left = page.expectation.differences(missing)
    assert left == {("account", page.ann): "ann@x.example: has no account"}


# What single products cannot do -------------------------------------------------------------------


def marry(page: Page) -> None:
    page.tenant.update(
        page.ann, userPrincipalName="new@x.example", mail="new@x.example", displayName="Ann New"
    )


def test_confluence_renames_nobody_and_updates_all_the_same() -> None:
    page = page_of(Confluence(version="9.3"))
    fulfil(page)
    marry(page)
    (difference,) = page.look()
    assert difference.startswith("ann@x.example: e-mail 'ann.lee@x.example', should be 'new@")
    page.product.edit_user("ann@x.example", email="new@x.example", display_name="Ann New")
    assert page.look() == []


def test_nobody_gets_the_name_under_which_somebody_else_goes_on() -> None:
    page = page_of(Confluence())
    fulfil(page)
    page.tenant.update(page.ann, userPrincipalName="new@x.example")
    other = page.tenant.add_user("ann@x.example", displayName="Ann Lee", mail="ann.lee@x.example")
    page.tenant.add_member(page.scope, other)
    assert page.look() == []


def test_confluence_before_9_3_keeps_what_it_was_given() -> None:
    page = page_of(Confluence(version="9.2.21"))
    fulfil(page)
    marry(page)
    assert page.look() == []
    adopted = page_of(Confluence(version="9.2.21"))
    adopted.product.add_group("atl-dev")
    adopted.make("ANN@x.example", "old@x.example", "Annie", groups=["atl-dev"])
    assert adopted.look() == []


def test_confluence_takes_no_quotes_in_usernames_and_no_slashes_in_group_names() -> None:
    page = page_of(Confluence())
    fulfil(page)
    odd = page.tenant.add_user("siobhan.o'brien@x.example", displayName="Siobhan")
    page.tenant.add_member(page.scope, odd)
    page.tenant.add_group("atl-a/b", members=[page.ann])
    assert page.look() == []
    page.tenant.update(page.ann, displayName="Ann <b>Lee</b>")
    assert page.look() == ["ann@x.example: name 'Ann Lee', should be 'Ann bLee/b'"]


@pytest.mark.parametrize("product", [Bitbucket(), Jira(version="8.2")], ids=["bitbucket", "jira"])
def test_who_cannot_be_deactivated_loses_her_groups_and_gets_them_back(product: DataCenter) -> None:
    page = page_of(product)
    fulfil(page)
    page.tenant.update(page.ann, accountEnabled=False)
    assert page.look() == ["ann@x.example: still in 'atl-dev'"]
    page.product.remove_member("atl-dev", "ann@x.example")
    assert page.look() == []
    page.tenant.update(page.ann, accountEnabled=True)
    assert page.look() == ["ann@x.example: not in 'atl-dev'"]


def test_who_leaves_bitbucket_loses_the_licence_that_somebody_gave_her_for_ever() -> None:
    page = page_of(Bitbucket())
    page.product.add_group("atl-dev")
    groups = ["atl-dev", "stash-users", "staff"]
    page.make("ann@x.example", "ann.lee@x.example", "Ann Lee", groups=groups)
    assert page.look() == []
    page.tenant.delete(page.ann)
    assert page.look() == ["ann@x.example: still in 'atl-dev'; still in 'stash-users'"]
    page.product.remove_member("stash-users", "ann@x.example")
    page.tenant.restore(page.ann)
    assert page.look() == []


def test_sees_the_department_in_cloud() -> None:
    page = page_of(Cloud())
    fulfil(page)
    page.tenant.update(page.ann, department="Sales")
    assert page.look() == ["ann@x.example: department '', should be 'Sales'"]
    page.product.edit_user("ann@x.example", properties={"department": "Sales"})
    assert page.look() == []


def test_a_foreign_account_that_was_marked_was_changed() -> None:
    page = page_of(Cloud())
    fulfil(page)
    page.product.edit_user("ben", properties={"externalId": "mine"})
    assert page.look() == ["the foreign account 'ben' was changed"]
