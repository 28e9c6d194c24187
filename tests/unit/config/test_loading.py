"""Loading: every problem at once, each with its line and what would be right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azsyncd.config import Loaded, load, loads
from azsyncd.errors import ConfigError

Find = Callable[..., dict[str, str]]
Load = Callable[..., Loaded]
Jira = Callable[..., dict[str, Any]]

BAD = """\
instancex: x
entra:
  tenant_id: common
  client_id: 66666666-7777-8888-9999-000000000000
  credential:
    client_secret: hunter2
scope:
  users:
    members_of: []
targets:
  jira:
    type: jira
    ulr: https://jira.example.com
    auth: {token: {credential: jira-token}}
    accounts:
      username: {{ user.mail }}
      email: "{{ user.maill }}"
    mode: synced
    guard: {deactivate: lots}
    mode: sync
"""

EXPECTED = [
    (1, 1, "instancex", "unknown key; did you mean instance?"),
    (3, 3, "entra.tenant_id", "stands for any tenant"),
    (6, 5, "entra.credential.client_secret", "write {credential: NAME}, {file: PATH} or"),
    (9, 5, "scope.users.members_of", "an empty list would be nobody"),
    (11, 3, "targets.jira.url", "is missing"),
    (13, 5, "targets.jira.ulr", "unknown key; did you mean url?"),
    (16, 7, "targets.jira.accounts.username", "must be in quotes"),
    (17, 7, "targets.jira.accounts.email", "did you mean mail?"),
    (19, 13, "targets.jira.guard.deactivate", "or unlimited, and is 'lots'"),
    (20, 5, "targets.jira.mode", "is there twice; first on line 18"),
    (20, 5, "targets.jira.mode", "and is 'synced'; did you mean sync?"),
]


def test_all_problems_are_told_at_once_with_their_places() -> None:
    """Sorted as in the file; nothing hides behind something else."""
    with pytest.raises(ConfigError) as caught:
        loads(BAD, "c.yaml")
    found = caught.value.problems
    assert len(found) == len(EXPECTED), str(caught.value)
    for problem, (line, column, key, message) in zip(found, EXPECTED, strict=True):
        assert (problem.line, problem.column, problem.key) == (line, column, key)
        assert message in problem.message
    assert str(found[5]).startswith("c.yaml:13:5: targets.jira.ulr: is an unknown key")


def test_no_problem_repeats_a_secret() -> None:
    """A password that stands in the file is refused without being shown."""
    with pytest.raises(ConfigError) as caught:
        loads(BAD)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    "value",
    ["hunter2", "*hunter2", "!hunter2", "&hunter2", "{hunter2}", "[hunter2]", "'hunter2",
     "|hunter2", "2028-13-32 # hunter2", "hunter2: hunter2", "%hunter2", "@hunter2",
     "{env: 'hunter2 x'}"],
)  # fmt: skip
def test_i10_whatever_is_wrong_with_a_secret_it_is_not_repeated(good: str, value: str) -> None:
    """Not even as an alias, a tag, or something that is no YAML."""
    text = good.replace("{credential: entra-client-secret}", value)
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        ("[1, 2]", None, "must be a mapping"),
        ("a: b: c", 1, "is no YAML"),
        ("entra:\n\ttenant_id: x", 2, "not with tabs"),
        ('a: "open', 1, "is no YAML"),
        ("a: [1, 2\nb: 3", 2, "is no YAML"),
        ("a: *nowhere", 1, "is no YAML"),
        ("a: &a [*a]", None, "aliases that contain themselves"),
        ("a: \x07", None, "is no YAML"),
        ("---\na: 1\n---\nb: 2", 3, "is no YAML"),
    ],
)
def test_what_is_no_yaml_is_told_as_one_problem(text: str, line: int | None, message: str) -> None:
    """With the line where there is one, and no traceback."""
    with pytest.raises(ConfigError) as caught:
        loads(text)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert message in problem.message


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    """Nine levels of ten are a milliard."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 10):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    with pytest.raises(ConfigError, match="far too many"):
        loads("\n".join(lines))


