"""What a loaded file offers: defaults, the scope a target really has, properties, secrets."""

from collections.abc import Callable
from typing import Any

import pytest

from azsyncd.config import Loaded
from azsyncd.model.identities import GROUP_PROPERTIES, USER_PROPERTIES
from azsyncd.plan.policy import Mode

Load = Callable[..., Loaded]
Jira = Callable[..., dict[str, Any]]


def test_the_defaults_are_those_of_the_documentation(loaded: Load) -> None:
    """surface.md §1."""
    config = loaded().config
    assert config.instance == "azsyncd"
    assert (config.schedule.full_sync, config.schedule.timezone) == ("0 3 * * *", "UTC")
    assert config.schedule.delta_poll == 30
    assert (config.notifications.mode, config.notifications.lifetime) == ("none", 3 * 86400)
    assert (config.state.path, config.state.history) == (
        "/var/lib/azsyncd/azsyncd.db",
        400 * 86400,
    )
    assert config.admin.socket == "/run/azsyncd/admin.sock"
    assert (config.logging.level, config.logging.format) == ("info", "auto")
    target = config.targets["jira"]
    assert target.mode is Mode.SYNC
    assert target.accounts.stages[0].do == "deactivate"
    assert target.limits.timeout == 30


@pytest.mark.parametrize(
    ("cloud", "login", "graph"),
    [
        ("global", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
        ("us_gov", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("us_gov_dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
        ("china", "https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_each_cloud_has_its_hosts(loaded: Load, cloud: str, login: str, graph: str) -> None:
    """And its scope of tokens, which stays the cloud's under an override."""
    entra = loaded(entra={"cloud": cloud}).config.entra
    assert (entra.login_url, entra.graph_url) == (login, graph)
    assert entra.token_scope == f"{graph}/.default"
    overridden = {"cloud": cloud, "graph_url": "https://127.0.0.1:8443/"}
    entra = loaded(entra=overridden).config.entra
    assert (entra.login_url, entra.graph_url) == (login, "https://127.0.0.1:8443")
    assert entra.token_scope == f"{graph}/.default"


def test_limits_are_by_type_and_replaced_key_by_key(loaded: Load, jira: Jira) -> None:
    """One key of one's own leaves the others as they are."""
    crowd = {
        "type": "crowd",
        "url": "https://crowd.example.com/crowd/",
        "auth": {"username": "azsyncd", "password": {"env": "P"}},
        "limits": {"requests_per_second": 2.5},
    }
    targets = loaded(targets={"crowd": crowd}).config.targets
    assert targets["crowd"].limits.model_dump() == {
        "concurrency": 4,
        "requests_per_second": 2.5,
        "timeout": 30,
    }
    assert targets["jira"].limits.requests_per_second == 20
    assert targets["crowd"].url == "https://crowd.example.com/crowd"


def test_a_policy_has_the_scope_that_the_target_really_has(loaded: Load, jira: Jira) -> None:
    """Keys replace, exclude adds up; the rest is the target's."""
    config = loaded(
        scope={"users": {"exclude": ["a@b.c"]}, "groups": {"include": [{"name": "atl-*"}]}},
        **jira(
            mode="manual",
            scope={"users": {"exclude": ["d@e.f"], "where": "user.userType == 'Member'"}},
        ),
    ).config
    policy = config.policy("jira")
    assert policy.mode is Mode.MANUAL
    assert policy.scope.users.exclude == ("a@b.c", "d@e.f")
    assert policy.scope.users.where == "user.userType == 'Member'"
    assert policy.scope.users.everybody
    assert [entry.key for entry in policy.scope.groups.include] == ["name: atl-*"]


def test_properties_are_the_core_sets_and_what_is_mentioned(loaded: Load, jira: Jira) -> None:
    """In any target's scope or mapping (rule 5)."""
    assert loaded().config.properties() == (
        frozenset(USER_PROPERTIES),
        frozenset(GROUP_PROPERTIES),
    )
    extension = "extension_0123456789abcdef0123456789abcdef_x"
    config = loaded(
        scope={"groups": {"include": [{"where": "group.visibility == 'Public'"}]}},
        **jira(
            scope={
                "users": {
                    "where": "user.state == 'HH' and user.id != ''",
                    "members_of": [{"where": "group.classification == 'x'"}],
                },
                "groups": {"exclude": [{"where": "group.theme == 'Red'"}]},
            },
            accounts={
                "active": "user.showInAddressList",
                "attributes": {"x": f"{{{{ user.{extension} }}}}"},
            },
            groups={"name": "{{ group.preferredLanguage }}"},
        ),
    ).config
    users, groups = config.properties()
    assert users - set(USER_PROPERTIES) == {"state", "showInAddressList", extension}
    assert groups - set(GROUP_PROPERTIES) == {
        "visibility",
        "classification",
        "theme",
        "preferredLanguage",
    }


def test_all_secrets_are_listed_with_their_keys(loaded: Load) -> None:
    """So that `check` can look at each; none is opened."""
    config = loaded(
        entra={
            "credential": {
                "client_secret": ...,
                "certificate": {"file": "/etc/a.pem", "passphrase": {"env": "PP"}},
            }
        },
        notifications={"tls": {"certificate": "/c.pem", "private_key": {"file": "/k.pem"}}},
    ).config
    assert {key: str(secret) for key, secret in config.secrets()} == {
        "entra.credential.certificate": "{file: /etc/a.pem}",
        "entra.credential.passphrase": "{env: PP}",
        "targets.jira.auth.token": "{credential: jira-token}",
        "notifications.tls.private_key": "{file: /k.pem}",
    }


@pytest.mark.parametrize(
    ("credential", "keys"),
    [
        ({"client_secret": {"env": "A"}}, ["client_secret[0]"]),
        ({"client_secret": [{"env": "A"}, {"env": "B"}]}, ["client_secret[0]", "client_secret[1]"]),
        ({"certificate": "/a.pfx", "passphrase": {"env": "P"}}, ["certificate", "passphrase"]),
        ({"federated_token": {"file": "/var/run/token"}}, ["federated_token"]),
        ({"managed_identity": "system"}, []),
    ],
)
def test_the_four_kinds_of_credentials(
    loaded: Load, credential: dict[str, Any], keys: list[str]
) -> None:
    """One secret, two, a certificate with a passphrase, a token, an identity."""
    cleared = {"client_secret": ...} if "client_secret" not in credential else {}
    section = {"credential": {**cleared, **credential}}
    if isinstance(credential.get("client_secret"), dict):
        section["credential"]["client_secret"]["credential"] = ...
    found = loaded(entra=section).config.entra.credential
    assert [key for key, _ in found.secrets()] == keys


def test_targets_trust_what_entra_trusts_unless_they_say_otherwise(
    loaded: Load, jira: Jira
) -> None:
    """One company CA need not be written five times."""
    assert loaded().config.ca_file("jira") is None
    entra = {"ca_file": "/etc/ssl/company.pem"}
    assert loaded(entra=entra).config.ca_file("jira") == "/etc/ssl/company.pem"
    own = jira(ca_file="/etc/ssl/jira.pem")
    assert loaded(entra=entra, **own).config.ca_file("jira") == "/etc/ssl/jira.pem"


def test_the_path_of_notifications(loaded: Load) -> None:
    """The only one that is served."""
    for url, path in (("https://a.example", "/"), ("https://a.example/x/y/", "/x/y")):
        section = {"mode": "webhook", "public_url": url}
        assert loaded(notifications=section).config.notifications.path == path
