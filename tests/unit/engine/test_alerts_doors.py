"""The ways out: a webhook for Teams, Slack and programs, and a mail server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from azsyncd.clock import SystemClock
from azsyncd.config.sections import EmailAlert, WebhookAlert
from azsyncd.engine.alerts import Edge, News
from azsyncd.engine.doors import Mail, NotDelivered, Webhook, web_address
from azsyncd.engine.notices import Notice, as_json, as_slack, as_text, dump, load
from azsyncd.errors import ConfigError
from azsyncd.model.alerts import AlertKind
from azsyncd.sandbox.tls import Authority

from .receiving import Received, mail_server, webhook

NOW = 1_800_000_000.0
PASSWORD = "hunter2-hunter2"


def news(title: str = "jira: 3 changes held", edge: Edge = Edge.OPENED, **more: Any) -> News:
    given: dict[str, Any] = {"detail": "why", "hint": "azsyncd holds", "target": "jira"}
    return News(AlertKind.HOLD, edge, title, since=NOW - 7200, **{**given, **more})


NOTICE = Notice(NOW, "prod", (news(),))


def hook_of(received: Received) -> Webhook:
    alert = WebhookAlert.model_validate({"url": {"env": "HOOK"}})
    return Webhook(alert, received.url, SystemClock(), None, lambda peer, status: None)


def mail_of(port: int, ca_file: Path | None = None, **keys: Any) -> Mail:
    given = {"smtp": f"127.0.0.1:{port}", "tls": "none", "from": "azsyncd <az@example.com>",
             "to": ["it@example.com", "ops@example.com"]}  # fmt: skip
    alert = EmailAlert.model_validate({**given, **keys})
    return Mail(alert, PASSWORD, str(ca_file) if ca_file else None)


# What is said ---------------------------------------------------------------------------------


def test_a_message_is_one_line_and_what_to_do() -> None:
    """With how long it has been so."""
    assert as_text(NOTICE).splitlines() == [
        "[azsyncd prod] jira: 3 changes held",
        "",
        "! jira: 3 changes held (for 2 h)",
        "  why",
        "  → azsyncd holds",
    ]


def test_several_are_counted_in_the_subject() -> None:
    """And the end of the list as well, if it is long."""
    mixed = Notice(NOW, "azsyncd", (news(), news("b"), news("c", Edge.RECOVERED)))
    assert mixed.subject == "[azsyncd] 2 problems, 1 over"
    assert "+ over: c (after 2 h)" in as_text(mixed)
    many = Notice(NOW, "azsyncd", tuple(news(str(number)) for number in range(25)))
    assert as_text(many).splitlines()[-1] == "… and 5 more: azsyncd status"


def test_teams_gets_a_card_and_a_program_its_fields() -> None:
    """https://learn.microsoft.com/power-automate: a message with an Adaptive Card attached."""
    body = as_json(Notice(NOW, "prod", (news("a_b *c*"),)))
    assert body["type"] == "message"
    (attachment,) = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert all(block["type"] == "TextBlock" and block["wrap"] for block in card["body"])
    assert card["body"][1]["text"].startswith(r"a\_b \*c\*")
    (alert,) = body["alerts"]
    assert (alert["kind"], alert["state"], alert["target"]) == ("hold", "opened", "jira")


def test_slack_gets_escaped_text_and_nothing_else() -> None:
    """`<!channel>` in a message must ring nobody."""
    body = as_slack(Notice(NOW, "prod", (news("<!channel> & co"),)))
    assert set(body) == {"text"}
    assert "&lt;!channel&gt; &amp; co" in body["text"]


def test_a_notice_survives_its_time_on_the_way() -> None:
    """And one of another version is recognised."""
    assert load(dump(NOTICE)) == NOTICE
    for strange in ("{}", '{"news": [{}]}', '{"news": [], "at": 1, "instance": "x", "b": 1}',
                    "[]", "nonsense"):  # fmt: skip
        with pytest.raises(ValueError):
            load(strange)


# Webhook --------------------------------------------------------------------------------------


async def test_a_webhook_is_posted_to() -> None:
    """At its path, with its query."""
    async with webhook("/a/b?sig=x%2Fy") as received:
        door = hook_of(received)
        await door.send(NOTICE, "1")
        await door.close()
    assert received.calls == ["POST /a/b?sig=x%2Fy"]
    assert received.titles == ["opened jira: 3 changes held"]


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410, 500])
async def test_i10_a_refusing_webhook_is_told_without_its_address(status: int) -> None:
    """What it answers may repeat the address, so that is not shown."""
    async with webhook() as received:
        received.status = status
        door = hook_of(received)
        with pytest.raises(NotDelivered) as caught:
            await door.send(NOTICE, "1")
        await door.close()
    assert f"answered {status}" in str(caught.value)
    assert "s3cret" not in str(caught.value) and "s3cret" not in door.name + door.identity