def test_anchors_and_merge_keys_work(good: str) -> None:
    """Two targets may share what they have in common; a key of one's own wins."""
    text = good + (
        "  crowd: &crowd\n    type: crowd\n    url: https://a.example.com\n"
        "    auth: {username: u, password: {env: P}}\n    drift: report\n"
        "  crowd2:\n    <<: *crowd\n    url: https://b.example.com\n"
    )
    targets = loads(text).config.targets
    assert (targets["crowd2"].url, targets["crowd2"].drift) == ("https://b.example.com", "report")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a: 1\nb: \xe4\n", b"x" * (2 << 20)])
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, content: bytes | None) -> None:
    """Missing, not UTF-8, or far too large."""
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)


def test_a_byte_order_mark_and_windows_lines_are_no_problem(tmp_path: Path, good: str) -> None:
    """Administrators use all sorts of editors."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode())
    assert load(path).path == path


def test_the_digest_changes_with_what_the_file_says(text: Callable[..., str], good: str) -> None:
    """Comments, order and spelling of defaults do not matter."""
    first = loads(good).digest
    assert loads(f"# a comment\n{good}\ninstance: azsyncd\n").digest == first
    assert loads(text(schedule={"delta_poll": "30000ms"})).digest == first
    assert loads(text(schedule={"delta_poll": "31s"})).digest != first


def test_rule_10_an_empty_members_of_is_an_error(problems: Find, jira: Jira) -> None:
    """Common or a target's own."""
    assert "nobody" in problems(scope={"users": {"members_of": []}})["scope.users.members_of"]
    own = problems(**jira(scope={"users": {"members_of": []}}))
    assert "nobody" in own["targets.jira.scope.users.members_of"]


@pytest.mark.parametrize(
    ("users", "good"),
    [
        (..., False),
        ({"everybody": ...}, False),
        ({"everybody": False}, False),
        ({"everybody": ..., "exclude": ["a@b.c"]}, False),
        ({"everybody": ..., "where": "user.accountEnabled"}, True),
        ({"everybody": ..., "members_of": [{"name": "x"}]}, True),
    ],
)
def test_somebody_must_be_in_scope(problems: Find, users: Any, good: bool) -> None:
    """One of where, members_of, everybody."""
    found = problems(scope={"users": users})
    assert ("scope.users" not in found) is good


def test_a_scope_of_a_targets_own_is_enough(problems: Find, jira: Jira) -> None:
    """The common one may be missing then; the target without is named."""
    own = {"scope": {"users": {"where": True}}}
    assert problems(scope=..., **jira(**own)) == {}
    found = problems(
        scope=...,
        targets={
            "jira": own,
            "crowd": {
                "type": "crowd",
                "url": "https://crowd.example.com",
                "auth": {"username": "a", "password": {"env": "P"}},
            },
        },
    )
    assert found["scope.users"].startswith("says nobody for crowd")


@pytest.mark.parametrize("name", ["azsyncd", "azsyncd.owner", "AzSyncd.x"])
def test_no_attribute_takes_the_place_of_the_mark(problems: Find, name: str) -> None:
    """What it would overwrite is what a lost database is rebuilt from."""
    said = problems(targets={"jira": {"accounts": {"attributes": {name: "{{ user.id }}"}}}})
    assert "whose account it is" in said[f"targets.jira.accounts.attributes.{name}"]


def test_rule_25_two_targets_with_one_url_are_an_error(problems: Find) -> None:
    """Whatever their spelling."""
    for url in ("https://JIRA.example.com/", "https://jira.example.com:443"):
        found = problems(
            targets={"other": {"type": "jira", "url": url, "auth": {"token": {"env": "T"}}}}
        )
        assert found == {"targets.other.url": "is the same product as targets.jira"}
    url = "https://jira.example.com/two"
    other = {"type": "jira", "url": url, "auth": {"token": {"env": "T"}}}
    assert problems(targets={"other": other}) == {}


