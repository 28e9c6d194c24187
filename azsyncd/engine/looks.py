"""What can be looked at: status, check, explain, history, accounts, subscriptions."""

from __future__ import annotations

import asyncio
from typing import Any

from azsyncd.clock import iso
from azsyncd.engine import checkup, explaining
from azsyncd.engine.figures import configuration_row, helping, history_row
from azsyncd.engine.office import NotThere, Office
from azsyncd.engine.status import status_of
from azsyncd.errors import TargetError
from azsyncd.operations import CheckLine, StatusResult, Tell
from azsyncd.state import codec, configurations, journal, questions, targets
from azsyncd.state.store import Connection

_PATIENCE = 20.0
"""How long a question waits for a product that is asked on the way."""


class Looks(Office):
    """Operations that change nothing, subscriptions apart."""

    async def status(self) -> StatusResult:
        """How everything stands."""
        since = self._since if self._live else None
        return await status_of(self._running, self._live, since, self._config_state())

    async def check(self, tell: Tell | None = None) -> list[CheckLine]:
        """Whether everything is as it must be."""
        return await checkup.check(self._running, tell)

    async def explain(
        self, *, who: str, group: str | None = None, target: str | None = None
    ) -> dict[str, Any]:
        """Why somebody has what she has."""
        chosen = self._chosen(target)
        not_asked = {}
        for name, reconcile in chosen.items():
            state = reconcile.state
            if reconcile.capabilities is None and state.state in ("down", "refused"):
                not_asked[name] = state.detail  # the loop has asked a moment ago
                continue
            try:  # what a product can do is part of the answer, but nobody waits for ever
                async with asyncio.timeout(_PATIENCE):
                    await reconcile.prepare()
            except TimeoutError:
                not_asked[name] = f"no answer within {_PATIENCE:g} s"
            except TargetError as error:
                not_asked[name] = str(error)
        reconciles = list(chosen.values())
        return await self._running.dry(
            lambda db: explaining.explain(db, reconciles, who, group, not_asked)
        )

    async def history(
        self,
        *,
        user: str | None = None,
        target: str | None = None,
        run: str | None = None,
        since: float | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """The newest writes first."""
        t = None
        if target is not None:
            t = await self._number_of_target(target)

        def ask(db: Connection) -> list[dict[str, Any]]:
            numbers = None
            if user is not None:
                numbers = [n for n, _ in questions.numbers_of(db, user)]
                if not numbers:
                    raise NotThere(f"{user!r} is not known", "give a UPN, mail or object id")
            rows = journal.read(db, numbers=numbers, t=t, run=run, since=since, limit=limit)
            return [history_row(db, row) for row in rows]

        return await self._running.store.read(ask)

    async def configurations(self, *, digest: str | None = None) -> list[dict[str, Any]]:
        """The configurations that were in force, the newest first."""

        def ask(db: Connection) -> list[dict[str, Any]]:
            found = [configuration_row(row) for row in configurations.listed(db)]
            if digest is None:
                return found
            bodies = configurations.body_of(db, digest)
            if len(bodies) != 1:
                what = "several" if bodies else "no"
                raise NotThere(
                    f"{what} configurations that were in force begin with {digest!r}",
                    "azsyncd config history lists them",
                )
            chosen = [each for each in found if each["digest"].startswith(digest)]
            return [{**each, "body": bodies[0]} for each in chosen]

        return await self._running.store.read(ask)

    async def _number_of_target(self, target: str) -> int:
        rows = await self._running.store.read(targets.all_targets)
        found = [row.t for row in rows if row.name == target]
        if not found:
            raise NotThere(
                f"there is no target {target!r}",
                f"the state knows: {', '.join(row.name for row in rows)}",
            )
        return found[0]

    async def accounts(
        self, *, target: str | None = None, which: str | None = None
    ) -> list[dict[str, Any]]:
        """Accounts of the products by what is known of them."""
        if which not in (None, "unexplained", "adopted", "conflict", "failing"):
            raise NotThere(f"{which!r} is none of unexplained, adopted, conflict, failing")
        found: list[dict[str, Any]] = []
        for name, reconcile in self._chosen(target).items():
            rows = await self._running.store.read(
                lambda db, t=reconcile.t: questions.accounts(db, t, which)  # type: ignore[misc]
            )
            ours = self._running.signed_in_as()
            found += [
                row for each in rows
                if (row := _account_row(name, each, reconcile.instance)) and not (
                    which == "unexplained" and row["username"].casefold() in ours)
            ]  # fmt: skip
        return found

    async def subscriptions(self, *, action: str = "list") -> list[dict[str, Any]]:
        """Ours at Graph: list, renew, delete."""
        keeper = self._running.keeper
        if keeper is None:
            raise NotThere(
                "notifications.mode is none: there are no subscriptions",
                "set notifications.mode: webhook and public_url for changes within seconds",
            )
        if action == "renew":
            kept = await keeper.renew_all()
        elif action == "delete":
            await keeper.delete_all()
            kept = ()
        elif action == "list":
            kept = await keeper.look()
        else:
            raise NotThere(f"{action!r} is none of list, renew, delete")
        return [{"resource": k.resource, "id": k.id, "expires_at": iso(k.expires_at)} for k in kept]


def _account_row(target: str, row: Any, instance: str) -> dict[str, Any]:
    account = codec.account_of(row["body"])
    mark = account.mark if account is not None and row["id"] is None else None
    marked = ""
    if mark is not None:  # whose it was: nobody's any more, or another azsyncd's
        whose = "our mark" if mark.instance == instance else f"the mark of {mark.instance!r}"
        marked = f"carries {whose} for {mark.object_id}"
    return {
        "target": target,
        "username": account.username if account else (row["upn"] or ""),
        "email": account.email if account else None,
        "display_name": account.display_name if account else None,
        "active": account.active if account else None,
        "key": account.key if account else None,
        "object_id": row["id"],
        "state": row["reason"] or row["origin"] or "unexplained",
        "detail": " — ".join(part for part in (row["detail"], row["hint"], marked) if part),
        "attempts": row["attempts"],
        "next_try": iso(row["retry_at"]),
        "command": helping(row["reason"], target, row["upn"] or row["id"]) if row["reason"] else "",
    }
