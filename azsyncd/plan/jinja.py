"""Jinja2's sandbox with Graph's idea of null (rules 5 and 14), and without expensive surprises.

A null is an object of its own here: it is false, equals `none`, is empty wherever text or a list is
wanted, and every filter on it gives null again. Jinja itself would print it as `None`: a filter
`lower` once gave everybody without mail the username `none`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from azsyncd.plan import words
from azsyncd.plan.properties import OBJECTS, PEOPLE

LONGEST = 4096
"""Characters that a template, or a step of it, may give: far more than any product takes."""

_LARGEST_NUMBER = 100_000
_WIDTH = re.compile(r"(%[-+ #0.]*|:[^}]*?)\d{5,}")
"""In `%` and `format` patterns: what would be padded to 10,000 characters and more."""


class Unread(Exception):
    """The value depends on a property that was not read yet (rule 5)."""

    def __init__(self, property_: str) -> None:
        super().__init__(f"{property_} was not read from Entra yet")
        self.property = property_


class TooExpensive(Exception):
    """A step of a template wants more than any name needs."""


class Null:
    """Entra's "never set" or "cleared"."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""

    def __repr__(self) -> str:
        return "null"

    def __format__(self, spec: str) -> str:
        return ""

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Null)

    def __hash__(self) -> int:
        return hash(None)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[object]:
        return iter(())

    def __getitem__(self, place: int | slice) -> Null:
        return self


NULL = Null()


class Properties:
    """`user` or `group` in an expression; also a property that is an object, or a user, itself."""

    __slots__ = ("_values", "_whole")

    def __init__(self, values: Mapping[str, object], whole: bool = False) -> None:
        """`whole`: what is not among the values is null."""
        self._values = values
        self._whole = whole

    def read(self, name: str) -> object:
        """The property as expressions see it; raises Unread."""
        if name not in self._values and not self._whole:
            raise Unread(name)
        value = self._values.get(name)
        if name in PEOPLE and isinstance(value, Mapping):
            return Properties(value)  # what was not read of the other user is not null
        if name in OBJECTS or name in PEOPLE:
            return Properties(value if isinstance(value, Mapping) else {}, whole=True)
        return NULL if value is None else value

    def __str__(self) -> str:
        raise TypeError("an object has no text of its own; name one of its properties")

    def __bool__(self) -> bool:
        return any(value is not None for value in self._values.values())


def is_null(value: object) -> bool:
    """Whether Jinja's `none` or our null."""
    return value is None or isinstance(value, Null)


def text(value: object) -> str:
    """A value as a template shows it: null is empty, a list is put together with commas."""
    if is_null(value):
        return ""
    if isinstance(value, (list, tuple, Iterator)):
        return ", ".join(text(element) for element in value)
    return str(value)


class Sandbox(ImmutableSandboxedEnvironment):
    """The one environment in which all expressions and templates are compiled."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=text, keep_trailing_newline=False)
        self.globals.clear()
        own: dict[str, Callable[..., Any]] = {
            "before": words.before,
            "after": words.after,
            "regex_replace": words.regex_replace,
            "ascii": words.ascii_,
            "guest_address": words.guest_address,
        }
        filters = {name: _careful(call) for name, call in {**self.filters, **own}.items()}
        first_of = _careful(words.first_of, nulls=True)
        default = _careful(_default, nulls=True)
        del filters["random"]  # the same user must always get the same name
        filters |= {"first_of": first_of, "default": default, "d": default, "join": _join}
        self.filters = filters
        self.tests["none"] = is_null
        self.globals.update({name: filters[name] for name in own} | {"first_of": first_of})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Properties):
            return obj.read(attribute)
        if isinstance(obj, Null):
            _nothing_in_null(attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Properties):
            return obj.read(str(argument))
        if isinstance(obj, Null) and isinstance(argument, str):
            _nothing_in_null(argument)
        found = super().getitem(obj, argument)
        is_place = isinstance(obj, (list, tuple)) and isinstance(argument, int)
        return NULL if is_place and isinstance(found, Undefined) else found

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _refuse_width(value.__self__)
        return wrapped

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _refuse_large([*args, *kwargs.values()])
        result = super().call(context, obj, *args, **kwargs)
        return _not_too_long(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and abs(right) > 64:
            raise TooExpensive("** with an exponent above 64")
        if operator == "*":
            _refuse_repetition(left, right)
            _refuse_repetition(right, left)
        if operator == "%" and isinstance(left, str):
            _refuse_width(left)
        return super().call_binop(context, operator, left, right)


def _nothing_in_null(name: str) -> NoReturn:
    raise TypeError(f"null has no {name}")


def _careful(call: Callable[..., Any], nulls: bool = False) -> Callable[..., Any]:
    """The filter, giving null for null, and refusing to build something huge."""
    position = 1 if hasattr(call, "jinja_pass_arg") else 0

    @wraps(call)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        if not nulls and len(args) > position and is_null(args[position]):
            return NULL
        _refuse_large([*args[position + 1 :], *kwargs.values()])
        if call.__name__ == "do_format":
            _refuse_width(str(args[position]))
        result = _not_too_long(call(*args, **kwargs))
        return NULL if isinstance(result, Undefined) else result  # `first` of an empty list

    return filter_


def _default(value: object, default: object = "", boolean: bool = False) -> object:
    """Jinja's `default` for null: an unknown name is an error anyway."""
    return default if is_null(value) or (boolean and not value) else value


def _join(value: Any, separator: str = "", attribute: None = None) -> object:
    """The elements that are not null, put together."""
    if is_null(value):
        return NULL
    return _not_too_long(str(separator).join(text(each) for each in value if not is_null(each)))


def _refuse_large(arguments: list[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, (int, float)) and abs(argument) > _LARGEST_NUMBER:
            raise TooExpensive(f"the number {argument} is too large")


def _refuse_repetition(what: Any, times: Any) -> None:
    repeats = isinstance(what, (str, list, tuple)) and isinstance(times, int)
    if repeats and len(what) * times > LONGEST:
        raise TooExpensive(f"more than {LONGEST} characters")


def _refuse_width(pattern: str) -> None:
    if _WIDTH.search(pattern):
        raise TooExpensive("a width of more than 4 digits")


def _not_too_long(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST:
        raise TooExpensive(f"more than {LONGEST} characters")
    return value


SANDBOX = Sandbox()
