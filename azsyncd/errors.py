"""What can go wrong, named for what the caller does about it.

AzsyncdError(message, hint)              hint = one sentence for the operator
├─ ConfigError(problems)                 every problem with file:line and key; exit 78; old stays
├─ StateError                            corrupt, newer schema, disk full → stop, loudly
├─ SourceError
│   ├─ DeltaExpired                      → crawl again
│   ├─ PageExpired                       → the round again from the stored deltaLink
│   ├─ CredentialRefused                 → stop asking, alert, try again slowly and on reload
│   └─ SourceUnavailable(retry_after)    → back off the pull; targets go on
└─ TargetError(target)
    ├─ TargetUnavailable(retry_after)    → back off this target, the others go on
    ├─ TargetRefused                     → stop this target, alert
    └─ ChangeRejected                    one object → it waits with its reason, the rest goes on
        ├─ AlreadyExists                 → read that object again, then adopt or conflict
        └─ NotFound                      → the link is `missing` until a second read confirms it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AzsyncdError(Exception):
    """Something that an operator can understand, with one sentence on what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} — {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file."""

    key: str
    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(AzsyncdError):
    """The configuration cannot be used; `problems` has every reason at once."""

    def __init__(self, problems: Sequence[Problem], hint: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in problems), hint)
        self.problems = tuple(problems)


class StateError(AzsyncdError):
    """The database cannot be used as it is; it was left untouched."""


class StateInUse(StateError):
    """Another process has it open: a daemon, or a command that works without one."""


class SourceError(AzsyncdError):
    """Reading Entra failed."""


class DeltaExpired(SourceError):
    """The deltaLink is no longer accepted: only a fresh crawl helps."""


class PageExpired(SourceError):
    """A nextLink is dead: the round starts again from the stored deltaLink."""


class CredentialRefused(SourceError):
    """Entra refuses the credential or a permission is missing; asking again at once is useless."""


class SourceUnavailable(SourceError):
    """Graph or the token endpoint cannot be reached, or throttles.

    `retry_after` is the number of seconds that the server asked for, if it did.
    """

    def __init__(self, message: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class TargetError(AzsyncdError):
    """A product did not do what was asked. The connector sets `target` to its name."""

    def __init__(self, message: str, hint: str = "", *, target: str = "") -> None:
        super().__init__(message, hint)
        self.target = target
        self.done: dict[str, int] = {}  # what the run had written by then, by kind


class TargetUnavailable(TargetError):
    """Network trouble, 429 or 5xx: this target is asked again later, the others go on."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        target: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint, target=target)
        self.retry_after = retry_after


class TargetRefused(TargetError):
    """The product refuses us (token, captcha, login page, right): stop, and tell somebody."""


class ChangeRejected(TargetError):
    """The product refuses one write; the object waits with this reason, the rest goes on.

    `reason` is one of the withheld reasons of surface.md §4 (`unsupported`, `blocked`, `licence`,
    `read_only`, `invalid_value`, `protected`, …). `doubtful` marks a 401, 403 or 5xx on a write:
    the caller asks the product one cheap question before it decides whose fault that is (rule 30).
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        target: str = "",
        reason: str = "blocked",
        status: int | None = None,
        doubtful: bool = False,
    ) -> None:
        super().__init__(message, hint, target=target)
        self.reason = reason
        self.status = status
        self.doubtful = doubtful


class AlreadyExists(ChangeRejected):
    """Something stands there under that name: read it again, then adopt or conflict."""


class NotFound(ChangeRejected):
    """The object of a write is not there (any more)."""
