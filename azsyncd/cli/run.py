"""`azsyncd run`: the daemon, in the foreground."""

from __future__ import annotations

import typer

from azsyncd.cli.options import Config, config_of


def run(ctx: typer.Context, config: Config = None) -> None:
    """Run the daemon in the foreground.

    Exit code: 0 after SIGTERM or SIGINT, 78 bad configuration, 1 state unusable.
    """
    from azsyncd import daemon
    from azsyncd.cli.privileges import step_down

    file = config_of(ctx, config).absolute()
    step_down(file)
    raise typer.Exit(daemon.run(file))
