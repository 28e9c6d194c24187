"""`azsyncd explain`: why somebody has, or has not, what she has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from azsyncd.cli.changes import change_lines
from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, Target, config_of, some_text
from azsyncd.cli.output import bold, coloured, say, say_json, table
from azsyncd.cli.plan import words


def explain(
    ctx: typer.Context,
    who: Annotated[
        str,
        typer.Argument(
            metavar="WHO",
            callback=some_text,
            help="UPN, mail, object id, account, or display name.",
            show_default=False,
        ),
    ],
    group: Annotated[
        str | None,
        typer.Argument(metavar="GROUP", callback=some_text, help="Why (not) in this group?"),
    ] = None,
    target: Target = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say why somebody has, or has not, what she has.

    In five steps, each with its evidence: found in Entra, in scope by which rule and path, matched
    with an account, mapped to which values, planned or withheld and why. Also for groups, and for
    accounts that nobody in Entra explains. The last line says what to do.
    """
    result: dict[str, Any] = ask(
        config_of(ctx, config), "explain", who=who, group=group, target=target
    )
    if json:
        say_json(result)
    else:
        for line in explain_lines(result):
            say(line)


def explain_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """From Entra down to what is written, target by target; at the end what to do."""
    entra = result.get("entra") or {}
    yield bold(f"{result.get('kind', '')} in Entra".strip())
    yield from outline(entra, "  ")
    for each in result.get("targets", ()):
        yield ""
        yield from _target_lines(each)
    if result.get("what_to_do"):
        yield ""
        yield f"What to do: {result['what_to_do']}"


def _target_lines(told: Mapping[str, Any]) -> Iterator[str]:
    mode = told.get("mode", "sync")
    yield bold(told["target"]) + ("" if mode == "sync" else f" (mode {mode})")
    if told.get("not_asked"):
        yield coloured("!", "  ! ") + f"it could not be asked: {told['not_asked']}"
    if told.get("steps"):
        yield from _step_lines(told["steps"])
    else:
        scope = told.get("in_scope") or {}
        why = f": {scope['why']}" if scope.get("why") else ""
        yield f"  {scope.get('verdict', '?')}{why}"
    yield from _rule_lines(told.get("rules", ()))
    rest = {key: value for key, value in told.items() if key not in _TOLD_APART}
    yield from outline(rest, "  ")
    if "account" in told and not told["account"]:
        yield "  account: none"
    if told.get("groups"):
        yield "  groups:"
        yield from table([_group_cells(each) for each in told["groups"]], indent="    ")
    about = told.get("in_group")
    if about:
        yield f"  {about['group']}: {about['why']}"
        if about.get("path"):
            yield f"    {about['path']}"
    if told.get("planned"):
        yield "  planned:"
        for row in told["planned"]:
            yield from (f"  {line}" for line in change_lines(row))
    for each in told.get("withheld", ()):
        said = " — ".join(each[key] for key in ("detail", "hint") if each.get(key))
        again = f" (next try {each['next_try']})" if each.get("next_try") else ""
        yield coloured("!", f"  ! withheld, {words(each['reason'])}") + f": {said}{again}"
    for each in told.get("held", ()):
        yield coloured("!", f"  ! {words(each['change'])} is in hold {each['hold']}") + (
            f" ({words(each['kind'])}, {each['state']}): {each['why']}"
        )


_TOLD_APART = frozenset(
    {"target", "mode", "in_scope", "groups", "in_group", "planned", "withheld", "held"}
    | {"steps", "rules", "not_asked"}
)


def _step_lines(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """`1 found  =  jo@x.org, enabled`: where the signs stop being `=` is where to look."""
    signs = {True: "=", False: "-", None: "!"}
    rows = [
        [f"{number} {step['step']}", signs[step["ok"]], step["why"]]
        for number, step in enumerate(steps, 1)
    ]
    yield from table(rows, indent="  ")


def _rule_lines(rules: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for rule in rules:
        why = f": {rule['why']}" if rule["why"] else ""
        yield f"  {rule['rule']}: {rule['verdict']}{why}"
        for path in rule["paths"]:
            yield f"    {path}"


def _group_cells(row: Mapping[str, Any]) -> list[str]:
    if row["wanted"]:
        sign, said = ("=", "is in it") if row["in_product"] else ("+", "is to be in it")
        if not row["in_product"] and row.get("blocked"):
            sign, said = " ", f"is not put into it: {row['blocked']}"
    elif row.get("whose") == "foreign":
        sign, said = " ", "is in it, not by azsyncd"
    else:
        sign, said = "-", "is in it, and Entra does not say so"
    through = f"through {row['through']}" if row.get("through") else ""
    return [sign, row["group"], said, through]


def outline(value: Any, indent: str = "") -> Iterator[str]:
    """Anything as an indented outline; empty values are left out."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            name = words(str(key))
            if each in (None, "", [], {}):
                continue
            if isinstance(each, dict | list):
                yield f"{indent}{name}:"
                yield from outline(each, indent + "  ")
            else:
                yield f"{indent}{name}: {_plain(each)}"
    elif isinstance(value, list):
        for each in value:
            yield f"{indent}- {_plain(each)}"
    else:
        yield f"{indent}{_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
