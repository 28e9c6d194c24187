"""Which attribute names the accounts that stand in a product: counted, and proposed.

Each candidate is a template as the file would have it, tried on every identity. A match is an
account that one identity, and no other, names by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from azsyncd.model.accounts import Account, fold
from azsyncd.model.identities import User
from azsyncd.plan.expressions import ExpressionFailed, Template, Unread

USERNAMES = (
    "{{ user.userPrincipalName }}",
    "{{ user.userPrincipalName | before('@') }}",
    "{{ user.mail }}",
    "{{ user.mail | before('@') }}",
    "{{ user.mail or user.userPrincipalName }}",
    "{{ user.userPrincipalName | guest_address }}",
    "{{ user.mailNickname }}",
    "{{ user.onPremisesSamAccountName }}",
    "{{ user.onPremisesUserPrincipalName }}",
    "{{ user.employeeId }}",
    "{{ user.otherMails | first }}",
    "{{ user.displayName }}",
)
EMAILS = (
    "{{ user.mail or user.userPrincipalName }}",
    "{{ user.mail }}",
    "{{ user.userPrincipalName }}",
    "{{ user.userPrincipalName | guest_address }}",
    "{{ user.mail or (user.otherMails | first) or user.userPrincipalName }}",
)
"""In the order of preference where several match as many."""

EXAMPLES = 3
MOST_ELSEWHERE = 0.05
"""So large a share of accounts under her name with somebody else's address is too much."""


@dataclass(slots=True)
class Candidate:
    """One template and what it matches. `exact`: of the matches, those in the same case."""

    template: str
    matches: int = 0
    exact: int = 0
    shared: int = 0  # accounts that several identities name
    unread: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What fits, best first; and what to write into the file (None: nothing stands there)."""

    identities: int
    accounts: int
    usernames: tuple[Candidate, ...]
    emails: tuple[Candidate, ...]
    username: str
    email: str
    adopt: str
    why: str


class Counting:
    """Counts as identities come by; keeps only what matches an account."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_name: dict[str, Account] = {}
        self._by_mail: Counter[str] = Counter()
        self._mail_of: dict[str, str] = {}
        for account in accounts:
            self._by_name[fold(account.username)] = account
            if account.email:
                self._by_mail[fold(account.email)] += 1
        self.identities = 0
        self._usernames = {text: Template(text, "user") for text in USERNAMES}
        self._emails = {text: Template(text, "user") for text in EMAILS}
        self._named: dict[str, dict[str, list[tuple[str, str]]]] = {t: {} for t in USERNAMES}
        self._mailed: dict[str, dict[str, list[tuple[str, str]]]] = {t: {} for t in EMAILS}
        self._unread: Counter[str] = Counter()
        self._elsewhere: Counter[str] = Counter()

    def add(self, user: User) -> None:
        """One identity."""
        self.identities += 1
        values = {**user.properties, "id": user.id}
        mails = self._mails(values, user)
        for text, template in self._usernames.items():
            value = self._value(text, template, values)
            account = self._by_name.get(fold(value))
            if account is None or not value:
                continue
            self._named[text].setdefault(fold(value), []).append((user.name, value))
            if account.email and mails and fold(account.email) not in mails:
                self._elsewhere[text] += 1

    def _mails(self, values: Mapping[str, object], user: User) -> set[str]:
        """All her addresses; those that an account has are counted."""
        found = set()
        for text, template in self._emails.items():
            value = self._value(text, template, values)
            if value:
                found.add(fold(value))
                if fold(value) in self._by_mail:
                    self._mailed[text].setdefault(fold(value), []).append((user.name, value))
        return found

    def _value(self, text: str, template: Template, values: Mapping[str, object]) -> str:
        try:
            return template(values).strip()
        except Unread:
            self._unread[text] += 1
        except ExpressionFailed:
            pass
        return ""

    # What follows -------------------------------------------------------------------------------

    def suggestion(self) -> Suggestion:
        """Everybody has come by."""
        usernames = self._ranked(
            self._named, {key: account.username for key, account in self._by_name.items()}
        )
        emails = self._ranked(self._mailed, {}, alone=self._by_mail)
        accounts = len(self._by_name)
        best, mail = usernames[0], emails[0]
        username = (
            self._folded(best) if best.matches else USERNAMES[0].replace(" }}", " | lower }}")
        )
        email = mail.template if mail.matches else EMAILS[0]
        adopt, why = self._adopt(accounts, best, mail)
        return Suggestion(self.identities, accounts, usernames, emails, username, email, adopt, why)

    def _ranked(
        self,
        found: Mapping[str, Mapping[str, list[tuple[str, str]]]],
        spelled: Mapping[str, str],
        alone: Mapping[str, int] | None = None,
    ) -> tuple[Candidate, ...]:
        candidates = []
        for text, hits in found.items():
            candidate = Candidate(text, unread=self._unread[text])
            for key, who in hits.items():
                if len(who) > 1 or (alone is not None and alone[key] > 1):
                    candidate.shared += 1
                    continue
                candidate.matches += 1
                candidate.exact += spelled.get(key, key) == who[0][1]
                if len(candidate.examples) < EXAMPLES:
                    candidate.examples.append(f"{who[0][0]} = {spelled.get(key, key)}")
            candidates.append(candidate)
        return tuple(sorted(candidates, key=lambda each: -each.matches))

    def _folded(self, best: Candidate) -> str:
        """With `lower`, or `upper`, where the accounts are spelled so."""
        names = [self._by_name[key].username for key in self._named[best.template]]
        letters = [name for name in names if name.lower() != name.upper()]
        for case in ("lower", "upper"):
            if all(name == getattr(name, case)() for name in letters):
                return (
                    best.template.replace(" }}", f" | {case} }}}}")
                    if (" or " not in best.template)
                    else best.template.replace("{{ ", "{{ (").replace(" }}", f") | {case} }}}}")
                )
        return best.template

    def _adopt(self, accounts: int, best: Candidate, mail: Candidate) -> tuple[str, str]:
        if not accounts:
            return "username", "nothing stands there: whatever you like"
        if not best.matches and not mail.matches:
            return "never", (
                "no account is anybody's by name or address: azsyncd link says whose they are"
            )
        if mail.matches > best.matches:
            return "email", f"{mail.matches} by address, only {best.matches} by name"
        elsewhere = self._elsewhere[best.template]
        if elsewhere > MOST_ELSEWHERE * best.matches and mail.matches:
            return "username_and_email", (
                f"{elsewhere} accounts have her name and another address: perhaps somebody else's"
            )
        more = f", {elsewhere} of them with another address" if elsewhere else ""
        return "username", f"{best.matches} by name{more}"
