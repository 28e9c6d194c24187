"""Names that chase one another: rule 27."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from azsyncd.model.accounts import Account, fold
from azsyncd.model.changes import Change, Kind, Phase, Reason
from azsyncd.model.identities import ObjectId
from azsyncd.plan.order import is_step, names_of, ordered_renames


def rename(old: str, new: str) -> Change:
    account = Account(username=old, key=old)
    return Change(
        kind=Kind.RENAME,
        reason=Reason.CHANGED,
        object_id=ObjectId(f"id-{old}"),
        before=account,
        after=replace(account, username=new),
        phase=Phase.FREE_NAMES,
    )


def run(changes: list[Change]) -> dict[str, str]:
    """Carry out in order; every name must be free when it is taken. Whose name is what after."""
    names = {str(change.object_id): fold(str(change.before.username)) for change in changes}  # type: ignore[union-attr]
    for change in ordered_renames(changes):
        assert isinstance(change.after, Account)
        new = fold(change.after.username)
        assert new not in set(names.values()) - {names[str(change.object_id)]}
        names[str(change.object_id)] = new
    return names


def test_rule_27_a_chain_is_walked_from_its_free_end() -> None:
    found = ordered_renames([rename("a", "b"), rename("b", "c"), rename("c", "d")])
    assert [change.before.username for change in found] == ["c", "b", "a"]  # type: ignore[union-attr]


def test_rule_27_a_swap_goes_over_a_temporary_name() -> None:
    found = ordered_renames([rename("a", "b"), rename("b", "a")])
    assert [is_step(change) for change in found] == [True, False, False]
    assert run([rename("a", "b"), rename("b", "a")]) == {"id-a": "b", "id-b": "a"}


def test_a_swap_is_to_people_one_change_from_the_old_name_to_the_new_one() -> None:
    found = ordered_renames([rename("a", "b"), rename("b", "a")])
    real = [(c.before, c.after) for c in found if not is_step(c)]
    asked = [(c.before, c.after) for c in (rename("b", "a"), rename("a", "b"))]
    assert real == asked


NAMES = [f"n{number}" for number in range(8)]


@given(st.permutations(NAMES), st.integers(0, 8), st.permutations([*NAMES, *"uvwxyz"]))
def test_whoever_renames_into_whatever_each_name_is_free_in_time(
    olds: list[str], many: int, news: list[str]
) -> None:
    """Distinct old names, distinct new ones that are free or become free: chains, rings, both."""
    staying = set(olds[many:])
    pairs = [
        (old, new)
        for old, new in zip(olds[:many], news, strict=False)
        if new not in staying and new != old
    ]
    moving = {old for old, _ in pairs}
    settled = False
    while not settled:  # whoever wants the name of one that stays after all stays too
        kept = [(o, n) for o, n in pairs if n in moving or n not in NAMES]
        settled, pairs, moving = len(kept) == len(pairs), kept, {o for o, _ in kept}
    changes = [rename(old, new) for old, new in pairs]
    assert run(changes) == {f"id-{old}": new for old, new in pairs}
    assert ordered_renames(changes) == ordered_renames(reversed(changes))
    assert sum(is_step(change) for change in ordered_renames(changes)) <= len(changes) // 2


def people(pairs: list[tuple[tuple[str, str], tuple[str, str]]]) -> list[Change]:
    """Renames of accounts whose addresses are unique too: (username, address) → the same."""
    found = []
    for number, ((old, mail), (new, other)) in enumerate(pairs):
        account = Account(username=old, email=f"{mail}@x.example", key=str(number))
        change = rename(old, new)
        after = replace(account, username=new, email=f"{other}@x.example")
        found.append(replace(change, object_id=ObjectId(str(number)), before=account, after=after))
    return found


SOME = [f"n{number}" for number in range(6)]
ANY = [*SOME, "u", "v", "w"]


@given(st.permutations(SOME), st.permutations(SOME), st.permutations(ANY), st.permutations(ANY))
def test_where_addresses_are_unique_too_each_is_free_in_time(
    olds: list[str], mails: list[str], news: list[str], others: list[str]
) -> None:
    """Whoever has one name and another's address can be in two rings at once."""
    pairs = list(zip(zip(olds, mails, strict=True), zip(news, others, strict=False), strict=False))
    changes = people([(was, now) for was, now in pairs if was != now])
    have = {change.object_id: names_of(change.before) for change in changes}
    for change in ordered_renames(changes):
        wanted = names_of(change.after)
        others_have = set().union(*(have[id_] for id_ in have if id_ != change.object_id))
        assert not wanted & others_have
        have[change.object_id] = wanted
    assert have == {change.object_id: names_of(change.after) for change in changes}
    assert sum(map(is_step, ordered_renames(changes))) <= len(changes)
