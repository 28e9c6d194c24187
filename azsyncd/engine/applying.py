"""`plan --out` and `apply`: a plan is kept, looked at, and carried out as far as it still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azsyncd import __version__
from azsyncd.clock import iso
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.saved import (
    FORMAT,
    VERSION,
    Chosen,
    SavedPlan,
    SavedTarget,
    read_plan,
    row_of,
    saved_changes,
)
from azsyncd.errors import AzsyncdError, TargetError
from azsyncd.operations import ApplyResult, TargetApply, Tell
from azsyncd.state import mirror, targets
from azsyncd.state.store import Connection

if TYPE_CHECKING:
    from azsyncd.engine.running import Running

_STOPPED = {
    "paused": "paused: nothing is written until azsyncd resume",
    "report": "mode: report, nothing is written; set mode: sync or manual",
    "no_mirror": "Entra has not been read completely yet",
    "asked": "interrupted: apply the file again for the rest",
}


def header(running: Running) -> dict[str, Any]:
    """What a file says of itself: no secret, and nothing that changes what it would do."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "azsyncd": __version__,
        "made_at": iso(running.clock.now()),
        "tenant_id": running.config.entra.tenant_id,
        "instance": running.config.instance,
        "targets": [],
    }


def saved_target(db: Connection, reconcile: Reconcile) -> dict[str, Any]:
    """One target's part of the file, out of the plan that stands in the spill."""
    row = targets.get(db, reconcile.t)
    return {
        "target": reconcile.target.name,
        "type": row.type,
        "fingerprint": row.fingerprint,
        "revision": mirror.revision(db),
        "changes": saved_changes(db, reconcile.t, reconcile.policy.mode),
    }


def checked(running: Running, document: Any, target: str | None) -> SavedPlan:
    """The plan of a file, if it was made for this installation. Raises AzsyncdError."""
    plan = read_plan(document)
    for what, theirs, ours in (
        ("tenant", plan.tenant_id, running.config.entra.tenant_id),
        ("instance", plan.instance, running.config.instance),
    ):
        if theirs != ours:
            raise AzsyncdError(
                f"this plan was made for {what} {theirs}, and this is {ours}",
                "apply it where it was made, or make a new one: azsyncd plan --out FILE",
            )
    if target is not None and target not in {each.name for each in plan.targets}:
        named = ", ".join(each.name for each in plan.targets) or "no target"
        raise AzsyncdError(f"this plan says nothing of {target!r}", f"it is about {named}")
    return plan


async def apply_one(
    running: Running, part: SavedTarget, reconcile: Reconcile | None, by: str, tell: Tell | None
) -> TargetApply:
    """Carry out what a file says of one target."""
    result = TargetApply(target=part.name, done={}, already=0, moved=[], failed=[])
    if reconcile is None:
        result["error"] = "the configuration has no such target (any more)"
        return result
    try:
        await _same_product(running, part, reconcile)
        chosen = Chosen.of(reconcile.t, part.changes, reconcile.policy.mode)
        cause = f"apply by {by}"
        report, chosen = await reconcile.carry_out(chosen, cause=cause, tell=tell)
    except TargetError as error:
        result["error"] = str(error)
        return result
    finally:
        reconcile.bell.ring("operator")  # what is not in the file is looked at as always
    name = part.name
    result["done"] = dict(report.done)
    result["already"] = len(chosen.already)
    result["moved"] = [row_of(name, chosen.wanted[k], why) for k, why in chosen.moved.items()]
    told = {
        (c.kind, c.object_id, c.group_id): (text, hint) for c, _, _, text, hint in report.failed
    }
    for key in sorted(chosen.refused - chosen.done):
        saved = chosen.wanted.get(key)
        if saved is not None:
            change = saved.change
            text, hint = told.get((change.kind, change.object_id, change.group_id), ("", ""))
            result["failed"].append(row_of(name, saved, text or "refused", hint))
    if report.stopped:
        result["error"] = _STOPPED.get(report.stopped, report.stopped)
        return result
    unsent = await running.store.read(lambda db: list(chosen.unsent(db)))
    result["failed"] += [
        row_of(name, saved, why or "it was not sent: what it needs does not stand yet")
        for saved, why in unsent
    ]
    return result


async def _same_product(running: Running, part: SavedTarget, reconcile: Reconcile) -> None:
    """By its fingerprint, where that is known (rule 25); whether the product that answers is the
    one that we know is asked with every turn."""
    known = (await running.store.read(lambda db: targets.get(db, reconcile.t))).fingerprint
    if None not in (known, part.fingerprint) and known != part.fingerprint:
        raise TargetError(
            f"this plan was made for another installation than {part.name} is now",
            "make a new one: azsyncd plan --out FILE",
            target=part.name,
        )


def outcome_of(results: list[TargetApply]) -> str:
    """failures before moved: what failed may be tried again."""
    if any(result.get("error") or result["failed"] for result in results):
        return "failures"
    return "moved" if any(result["moved"] for result in results) else "applied"


def result_of(plan: SavedPlan, results: list[TargetApply], seconds: float) -> ApplyResult:
    """All targets' parts."""
    return ApplyResult(
        outcome=outcome_of(results),
        made_at=plan.made_at,
        seconds=round(seconds, 3),
        targets=results,
    )
