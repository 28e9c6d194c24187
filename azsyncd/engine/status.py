"""`azsyncd status`: how everything stands, and what is wrong, in one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azsyncd import __version__
from azsyncd.clock import iso
from azsyncd.engine import lastdays
from azsyncd.engine.alerts import DAY, stage_of
from azsyncd.engine.figures import shrinking_of
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.scoping import DOUBT_HINT
from azsyncd.operations import StatusResult, TargetStatus
from azsyncd.state import drift, questions, scopes, targets, troubles
from azsyncd.state.store import Connection, get_meta

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

_SOON = ("14", "7", "1", "ended")
"""A credential that is so near its end (in days) is a problem; before, it is shown."""


async def status_of(
    running: Running, live: bool, since: float | None, config: dict[str, Any]
) -> StatusResult:
    """Put it together; nobody outside is asked."""
    told = [await _target(running, name, each, live) for name, each in running.reconciles.items()]
    entra = await _entra(running, live)
    if running.keeper is not None:
        await running.keeper.load()
    kept = running.keeper.kept() if running.keeper else ()
    ends = running.credential_ends or await lastdays.look(running, ask_graph=False)
    credentials = [_credential(running, name, end) for name, end in ends.items()]
    open_holds = await running.store.read(questions.open_holds)
    known = await running.store.read(targets.all_targets)
    left = [row.name for row in known if row.name not in running.reconciles]
    undelivered = await running.watch.telling.undelivered()
    problems = [
        *_problems(running, config, entra, told),
        *[line for each in running.reconciles.values() if (line := await contested(running, each))],
        *[line for each in running.reconciles.values() if (line := await doubted(running, each))],
        *_ending(running, ends, soon=True),
        *running.watch.problems(undelivered),
    ]
    health = "unhealthy" if problems else "held" if open_holds else "healthy"
    if open_holds:
        problems.append(f"{open_holds} held: azsyncd holds shows what waits for a decision")
        if doubt := (await running.store.read(questions.not_believed))[1]:
            problems.append(doubt)
    problems += [*_ending(running, ends, soon=False), *running.watch.notes()]
    problems += [
        f"the state knows the target {name!r}, which is not in the file: nothing is written there;"
        f" azsyncd target rename {name} NEW, or azsyncd target detach {name}"
        for name in left
    ]
    return StatusResult(
        health=health,
        problems=problems,
        version=__version__,
        instance=running.config.instance,
        running=live,
        since=iso(since),
        config={"file": str(running.loaded.path or ""), **config},
        entra=entra,
        subscriptions=[
            {"resource": k.resource, "id": k.id, "expires_at": iso(k.expires_at)} for k in kept
        ],
        credentials=credentials,
        holds=open_holds,
        targets=told,
        alerts=undelivered,
    )


async def _entra(running: Running, live: bool) -> dict[str, Any]:
    def ask(db: Connection) -> tuple[tuple[int, int, int], int, float | None, float | None]:
        return (
            questions.mirror_counts(db),
            int(get_meta(db, "revision", 0)),
            get_meta(db, "last_round_at"),
            get_meta(db, "full_sync_at"),
        )

    (users, groups, edges), revision, round_at, full_at = await running.store.read(ask)
    state = running.pull.state
    trouble = await running.store.read(lambda db: troubles.of(db, troubles.ENTRA))
    shown = (state.state, state.detail, state.hint)
    if not live:
        shown = ("not running", "", "")
        if trouble is not None:
            shown = (trouble.state, trouble.message, trouble.hint)
    return {
        "tenant_id": running.config.entra.tenant_id,
        "state": shown[0],
        "detail": shown[1],
        "hint": shown[2],
        "users": users,
        "groups": groups,
        "memberships": edges,
        "revision": revision,
        "last_round_at": iso(state.last_round_at or round_at),
        "last_full_sync_at": iso(full_at),
        "crawl": {"pages": state.crawl_pages, "objects": state.crawl_items}
        if state.crawling
        else None,
    }


async def _target(running: Running, name: str, reconcile: Reconcile, live: bool) -> TargetStatus:
    row = await running.store.read(lambda db: targets.get(db, reconcile.t))
    ours = running.signed_in_as()
    counts = await running.store.read(lambda db: questions.target_counts(db, reconcile.t, ours))
    waits = await running.store.read(lambda db: questions.what_waits(db, reconcile.t))
    behind = await running.store.read(lambda db: questions.behind(db, row.revision))
    state = reconcile.state
    detail = " — ".join(part for part in (state.detail, state.hint) if part)
    paused = dict(row.paused) if row.paused else None
    if paused is not None:
        until = paused.get("until")
        if until is not None and until <= running.clock.now():
            paused = None
        else:
            paused = {**paused, "until": iso(until), "since": iso(paused.get("since"))}
    shown = state.state
    if not live:
        shown = "paused" if paused else "idle"
        if row.first_contact == "open":
            shown = "first_contact"
        trouble = await running.store.read(lambda db: troubles.of(db, name))
        if trouble is not None:
            shown = trouble.state
            detail = " — ".join(part for part in (trouble.message, trouble.hint) if part)
    capabilities = reconcile.capabilities
    return TargetStatus(
        target=name,
        type=row.type,
        state=shown,
        detail=detail,
        next_try=iso(state.next_at or waits.next_try),
        version=capabilities.version if capabilities else "",
        mode=reconcile.policy.mode.value,
        lag_seconds=round(running.lag_of(reconcile), 3),
        behind=behind,
        linked_accounts=counts.accounts,
        linked_groups=counts.groups,
        failing=waits.failing,
        withheld=waits.withheld,
        holds=waits.holds,
        unexplained=counts.unexplained,
        budgets={k: dict(v) for k, v in (await running.budgets(reconcile)).items()},
        shrinking=await running.store.read(
            lambda db: shrinking_of(db, reconcile.t, reconcile.policy, reconcile.window_start())
        ),
        last_success_at=iso(row.success_at),
        inventory_at=iso(row.inventory_at),
        paused=paused,
        step=state.step,
        done=state.done,
        total=state.total,
        leavers_with_access=waits.leavers_with_access,
        foreign_members=counts.foreign_members,
        drift=waits.drift,
    )


async def contested(running: Running, reconcile: Reconcile) -> str:
    """Rule 22: what was put right and changed back, again and again."""
    now = running.clock.now()
    found = await running.store.read(lambda db: drift.fights(db, reconcile.t, now))
    if not found:
        return ""
    what = f"{len(found)} put right three times in a day and changed back"
    rest = "all drift is" if drift.is_contested(found) else "these are"
    name = reconcile.target.name
    return f"{name}: somebody else writes to this product ({what}): {rest} only reported now"


async def doubted(running: Running, reconcile: Reconcile) -> str:
    """Rule 11: who is in its scope cannot be told."""
    why = await running.store.read(lambda db: scopes.doubt(db, reconcile.t))
    if why is None:
        return ""
    return (
        f"{reconcile.target.name}: scope.users.{why}: nobody is removed for that, nobody gets an"
        f" account, and whoever has one keeps what she has; {DOUBT_HINT}"
    )


def _credential(running: Running, name: str, end: float | None) -> dict[str, Any]:
    days = None if end is None else int((end - running.clock.now()) // DAY)
    return {"credential": name, "expires_at": iso(end), "days": days}


def _ending(running: Running, ends: lastdays.Ends, *, soon: bool) -> list[str]:
    """The credentials that end soon, or not so soon: with the steps to take."""
    now = running.clock.now()
    return [
        f"the credential of {name} {lastdays.words(end, now)}:"
        f" {lastdays.what_to_do(running.config, name)}"
        for name, end in ends.items()
        if end is not None and (stage := stage_of(end - now)) and (stage in _SOON) is soon
    ]


def _problems(
    running: Running,
    config: dict[str, Any],
    entra: dict[str, Any],
    told: list[TargetStatus],
) -> list[str]:
    """One line each, with what to do."""
    found = []
    if not config.get("last_reload_ok", True):
        found.append(
            "the configuration file on disk was rejected: azsyncd check --offline says why"
        )
    if entra["state"] in ("down", "refused"):
        found.append(_joined(f"Entra: {entra['detail']}", entra["hint"]))
    for crash in running.crashing():
        found.append(
            f"the task {crash.task!r} of the daemon failed {crash.times} times in a row"
            f" ({crash.error}) — it is started again and again; this is a bug: report it with the"
            " event task.failed of the log"
        )
    if running.pull.state.failed_crawls >= 3:
        found.append("Entra could not be read completely three times in a row: look into the log")
    for row in told:
        if row["state"] in ("down", "refused"):
            found.append(f"{row['target']}: {row['detail']}")
        if row["failing"]:
            found.append(
                f"{row['target']}: {row['failing']} refused by the product:"
                f" azsyncd accounts --failing --target {row['target']}"
            )
        if row["leavers_with_access"]:
            number = row["leavers_with_access"]
            who = "1 leaver still has" if number == 1 else f"{number} leavers still have"
            found.append(f"{row['target']}: {who} access")
    for problem in running.keeper.problems().values() if running.keeper else ():
        found.append(_joined(f"notifications: {problem.message}", problem.hint))
    return found


def _joined(*parts: str) -> str:
    return " — ".join(part for part in parts if part)
