"""Which of Graph's properties may be mentioned."""

import pytest

from azsyncd.model.identities import GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.properties import UNTRACKABLE, Noun, problem_with


@pytest.mark.parametrize("name", USER_PROPERTIES)
def test_all_that_is_always_selected_of_users_can_be_mentioned(name: str) -> None:
    """The core set is tracked."""
    assert problem_with("user", name) is None


@pytest.mark.parametrize("name", GROUP_PROPERTIES)
def test_all_that_is_always_selected_of_groups_can_be_mentioned(name: str) -> None:
    """The core set is tracked."""
    assert problem_with("group", name) is None


@pytest.mark.parametrize("noun", ["user", "group"])
def test_what_cannot_be_followed_names_an_alternative(noun: Noun) -> None:
    """A refusal says what to do instead."""
    for name in UNTRACKABLE[noun]:
        problem = problem_with(noun, name)
        assert problem is not None and "cannot be followed: " in problem


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("extension_0123456789abcdef0123456789abcdef_costCenter", True),
        ("extension_01234567-89ab-cdef-0123-456789abcdef_costCenter", False),
        ("extension_costCenter", False),
        ("id", True),
        ("displayname", False),
        ("employeeOrgData", True),
    ],
)
def test_names_are_graphs_own(name: str, good: bool) -> None:
    """Spelling and case count; directory extensions are allowed by their pattern."""
    assert (problem_with("user", name) is None) is good
