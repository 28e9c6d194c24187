"""What is wrong at this moment, as far as it can be known: what alerts are decided from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from azsyncd.clock import iso
from azsyncd.engine import schedule
from azsyncd.engine.alerts import HOUR, Wrong, stage_of
from azsyncd.engine.lastdays import what_to_do, words
from azsyncd.engine.scoping import DOUBT_HINT
from azsyncd.model.alerts import AlertKind
from azsyncd.state import holds, questions, scopes, targets
from azsyncd.state.store import Connection, get_meta

if TYPE_CHECKING:
    from azsyncd.engine.reconcile import Reconcile
    from azsyncd.engine.running import Running

FULL_SYNC_PATIENCE = 5 * HOUR
"""So long after its slot a full sync may be on its way."""

ENTRA = "entra"


@dataclass(slots=True)
class Seen:
    """What is wrong, the areas of which nothing can or may be said (`*` = all), and how holds ended
    that were decided, by key."""

    wrong: list[Wrong] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)
    endings: dict[str, str] = field(default_factory=dict)


async def look(running: Running) -> Seen:
    """Ask the loops and the state; nobody outside is asked."""
    now = running.clock.now()
    seen = Seen()
    rows, all_holds, full_sync_at = await running.store.read(_remembered)
    by_t = {row.t: row for row in rows}
    paused = {row.name for row in rows if row.is_paused(now)}
    if running.reconciles and paused >= set(running.reconciles):
        seen.unsure.add("*")  # rule 40: all of azsyncd is paused
    for hold in all_holds:
        name = by_t[hold.t].name if hold.t in by_t else None
        if hold.state != "open":
            why = f": {hold.decision}" if hold.decision else ""
            seen.endings[_hold_key(hold, name)] = f"{hold.state} by {hold.decided_by}{why}"
        elif name is None or name in running.reconciles:
            seen.wrong.append(_hold(hold, name))
    for name, reconcile in running.reconciles.items():
        await _target(running, name, reconcile, seen)
        if name in paused:
            seen.unsure |= {f"target:{name}", f"hold:{name}", f"leaver:{name}"}
    _entra(running, seen)
    _full_sync(running, full_sync_at, now, seen)
    _credentials(running, now, seen)
    _rest(running, seen)
    return seen


def _remembered(
    db: Connection,
) -> tuple[list[targets.TargetRow], list[holds.Hold], float | None]:
    return (
        targets.all_targets(db),
        holds.listed(db, ("open", "approved", "rejected")),
        get_meta(db, "full_sync_at"),
    )


# Targets ----------------------------------------------------------------------------------------


def _hold(hold: holds.Hold, name: str | None) -> Wrong:
    where = name or "Entra"
    many = f"{hold.items:,} change{'s' * (hold.items != 1)}"
    if hold.kind == holds.FIRST_CONTACT:
        title = f"{where}: the first contact waits for a decision ({many}): hold {hold.id}"
    elif hold.kind == holds.SOURCE:
        title = f"Entra shows implausibly little, removals wait: hold {hold.id}"
    else:
        title = f"{where}: {many} held ({hold.kind.replace('_', ' ')}): hold {hold.id}"
    return Wrong(
        _hold_key(hold, name),
        AlertKind.HOLD,
        title,
        hold.detail,
        f"azsyncd holds show {hold.id}, then azsyncd approve {hold.id} or reject {hold.id}",
        name,
    )


def _hold_key(hold: holds.Hold, name: str | None) -> str:
    """Doubt about Entra, and a first contact, may come again under another number with each look,
    and are the same."""
    which = hold.kind if hold.kind in (holds.SOURCE, holds.FIRST_CONTACT) else hold.id
    return f"hold:{name or ENTRA}|{which}"


async def _target(running: Running, name: str, reconcile: Reconcile, seen: Seen) -> None:
    state = reconcile.state
    area = f"target:{name}"
    if state.state == "starting":
        seen.unsure.add(area)
    elif state.state == "refused":
        title = f"{name}: it refuses azsyncd, nothing is written there"
        seen.wrong.append(
            Wrong(
                f"{area}|refused", AlertKind.TARGET_REFUSED, title, state.detail, state.hint, name
            )
        )
    elif state.state == "down":
        title = f"{name}: it does not answer, changes wait"
        seen.wrong.append(
            Wrong(f"{area}|down", AlertKind.TARGET_DOWN, title, state.detail, state.hint, name)
        )
    why = await running.store.read(lambda db: scopes.doubt(db, reconcile.t))
    if why is not None:
        title = f"{name}: who is in its scope cannot be told, changes of people wait"
        seen.wrong.append(
            Wrong(f"{area}|scope", AlertKind.SCOPE, title, f"scope.users.{why}", DOUBT_HINT, name)
        )
    ids = await running.store.read(lambda db: questions.leavers_with_access(db, reconcile.t))
    for id_ in ids:
        seen.wrong.append(
            Wrong(
                f"leaver:{name}|{id_}",
                AlertKind.LEAVER,
                f"{name}: somebody who left still has access ({id_})",
                "the product does not let azsyncd take it away",
                f"azsyncd explain {id_}",
                name,
            )
        )


# Entra ------------------------------------------------------------------------------------------


def _entra(running: Running, seen: Seen) -> None:
    state = running.pull.state
    if state.state == "starting":
        seen.unsure.add(ENTRA)
    elif state.state == "refused":
        title = "Entra refuses azsyncd: nothing new is read"
        seen.wrong.append(
            Wrong(f"{ENTRA}|refused", AlertKind.ENTRA, title, state.detail, state.hint,
                  at_once=True)
        )  # fmt: skip
    elif state.state == "down":
        title = "Entra cannot be read"
        seen.wrong.append(Wrong(f"{ENTRA}|down", AlertKind.ENTRA, title, state.detail, state.hint))
    if state.failed_crawls >= 3:
        title = f"Entra could not be read completely {state.failed_crawls} times in a row"
        seen.wrong.append(
            Wrong("crawl|failed", AlertKind.CRAWL, title, state.detail, "azsyncd status")
        )
    elif not running.pull.crawls:
        seen.unsure.add("crawl")  # the next crawl will tell


def _full_sync(running: Running, done_at: float | None, now: float, seen: Seen) -> None:
    """The last slot is long past, and no full sync has ended well since."""
    cron, zone = running.config.schedule.full_sync, running.config.schedule.timezone
    slot = schedule.last_slot(cron, zone, now)
    if slot is None or done_at is None:
        return
    due = datetime.fromisoformat(slot).replace(tzinfo=ZoneInfo(zone)).timestamp()
    if done_at >= due:
        return
    if now - due < FULL_SYNC_PATIENCE or running.pull.state.crawling:
        seen.unsure.add("full_sync")
        return
    seen.wrong.append(
        Wrong(
            "full_sync|overdue",
            AlertKind.FULL_SYNC,
            f"no full sync has ended well since {iso(done_at)}",
            f"one was due at {iso(due)}",
            "azsyncd status, and the log's crawl.failed and target.unavailable",
        )
    )


def _credentials(running: Running, now: float, seen: Seen) -> None:
    if not running.credential_ends:
        seen.unsure |= {f"credential:{name}" for name in ("entra", *running.config.targets)}
    for name, end in running.credential_ends.items():
        area = f"credential:{name}"
        if end is None:
            seen.unsure.add(area)
            continue
        stage = stage_of(end - now)
        if not stage:
            continue
        seen.wrong.append(
            Wrong(
                f"{area}|end",
                AlertKind.CREDENTIAL,
                f"the credential of {name} {words(end, now)}",
                "",
                what_to_do(running.config, name),
                None if name == "entra" else name,
                stage,
            )
        )


# azsyncd itself ---------------------------------------------------------------------------------


def _rest(running: Running, seen: Seen) -> None:
    if not running.config_state().get("last_reload_ok", True):
        seen.wrong.append(
            Wrong(
                "config|rejected",
                AlertKind.CONFIG,
                "the configuration file was rejected, the old one stays in force",
                "",
                "azsyncd check --offline says why",
            )
        )
    problems = running.keeper.problems() if running.keeper else {}
    for what, error in problems.items():
        title = f"notifications from Entra do not work ({what}): changes arrive by polling"
        seen.wrong.append(
            Wrong(f"notifications|{what}", AlertKind.NOTIFICATIONS, title, error.message,
                  error.hint)
        )  # fmt: skip
    if running.watch.audit.problem:
        title = "the audit file cannot be written"
        seen.wrong.append(
            Wrong("audit|file", AlertKind.AUDIT, title, running.watch.audit.problem,
                  "make room, or check its folder and rights: what is missing is made up for")
        )  # fmt: skip


EXAMPLES = {
    AlertKind.HOLD: ("jira: 43 changes held (deactivate): hold 7", "azsyncd holds show 7"),
    AlertKind.TARGET_REFUSED: ("jira: it refuses azsyncd, nothing is written there", ""),
    AlertKind.TARGET_DOWN: ("jira: it does not answer, changes wait", "azsyncd status"),
    AlertKind.SCOPE: ("jira: who is in its scope cannot be told", DOUBT_HINT),
    AlertKind.LEAVER: ("jira: somebody who left still has access", "azsyncd explain WHO"),
    AlertKind.CREDENTIAL: ("the credential of jira ends in 14 days", "make a new one"),
    AlertKind.ENTRA: ("Entra refuses azsyncd: nothing new is read", "azsyncd status"),
    AlertKind.FULL_SYNC: ("no full sync has ended well since yesterday", "azsyncd status"),
    AlertKind.CRAWL: ("Entra could not be read completely 3 times in a row", "azsyncd status"),
    AlertKind.CONFIG: ("the configuration file was rejected", "azsyncd check --offline"),
    AlertKind.NOTIFICATIONS: ("notifications from Entra do not work", "azsyncd subscriptions"),
    AlertKind.AUDIT: ("the audit file cannot be written", "azsyncd status"),
}
"""By kind, for `azsyncd alerts test`: (title, hint)."""
