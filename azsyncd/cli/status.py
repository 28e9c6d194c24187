"""`azsyncd status`: how things stand, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, config_of
from azsyncd.cli.output import FAILED, HELD, OK, coloured, count, duration, say, say_json, table
from azsyncd.cli.plan import budget_lines, withheld_words
from azsyncd.operations import StatusResult, TargetStatus

_EXITS = {"healthy": OK, "held": HELD, "unhealthy": FAILED}
_SIGNS = {"healthy": "+", "held": "!", "unhealthy": "-"}


def status(ctx: typer.Context, json: Json = False, config: Config = None) -> None:
    """Show how everything stands, and what is wrong.

    The last rounds, each target, what is held or failing, what ends soon.

    Exit code: 0 healthy, 3 only holds, 1 not healthy.
    """
    result: StatusResult = ask(config_of(ctx, config), "status")
    if json:
        say_json(result)
    else:
        for line in status_lines(result):
            say(line)
    raise typer.Exit(_EXITS.get(result["health"], FAILED))


def status_lines(status: StatusResult) -> Iterator[str]:
    """The whole status as text; what is wrong comes first."""
    since = f", running since {status['since']}" if status["since"] else ""
    state = since if status["running"] else ", no daemon is running"
    health = coloured(_SIGNS.get(status["health"], ""), status["health"])
    yield f"{status['instance']}: {health} (azsyncd {status['version']}{state})"
    for problem in status["problems"]:
        yield f"  ! {problem}"
    yield ""
    yield from _source_lines(status)
    for target in status["targets"]:
        yield ""
        yield from _target_lines(target)


def _source_lines(status: StatusResult) -> Iterator[str]:
    config, entra = status["config"], status["entra"]
    told = "" if config.get("last_reload_ok", True) else "  ! the file on disk was rejected"
    pending = "  (a newer file is pending)" if config.get("pending") else ""
    rows = [
        ["configuration", f"{config.get('file', '')}{pending}{told}"],
        ["Entra", f"{entra.get('tenant_id', '')} {entra.get('state', '')}".rstrip()],
    ]
    if entra.get("detail"):
        said = " — ".join(str(entra[key]) for key in ("detail", "hint") if entra.get(key))
        rows.append(["", coloured("!", said)])
    rows.append(["mirror", _mirror(entra)])
    rows.append(["last round", moment(entra.get("last_round_at"))])
    rows.append(["last full sync", moment(entra.get("last_full_sync_at"))])
    if entra.get("crawl"):
        crawl = entra["crawl"]
        steps = (
            ", ".join(f"{key} {value}" for key, value in crawl.items())
            if isinstance(crawl, Mapping)
            else str(crawl)
        )
        rows.append(["crawl", steps])
    for subscription in status["subscriptions"]:
        rows.append(
            ["subscription", f"{subscription['resource']} until {subscription['expires_at']}"]
        )
    for credential in status["credentials"]:
        rows.append(["credential", _credential(credential)])
    yield from table(rows)


def _mirror(entra: Mapping[str, Any]) -> str:
    return ", ".join(
        (
            count(entra.get("users") or 0, "user"),
            count(entra.get("groups") or 0, "group"),
            count(entra.get("memberships") or 0, "membership"),
        )
    )


def _credential(credential: Mapping[str, Any]) -> str:
    if credential.get("expires_at") is None:
        return f"{credential['credential']}: its end is not known (set expires_on)"
    days = credential.get("days")
    left = f" ({count(int(days), 'day')} left)" if days is not None else ""
    if days is not None and days < 0:
        left = " (it has ended)"
    return f"{credential['credential']} until {credential['expires_at']}{left}"


def _target_lines(target: TargetStatus) -> Iterator[str]:
    version = f" {target['version']}" if target["version"] else ""
    mode = "" if target["mode"] == "sync" else f", mode {target['mode']}"
    yield f"{target['target']} ({target['type']}{version}): {target['state']}{mode}"
    if target["detail"]:
        yield f"  ! {target['detail']}"
        if target["state"] in ("down", "refused") and target.get("next_try"):
            yield f"    asked again at {target['next_try']}; `azsyncd sync --target" + (
                f" {target['target']}` asks now"
            )
    paused = target["paused"]
    if paused:
        until = f" until {paused['until']}" if paused.get("until") else ""
        yield f"  ! paused by {paused.get('by', '?')}{until}: {paused.get('reason', '')}"
    rows = [
        [
            "linked",
            f"{count(target['linked_accounts'], 'account')},"
            f" {count(target['linked_groups'], 'group')}",
        ],
        ["behind", _behind(target)],
    ]
    if target["holds"]:
        rows.append(["holds", f"{target['holds']} (see `azsyncd holds`)"])
    if target["failing"]:
        again = f", the next is tried at {target['next_try']}" if target.get("next_try") else ""
        see = f"`azsyncd accounts --failing --target {target['target']}`"
        rows.append(["failing", f"{count(target['failing'], 'object')}{again}: {see}"])
    if any(target["withheld"].values()):
        rows.append(["withheld", withheld_words(target["withheld"])])
    if target.get("drift"):
        rows.append(["drift", f"{count(target['drift'], 'difference')} made by hand there"])
    if target["unexplained"]:
        rows.append(["unexplained", count(target["unexplained"], "account")])
    rows.append(["last success", moment(target["last_success_at"])])
    rows += [
        ["guard", line] for line in budget_lines(target["budgets"], target.get("shrinking", ()))
    ]
    yield from table(rows, indent="  ")


def moment(at: str | None) -> str:
    """A moment, and how long ago it was."""
    if not at:
        return "never"
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    except (ValueError, TypeError):
        return at
    return f"{at} ({duration(seconds)} ago)" if seconds >= 0 else at


def _behind(target: TargetStatus) -> str:
    if not target["behind"]:
        return "no, it is up to date"
    return f"{count(target['behind'], 'object')}, the oldest for {duration(target['lag_seconds'])}"
