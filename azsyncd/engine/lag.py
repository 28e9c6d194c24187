"""How long a target owes what Entra says: from the notification, or the poll, to the answer."""

from __future__ import annotations

from bisect import bisect_left

MOST_SEEN = 1000
"""So many revisions are remembered with the moment at which they came."""


class Lag:
    """When each revision of the mirror could be known of, until the target has reached it.

    Moments are monotonic seconds.
    """

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}  # by revision
        self._plans: list[tuple[int, float | None]] = []  # (spilled after, seen at), ascending

    @property
    def since(self) -> float | None:
        """When the oldest change was seen that is not yet written; None = all are."""
        return min(self._seen.values(), default=None)

    def saw(self, revision: int, at: float) -> None:
        """The mirror moved on to this revision."""
        self._seen[revision] = at
        if len(self._seen) > MOST_SEEN:  # down for long: the oldest says how far behind we are
            del self._seen[sorted(self._seen)[1]]

    def begin(self) -> None:
        """A plan is made from the beginning."""
        self._plans.clear()

    def planned(self, after: int, since: int, upto: int) -> None:
        """What is spilled after this number follows from these revisions."""
        seen = [at for revision, at in self._seen.items() if since < revision <= upto]
        self._plans.append((after, min(seen, default=None)))

    def of(self, seq: int) -> float | None:
        """When what this planned change follows from was seen; None: it is nothing that Entra said
        lately (drift, a retry)."""
        place = bisect_left(self._plans, seq, key=lambda plan: plan[0]) - 1
        return self._plans[max(0, place)][1] if self._plans else None

    def reached(self, revision: int) -> None:
        """Everything up to this revision is written, or waits with a reason."""
        self._seen = {seen: at for seen, at in self._seen.items() if seen > revision}
