"""The connector that belongs to a type, signed in as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from azsyncd.errors import ConfigError
from azsyncd.http import Limits
from azsyncd.sandbox.clock import FakeClock
from azsyncd.targets.connect import SignIn, connect, unknowable


def make(kind: str, sign_in: SignIn | None = None, **more: Any) -> Any:
    return connect(
        kind,
        "main",
        url="https://product.example.com/base/",
        sign_in=sign_in or SignIn(token="t"),
        clock=FakeClock(),
        limits=Limits(),
        instance="azsyncd",
        **more,
    )


@pytest.mark.parametrize("kind", ["jira", "confluence", "bitbucket", "crowd", "cloud"])
async def test_each_type_has_its_connector(kind: str) -> None:
    """It bears the configured name."""
    target = make(kind, **({"directory_id": "d"} if kind == "cloud" else {}))
    assert (target.type, target.name) == (kind, "main")
    await target.close()


def test_a_type_without_a_connector_is_refused() -> None:
    """Not ignored, and not guessed."""
    with pytest.raises(ConfigError, match="not yet available"):
        make("wiki")


def test_a_secret_is_read_when_the_connector_is_made_and_never_shown() -> None:
    """A token goes as Bearer, a password as Basic in UTF-8."""
    assert SignIn(token=lambda: "abc").header() == "Bearer abc"
    sign_in = SignIn(username="app", password="pässword")
    assert sign_in.header() == "Basic YXBwOnDDpHNzd29yZA=="
    assert "pässword" not in repr(sign_in)
    assert "abc" not in repr(SignIn(token="abc"))


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tökén"])
def test_a_token_that_cannot_be_sent_is_a_mistake_of_the_file(token: str) -> None:
    """And the message does not repeat it."""
    with pytest.raises(ConfigError) as caught:
        make("jira", SignIn(token=token))
    assert not token or token not in str(caught.value)


def test_rule_43_passwords_are_unknowable() -> None:
    """Never twice the same, and long enough for any policy."""
    made = {unknowable() for _ in range(100)}
    assert len(made) == 100 and all(len(each) > 40 for each in made)
