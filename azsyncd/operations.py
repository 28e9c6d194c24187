"""What can be asked of azsyncd, whether a daemon answers through its socket or the command itself.

`Operations` is implemented once (engine/operations.py). The admin socket hands each method to
`POST /api/v1/ops/{name}`; the command line calls either that or the object itself, and prints the
same results. Results are plain dictionaries: they are the documented `--json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NotRequired, Protocol, TypedDict


class Progress(TypedDict):
    """One step of long work: `total` None = not known yet."""

    step: str  # e.g. "Reading users from Entra", "jira: creating accounts"
    done: int
    total: int | None


Tell = Callable[[Progress], None]


class ChangeRow(TypedDict):
    """One change, or one withheld change, as shown by plan, holds and history."""

    target: str
    change: str  # model.changes.Kind
    reason: str  # model.changes.Reason
    object_id: str | None
    name: str  # UPN or group name, or the account's name
    group: str | None  # the group's name, for memberships
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    withheld: str | None  # model.changes.Withheld
    detail: str
    hint: str


class TargetPlan(TypedDict):
    """What would be written to one target. `changes` counts by kind all that would be sent."""

    target: str
    changes: dict[str, int]
    withheld: dict[str, int]  # by reason
    rows: list[ChangeRow]
    budgets: dict[str, dict[str, float | None]]  # class → {allowance, spent, wanted}
    shrinking: list[dict[str, Any]]  # {group, allowance, spent, wanted}, the least left first
    seats: list[dict[str, Any]]  # {application, total, remaining}
    unexplained: int | None  # accounts in the target that nobody in Entra explains
    seconds: float  # estimate of duration
    warnings: NotRequired[list[str]]  # what looks like a mistake in the file
    error: NotRequired[str]  # the target could not be asked


class PlanResult(TypedDict):
    """`plan`. outcome: nothing | changes | withheld | failed."""

    outcome: str
    targets: list[TargetPlan]
    saved: NotRequired[dict[str, Any]]  # with keep: what `plan --out` puts into the file


class TargetApply(TypedDict):
    """What `apply` did in one target."""

    target: str
    done: dict[str, int]  # by kind
    already: int  # the product was so already
    moved: list[ChangeRow]  # not sent: `detail` says what is not as it was
    failed: list[ChangeRow]
    error: NotRequired[str]


class ApplyResult(TypedDict):
    """`apply`. outcome: applied | failures | moved. `made_at`: when the plan was made."""

    outcome: str
    made_at: str
    seconds: float
    targets: list[TargetApply]


class TargetSync(TypedDict):
    """What `sync` did in one target."""

    target: str
    done: dict[str, int]  # by kind
    failed: list[ChangeRow]
    held: int
    withheld: dict[str, int]  # by reason
    waits: NotRequired[str]  # why nothing is written although nothing failed
    error: NotRequired[str]


class SyncResult(TypedDict):
    """`sync`. outcome: converged | failures | held."""

    outcome: str
    users: int
    groups: int
    seconds: float
    targets: list[TargetSync]


class TargetStatus(TypedDict):
    """One target in `status`."""

    target: str
    type: str
    state: str  # starting | working | idle | down | refused | paused | first_contact
    detail: str  # why, where state says something is wrong; with what to do
    next_try: str | None  # when it is asked again: the target, or the next object that it refused
    version: str
    mode: str
    lag_seconds: float
    behind: int  # objects not yet looked at
    linked_accounts: int
    linked_groups: int
    failing: int
    withheld: dict[str, int]
    holds: int
    unexplained: int | None
    budgets: dict[str, dict[str, float | None]]  # class → {allowance, spent}
    shrinking: list[dict[str, Any]]  # {group, allowance, spent}, the least left first
    last_success_at: str | None
    inventory_at: str | None
    paused: dict[str, Any] | None  # {reason, by, since, until}
    step: str  # what it does now, "" = nothing; with how much of it is done
    done: int
    total: int | None
    leavers_with_access: int
    foreign_members: int
    drift: int  # differences made by hand in the product, not put right (yet)


class StatusResult(TypedDict):
    """`status`. health: healthy | held | unhealthy."""

    health: str
    problems: list[str]  # one line each, with what to do
    version: str
    instance: str
    running: bool  # a daemon answers
    since: str | None
    config: dict[str, Any]  # {file, loaded_at, last_reload_ok, pending}
    entra: dict[str, Any]  # {tenant_id, state, detail, users, groups, memberships, revision,
    #                         last_round_at, last_full_sync_at, crawl: {...} | None}
    subscriptions: list[dict[str, Any]]  # {resource, id, expires_at}
    credentials: list[dict[str, Any]]  # {credential, expires_at, days}
    holds: int
    targets: list[TargetStatus]
    alerts: NotRequired[list[dict[str, Any]]]  # by door: {door, waiting, failing_since, error}


class HoldRow(TypedDict):
    """One hold. kind is the guard's class, or first_contact, or source."""

    id: int
    target: str | None
    kind: str
    state: str  # open | approved | rejected
    opened_at: str
    items: int
    detail: str
    decided_by: str | None
    decided_at: str | None
    decision_reason: str | None
    rows: NotRequired[list[ChangeRow]]  # with holds(show=ID)


