"""Deciding who is told what: on the edge, with recovery, never a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azsyncd.engine.alerts import AFTER, DAY, SETTLE, Edge, News, Wrong, decide, stage_of
from azsyncd.model.alerts import AlertKind, Known

NOW = 1_800_000_000.0
CONFIG = Wrong("config|rejected", AlertKind.CONFIG, "the file was rejected")
DOWN = Wrong("target:jira|down", AlertKind.TARGET_DOWN, "jira: no answer", target="jira")


def hold(number: int, target: str = "jira") -> Wrong:
    title = f"{target}: hold {number}"
    return Wrong(f"hold:{target}|{number}", AlertKind.HOLD, title, target=target)


class Teller:
    """Decides again and again, as time goes on."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self.now = NOW

    def look(self, *wrong: Wrong, after: float = 0.0, unsure: Collection[str] = ()) -> list[str]:
        """What is told after so much more time: `edge title`."""
        self.now += after
        news, self.known = decide(self.known, wrong, unsure, self.now)
        return [f"{each.edge} {each.title}" for each in news]


def test_it_is_told_once_and_once_more_when_it_is_over() -> None:
    """Ten thousand looks between the two say nothing."""
    teller = Teller()
    assert teller.look(CONFIG) == ["opened the file was rejected"]
    for _ in range(100):
        assert teller.look(CONFIG, after=5) == []
    assert teller.look(after=5) == ["recovered the file was rejected"]
    assert teller.look(after=5) == []
    assert teller.known == {}


def test_what_passes_by_itself_is_not_told() -> None:
    """A target that is down for less than its time, and its return."""
    teller = Teller()
    patience = AFTER[AlertKind.TARGET_DOWN]
    assert teller.look(DOWN) == []
    assert teller.look(DOWN, after=patience - 1) == []
    assert teller.look(after=1) == []
    assert teller.look(after=SETTLE[AlertKind.TARGET_DOWN]) == []
    assert teller.look(DOWN, after=1) == []
    assert teller.look(DOWN, after=patience - 1) == []
    assert teller.look(DOWN, after=1) == ["opened jira: no answer"]


def test_what_is_down_again_after_each_try_is_told() -> None:
    """A product that answers a question and no write is well for a moment again and again."""
    teller = Teller()
    told = []
    for _ in range(4):
        told += teller.look(DOWN, after=1)
        told += teller.look(DOWN, after=299)
        told += teller.look(after=1) + teller.look(after=30)
    assert told == ["opened jira: no answer"]


def test_what_comes_and_goes_is_one_alert() -> None:
    """It must be over for a while before that is said."""
    teller = Teller()
    teller.look(DOWN)
    assert teller.look(DOWN, after=1000) == ["opened jira: no answer"]
    for _ in range(20):
        assert teller.look(after=10) == []
        assert teller.look(DOWN, after=10) == []
    assert teller.look(after=10) == []
    assert teller.look(after=SETTLE[AlertKind.TARGET_DOWN]) == ["recovered jira: no answer"]


def test_a_hold_that_is_open_after_a_day_is_told_again_once() -> None:
    """And not every day."""
    teller = Teller()
    assert teller.look(hold(7)) == ["opened jira: hold 7"]
    assert teller.look(hold(7), after=DAY - 1) == []
    assert teller.look(hold(7), after=1) == ["still_open jira: hold 7"]
    assert teller.look(hold(7), after=5 * DAY) == []
    assert teller.look() == ["recovered jira: hold 7"]


def test_holds_that_drip_in_are_told_in_portions() -> None:
    """One of each round is no stream; those of another target do not wait for them."""
    teller = Teller()
    assert teller.look(hold(1)) == ["opened jira: hold 1"]
    assert teller.look(hold(1), hold(2), hold(3, "crowd"), after=5) == ["opened crowd: hold 3"]
    assert teller.look(hold(1), hold(2), hold(4), hold(3, "crowd"), after=60) == []
    told = teller.look(hold(1), hold(2), hold(4), hold(3, "crowd"), after=900)
    assert told == ["opened jira: hold 2", "opened jira: hold 4"]


