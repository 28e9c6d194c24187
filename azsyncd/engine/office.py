"""What every operation needs: the configuration at work, and what was named in it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from azsyncd.engine.reconcile import Reconcile
from azsyncd.engine.running import Running
from azsyncd.errors import AzsyncdError
from azsyncd.operations import Progress, Tell

Reload = Callable[[bool, str], Coroutine[Any, Any, dict[str, Any]]]


class NotThere(AzsyncdError):
    """What was named does not exist."""


class Office:
    """Where operators are answered; after a reload from the next configuration."""

    def __init__(
        self,
        running: Callable[[], Running],
        *,
        live: bool,
        since: float | None = None,
        config_state: Callable[[], dict[str, Any]] = dict,
        reload: Reload | None = None,
    ) -> None:
        self._get_running = running
        self._live = live
        self._since = since
        self._config_state = config_state
        self._reload = reload

    @property
    def _running(self) -> Running:
        return self._get_running()

    def _chosen(self, target: str | None) -> dict[str, Reconcile]:
        reconciles = self._running.reconciles
        if target is None:
            return dict(reconciles)
        if target not in reconciles:
            known = ", ".join(reconciles)
            raise NotThere(f"there is no target {target!r}", f"the file has: {known}")
        return {target: reconciles[target]}

    def _ring(self, t: int | None) -> None:
        for reconcile in self._running.reconciles.values():
            if t in (None, reconcile.t):
                reconcile.bell.ring("operator")


def told(tell: Tell | None, step: str, done: int, total: int | None) -> None:
    """Tell whoever looks on how far a step is."""
    if tell is not None:
        tell(Progress(step=step, done=done, total=total))
