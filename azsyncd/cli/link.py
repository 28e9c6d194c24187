"""`azsyncd link` and `unlink`: a person says whose account it is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from azsyncd.cli.connect import ask
from azsyncd.cli.options import Config, Json, Reason, config_of, file_named, some_text
from azsyncd.cli.output import FAILED, count, say, say_json, warn
from azsyncd.errors import AzsyncdError

TargetNamed = Annotated[
    str,
    typer.Option("--target", metavar="T", callback=some_text, help="In which target of the file."),
]
COLUMNS = ("who", "account")


def link(
    ctx: typer.Context,
    target: TargetNamed,
    who: Annotated[
        str | None,
        typer.Argument(metavar="WHO", callback=some_text, help="A UPN, mail or object id."),
    ] = None,
    account: Annotated[
        str | None,
        typer.Argument(metavar="ACCOUNT", callback=some_text, help="A username in the product."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE.csv",
            callback=file_named,
            help="Many at once: CSV with the columns who and account.",
        ),
    ] = None,
    reason: Reason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say whose account it is.

    Resolves a conflict, or brings back who was unlinked. Refused: an account that is linked to
    somebody else, that azsyncd signs in as, that is protected or an administrator's, or that
    carries the mark of another azsyncd.

    Exit code: 0, 1 if any of them was refused.
    """
    if (file is None) == (who is None or account is None) or (file and (who or account)):
        raise typer.BadParameter("give WHO and ACCOUNT, or --file FILE.csv")
    pairs = [[str(who), str(account)]] if file is None else _pairs(file)
    rows: list[dict[str, Any]] = ask(
        config_of(ctx, config), "link", target=target, pairs=pairs, reason=reason
    )
    refused = [row for row in rows if row["outcome"] == "refused"]
    if json:
        say_json(rows)
    elif file is None and refused:
        raise AzsyncdError(refused[0]["message"], refused[0]["hint"])
    elif file is None:
        already = " already" if rows[0]["outcome"] == "already" else ""
        say(f"{who} has the account {account!r} in {target}{already}.")
    else:
        for row in refused:
            hint = f" — {row['hint']}" if row["hint"] else ""
            warn(f"azsyncd: {row['who']}, {row['account']}: {row['message']}{hint}")
        done = sum(row["outcome"] == "linked" for row in rows)
        already = len(rows) - done - len(refused)
        say(
            f"{count(done, 'account')} linked in {target}, {already:,} linked already,"
            f" {len(refused):,} refused."
        )
    if refused:
        raise typer.Exit(FAILED)


def _pairs(file: Path) -> list[list[str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            sample = handle.read(4096)
            handle.seek(0)
            rows = csv.DictReader(handle, delimiter=_delimiter(sample))
            named = {(name or "").strip().casefold(): name for name in rows.fieldnames or ()}
            if any(column not in named for column in COLUMNS):
                raise AzsyncdError(
                    f"{file} has no columns who and account", "the first line must name them"
                )
            pairs = [[(row[named[each]] or "").strip() for each in COLUMNS] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AzsyncdError(f"{file} cannot be read: {error}") from error
    pairs = [pair for pair in pairs if any(pair)]
    for number, pair in enumerate(pairs, 2):
        if not all(pair):
            raise AzsyncdError(f"{file}, row {number}: who or account is empty")
    if not pairs:
        raise AzsyncdError(f"{file} names nobody")
    return pairs


def _delimiter(sample: str) -> str:
    """Spreadsheets of half the world write semicolons."""
    head = sample.splitlines()[0] if sample else ""
    return max(",;\t", key=head.count)


def unlink(
    ctx: typer.Context,
    target: TargetNamed,
    who: Annotated[
        str, typer.Argument(metavar="WHO", callback=some_text, help="A UPN, mail or object id.")
    ],
    reason: Reason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Let somebody and her account go.

    Both stay as they are: azsyncd neither changes the account nor makes another one, until `link`
    brings her back.

    Exit code: 0, 1 if she has none.
    """
    told = ask(config_of(ctx, config), "unlink", target=target, who=who, reason=reason)
    if json:
        say_json(told)
    else:
        say(f"{who} and the account {told['account']!r} in {target} are left alone from now on.")