@pytest.mark.parametrize(
    ("sections", "key", "message"),
    [
        ({"schedule": {"full_sync": "0 3 * *"}}, "schedule.full_sync", "five fields"),
        ({"schedule": {"full_sync": "* * * * * *"}}, "schedule.full_sync", "five fields"),
        ({"schedule": {"full_sync": "0 25 * * *"}}, "schedule.full_sync", "no cron"),
        ({"schedule": {"timezone": "Mars/Olympus"}}, "schedule.timezone", "Europe/Berlin"),
        ({"schedule": {"delta_poll": "500ms"}}, "schedule.delta_poll", "between 1s and 1d"),
        ({"schedule": {"delta_poll": "2d"}}, "schedule.delta_poll", "and is 2d"),
        ({"schedule": {"delta_poll": 30}}, "schedule.delta_poll", "is no duration"),
        ({"schedule": {"delta_poll": 30.5}}, "schedule.delta_poll", "is no duration"),
        ({"schedule": {"delta_poll": "30 seconds"}}, "schedule.delta_poll", "is no duration"),
        ({"schedule": {"delta_poll": None}}, "schedule.delta_poll", "is no duration"),
        ({"notifications": {"lifetime": "44m"}}, "notifications.lifetime", "between 45m and 28d"),
        ({"notifications": {"mode": "webhook"}}, "notifications.public_url", "is missing"),
        ({"notifications": {"listen": "9475"}}, "notifications.listen", "HOST:PORT, unix:/path"),
        ({"notifications": {"mode": "event_hubs"}}, "notifications.mode", "not yet available"),
        ({"state": {"path": "azsyncd.db"}}, "state.path", "absolute path"),
        ({"admin": {"metrics": "9477"}}, "admin.metrics", "HOST:PORT"),
        ({"admin": {"listen": "127.0.0.1:1"}}, "admin", "needs a token"),
        ({"logging": {"level": "DEBUG"}}, "logging.level", "did you mean debug?"),
        ({"logging": {"level": "loud"}}, "logging.level", "debug, info, warning or error"),
        ({"instance": "my azsyncd"}, "instance", "letters, digits"),
        ({"targets": ...}, "targets", "is missing"),
        ({"targets": {"jira": ...}}, "targets", "must not be empty"),
        ({"entra": ...}, "entra", "is missing"),
        ({"entra": {"tenant_id": "contoso"}}, "entra.tenant_id", "Tenant ID"),
        ({"entra": {"tenant_id": 7}}, "entra.tenant_id", "must be text; put it in quotes"),
        ({"entra": {"login_url": "http://login"}}, "entra.login_url", "must be https"),
        ({"entra": {"graph_url": "ftp://graph"}}, "entra.graph_url", "must be a URL"),
        ({"entra": {"cloud": "usgov"}}, "entra.cloud", "did you mean us_gov?"),
        ({"entra": {"proxy": "http://u:pw@proxy:1"}}, "entra.proxy", "HTTPS_PROXY"),
        ({"scope": {"users": {"where": "user.usertype == 'x'"}}}, "scope.users.where", "userType"),
        ({"scope": {"users": {"exclude": ["jo"]}}}, "scope.users.exclude[0]", "neither"),
        (
            {"scope": {"groups": {"include": [{"id": "staff"}]}}},
            "scope.groups.include[0].id",
            "`name:`",
        ),
        (
            {"scope": {"groups": {"include": ["atl-*"]}}},
            "scope.groups.include[0]",
            "must be a mapping",
        ),
        (
            {"scope": {"groups": {"include": [{"regex": "("}]}}},
            "scope.groups.include[0]",
            "is not valid",
        ),
        (
            {"scope": {"groups": {"include": {"name": "x"}}}},
            "scope.groups.include",
            "must be a list",
        ),
        (
            {"scope": {"groups": {"include": [{"name": "x", "id": "y"}]}}},
            "scope.groups.include[0]",
            "exactly one of name, regex, id, where",
        ),
        (
            {"scope": {"groups": {"include": [{"where": "group.mailenabled"}]}}},
            "scope.groups.include[0].where",
            "did you mean mailEnabled?",
        ),
    ],
)
def test_values_that_are_wrong(
    problems: Find, sections: dict[str, Any], key: str, message: str
) -> None:
    """Each says what would be right."""
    found = problems(**sections)
    assert message in found[key], found


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"type": "jirra"}, "type", "did you mean jira?"),
        ({"url": "jira.example.com"}, "url", "must be a URL such as https://"),
        ({"url": "https://u:p@jira.example.com"}, "url", "must not carry a user name"),
        ({"url": "https://jira.example.com/?x=1"}, "url", "must not have a query"),
        ({"url": "https://jira.example.com:x"}, "url", "is no URL"),
        ({"auth": {"token": "abc"}}, "auth.token", "does not stand in the file itself"),
        ({"auth": {"token": {"vault": "x"}}}, "auth.token", "exactly one of credential, file"),
        ({"auth": {"token": {"credential": ..., "file": "secret"}}}, "auth.token", "absolute path"),
        ({"auth": {"token": {"credential": "../x"}}}, "auth.token", "name of a file"),
        (
            {"auth": {"token": {"credential": ..., "env": "A B"}}},
            "auth.token",
            "environment variable",
        ),
        ({"auth": {"password": {"env": "P"}}}, "auth", "not both"),
        ({"auth": {"token": ..., "username": "x"}}, "auth", "or username and password"),
        ({"auth": {"expires_on": "soon"}}, "auth.expires_on", "a day such as 2028-11-22"),
        ({"type": "crowd"}, "auth.token", "application's name"),
        ({"directory_id": "x"}, "directory_id", "belongs to the type cloud"),
        ({"accounts": {"username": "user.mail"}}, "accounts.username", "write '{{ user.mail }}'"),
        ({"accounts": {"username": "jo"}}, "accounts.username", "the same for every user"),
        ({"groups": {"name": "jira"}}, "groups.name", "the same for every group"),
        ({"accounts": {"active": "user.enabled"}}, "accounts.active", "accountEnabled"),
        ({"accounts": {"rename": "perhaps"}}, "accounts.rename", "true or false"),
        ({"accounts": {"leavers": "disable"}}, "accounts.leavers", "strip_groups"),
        ({"accounts": {"leavers": []}}, "accounts.leavers", "has no stage"),
        (
            {"accounts": {"leavers": [{"after": "30", "do": "delete"}]}},
            "accounts.leavers[0].after",
            "no duration",
        ),
        ({"accounts": {"leavers": [{"do": "delete"}]}}, "accounts.leavers[0].after", "is missing"),
        (
            {"accounts": {"attributes": {"x": "{{ user.y }}"}}},
            "accounts.attributes.x",
            "no property",
        ),
        ({"guard": {"delete": {"count": -1}}}, "guard.delete.count", "greater than or equal to 0"),
        ({"guard": {"delete": {"percent": 101}}}, "guard.delete.percent", "less than or equal"),
        ({"guard": {"delete": {"percents": 1}}}, "guard.delete.percents", "did you mean percent?"),
        ({"guard": {"delete": "many"}}, "guard.delete", "unlimited"),
        ({"guard": {"deletes": "unlimited"}}, "guard.deletes", "did you mean delete?"),
        ({"limits": {"timeout": "1h"}}, "limits.timeout", "between 1s and 10m"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency", "greater than or equal to 1"),
        ({"limits": {"concurrency": 1.5}}, "limits.concurrency", "whole number"),
        ({"limits": {"requests_per_second": 0}}, "limits.requests_per_second", "greater than 0"),
        ({"protect": {"users": "root"}}, "protect.users", "must be a list"),
        ({"mode": None}, "mode", "must be sync"),
        ({"scope": {"users": {"member_of": []}}}, "scope.users.member_of", "members_of?"),
        ({"foo": 1}, "foo", "unknown key"),
    ],
)
def test_values_of_a_target_that_are_wrong(
    problems: Find, jira: Jira, keys: dict[str, Any], key: str, message: str
) -> None:
    """Each says what would be right."""
    found = problems(**jira(**keys))
    assert message in found[f"targets.jira.{key}"], found


