"""What the products' rules for names have in common (rule 15)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from azsyncd.model.accounts import InvalidValue

LONGEST = 255
_MAIL = re.compile(r"[^@\s]+@[^@\s]+")


def legal(
    value: str | None, what: str, *, without: Iterable[str] = (), longest: int = LONGEST
) -> str:
    """The value without blanks around it; raises InvalidValue if it is empty, too long, or has
    characters that the product does not take."""
    name = (value or "").strip()
    if not name:
        raise InvalidValue(f"the {what} is empty")
    if len(name) > longest:
        raise InvalidValue(f"the {what} has {len(name)} characters, the product takes {longest}")
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise InvalidValue(f"the {what} {name!r} has control characters")
    bad = sorted({letter for letter in without if letter in name})
    if bad:
        raise InvalidValue(
            f"the {what} {name!r} has {' '.join(map(repr, bad))}, which the product forbids"
        )
    return name


def mail(value: str | None) -> str:
    """A mail address that a product takes; raises InvalidValue."""
    address = legal(value, "mail")
    if not _MAIL.fullmatch(address):
        raise InvalidValue(f"{address!r} is no mail address")
    return address


def shown(value: str | None, *, without: str = "") -> str:
    """A display name: blanks and control characters are one blank, what the product forbids is
    left out, and what is too long is cut, for nobody is known by it; raises InvalidValue."""
    plain = "".join(
        " " if unicodedata.category(letter) == "Cc" else letter
        for letter in value or ""
        if letter not in without
    )
    name = " ".join(plain.split())[:LONGEST].rstrip()
    return legal(name, "display name")
