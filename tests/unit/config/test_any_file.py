"""Whatever stands in the file: problems with places, never a traceback."""

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azsyncd.config import json_schema, loads
from azsyncd.errors import ConfigError, Problem

KEYS = sorted(
    {
        key
        for model in [json_schema(), *json_schema()["$defs"].values()]
        for key in model.get("properties", {})
    }
    | {"jira", "x", "1", "<<"}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 10**20),
    st.floats(),
    st.dates(),
    st.sampled_from(["30s", "{{ user.mail }}", "user.mail ==", "jira", "https://[", "(", "", "*"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)
PLACES = [
    (),
    ("entra",),
    ("entra", "credential"),
    ("entra", "credential", "client_secret"),
    ("schedule",),
    ("notifications",),
    ("notifications", "tls"),
    ("scope",),
    ("scope", "users", "members_of"),
    ("scope", "groups"),
    ("targets",),
    ("targets", "jira"),
    ("targets", "jira", "auth"),
    ("targets", "jira", "accounts"),
    ("targets", "jira", "accounts", "leavers"),
    ("targets", "jira", "guard"),
    ("targets", "jira", "limits"),
    ("alerts",),
    ("admin",),
]


def problems_of(text: str) -> tuple[Problem, ...]:
    """Empty for a file that can be used."""
    try:
        loads(text)
    except ConfigError as error:
        return error.problems or (Problem("", ""),)
    return ()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(PLACES), key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_anywhere_is_taken_or_explained(
    good: str, place: tuple[str, ...], key: str, value: Any
) -> None:
    """Each problem has a message, and a line wherever something stands in the file."""
    data = yaml.safe_load(good)
    here = data
    for part in place:
        here = here.setdefault(part, {})
    if isinstance(here, dict):
        here[key] = value
    for problem in problems_of(yaml.safe_dump(data, allow_unicode=True)):
        assert problem.message
        assert problem.line or "YAML" in problem.message, problem


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 400), junk=st.text(max_size=4), cut=st.integers(0, 20))
def test_any_slip_of_the_hand_is_explained(good: str, at: int, junk: str, cut: int) -> None:
    """Text cut out or put in somewhere."""
    for problem in problems_of(good[:at] + junk + good[at + cut :]):
        assert problem.message