def test_rule_40_what_is_paused_is_silent_and_told_afterwards_if_it_is_still_so() -> None:
    """Neither an opening nor a recovery is told meanwhile."""
    teller = Teller()
    assert teller.look(hold(1), unsure={"hold:jira"}) == []
    assert teller.look(hold(1), unsure={"*"}, after=DAY) == []
    assert teller.look(hold(1), after=5) == ["opened jira: hold 1"]
    assert teller.look(unsure={"hold:jira"}, after=5) == []
    assert teller.look(hold(1), after=5) == []
    assert teller.look(unsure={"*"}, after=5) == []
    assert teller.look(after=5) == ["recovered jira: hold 1"]


def test_after_a_restart_nothing_is_told_twice_and_nothing_is_taken_for_over() -> None:
    """A target that is only starting is neither well nor ill."""
    teller = Teller()
    teller.look(DOWN)
    teller.look(DOWN, after=1000)
    assert teller.look(unsure={"target:jira"}, after=5) == []
    assert teller.look(unsure={"target:jira"}, after=DAY) == []
    assert teller.look(DOWN, after=5) == []


def test_a_credential_is_told_at_each_stage_and_over_when_it_was_renewed() -> None:
    """60, 30, 14, 7, 1 days, and its end."""
    teller = Teller()
    end = NOW + 61 * DAY
    told = []
    while teller.now < end + 2 * DAY:
        left = end - teller.now
        stage = stage_of(left)
        wrong = Wrong("credential:jira|end", AlertKind.CREDENTIAL, f"{stage}", stage=stage)
        told += teller.look(*([wrong] if stage else []), after=3600)
    assert told == [f"opened {stage}" for stage in ("60", "30", "14", "7", "1", "ended")]
    assert teller.look() == ["recovered ended"]


def test_a_credential_that_was_renewed_for_a_short_time_is_no_new_alert() -> None:
    """Less urgent than before is silent; what then comes nearer is told again."""
    teller = Teller()

    def near(stage: str) -> Wrong:
        return Wrong("credential:jira|end", AlertKind.CREDENTIAL, stage, stage=stage)

    assert teller.look(near("1")) == ["opened 1"]
    assert teller.look(near("30")) == []
    assert teller.look(near("14")) == ["opened 14"]


@pytest.mark.parametrize(
    ("days", "stage"),
    [(61, ""), (60, "60"), (31, "60"), (30, "30"), (14, "14"), (7.5, "14"), (7, "7"), (1.1, "7"),
     (1, "1"), (0.01, "1"), (0, "ended"), (-3, "ended")],
)  # fmt: skip
def test_stages_begin_with_their_day(days: float, stage: str) -> None:
    """The last full day counts."""
    assert stage_of(days * DAY) == stage


def test_i11_a_clock_that_is_set_back_tells_nothing_again() -> None:
    """And one that is set forward at most what is due anyway."""
    teller = Teller()
    teller.look(hold(1))
    assert teller.look(hold(1), after=-3 * DAY) == []
    assert teller.look(hold(1), after=5) == []
    assert teller.look(hold(1), after=10 * DAY) == ["still_open jira: hold 1"]


WRONGS = [CONFIG, DOWN, hold(1), hold(2), hold(3, "crowd")]
AREAS = ["*", "config", "target:jira", "hold:jira", "hold:crowd"]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(WRONGS), unique_by=lambda each: each.key),
            st.sets(st.sampled_from(AREAS), max_size=2),
            st.floats(0, 3000),
        ),
        max_size=40,
    )
)
def test_in_any_history_openings_and_recoveries_alternate(
    looks: Iterable[tuple[list[Wrong], set[str], float]],
) -> None:
    """For each thing: opened, perhaps once still open, recovered, and so on; silent areas say
    nothing."""
    known: dict[str, Known] = {}
    now = NOW
    last: dict[str, Edge] = {}
    for wrong, unsure, after in looks:
        now += after
        news, known = decide(known, wrong, unsure, now)
        titles = [each.title for each in news]
        assert len(titles) == len(set(titles))
        for each in news:
            assert _follows(last.get(each.title), each)
            last[each.title] = each.edge
            (area,) = {w.area for w in WRONGS if w.title == each.title}
            assert area not in unsure and "*" not in unsure


def _follows(before: Edge | None, news: News) -> bool:
    return {
        Edge.OPENED: before in (None, Edge.RECOVERED),
        Edge.STILL_OPEN: before is Edge.OPENED,
        Edge.RECOVERED: before in (Edge.OPENED, Edge.STILL_OPEN),
    }[news.edge]