@pytest.mark.parametrize(
    ("credential", "message"),
    [
        ({}, "exactly one of client_secret, certificate"),
        ({"client_secret": [{"env": "S"}], "managed_identity": "system"}, "exactly one of"),
        ({"managed_identity": "system", "passphrase": {"env": "P"}}, "belongs to a certificate"),
        ({"federated_token": {"env": "T"}}, "must be a file"),
    ],
)
def test_exactly_one_credential(problems: Find, credential: dict[str, Any], message: str) -> None:
    """Of the four kinds."""
    found = problems(entra={"credential": {"client_secret": ..., **credential}})
    assert message in found["entra.credential"]


def test_unknown_and_missing_keys_of_credentials(problems: Find) -> None:
    """Deep inside a section too."""
    found = problems(entra={"credential": {"client_secret": [{"env": "A"}, {"envv": "B"}]}})
    assert list(found) == ["entra.credential.client_secret[1]"]
    found = problems(
        entra={"credential": {"client_secret": ..., "certificate": {"fil": "/x"}}}
    )  # fmt: skip
    assert "did you mean file?" in found["entra.credential.certificate.fil"]


def test_http_works_with_a_warning(loaded: Load, jira: Jira) -> None:
    """Each has its line; nothing else warns."""
    result = loaded(
        entra={"graph_url": "http://127.0.0.1:8080"},
        notifications={"mode": "webhook", "public_url": "http://127.0.0.1/n"},
        **jira(url="http://jira.example.com"),
    )
    assert [warning.key for warning in result.warnings] == [
        "entra.graph_url",
        "targets.jira.url",
        "notifications.public_url",
    ]
    assert all(warning.line for warning in result.warnings)
    assert loaded().warnings == ()


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"admin": {"listen": "127.0.0.1:1", "token": {"env": "T"}}}, "admin.listen"),
    ],
)
def test_what_is_coming_is_refused_and_never_ignored(
    problems: Find, sections: dict[str, Any], key: str
) -> None:
    """Whoever wrote it counts on it."""
    assert "not yet available" in problems(**sections)[key]


