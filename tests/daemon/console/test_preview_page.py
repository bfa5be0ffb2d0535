"""The preview page in a real browser, over the real engine: it tells what a cycle would do, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from deltalake import write_deltalake

from daemon.clock import SystemClock
from daemon.scaffold import make_project, sample_orders
from tests.daemon.console.asking import ask, make_token
from tests.daemon.console.browser import Console, Driver, window
from tests.daemon.running import Running, ready, real

ONLY_CHANGES = "Only the changes are computed."
ESTIMATE = 'Only the changes are computed, unless that costs more once "orders_clean" has changed.'
NO_CHANGED_FILE = 'No changed file can hold rows that the view\'s filters let through: "orders" (2, 3].'
NO_FILE = "No file can hold rows that the predicate and the view's filters let through."


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Orders and three views; the daemon is deaf, so that changes stay pending as long as the test looks at them."""

    async def deaf(folders: Mapping[str, str], noticed: Callable[[frozenset[str]], None]) -> None:
        pass

    monkeypatch.setattr("daemon.service.watch_logs", deaf)
    root = tmp_path / "shop"
    make_project(root, SystemClock().now_ms())
    file = root / "deltakeep.toml"
    file.write_text(file.read_text().replace('poll = "2s"', 'poll = "1h"'))
    (root / "views" / "large.sql").write_text("SELECT order_id, amount FROM orders WHERE amount > 1000")
    return root


async def rows(console: Console, table: str) -> list[list[str]]:
    """The cells of each row of a table, by its accessible name."""
    found = console.page.get_by_role("region", name=table).locator("tbody tr")
    return [await found.nth(row).locator("td").all_inner_texts() for row in range(await found.count())]


async def affected(console: Console) -> dict[str, list[str]]:
    """View, strategy, why and path of what would be refreshed, by view."""
    await console.sees("would be refreshed")
    return {cells[0]: cells[1:4] for cells in await rows(console, "Views that would be refreshed")}


async def unaffected(console: Console) -> dict[str, list[str]]:
    """Reason and why of what would not be refreshed, by view."""
    return {cells[0]: cells[1:] for cells in await rows(console, "Views that would not be refreshed")}


async def versions(one: Running) -> dict[str, int]:
    return {view["name"]: view["version"] for view in (await one.call("status"))["views"]}


def scene(driver: Driver, project: Path, look: Callable[[Running, Console], Awaitable[None]]) -> None:
    """Look at pages of the running project, with a token that may suppose conditions; nothing may be written."""

    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            before = await versions(one)
            async with window(driver, one, token=make_token(one, "olga", "operate")) as console:
                await look(one, console)
            assert await versions(one) == before

    driver.run(scenario())


def test_pending_changes_show_what_the_next_cycle_will_do_and_why(driver: Driver, project: Path) -> None:
    async def look(one: Running, console: Console) -> None:
        await console.open("/preview")
        await console.sees("No view would be refreshed.")
        assert {cells[0] for cells in (await unaffected(console)).values()} == {"no new versions"}
        write_deltalake(project / "lake" / "orders", next(sample_orders()), mode="append")
        await console.page.reload()
        await console.sees("2 views would be refreshed: at most")
        assert await affected(console) == {
            "orders_clean": ["incremental", ONLY_CHANGES, "orders → orders_clean"],
            "orders_by_day (estimate)": ["incremental", ESTIMATE, "orders → orders_clean → orders_by_day"],
        }
        reason, why = (await unaffected(console))["large"]
        assert (reason, why) == ("filtered out", NO_CHANGED_FILE)
        costs = (await rows(console, "Views that would be refreshed"))[0][4:]
        assert costs[:2] == ["≤ 40", "1, 0 skipped"], "what is known of the costs"
        # The command says the same, by the same operation.
        said = (await ask(one, "/v1/preview", {})).json
        assert (said["kind"], said["affected"], said["unaffected"]) == ("pending", 2, 1)

    scene(driver, project, look)


def test_supposed_changes_are_typed_in_and_show_whom_they_would_reach(driver: Driver, project: Path) -> None:
    async def look(one: Running, console: Console) -> None:
        page = console.page
        await console.open("/preview")
        await page.get_by_label("Suppose that rows change of").fill("orders")
        await page.get_by_label("where", exact=True).fill("order_id < 5 AND status = 'paid'")
        # Something happens, so that the page draws itself again; what was typed stays.
        async with page.expect_response(lambda answered: answered.url.endswith("/v1/console/preview")):
            await one.call("pause", view="large", reason="to be an event")
        await console.drawn()
        assert await page.get_by_label("Suppose that rows change of").input_value() == "orders"
        await one.call("resume", view="large")
        await console.button("Preview").click()
        await console.sees("What would happen if rows of")
        assert await page.locator("p.sub code").inner_text() == "order_id < 5 AND status = 'paid'"
        assert await affected(console) == {
            "orders_clean": ["incremental", ONLY_CHANGES, "orders → orders_clean"],
            "orders_by_day (estimate)": ["incremental", ESTIMATE, "orders → orders_clean → orders_by_day"],
        }
        assert await unaffected(console) == {"large": ["filtered out", NO_FILE]}
        # The address is the whole question: it can be sent to somebody.
        await page.reload()
        await console.drawn()
        assert set(await affected(console)) == {"orders_clean", "orders_by_day (estimate)"}
        await page.get_by_label("where", exact=True).fill("amount < 0")
        await page.get_by_label("where", exact=True).press("Enter")
        await console.sees("No view would be refreshed.")
        assert (await unaffected(console))["orders_clean"] == ["filtered out", NO_FILE]
        assert console.complaints == []

    scene(driver, project, look)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("dataset=ordrs&where=amount > 5", ['there is no dataset "ordrs"', 'did you mean "orders"?']),
        (
            "dataset=orders&where=amont > 5",
            ['predicate on "orders"', 'there is no column "amont"; there are "order_id"'],
        ),
        ("dataset=orders&where=amount >", ['predicate on "orders": it is not valid SQL', "Expected: an expression"]),
    ],
)
def test_a_wrong_question_is_told_with_what_is_wrong_and_can_be_mended(
    driver: Driver, project: Path, question: str, told: list[str]
) -> None:
    async def look(_one: Running, console: Console) -> None:
        await console.open(f"/preview?{question}")
        alert = console.page.get_by_role("alert")
        await alert.wait_for()
        text = await alert.inner_text()
        assert [part for part in told if part not in text] == [], text
        assert await console.page.get_by_role("table").count() == 0
        await console.page.get_by_label("Suppose that rows change of").fill("orders")
        await console.page.get_by_label("where", exact=True).fill("amount > 5")
        await console.button("Preview").click()
        await console.sees("2 views would be refreshed")
        assert await alert.count() == 0

    scene(driver, project, look)


def test_a_condition_needs_a_role_and_the_page_says_which(driver: Driver, project: Path) -> None:
    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            async with window(driver, one) as console:
                await console.open("/preview?dataset=orders&where=amount > 5")
                alert = console.page.get_by_role("alert")
                await alert.wait_for()
                assert '"where" of "preview"' in await alert.inner_text()
                assert "operate" in await alert.inner_text()
                await console.open("/preview?dataset=orders")
                await console.sees("2 views would be refreshed")

    driver.run(scenario())
