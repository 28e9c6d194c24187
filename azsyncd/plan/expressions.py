"""Expressions and templates of the configuration, compiled once and called for every object.

`Expression` decides (`where`, `active`), `Template` composes text. Both know which of Graph's
properties they read before they ever run, so that these can be selected. What they are called with
is a mapping by Graph's own names: a missing key was not read (Unread, rule 5), None is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from jinja2 import TemplateSyntaxError, nodes
from jinja2.parser import Parser

from azsyncd.plan.jinja import (
    LONGEST,
    SANDBOX,
    Properties,
    TooExpensive,
    Unread,
    is_null,
    text,
)
from azsyncd.plan.properties import PEOPLE, Noun, did_you_mean, problem_with

__all__ = ["Expression", "ExpressionFailed", "ExpressionProblem", "Template", "Unread"]

_STATEMENTS = (
    nodes.Output,
    nodes.If,
    nodes.For,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.With,
    nodes.FilterBlock,
    nodes.ExprStmt,
)
_FORGOTTEN_BRACES = re.compile(r"\s*(user|group)\.\w+[^{}]*")


class ExpressionFailed(Exception):
    """It cannot be worked out for this object (rule 13)."""


class ExpressionProblem(ValueError):
    """It is wrong for every object: an error of the file."""


class Expression:
    """Gives true or false. A YAML boolean does too."""

    def __init__(self, source: str | bool, noun: Noun) -> None:
        self.source = source
        self.properties: frozenset[str] = frozenset()
        self._mentioned: frozenset[tuple[str, ...]] = frozenset()
        self._constant = source if isinstance(source, bool) else None
        if not isinstance(source, bool):
            with _explained(source, "expression"):
                self._compile(source, noun)

    def _compile(self, source: str, noun: Noun) -> None:
        expression = _parsed_expression(source)
        whole = nodes.Template([nodes.Output([expression])], lineno=1)
        self._mentioned = _checked(whole, noun)
        self.properties = _selected(self._mentioned)
        self._noun = noun
        self._plain = _plain_property(expression, noun)
        assign = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
        self._compiled = SANDBOX.from_string(nodes.Template([assign], lineno=1))

    def __call__(self, properties: Mapping[str, object]) -> bool:
        """Raises Unread, or ExpressionFailed also where the result is neither true nor false."""
        if self._constant is not None:
            return self._constant
        result = self._result(properties)
        if isinstance(result, bool):
            return result
        if is_null(result):
            shown = "null"
        else:
            is_scalar = isinstance(result, (str, int, float))
            shown = f"{str(result)[:60]!r}" if is_scalar else f"a {type(result).__name__}"
        raise ExpressionFailed(f"{self.source}: gives {shown}, neither true nor false")

    def values(self, properties: Mapping[str, object]) -> list[tuple[str, object]]:
        """What it was worked out from, by name: the first four, as evidence."""
        told = []
        for path in sorted(self._mentioned)[:4]:
            value: object = properties
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            told.append((".".join(path), value))
        return told

    def _result(self, properties: Mapping[str, object]) -> object:
        if self._plain is not None:
            return Properties(properties).read(self._plain)
        context = self._compiled.new_context({self._noun: Properties(properties)})
        try:
            for _ in self._compiled.root_render_func(context):
                pass
        except Unread:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it does, it fails for one object
            raise _failure(self.source, error) from None
        return context.vars["result"]


class Template:
    """Gives text, without blanks around it; null is empty."""

    def __init__(self, source: str, noun: Noun) -> None:
        self.source = source
        self._noun = noun
        with _explained(source, "template"):
            tree = SANDBOX.parse(source)
            self.properties = _selected(_checked(tree, noun))
            self._fast = _fast_path(tree, noun)
            self._compiled = SANDBOX.from_string(source)
        if not self.properties and _FORGOTTEN_BRACES.fullmatch(source):
            raise ExpressionProblem(
                f"{source!r} is the same text for everybody; write "
                f"{'{{ ' + source.strip() + ' }}'!r}"
            )

    @property
    def is_constant(self) -> bool:
        """Whether it gives the same for every object."""
        return not self.properties

    def __call__(self, properties: Mapping[str, object]) -> str:
        """Raises Unread and ExpressionFailed."""
        if self._fast is not None:
            value = self._fast(properties)
            if len(value) <= LONGEST:
                return value.strip()
        context = self._compiled.new_context({self._noun: Properties(properties)})
        try:
            return _limited(self._compiled.root_render_func(context)).strip()
        except Unread:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it does, it fails for one object
            raise _failure(self.source, error) from None


def _limited(pieces: Iterator[str]) -> str:
    result = ""
    for piece in pieces:
        result += piece
        if len(result) > LONGEST:
            raise TooExpensive(f"more than {LONGEST} characters")
    return result


def _failure(source: str | bool, error: Exception) -> ExpressionFailed:
    what = re.sub(r"'(azsyncd\.\S*)?Null( object)?'", "null", str(error)) or repr(error)
    return ExpressionFailed(f"{source}: {what}")


# Compiling ------------------------------------------------------------------------------------


@contextmanager
def _explained(source: str, kind: str) -> Iterator[None]:
    """Whatever goes wrong while compiling is a problem of the source."""
    if len(source) > LONGEST:
        raise ExpressionProblem(f"is longer than {LONGEST} characters")
    try:
        yield
    except ExpressionProblem:
        raise
    except TemplateSyntaxError as error:
        raise ExpressionProblem(f"{source!r} is no {kind}: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - e.g. nested too deeply for Python's own compiler
        raise ExpressionProblem(f"{source[:60]!r} is no {kind}: {type(error).__name__}") from None


def _parsed_expression(source: str) -> nodes.Expr:
    if source.strip().startswith(("{{", "{%")):
        raise ExpressionProblem(f"{source!r}: an expression is written without {{{{ }}}}")
    parser = Parser(SANDBOX, source, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        raise TemplateSyntaxError(f"unexpected {str(parser.stream.current.value)!r}", 1)
    expression.set_environment(SANDBOX)
    return expression


def _selected(mentioned: frozenset[tuple[str, ...]]) -> frozenset[str]:
    """What is to be read of users or groups, `id` apart: of a manager, who is a user too, that is
    read of all of them."""
    return frozenset(name for path in mentioned for name in path) - {"id"}


def _checked(tree: nodes.Node, noun: Noun) -> frozenset[tuple[str, ...]]:
    """The properties that are read, those of another user as (`manager`, NAME); raises
    ExpressionProblem for all that is wrong."""
    problems: list[str] = []
    found: set[tuple[str, ...]] = set()
    for name, *inside in _mentioned(tree, noun, problems):
        if (problem := problem_with(noun, name, *inside)) is not None:
            problems.append(problem)
        found.add((name, *inside[:1]) if name in PEOPLE else (name,))
    problems += [*_unknown_words(tree), *_forbidden(tree), *_bad_patterns(tree)]
    if problems:
        raise ExpressionProblem("; ".join(dict.fromkeys(problems)))
    return frozenset(found)


def _mentioned(tree: nodes.Node, noun: Noun, problems: list[str]) -> Iterator[tuple[str, ...]]:
    """Each `user.NAME` with the names inside it, as in `user.NAME.INNER`; whatever else is done
    with a name is a problem."""
    local = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    allowed = local | SANDBOX.globals.keys() | {noun}

    def walk(node: nodes.Node, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        if isinstance(node, (nodes.Getattr, nodes.Getitem)):
            name = _name_in(node)
            if isinstance(node.node, nodes.Name) and node.node.name == noun:
                if name is not None:
                    yield name, *inside
                    return
                problems.append(f"{noun}[…]: write the property's name, as in {noun}.mail")
                return
            yield from walk(node.node, () if name is None else (name, *inside))
            if isinstance(node, nodes.Getitem):
                yield from walk(node.arg)
            return
        if isinstance(node, nodes.Name) and node.ctx == "load":
            if node.name == noun:
                problems.append(f"{noun} alone says nothing; write {noun}.NAME")
            elif node.name not in allowed:
                problems.append(_unknown_name(node.name, noun, allowed))
        for child in node.iter_child_nodes():
            yield from walk(child)

    yield from walk(tree)


def _name_in(node: nodes.Getattr | nodes.Getitem) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) else None


def _unknown_name(name: str, noun: Noun, allowed: set[str]) -> str:
    if name in ("user", "group"):
        return f"{name} is not known here, only {noun}"
    if problem_with(noun, name) is None:
        return f"{name} is not known; did you mean {noun}.{name}?"
    return f"{name} is not known{did_you_mean(name, allowed)}"


def _unknown_words(tree: nodes.Node) -> Iterator[str]:
    for kind, known in ((nodes.Filter, SANDBOX.filters), (nodes.Test, SANDBOX.tests)):
        for node in tree.find_all(kind):
            if node.name not in known:
                word = "filter" if kind is nodes.Filter else "test"
                yield f"there is no {word} {node.name}{did_you_mean(node.name, list(known))}"


def _forbidden(tree: nodes.Node) -> Iterator[str]:
    for statement in tree.find_all(nodes.Stmt):
        if not isinstance(statement, _STATEMENTS):
            yield f"{type(statement).__name__.lower()} is not available in templates of this file"
    for outer in tree.find_all(nodes.For):
        for middle in (each for child in outer.body for each in _loops(child)):
            if any(True for child in middle.body for _ in _loops(child)):
                yield "more than two loops inside one another"


def _loops(node: nodes.Node) -> Iterator[nodes.For]:
    if isinstance(node, nodes.For):
        yield node
    yield from node.find_all(nodes.For)


def _bad_patterns(tree: nodes.Node) -> Iterator[str]:
    for node in tree.find_all(nodes.Filter):
        if node.name == "regex_replace" and node.args and isinstance(node.args[0], nodes.Const):
            try:
                re.compile(str(node.args[0].value))
            except re.error as error:
                yield f"regex_replace({node.args[0].value!r}): {error}"


# The fast path --------------------------------------------------------------------------------


def _plain_property(node: nodes.Node | None, noun: Noun) -> str | None:
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name):
        return _name_in(node) if node.node.name == noun else None
    return None


def _fast_path(tree: nodes.Template, noun: Noun) -> Callable[[Mapping[str, object]], str] | None:
    """For `{{ user.x }}` and `{{ user.x | lower }}`: most mappings, at a tenth of the cost."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    if len(tree.body[0].nodes) != 1:
        return None
    shown: nodes.Node | None = tree.body[0].nodes[0]
    lower = isinstance(shown, nodes.Filter) and shown.name == "lower"
    if isinstance(shown, nodes.Filter) and lower:
        shown = shown.node
    name = _plain_property(shown, noun)
    if name is None:
        return None

    def value(properties: Mapping[str, object]) -> str:
        if name not in properties:
            raise Unread(name)
        found = properties[name]
        if found is None:
            return ""
        return str(found).lower() if lower else text(found)

    return value