def test_seats_are_kept_free_only_where_a_product_shows_them(problems: Find) -> None:
    """Else nothing would be kept, and nobody would know."""
    token = {"token": {"env": "T"}}
    seats = {"keep_free": 5}
    wiki = {"type": "confluence", "url": "https://w.example.com", "auth": token, "seats": seats}
    bits = {**wiki, "type": "bitbucket", "url": "https://b.example.com"}
    found = problems(targets={"wiki": wiki, "bits": bits})
    assert found == {
        "targets.wiki.seats.keep_free": "cannot be kept: confluence does not show its seats"
    }


def test_groups_are_kept_in_groups_only_where_a_product_takes_them(problems: Find) -> None:
    """Crowd alone does."""
    auth = {"username": "azsyncd", "password": {"env": "T"}}
    keep = {"auth": auth, "groups": {"nested": "keep"}}
    crowd = {"type": "crowd", "url": "https://c.example.com/crowd", **keep}
    token = {"token": {"env": "T"}}
    jira = {"type": "jira", "url": "https://j.example.com", **keep, "auth": token}
    found = problems(targets={"crowd": crowd, "other": jira})
    assert list(found) == ["targets.other.groups.nested"]
    assert "takes no groups into groups" in found["targets.other.groups.nested"]


def mail(**keys: Any) -> dict[str, Any]:
    given = {"smtp": "mail:25", "from": "Azsyncd <a@example.com>", "to": ["it@example.com"]}
    return {"alerts": [{"email": {**given, **keys}}]}


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"username": "a"}, "alerts[0].email.username", "needs password beside it"),
        ({"password": {"env": "P"}}, "alerts[0].email.password", "needs username beside it"),
        ({"from": "nobody"}, "alerts[0].email.from", "'nobody' is no mail address"),
        ({"to": ["a@b.c", "IT"]}, "alerts[0].email.to[1]", "'IT' is no mail address"),
        ({"to": []}, "alerts[0].email.to", ""),
        ({"smtp": "mail"}, "alerts[0].email.smtp", "must be HOST:PORT"),
    ],
)
def test_a_mail_that_could_not_be_sent_is_a_problem(
    problems: Find, keys: dict[str, Any], key: str, message: str
) -> None:
    """Before the night in which it is needed."""
    assert message in problems(**mail(**keys))[key]
    assert problems(**mail()) == {}


def test_a_password_without_tls_is_a_warning(loaded: Callable[..., Loaded]) -> None:
    """It works, and should be known."""
    login = {"username": "a", "password": {"env": "P"}}
    (warning,) = loaded(**mail(tls="none", **login)).warnings
    assert warning.key == "alerts[0].email.tls" and "unprotected" in warning.message
    assert loaded(**mail(tls="none")).warnings == loaded(**mail(**login)).warnings == ()


def test_empty_sections_of_what_is_coming_are_no_problem(problems: Find) -> None:
    """As in the documentation."""
    assert problems(alerts=[], heartbeat={}, audit={}) == {}
