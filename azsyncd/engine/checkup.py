"""`azsyncd check`: a line for each thing that must be right, with what to do if it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from azsyncd.clock import iso
from azsyncd.engine import lastdays
from azsyncd.engine.alerts import stage_of
from azsyncd.engine.doors import recipients
from azsyncd.engine.planning import Planning
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.engine.scoping import unmatched
from azsyncd.entra.permissions import examine
from azsyncd.errors import AzsyncdError, TargetError
from azsyncd.model.accounts import Capabilities, InvalidValue
from azsyncd.operations import CheckLine, Progress, Tell
from azsyncd.plan.expressions import ExpressionFailed, Unread
from azsyncd.state import facts, marks, mirror, questions
from azsyncd.state.store import Connection

_EXAMPLES = 5
_FEWEST, _MOST_OF = 5, 0.9
"""From so many accounts on, and from such a share, two products may have one directory."""
_BATCH = 500


async def check(running: Running, tell: Tell | None = None) -> list[CheckLine]:
    """Ask everything; what fails does not keep the rest from being asked."""
    lines = [_line("config", "warning", str(each)) for each in running.loaded.warnings]
    lines += _secrets(running)
    _step(tell, "Asking Entra", 0, 1)
    webhook = running.keeper is not None
    for finding in await examine(running.graph, running.tokens, running.delta, webhook):
        lines.append(_line("entra", finding.verdict, finding.message, finding.hint))
    _step(tell, "Asking Entra", 1, 1)
    lines += await _credentials(running)
    total = len(running.reconciles)
    for done, (name, reconcile) in enumerate(running.reconciles.items()):
        _step(tell, "Asking the products", done, total)
        lines += await _target(name, reconcile)
    _step(tell, "Asking the products", total, total)
    lines += await _same_accounts(running)
    lines += await _other_instances(running)
    lines += _notifications(running)
    for name, reconcile in running.reconciles.items():
        lines += await _scope(running, name, reconcile)
        lines += await _templates(running, name, reconcile, tell)
    lines += _told(running)
    return lines


def _told(running: Running) -> Iterator[CheckLine]:
    """Who would be told. Nobody is written to: `azsyncd alerts test` does that."""
    for kind, who in recipients(running.config):
        yield _line("alerts", "ok", f"{kind}: {who}", "azsyncd alerts test sends one of each")
    if not running.config.alerts:
        yield _line(
            "alerts", "warning", "nobody is told when something is wrong",
            "add alerts, or watch azsyncd_target_up, azsyncd_holds and"
            " azsyncd_last_round_timestamp_seconds",
        )  # fmt: skip
    if (beat := running.watch.heartbeat) is not None:
        yield _line("alerts", "ok", f"heartbeat: every {beat.every:g} s while all is well")
    if (problem := running.watch.audit.obstacle()) != "":
        yield _line("audit", "failed", problem, "azsyncd's user must be able to write there")
    elif running.watch.audit.configured:
        yield _line("audit", "ok", f"every write goes to {running.config.audit.file}")


def _line(subject: str, verdict: str, message: str, hint: str = "") -> CheckLine:
    return CheckLine(subject=subject, verdict=verdict, message=message, hint=hint)


def _step(tell: Tell | None, step: str, done: int, total: int) -> None:
    if tell is not None:
        tell(Progress(step=step, done=done, total=total))


def _secrets(running: Running) -> Iterator[CheckLine]:
    for key, secret in running.config.secrets():
        for warning in secret.warnings():
            yield _line("config", "warning", f"{key}: {warning}")


async def _credentials(running: Running) -> list[CheckLine]:
    lines = []
    now = running.clock.now()
    for name, end in (await lastdays.look(running)).items():
        if end is None:
            hint = (
                "grant Application.Read.All, or write expires_on"
                if name == "entra"
                else "write auth.expires_on, if it ends at all"
            )
            lines.append(_line(name, "warning", "the end of its credential is not known", hint))
            continue
        stage = stage_of(end - now)
        verdict = {"": "ok", "ended": "failed"}.get(stage, "warning")
        hint = lastdays.what_to_do(running.config, name) if stage else ""
        lines.append(_line(name, verdict, f"its credential {lastdays.words(end, now)}", hint))
    lines += [
        _line("config", "warning", each)
        for each in lastdays.unread(running.config, running.opened_at)
    ]
    return lines


async def _target(name: str, reconcile: Reconcile) -> list[CheckLine]:
    try:
        capabilities = await reconcile.prepare(anew=True)
        await reconcile.target.ask()
    except TargetError as error:
        return [_line(name, "failed", error.message, error.hint)]
    lines = [_line(name, "ok", _who(reconcile, capabilities))]
    lines += [_line(name, "warning", warning) for warning in capabilities.warnings]
    for directory in capabilities.directories:
        writable = {True: "can be written", False: "is read-only", None: ""}[directory.writable]
        told = ", ".join(part for part in (directory.kind, writable) if part)
        verdict = "warning" if directory.writable is False else "ok"
        lines.append(
            _line(name, verdict, f"directory {directory.name}" + (f": {told}" if told else ""))
        )
    for seat in capabilities.seats:
        if seat.remaining is None:
            lines.append(_line(name, "ok", f"{seat.application}: unlimited seats"))
        elif seat.remaining > 0:
            lines.append(
                _line(
                    name, "ok", f"{seat.application}: {seat.remaining} of {seat.total} seats free"
                )
            )
        else:
            lines.append(
                _line(name, "warning", f"{seat.application}: no seat is free", "free or buy seats")
            )
    for ability, instead in sorted(capabilities.instead.items()):
        lines.append(_line(name, "warning", f"it cannot do: {ability.replace('_', ' ')}", instead))
    return [*lines, *await _nesting(name, reconcile, capabilities)]


async def _nesting(name: str, reconcile: Reconcile, capabilities: Capabilities) -> list[CheckLine]:
    """Whether groups can be kept in groups, where that is asked for."""
    if reconcile.policy.groups.nested != "keep":
        return []
    if not capabilities.nests_groups:
        what = "it takes no groups into groups: people are put into each of them (as by flatten)"
        return [_line(name, "warning", what, "set groups.nested: flatten")]
    refused = await reconcile.refused_nesting()
    if refused:
        what = f"it refused to put {refused} groups into others: their people are put into each"
        return [_line(name, "warning", what, "switch nested groups on in its directory")]
    hint = "if it is switched off, people are put into each group until it is on"
    what = "groups are kept in groups; whether its directory nests them shows at the first one"
    return [_line(name, "ok", what, hint)]


def _who(reconcile: Reconcile, capabilities: Capabilities) -> str:
    version = f" {capabilities.version}" if capabilities.version else ""
    account = f", signed in as {capabilities.signed_in_as}" if capabilities.signed_in_as else ""
    listing = "" if capabilities.lists_all_accounts else ", which does not list all its accounts"
    return f"{reconcile.target.type}{version}{account}{listing}"


async def _same_accounts(running: Running) -> list[CheckLine]:
    """Jira on Crowd: two targets with the same accounts (rule 25). Some products show in which
    directory an account stands; of others it is told by the accounts that were not made by us."""
    hint = "if they come from there, sync one of the two: both would write the same accounts"
    crowds = {n: r for n, r in running.reconciles.items() if r.target.type == "crowd"}
    lines = []
    for name, reconcile in running.reconciles.items():
        if name in crowds or reconcile.capabilities is None:
            continue
        kinds = {each.kind.casefold() for each in reconcile.capabilities.directories}
        if crowds and any("crowd" in kind for kind in kinds):
            told = f"its accounts seem to come from Crowd ({', '.join(crowds)})"
            lines.append(_line(name, "warning", told, hint))
            continue
        for crowd, other in crowds.items():
            same, total = await running.store.read(
                lambda db, t=reconcile.t, c=other.t: questions.same_accounts(db, t, c)  # type: ignore[misc]
            )
            if total >= _FEWEST and same >= _MOST_OF * total:
                told = f"{same} of {total} accounts that azsyncd did not make stand in {crowd} too"
                lines.append(_line(name, "warning", told, hint))
    return lines


async def _other_instances(running: Running) -> list[CheckLine]:
    """Accounts that another azsyncd has marked: two on one product."""
    lines = []
    for name, reconcile in running.reconciles.items():
        found = await running.store.read(
            lambda db, r=reconcile: marks.by_others(db, r.t, r.instance)  # type: ignore[misc]
        )
        for instance, number in sorted(found.items()):
            lines.append(
                _line(
                    name, "warning", f"the mark of another azsyncd is on {number} of the accounts,"
                    f" {instance!r}: they are left alone",
                    "let one azsyncd write to a product; `instance` is what tells them apart",
                )
            )  # fmt: skip
    return lines


def _notifications(running: Running) -> Iterator[CheckLine]:
    if running.keeper is None:
        yield _line(
            "notifications", "ok",
            f"off: azsyncd asks Entra every {running.config.schedule.delta_poll:g} s",
        )  # fmt: skip
        return
    problems = running.keeper.problems()
    for resource, error in problems.items():
        yield _line("notifications", "failed", f"{resource}: {error.message}", error.hint)
    if not problems:
        kept = ", ".join(f"{k.resource} until {iso(k.expires_at)}" for k in running.keeper.kept())
        yield _line("notifications", "ok", kept or "subscriptions are made when the daemon runs")


async def _scope(running: Running, name: str, reconcile: Reconcile) -> list[CheckLine]:
    """Entries that name nothing; nothing is said before Entra was read once."""

    def look(db: Connection) -> list[str]:
        return unmatched(db, reconcile.policy.scope) if mirror.revision(db) else []

    hint = "look for a slip of the pen; by name only security groups match, unless type: any"
    return [_line(name, "warning", each, hint) for each in await running.store.read(look)]


async def _templates(
    running: Running, name: str, reconcile: Reconcile, tell: Tell | None
) -> list[CheckLine]:
    """Every template and expression against everybody in the mirror."""
    numbers = await running.store.read(lambda db: facts.every(db, "user"))
    if not numbers:
        return [_line(name, "ok", "templates are tried when Entra has been read once")]
    failures: dict[str, int] = {}
    examples: list[str] = []
    planning = await running.dry(reconcile.planning.apart)
    for start in range(0, len(numbers), _BATCH):
        batch = numbers[start : start + _BATCH]
        found = await running.dry(lambda db, b=batch: _failing(db, planning, b))  # type: ignore[misc]
        for who, why in found:
            failures[why] = failures.get(why, 0) + 1
            if len(examples) < _EXAMPLES:
                examples.append(f"{who}: {why}")
        _step(tell, f"{name}: trying templates", start + len(batch), len(numbers))
        await asyncio.sleep(0)
    if not failures:
        return [_line(name, "ok", f"templates work for all {len(numbers)} users")]
    total = sum(failures.values())
    return [
        _line(
            name,
            "warning",
            f"templates fail for {total} users, who wait: {'; '.join(examples)}",
            "azsyncd plan lists them all as invalid_value or undecided",
        )
    ]


def _failing(db: Connection, planning: Planning, numbers: list[int]) -> list[tuple[str, str]]:
    desk = planning.desk(db)
    failing = []
    for base in facts.bases(db, numbers):
        if not base.user.properties or base.user.presence.value != "present":
            continue
        if desk.users.verdict(base.user, base.groups, desk.scope).verdict.value != "in":
            continue
        try:
            desk.mapping.active(base.user)
            desk.mapping.account(base.user)
        except (Unread, ExpressionFailed, InvalidValue) as error:
            failing.append((base.user.name, str(error)))
        except AzsyncdError as error:
            failing.append((base.user.name, error.message))
    return failing