async def test_a_webhook_may_have_a_proxy_of_its_own() -> None:
    """Which is then asked for the address."""
    async with webhook("/") as proxy:
        port = proxy.url.rsplit(":")[-1].strip("/")
        keys = {"url": {"env": "HOOK"}, "proxy": f"http://127.0.0.1:{port}"}
        alert = WebhookAlert.model_validate(keys)
        url = "http://teams.invalid/hook"
        door = Webhook(alert, url, SystemClock(), None, lambda peer, status: None)
        await door.send(NOTICE, "1")
        await door.close()
    assert proxy.titles == ["opened jira: 3 changes held"]


async def test_i10_an_unreachable_webhook_is_told_without_its_address() -> None:
    """Only the host is named."""
    async with webhook() as received:
        pass
    door = hook_of(received)
    with pytest.raises(NotDelivered) as caught:
        await door.send(NOTICE, "1")
    await door.close()
    assert "127.0.0.1" in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["s3cret", "ftp://h/s3cret", "https://", "https://h:99999/s3cret", "http://h/ s3cret"]
)
def test_i10_a_secret_that_is_no_address_is_not_repeated(value: str) -> None:
    """It may be the password of something else."""
    with pytest.raises(ConfigError) as caught:
        web_address({"heartbeat.url": value}, "heartbeat.url")
    assert "heartbeat.url" in str(caught.value) and "s3cret" not in str(caught.value)


# Mail -----------------------------------------------------------------------------------------


async def test_a_mail_goes_to_everybody_by_its_envelope() -> None:
    """With a subject, and an id that stays the same when it is tried again."""
    async with mail_server() as box:
        door = mail_of(box.port)
        await door.send(NOTICE, "7")
        await door.send(NOTICE, "7")
    mail, again = box.mails
    assert mail["Subject"] == "[azsyncd prod] jira: 3 changes held"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == again["Message-ID"]
    assert "azsyncd holds" in mail.get_content()
    assert box.envelopes[0] == ("az@example.com", ["it@example.com", "ops@example.com"])
    assert box.logins == []


@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_a_mail_is_encrypted_before_the_log_in(how: str, tmp_path: Path) -> None:
    """By STARTTLS, or from the beginning; by a certificate that is trusted."""
    authority = Authority(tmp_path)
    context = authority.server_context()
    async with mail_server(context, at_once=how == "tls", starttls=how == "starttls") as box:
        await mail_of(box.port, authority.ca_file, tls=how, username="az").send(NOTICE, "1")
    assert box.encrypted == [True]
    assert box.logins == [f"\0az\0{PASSWORD}"]


@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_nothing_is_sent_to_a_mail_server_that_is_not_trusted(
    how: str, tmp_path: Path
) -> None:
    """Neither the message nor the password."""
    context = Authority(tmp_path).server_context()
    async with mail_server(context, at_once=how == "tls", starttls=how == "starttls") as box:
        with pytest.raises(NotDelivered, match="cannot be trusted"):
            await mail_of(box.port, tls=how, username="az").send(NOTICE, "1")
    assert box.logins == [] and box.mails == []


async def test_a_mail_server_without_starttls_gets_no_password() -> None:
    """Somebody in between may have taken the offer out."""
    async with mail_server() as box:
        with pytest.raises(NotDelivered, match="offers no STARTTLS"):
            await mail_of(box.port, tls="starttls", username="az").send(NOTICE, "1")
    assert box.logins == [] and box.mails == []


@pytest.mark.parametrize(
    ("refuse", "says"),
    [
        ({"AUTH": "535 bad credentials"}, "refuses the log-in (535)"),
        ({"MAIL": "550 not you"}, "refuses the sender (550)"),
        ({"RCPT": "550 it@example.com unknown"}, "refuses every recipient (550)"),
        ({"DATA": "451 later"}, "answered 451"),
    ],
)
async def test_i10_a_refusing_mail_server_is_told_without_addresses(
    refuse: dict[str, str], says: str
) -> None:
    """In words, with the code."""
    async with mail_server() as box:
        box.refuse |= refuse
        with pytest.raises(NotDelivered) as caught:
            await mail_of(box.port, username="az").send(NOTICE, "1")
    told = str(caught.value)
    assert says in told
    assert "example.com" not in told and PASSWORD not in told


async def test_a_mail_server_that_is_down_is_told_with_what_to_check() -> None:
    """In one line."""
    async with mail_server() as box:
        pass
    with pytest.raises(NotDelivered, match="cannot be reached: Connection refused"):
        await mail_of(box.port).send(NOTICE, "1")


async def test_a_sender_that_is_no_address_is_told(tmp_path: Path) -> None:
    """And stops no loop."""
    with pytest.raises(NotDelivered, match="`from` or `to` is no address"):
        await mail_of(1, **{"from": "a\nb@example.com"}).send(NOTICE, "1")
