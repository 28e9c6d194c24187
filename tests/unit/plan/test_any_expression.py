"""Whatever is written between the braces: a problem of the file, or of one user. Nothing else."""

from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azsyncd.plan.expressions import (
    Expression,
    ExpressionFailed,
    ExpressionProblem,
    Template,
    Unread,
)
from azsyncd.plan.jinja import LONGEST, SANDBOX

USER = {"mail": None, "displayName": "Ana", "otherMails": ["a@b.c"], "accountEnabled": True,
        "onPremisesExtensionAttributes": None}  # fmt: skip
WORDS = """
    user.mail user.displayName user.otherMails user.city user.accountEnabled user['mail'] user group
    user.onPremisesExtensionAttributes.extensionAttribute1 loop first_of before x = is none odd
    ( ) [ ] { } , : | . ~ + - * ** / // % == != < > and or not in is if else true 'x' '@' 0 1 -1
    99999999 1.5 {{ }} {% %} {# #} for endfor if endif set block macro raw endraw filter include
"""
TOKENS = st.one_of(
    st.sampled_from(WORDS.split()),
    st.sampled_from([f"| {name}" for name in sorted(SANDBOX.filters)]),
    st.text(max_size=2),
)
SOURCES = st.lists(TOKENS, max_size=12).map(" ".join)
Outcome = Literal["problem", "failed", "unread"]


def decided(source: str) -> bool | Outcome:
    """What an expression gives."""
    try:
        return Expression(source, "user")(USER)
    except ExpressionProblem:
        return "problem"
    except ExpressionFailed:
        return "failed"
    except Unread:
        return "unread"


def composed(source: str) -> str:
    """What a template gives; empty where it gives nothing."""
    try:
        return Template(source, "user")(USER)
    except (ExpressionProblem, ExpressionFailed, Unread):
        return ""


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=SOURCES)
def test_any_expression_gives_a_boolean_or_one_of_three_reasons(source: str) -> None:
    """No other exception ever comes out."""
    assert decided(source) in (True, False, "problem", "failed", "unread")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=SOURCES, braces=st.booleans())
def test_any_template_gives_stripped_text_without_none(source: str, braces: bool) -> None:
    """Never longer than the limit."""
    text = composed(f"{{{{ {source} }}}}" if braces else source)
    assert text == text.strip()
    assert len(text) <= LONGEST


def test_very_deep_expressions_are_a_problem_of_the_file() -> None:
    """Not of the program."""
    assert decided("(" * 5000 + "true" + ")" * 5000) == "problem"
    assert decided("not " * 5000 + "true") == "problem"
    assert composed("{{ " + "(" * 5000 + "user.mail" + ")" * 5000 + " }}") == ""
    assert composed("{% if user.mail %}" * 500 + "{% endif %}" * 500) == ""
