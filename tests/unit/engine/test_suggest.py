"""`suggest`, and what `plan` warns of, on a small installation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from azsyncd.engine import checkup
from azsyncd.errors import TargetUnavailable
from azsyncd.model.accounts import Account, Mark

from .office import opened
from .test_linking import user


async def test_accounts_are_compared_with_people_and_nothing_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        office.ours.add("bot")
        for name in ("u1", "u2", "bot"):
            product.put(Account(username=name, email=f"{name}@x.org"))
        await office.crawl(*(user(f"u{i}") for i in range(1, 4)))
        (told,) = await office.operations.suggest()
        assert (told["accounts"], told["identities"], told["adopt"]) == (2, 3, "username")
        assert told["username"] == "{{ user.userPrincipalName | before('@') | lower }}"
        assert told["lines"][-1].strip() == "adopt: username"
        assert product.calls == []


async def test_a_product_that_does_not_answer_is_told_beside_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        await office.open("up")

        async def down(when: str, method: str) -> None:
            raise TargetUnavailable("no answer", target="down")

        await office.open("down", faults=down)
        await office.crawl(user("u1"))
        told = await office.operations.suggest()
        assert [each.get("error") for each in told] == [None, "no answer"]


async def test_plan_warns_of_second_accounts_for_one_address(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        limits = SimpleNamespace(limits=SimpleNamespace(requests_per_second=10.0))
        office.config = SimpleNamespace(targets={"jira": limits})
        product = await office.open("jira")
        product.put(Account(username="nick", email="U1@x.org"))
        await office.crawl(user("u1"), user("u2"))
        planned = (await office.operations.plan())["targets"][0]
        assert planned["changes"] == {"create": 2}
        _, warning = planned["warnings"]  # the first is about the scope's groups
        assert "'nick'" in warning and "azsyncd suggest --target jira" in warning
        product.put(Account(username="u1@x.org", email="x@x.org"))
        await office.turn("jira", full=True)
        (plan,) = (await office.operations.plan())["targets"]
        assert not any("share an address" in each for each in plan["warnings"])


async def test_an_account_without_a_person_says_whose_mark_it_carries(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        product.put(Account(username="old", mark=Mark("test", "gone")))
        product.put(Account(username="theirs", mark=Mark("other", "x")))
        product.put(Account(username="local"))
        await office.crawl(user("u1"))
        await office.turn("jira")
        rows = await office.operations.accounts(which="unexplained")
        assert {row["username"]: row["detail"] for row in rows} == {
            "old": "carries our mark for gone",
            "theirs": "carries the mark of 'other' for x",
            "local": "",
        }
        lines = await checkup._other_instances(office)  # type: ignore[arg-type]
        assert ["is on 1 of the accounts" in line["message"] for line in lines] == [True]


async def test_a_plan_beside_another_azsyncd_says_why_there_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await office.open("jira")
        for number in range(5):
            product.put(Account(username=f"a{number}", mark=Mark("other", f"x{number}")))
        await office.crawl(user("u1"))
        planned = await office.operations.plan()
        assert planned["outcome"] == "failed"
        assert "another azsyncd, 'other'" in planned["targets"][0]["error"]
