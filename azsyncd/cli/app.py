"""Every command under its name, and what becomes of errors and wrong usage."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from azsyncd.cli.accounts import accounts
from azsyncd.cli.alerts import alerts
from azsyncd.cli.apply import apply
from azsyncd.cli.backup import backup
from azsyncd.cli.check import check
from azsyncd.cli.configuration import configuration
from azsyncd.cli.explain import explain
from azsyncd.cli.forget import forget
from azsyncd.cli.history import history
from azsyncd.cli.holds import approve, holds, reject, release
from azsyncd.cli.link import link, unlink
from azsyncd.cli.options import GeneralConfig, finite
from azsyncd.cli.output import (
    INTERRUPTED,
    USAGE,
    OutputLost,
    complain,
    finish,
    lost,
    prepare,
    warn,
)
from azsyncd.cli.pause import pause, resume
from azsyncd.cli.plan import plan
from azsyncd.cli.reload import reload
from azsyncd.cli.run import run as run_daemon
from azsyncd.cli.status import status
from azsyncd.cli.subscriptions import subscriptions
from azsyncd.cli.suggest import suggest
from azsyncd.cli.sync import sync
from azsyncd.cli.target import target
from azsyncd.cli.version import version
from azsyncd.errors import AzsyncdError

_ORDER = (
    *("demo", "run", "check", "suggest", "plan", "apply"),
    *("sync", "status", "explain", "history", "accounts"),
    *("holds", "approve", "reject", "release", "pause", "resume"),
    *("link", "unlink", "target"),
    *("reload", "config", "subscriptions", "alerts", "backup", "forget", "version"),
)
"""As the help lists them: in the order in which one meets them."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)
        )


app = typer.Typer(
    cls=_InOrder,
    name="azsyncd",
    help="Makes Atlassian products follow a Microsoft Entra ID tenant, almost as it changes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    suggest_commands=False,  # click does, and twice is too much
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _shown_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _general(
    ctx: typer.Context,
    config: GeneralConfig = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_shown_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    ctx.obj = config


@app.command()
def demo(
    users: Annotated[
        int, typer.Option(min=10, max=100_000, metavar="N", help="Users of the tenant.")
    ] = 1000,
    minutes: Annotated[
        float,
        typer.Option(min=0, max=1440, callback=finite, metavar="M", help="How long changes go on."),
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="For scripts: exit 0 only if all is equal in the end.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with the configuration and the log.")
    ] = False,
    targets: Annotated[
        str,
        typer.Option(
            metavar="NAME[=VERSION],...", help="Which products, e.g. jira=10.6,confluence=9.2."
        ),
    ] = "jira,confluence,bitbucket,crowd,cloud",
) -> None:
    """Show it all at work on simulated systems.

    The real daemon on a simulated tenant and simulated products: a first full sync, then a stream
    of changes, each with the time that it took. There is nothing to configure.
    """
    from azsyncd.cli.demo import demo as show
    from azsyncd.cli.demo.choice import chosen

    products = chosen(targets)
    raise typer.Exit(show(users=users, minutes=minutes, once=once, keep=keep, targets=products))


for each in (
    check,
    suggest,
    plan,
    apply,
    sync,
    status,
    explain,
    history,
    accounts,
    approve,
    reject,
    release,
    link,
    unlink,
    pause,
    resume,
    reload,
    subscriptions,
    backup,
    forget,
    version,
):
    app.command()(each)
app.command("run")(run_daemon)
app.add_typer(holds, name="holds")
app.add_typer(alerts, name="alerts")
app.add_typer(target, name="target")
app.add_typer(configuration, name="config")


def run(arguments: list[str]) -> int:
    """Carry out one command line; the exit code."""
    prepare()
    try:
        return finish(_carried_out(arguments))
    except OutputLost as loss:
        return lost(loss)


def _carried_out(arguments: list[str]) -> int:
    try:
        result = _command().main(arguments, prog_name="azsyncd", standalone_mode=False)
    except typer.Abort:
        warn("azsyncd: interrupted")
        return INTERRUPTED
    except AzsyncdError as error:
        return complain(error)
    except click.ClickException as error:
        return _wrong_usage(error)
    return result if isinstance(result, int) else 0


@cache
def _command() -> click.Command:
    return typer.main.get_command(app)


def _wrong_usage(error: click.ClickException) -> int:
    """What is wrong with the command line, and what it should look like."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message()
    if message.startswith("Usage:"):
        warn(message)  # `azsyncd` alone: its help is the message
        return USAGE
    usage, path = "Usage: azsyncd [OPTIONS] COMMAND [ARGS]...", "azsyncd"
    if context is not None:
        usage, path = context.get_usage(), context.command_path
    warn(f"{usage}\nTry '{path} --help' for help.\n\nazsyncd: {message}")
    return USAGE