class CheckLine(TypedDict):
    """One line of `check`. verdict: ok | warning | failed."""

    subject: str  # config | entra | a target's name | notifications | templates
    verdict: str
    message: str
    hint: str


class AlertTest(TypedDict):
    """What became of one test message. kind is an alert's, or digest, or heartbeat."""

    door: str  # who was told; never an address that is a secret
    kind: str
    ok: bool
    error: str


class Operations(Protocol):
    """Each method raises AzsyncdError for what an operator can understand. `by` is who asks."""

    async def status(self) -> StatusResult: ...

    async def check(self, tell: Tell | None = None) -> list[CheckLine]: ...

    async def plan(
        self,
        *,
        target: str | None = None,
        full: bool = False,
        user: str | None = None,
        group: str | None = None,
        keep: bool = False,
        tell: Tell | None = None,
    ) -> PlanResult: ...

    async def apply(
        self,
        *,
        plan: dict[str, Any],
        by: str,
        target: str | None = None,
        tell: Tell | None = None,
    ) -> ApplyResult:
        """`plan`: the contents of a file that `plan --out` made."""
        ...

    async def sync(
        self,
        *,
        by: str,
        target: str | None = None,
        full: bool = False,
        user: str | None = None,
        group: str | None = None,
        tell: Tell | None = None,
    ) -> SyncResult: ...

    async def holds(self, *, show: int | None = None) -> list[HoldRow]: ...

    async def approve(
        self,
        *,
        hold: int,
        by: str,
        expect: int | None = None,
        only: list[str] | None = None,
        excepting: list[str] | None = None,
        reason: str = "",
    ) -> HoldRow: ...

    async def reject(self, *, hold: int, by: str, reason: str = "") -> HoldRow: ...

    async def release(self, *, what: str, by: str) -> dict[str, Any]: ...

    async def pause(
        self,
        *,
        by: str,
        reason: str,
        target: str | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]: ...

    async def resume(self, *, by: str, target: str | None = None) -> dict[str, Any]: ...

    async def explain(
        self, *, who: str, group: str | None = None, target: str | None = None
    ) -> dict[str, Any]: ...

    async def history(
        self,
        *,
        user: str | None = None,
        target: str | None = None,
        run: str | None = None,
        since: float | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]: ...

    async def configurations(self, *, digest: str | None = None) -> list[dict[str, Any]]:
        """{digest, at, by, file, writes}, the newest first; with `digest` (or how it begins) also
        {body}: the file, with every default and every secret masked."""
        ...

    async def accounts(
        self, *, target: str | None = None, which: str | None = None
    ) -> list[dict[str, Any]]: ...

    async def reload(self, *, by: str, dry_run: bool = False) -> dict[str, Any]:
        """{outcome: reloaded | pending | rejected | unchanged, problems: […], plan: PlanResult?}"""
        ...

    async def subscriptions(self, *, action: str = "list") -> list[dict[str, Any]]: ...

    async def backup(self, *, file: str) -> dict[str, Any]:
        """{file, bytes}"""
        ...

    async def forget(self, *, who: str, by: str) -> dict[str, Any]:
        """{object_id, entries, by}: one person's values in the journal are blanked."""
        ...

    async def suggest(
        self, *, target: str | None = None, tell: Tell | None = None
    ) -> list[dict[str, Any]]:
        """[{target, identities, accounts, usernames, emails, username, email, adopt, why, lines}],
        or {target, error} where a product could not be read."""
        ...

    async def link(
        self, *, target: str, pairs: list[list[str]], by: str, reason: str = ""
    ) -> list[dict[str, Any]]:
        """[{who, account, object_id, outcome: linked | already | refused, message, hint}], for
        each pair of who and account."""
        ...

    async def unlink(self, *, target: str, who: str, by: str, reason: str = "") -> dict[str, Any]:
        """{who, account, object_id}: both are left as they are from now on."""
        ...

    async def target(
        self,
        *,
        action: str,
        name: str,
        by: str,
        new: str | None = None,
        moved: bool = False,
        go: bool = False,
    ) -> dict[str, Any]:
        """{action, target, new, accounts, groups, holds, done}: rename, rebind, detach; only told
        without `go`."""
        ...

    async def alerts_test(self, *, by: str) -> list[AlertTest]: ...
