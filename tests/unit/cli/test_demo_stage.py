"""How the demo looks, on terminals of several widths and where there is none."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from azsyncd.cli.demo.choice import ALL
from azsyncd.cli.demo.stage import PLAIN_WIDTH, Stage

TWO = ("jira", "crowd")


def stage(width: int | None = None, products: tuple[str, ...] = TWO) -> tuple[Stage, io.StringIO]:
    """A stage on a terminal of so many columns; None: on none."""
    written = io.StringIO()
    console = Console(
        file=written,
        width=width,
        force_terminal=width is not None,
        color_system=None,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        _environ={"TERM": "xterm"},
    )
    return Stage(products, console), written


@pytest.mark.parametrize("width", [None, 80, 120, 200])
@pytest.mark.parametrize("text", ["Ann joins", "Ärzte 🚀 " * 30, "[bold]no markup[/] :smile:"])
def test_times_stand_below_their_products_and_nothing_is_wider_than_the_screen(
    width: int | None, text: str
) -> None:
    shown, written = stage(width)
    shown.heading("Everyday changes", columns=True)
    shown.happened(text, {"jira": 0.25, "crowd": None}, [])
    shown.happened(text, {"jira": 12.5}, ["crowd"])
    lines = [line for line in written.getvalue().splitlines() if line]
    assert {cell_len(line) for line in lines} == {min(width or PLAIN_WIDTH, 120)}
    head, first, second = lines
    assert head.endswith("jira     crowd")
    assert first.endswith("0.25 s         –")
    assert second.endswith("12.5 s      late")


@pytest.mark.parametrize(
    ("width", "head"),
    [
        (80, "   jira confl.  bitb.  crowd  cloud"),
        (None, "       jira confluence  bitbucket      crowd      cloud"),
        (120, "       jira confluence  bitbucket      crowd      cloud"),
    ],
)
def test_five_products_fit_on_every_screen_and_leave_room_for_the_story(
    width: int | None, head: str
) -> None:
    shown, written = stage(width, ALL)
    shown.heading("4  Comparison with what should be there", columns=True)
    shown.happened("Noor Çelik is invited as a guest, for …", dict.fromkeys(ALL, 0.25), [])
    shown.happened("Ann joins", dict.fromkeys(ALL, 62.25), ["cloud"])
    shown.figures("requests", [12_345] * 5)
    lines = [line for line in written.getvalue().splitlines() if line]
    assert {cell_len(line) for line in lines} == {width or PLAIN_WIDTH}
    assert lines[0].endswith(head)
    assert lines[1].startswith("  Noor Çelik is invited as a guest")
    assert lines[2].split() == ["Ann", "joins", *["62.2", "s"] * 4, "late"]
    assert lines[3].split() == ["requests", *["12,345"] * 5]


def test_there_is_no_bar_and_no_escape_sequence_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, written = stage()
    monkeypatch.setattr("azsyncd.cli.demo.stage.QUIET_SECONDS", 0.0)
    with shown.waiting("for something"):
        pass
    with shown.bars() as bars:
        bars.show({"jira": (10, 2000), "crowd": (3, None)}, {"crowd": "reading users"})
    assert written.getvalue() == "  jira 10 of 2,000, crowd reading users 3\n"


def test_progress_is_not_said_all_the_time() -> None:
    shown, written = stage()
    with shown.bars() as bars:
        for done in range(100):
            bars.show({"jira": (done, 100)})
    assert written.getvalue() == ""


def test_there_is_a_bar_on_a_terminal() -> None:
    shown, written = stage(80)
    with shown.bars() as bars:
        bars.show({"jira": (1, 2)})
        bars.show({"jira": (2, 2)})
    assert "jira" in written.getvalue()
    assert "2/2" in written.getvalue()


def test_bars_that_do_not_stay_are_wiped_away() -> None:
    shown, written = stage(80)
    with shown.bars(stay=False) as bars:
        bars.show({"jira": (1, 2)}, {"jira": "reading groups"})
    assert "reading groups" in written.getvalue()
    assert written.getvalue().endswith("\x1b[1A\x1b[2K")


def test_what_a_command_says_is_shown_without_control_characters() -> None:
    shown, written = stage(80)
    shown.command("azsyncd holds", "one\x1b[31m\nshort\n" + "x" * 100)
    lines = written.getvalue().splitlines()
    assert lines[0] == "  $ azsyncd holds"
    assert "\x1b[31m" not in lines[1]
    assert lines[2] == "    short"
    assert lines[3] == f"    {'x' * 75}…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234, "1,234"),
        (0.5, "0.50 s"),
        (9.999, "10.0 s"),
        (61.04, "61.0 s"),
        (123.4, "123 s"),
        (None, "–"),
        ("ok", "ok"),
    ],
)
def test_figures_are_readable(value: object, text: str) -> None:
    shown, written = stage()
    shown.figures("what", [value, value], good=True)
    assert written.getvalue().split() == ["what", *text.split(), *text.split()]


def test_the_verdict_says_how_it_ended() -> None:
    shown, written = stage()
    shown.verdict(True, "equal")
    shown.verdict(False, "different")
    assert written.getvalue().split() == ["✔", "equal", "✘", "different"]


def test_a_long_verdict_stays_on_the_screen() -> None:
    shown, written = stage(80, ALL)
    shown.verdict(True, "word " * 30)
    assert max(map(len, written.getvalue().splitlines())) <= 80
