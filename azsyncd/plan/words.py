"""The filters and functions that azsyncd adds to Jinja's: text in, text out."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LETTERS = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O",
        "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH",
        "ħ": "h", "Ħ": "H", "ı": "i", "ŧ": "t", "Ŧ": "T", "ŋ": "ng", "Ŋ": "NG", "ĸ": "k",
        "ə": "e", "Ə": "E", "ƒ": "f", "ɓ": "b", "ɗ": "d", "‘": "'", "’": "'", "‚": "'", "‛": "'",
        "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-",
    }
)  # fmt: skip
"""Letters that Unicode does not take apart into a base and an accent."""

_GUEST = re.compile(r"(.+)#EXT#[^@#]*@.+", re.IGNORECASE)


def before(value: object, separator: str) -> str:
    """What stands before the first `separator`; the whole where there is none."""
    return str(value).partition(separator)[0] if separator else str(value)


def after(value: object, separator: str) -> str:
    """What stands after the first `separator`; the whole where there is none."""
    if not separator:
        return str(value)
    _, found, rest = str(value).partition(separator)
    return rest if found else str(value)


def regex_replace(value: object, pattern: str, replacement: object = "") -> str:
    """Every match of a Python regular expression replaced; `\\1` is its first group."""
    return _compiled(pattern).sub(str(replacement), str(value))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def ascii_(value: object) -> str:
    """Accents folded (José → Jose, ß → ss, ø → o); what has no Latin letter is left out."""
    decomposed = unicodedata.normalize("NFKD", str(value).translate(_LETTERS))
    return decomposed.translate(_LETTERS).encode("ascii", "ignore").decode()


def guest_address(value: object) -> str:
    """A guest's address out of her UPN: `jo_contoso.com#EXT#@fabrikam…` → `jo@contoso.com`.

    Entra puts `_` in the place of `@`; a domain has no `_`, so it is the last one.
    """
    match = _GUEST.fullmatch(str(value))
    if match is None:
        return str(value)
    name, found, domain = match[1].rpartition("_")
    return f"{name}@{domain}" if found else match[1]


def first_of(*values: object) -> object:
    """The first value that is neither null nor empty; the last one if all are."""
    for value in values:
        if value is not None and str(value).strip():
            return value
    return values[-1] if values else None
