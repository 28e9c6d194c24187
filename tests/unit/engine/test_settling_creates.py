"""Creates whose answer nobody got: found, finished, and only then linked."""

from __future__ import annotations

from pathlib import Path

import pytest

from azsyncd.engine.settling import Settling
from azsyncd.errors import ChangeRejected, TargetUnavailable
from azsyncd.model.accounts import Account
from azsyncd.model.identities import USER_PROPERTIES, ObjectId, Seen
from azsyncd.state import codec, links
from azsyncd.state.store import Connection
from azsyncd.targets.memory import Memory

from .office import INSTANCE, Office, opened

SENT = Account(username="ann", email="ann@x.example", display_name="Ann")


class Stepwise(Memory):
    """A product that makes an account in steps; `down`: the second step cannot be reached."""

    down = False

    async def finish_account(self, have: Account, sent: Account) -> None:
        if self.down:
            raise TargetUnavailable("down", target=self.name)
        self.calls.append(("finish_account", f"{have.username} {sent.email}"))


async def pending(office: Office, stands: Account | None) -> Stepwise:
    """A product where perhaps something stands, and a create that was sent."""
    office.products["main"] = product = Stepwise("main")
    await office.open("main")
    values = dict.fromkeys(USER_PROPERTIES, None) | {"userPrincipalName": "ann"}
    await office.crawl(Seen(ObjectId("u1"), values))
    if stands is not None:
        product.put(stands)
    text = codec.account_text(SENT)
    await office.store.write(lambda db: links.begin_create(db, 1, number_of(db), str(text)))
    return product


def number_of(db: Connection) -> int:
    return int(db.execute("SELECT n FROM object WHERE id = 'u1'").fetchone()["n"])


async def settle(office: Office) -> str | None:
    """Settle, and the state of the link."""
    product = office.products["main"]
    await Settling(product, 1, office.store, office.clock, INSTANCE).everything(creates=True)
    row = await office.store.read(lambda db: db.execute("SELECT state FROM link").fetchone())
    return None if row is None else str(row["state"])


async def test_an_account_that_is_ours_is_finished_and_linked(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await pending(office, SENT)
        assert await settle(office) == "live"
        assert product.calls == [("finish_account", "ann ann@x.example")]


async def test_it_is_not_linked_before_it_is_finished(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await pending(office, SENT)
        product.down = True
        with pytest.raises(TargetUnavailable):
            await settle(office)
        product.down = False
        assert await settle(office) == "live"
        assert len(product.calls) == 1


@pytest.mark.parametrize(
    "stands", [None, Account(username="ann", email="other@x.example", display_name="Ann")]
)
async def test_what_is_not_ours_is_left_alone(tmp_path: Path, stands: Account | None) -> None:
    async with opened(tmp_path) as office:
        product = await pending(office, stands)
        assert await settle(office) is None
        assert product.calls == []


async def test_i7_one_that_cannot_be_looked_up_holds_up_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as office:
        product = await pending(office, SENT)

        async def odd(when: str, method: str) -> None:
            if method == "find_account":
                raise ChangeRejected("a name that cannot be asked for", reason="invalid_value")

        product.faults, fine = odd, product.faults
        assert await settle(office) == "pending"
        product.faults = fine
        assert await settle(office) == "live"
