"""`azsyncd suggest`: reads who stands in a product and who is in Entra, and proposes how the two
belong together. Nothing is written anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

from azsyncd.engine.planning import Planning
from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.model.accounts import fold
from azsyncd.model.identities import Presence
from azsyncd.operations import Progress, Tell
from azsyncd.plan.scope import Verdict
from azsyncd.plan.suggesting import Candidate, Counting, Suggestion
from azsyncd.state import facts, questions
from azsyncd.state.store import Connection

_BATCH = 500


async def suggest(running: Running, reconcile: Reconcile, tell: Tell | None) -> dict[str, Any]:
    """{target, identities, accounts, usernames, emails, username, email, adopt, why, lines}."""
    t, name = reconcile.t, reconcile.target.name
    store, ours = running.store, running.signed_in_as()
    accounts = await store.read(lambda db: questions.all_accounts(db, t))
    counting = Counting(each for each in accounts if fold(each.username) not in ours)
    numbers = await store.read(lambda db: facts.every(db, "user"))
    planning = await running.dry(reconcile.planning.apart)
    for start in range(0, len(numbers), _BATCH):
        batch = numbers[start : start + _BATCH]
        await running.dry(lambda db, b=batch: _count(db, planning, b, counting))  # type: ignore[misc]
        if tell is not None:
            step = f"{name}: comparing"
            tell(Progress(step=step, done=start + len(batch), total=len(numbers)))
        await asyncio.sleep(0)
    return _told(name, counting.suggestion())


def _count(db: Connection, planning: Planning, batch: list[int], counting: Counting) -> None:
    desk = planning.desk(db)
    for base in facts.bases(db, batch):
        user = base.user
        if user.presence is not Presence.PRESENT or not user.properties:
            continue
        if desk.users.verdict(user, base.groups, desk.scope).verdict is Verdict.IN:
            counting.add(user)


def _told(name: str, found: Suggestion) -> dict[str, Any]:
    return {
        "target": name,
        "identities": found.identities,
        "accounts": found.accounts,
        "usernames": [_candidate(each) for each in found.usernames],
        "emails": [_candidate(each) for each in found.emails],
        "username": found.username,
        "email": found.email,
        "adopt": found.adopt,
        "why": found.why,
        "lines": [
            "targets:",
            f"  {name}:",
            "    accounts:",
            f'      username: "{found.username}"',
            f'      email: "{found.email}"',
            f"      adopt: {found.adopt}",
        ],
    }


def _candidate(each: Candidate) -> dict[str, Any]:
    return {
        "template": each.template,
        "matches": each.matches,
        "exact": each.exact,
        "shared": each.shared,
        "unread": each.unread,
        "examples": each.examples,
    }
