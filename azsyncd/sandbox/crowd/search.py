"""Crowd's two ways to say what is searched: its query language (CQL), and restriction objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from azsyncd.model.accounts import fold
from azsyncd.sandbox.directories import Group, Person

Entity = Person | Group
Test = Callable[[Entity], bool]

FIELDS = {
    "name": "name",
    "email": "email",
    "firstName": "first_name",
    "lastName": "last_name",
    "displayName": "display_name",
    "description": "description",
    "active": "active",
}
TOKEN = re.compile(r"""\s*(?:([()=])|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s()="']+))""")


def everything(_entity: Entity) -> bool:
    """No restriction at all."""
    return True


def values_of(entity: Entity, name: str) -> list[str]:
    """What an entity has under a property: a field of its own, or an attribute."""
    attribute = FIELDS.get(name)
    if attribute is None:
        return entity.attributes.get(name, [])
    value = getattr(entity, attribute, "")
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def from_object(restriction: dict[str, Any]) -> Test:
    """A restriction as it is posted; raises ValueError."""
    kind = restriction.get("restriction-type", "null-search-restriction")
    if kind == "null-search-restriction":
        return everything
    if kind == "boolean-search-restriction":
        tests = [from_object(each) for each in restriction.get("restrictions", [])]
        both = all if restriction.get("boolean-logic", "and").lower() == "and" else any
        return lambda entity: both(test(entity) for test in tests)
    if kind != "property-search-restriction":
        raise ValueError(f"unknown restriction {kind}")
    mode = MODES.get(restriction.get("match-mode", "EXACTLY_MATCHES"))
    if mode is None:
        raise ValueError("unknown match mode")
    name, wanted = restriction["property"]["name"], fold(str(restriction.get("value", "")))
    return lambda entity: any(mode(fold(value), wanted) for value in values_of(entity, name))


MODES: dict[str, Callable[[str, str], bool]] = {
    "EXACTLY_MATCHES": lambda value, wanted: value == wanted,
    "STARTS_WITH": lambda value, wanted: value.startswith(wanted),
    "CONTAINS": lambda value, wanted: wanted in value,
}


def from_cql(text: str) -> Test:
    """`name = "a*" and (active = true or email = "x@y.z")`; raises ValueError."""
    if not text.strip():
        return everything
    parser = _Parser(text)
    test = parser.either()
    if parser.tokens:
        raise ValueError(f"unexpected {parser.tokens[0]}")
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.strip()
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"cannot read {text[at:]}")
            sign, double, single, word = found.groups()
            quoted = double if double is not None else single
            if sign:
                self.tokens.append(("sign", sign))
            elif quoted is not None:
                self.tokens.append(("text", re.sub(r"\\(.)", r"\1", quoted)))
            else:
                self.tokens.append(("word", word))
            at = found.end()

    def either(self) -> Test:
        tests = [self.both()]
        while self._take("word", "or"):
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda entity: any(t(entity) for t in tests)

    def both(self) -> Test:
        tests = [self.single()]
        while self._take("word", "and"):
            tests.append(self.single())
        return tests[0] if len(tests) == 1 else lambda entity: all(t(entity) for t in tests)

    def single(self) -> Test:
        if self._take("sign", "("):
            test = self.either()
            self._need("sign", ")")
            return test
        name = self._next()
        self._need("sign", "=")
        return _equals(name, self._next())

    def _take(self, kind: str, value: str) -> bool:
        if self.tokens and self.tokens[0][0] == kind and self.tokens[0][1].lower() == value:
            self.tokens.pop(0)
            return True
        return False

    def _need(self, kind: str, value: str) -> None:
        if not self._take(kind, value):
            raise ValueError(f"{value} expected")

    def _next(self) -> str:
        if not self.tokens or self.tokens[0][0] == "sign":
            raise ValueError("a name or a value expected")
        return self.tokens.pop(0)[1]


def _equals(name: str, value: str) -> Test:
    pattern = re.compile(".*".join(re.escape(part) for part in fold(value).split("*")), re.DOTALL)
    return lambda entity: any(pattern.fullmatch(fold(each)) for each in values_of(entity, name))
