"""The console's pages in a real browser, over a real service; where the engine matters, over a real project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deltalake import write_deltalake

from daemon.clock import SystemClock
from daemon.port import JsonValue
from daemon.scaffold import make_project, sample_orders
from daemon.tokens import TokenFile
from daemon.topology import ScheduledView, Topology, WatchedDataset, make_topology
from tests.daemon.console.asking import ask, make_token
from tests.daemon.console.browser import LOW_CONTRAST, NAMELESS, TOO_WIDE, Driver, window
from tests.daemon.fakes import FakeKeeper
from tests.daemon.running import ready, real, running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("console") / "shop"
    make_project(root, SystemClock().now_ms())
    return root


def test_every_page_is_legible_fits_and_asks_nobody_else(driver: Driver, project: Path) -> None:
    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            token = make_token(one, "looker", "operate")
            await one.call("pause", view="orders_by_day", reason="to see a paused view")
            cycle = (await one.call("history", view="orders_clean"))[0]["cycle_id"]
            pages = [
                "/",
                "/views",
                "/views?state=paused",
                "/graph",
                "/graph/orders_clean",
                "/view/orders_by_day",
                "/dataset/orders",
                f"/refresh/orders_clean/{cycle}",
                "/preview?dataset=orders&where=amount > 5",
                "/events",
                "/requests",
                "/nonsense",
                "/view/no_such_view",
            ]
            for width, dark in ((1280, False), (375, True)):
                async with window(driver, one, width=width, dark=dark, token=token) as console:
                    for address in pages:
                        await console.open(address)
                        assert await console.page.evaluate(LOW_CONTRAST) == [], address
                        assert await console.page.evaluate(NAMELESS) == [], address
                        assert await console.page.evaluate(TOO_WIDE) <= 0, address
                    assert not [url for url in console.requests if not url.startswith(f"{console.origin}/")]
                    told = [text for text in console.complaints if "404 (Not Found)" not in text]
                    assert told == []
            await one.call("resume", view="orders_by_day")

    driver.run(scenario())


def test_the_pages_of_a_view_and_of_a_refresh_show_all_that_is_known(driver: Driver, project: Path) -> None:
    """Each part with something in it: a heading alone would be no answer."""
    parts = {
        "Freshness": r"(?s)old, target 1 min.*Refreshed",
        "Why": r"(?i)version",
        "History": r"first build|first_build|committed",
        # The scan of the orders has their rows and size; costs come from the engine and from the history.
        "How it is maintained": (
            r"(?s)incremental.*Operator.*How.*Rows.*Size.*\s120\s+[\d.]+ kB.*A recompute reads\s+[\d.]+ kB"
        ),
        "Lineage": r"(?s)orders_by_day.*Column.*orders\.amount\s+copied",
        "Pins": r"(?s)orders\s+2\s+20\d\d-\d\d-\d\d",
        "Plan": r"TableScan|Projection|Filter",
    }
    read = {
        # Relation, version, what, files read and skipped, size, rows.
        "What it read": r"(?s)Files skipped.*orders\s+2\s+content \w+\s+3\s+0\s+[\d.]+ kB\s+120\s",
        "Pins": r"(?s)orders\s+2\s+20\d\d-\d\d-\d\d",
    }

    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            cycle = (await one.call("history", view="orders_clean"))[-1]["cycle_id"]
            async with window(driver, one) as console:
                for address, expected in (
                    ("/view/orders_clean", parts),
                    (f"/refresh/orders_clean/{cycle}", read),
                ):
                    await console.open(address)
                    for heading, pattern in expected.items():
                        named = console.page.get_by_role("heading", name=heading, exact=True)
                        part = console.page.locator("section.part", has=named)
                        await part.wait_for()
                        assert re.search(pattern, await part.inner_text()), (heading, await part.inner_text())
                assert await console.page.get_by_text("Took", exact=True).count() == 1
                await console.open("/view/orders_clean")
                named = console.page.get_by_role("heading", name="Lineage", exact=True)
                assert await console.page.locator("section.part", has=named).locator("svg a").count() >= 2

    driver.run(scenario())


def test_colours_follow_the_system_until_somebody_chooses(driver: Driver, tmp_path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(244, 246, 248)", "rgb(17, 21, 26)"

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            await ready(one)
            for system, seen in (("light", light), ("dark", dark)):
                async with window(driver, one, dark=system == "dark") as console:
                    await console.open("/")
                    assert await console.page.evaluate(ground) == seen
                    for now, chosen in (("system", light), ("light", dark), ("dark", seen)):
                        await console.button(f"Colours: {now}; change").click()
                        assert await console.page.evaluate(ground) == chosen, (system, now)

    driver.run(scenario())


def test_a_view_is_paused_and_resumed_with_a_token_and_a_reason(driver: Driver, project: Path) -> None:
    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            token = make_token(one, "olga", "operate")
            async with window(driver, one) as console:
                page = console.page
                await console.open("/view/orders_by_day")
                await console.button("Pause…").click()
                await console.sees("needs a token with the role operate")
                await page.get_by_role("textbox", name="Token").fill("dk_wrong")
                await console.button("Use it").click()
                await console.sees("this is no token of this project")
                await page.get_by_role("textbox", name="Token").fill(token)
                await console.button("Use it").click()
                await console.sees("Pause orders_by_day?")
                await console.button("Pause").click()
                assert await page.locator("dialog[open]").count() == 1, "a reason is required"
                await page.get_by_label("Reason").fill("the <b>figures</b> are checked")
                await console.button("Pause").click()
                await console.sees("orders_by_day is paused.")
                await page.locator(".head .badge", has_text="paused").wait_for()
                await console.sees("the <b>figures</b> are checked")
                await console.button("Resume…").click()
                await page.get_by_label("Reason").fill("they are right")
                await console.button("Resume").click()
                await console.button("Pause…").wait_for()
                await console.button("Refresh…").click()
                await page.get_by_label("Recompute").check()
                await page.get_by_label("Reason").fill("to be sure")
                await console.button("Refresh").click()
                await page.get_by_role("link", name="What it read").click()
                await console.sees("Refresh of")
                await console.sees("recompute: ")
                await console.open("/requests")
                rows = await page.locator("tbody tr").all_inner_texts()
                assert [row.split("\t")[1].strip() for row in rows[:3]] == ["olga"] * 3
                assert "to be sure" in rows[0]
                assert await page.evaluate("document.cookie") == ""
                assert await page.evaluate("JSON.stringify(localStorage)") == "{}"
                assert token not in page.url
            async with window(driver, one) as other:
                await other.open("/requests")
                await other.sees("Seeing this needs a token")

    driver.run(scenario())


@pytest.mark.parametrize("ends", ["revoked", "expired"])
def test_a_token_that_ended_is_dropped_and_reading_goes_on(driver: Driver, tmp_path: Path, ends: str) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            await ready(one)
            file = TokenFile(one.socket.parent / "tokens.json")
            until_ms = SystemClock().now_ms() + 6_000 if ends == "expired" else None
            token = file.create("rita", "read", now_ms=1, by="test", expires_ms=until_ms)
            async with window(driver, one, token=token) as console:
                await console.open("/")
                await console.page.get_by_role("button", name="Token rita, role read").wait_for()
                await console.page.wait_for_selector(".live.good")
                if until_ms is None:
                    file.revoke("rita")
                else:
                    await one.until(lambda: SystemClock().now_ms() >= until_ms)
                await one.call("pause", view="clean", reason="so that something happens")
                await console.page.get_by_role("button", name="Use a token").wait_for()
                await console.sees("so that something happens")
                assert await console.page.evaluate("sessionStorage.length") == 0

    driver.run(scenario())


def test_a_new_version_shows_without_reloading(driver: Driver, project: Path) -> None:
    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            async with window(driver, one) as console:
                await console.open("/view/orders_clean")
                await console.page.wait_for_selector(".live.good")
                version = console.page.locator(".facts div", has=console.page.get_by_text("Version", exact=True)).first
                before = int((await version.locator("dd").inner_text()).strip())
                write_deltalake(project / "lake" / "orders", next(sample_orders()), mode="append")
                await version.get_by_text(str(before + 1), exact=True).wait_for()
                await console.page.locator(".head .badge", has_text="fresh").wait_for()
                await console.open("/events")
                await console.sees("has a new version.")

    driver.run(scenario())


def test_by_keyboard_alone(driver: Driver, project: Path) -> None:
    async def scenario() -> None:
        async with real(project) as one:
            await ready(one)
            async with window(driver, one, token=make_token(one, "kim", "operate")) as console:
                page = console.page

                async def focused() -> str:
                    return str(await page.evaluate("document.activeElement.textContent.trim()"))

                async def tab_to(name: str) -> None:
                    for _ in range(80):
                        if await focused() == name:
                            return
                        await page.keyboard.press("Tab")
                    raise AssertionError(f'"{name}" cannot be reached')

                await console.open("/")
                await page.keyboard.press("/")
                await page.wait_for_selector("h1:has-text('Views and datasets')")
                await console.drawn()
                await page.keyboard.press("/")
                await page.keyboard.type("by_day")
                await page.wait_for_selector("tbody tr:only-child")
                await tab_to("orders_by_day")
                await page.keyboard.press("Enter")
                await page.wait_for_selector("h1:has-text('orders_by_day')")
                await tab_to("Pause…")
                await page.keyboard.press("Enter")
                await page.wait_for_selector("dialog[open]")
                await page.keyboard.press("Escape")
                assert await page.locator("dialog[open]").count() == 0
                assert await focused() == "Pause…"
                await console.open("/graph/orders")
                await page.locator("a.opener").first.wait_for()
                await page.locator("a.opener").first.focus()
                await page.keyboard.press("Enter")
                await page.wait_for_selector("a.node text.name >> text=orders_by_day")

    driver.run(scenario())


HOSTILE = '<img src=x onerror="window.hit=1">'
HOSTILE_SCRIPT = "\"><script>window.hit=1</script>'&amp;`${1}"


@dataclass
class HostileKeeper(FakeKeeper):
    """All that can come from data is markup."""

    shape: Topology = field(
        default_factory=lambda: make_topology(
            [ScheduledView(HOSTILE, (HOSTILE_SCRIPT,), 60_000)], [WatchedDataset(HOSTILE_SCRIPT, 10_000, None)]
        )
    )

    def record(self) -> dict[str, JsonValue]:
        texts = dict.fromkeys(("view", "strategy", "reason", "message", "outcome", "error"), HOSTILE)
        pin = {"relation": HOSTILE_SCRIPT, "version": 1, "timestamp_ms": 5, "table_id": HOSTILE, "commit_hash": HOSTILE}
        numbers = dict.fromkeys(
            ("version", "rows_inserted", "rows_deleted", "rows_target", "bytes_read", "files_read", "bytes_written"), 1
        )
        return {**texts, **numbers, "cycle_id": HOSTILE_SCRIPT, "pins": [pin], "started_ms": 5, "elapsed_ms": 5} | {
            "bytes_recompute": 9
        }

    def status(self) -> JsonValue:
        view = {"name": HOSTILE, "state": HOSTILE, "message": HOSTILE_SCRIPT, "paused": HOSTILE, "uri": HOSTILE}
        dataset = {"name": HOSTILE_SCRIPT, "error": HOSTILE, "uri": HOSTILE, "version": 1}
        notices = [{"subject": HOSTILE, "message": HOSTILE_SCRIPT}]
        return {"project": HOSTILE, "views": [view], "datasets": [dataset], "notices": notices}

    def views(self) -> JsonValue:
        problem = {"file": HOSTILE, "line": 1, "what": HOSTILE, "hint": HOSTILE_SCRIPT}
        return [{"name": HOSTILE, "description": HOSTILE, "problems": [problem]}]

    def why(self, view: str) -> JsonValue:
        return {"fact": {"text": HOSTILE, "because": [{"text": HOSTILE_SCRIPT, "because": []}]}, "source": HOSTILE}

    def history(self, view: str | None, limit: int) -> JsonValue:
        return [self.record(), self.record()]

    def scans(self, view: str, cycle_id: str) -> JsonValue:
        unit = {
            "relation": HOSTILE,
            "version": 1,
            "side": HOSTILE,
            "files": 1,
            "skipped_files": 0,
            "bytes": 1,
            "rows": 1,
        }
        lists = {"columns": [HOSTILE], "filters": [HOSTILE_SCRIPT], "file_names": [HOSTILE]}
        return {"refresh": self.record(), "scan_units": [{**unit, **lists}]}

    def explain(self, view: str) -> JsonValue:
        operator = dict.fromkeys(("operator", "how", "text", "hint"), HOSTILE)
        texts = dict.fromkeys(
            ("source", "language", "fingerprint", "content_key", "encoding", "engine_version"), HOSTILE
        )
        unknown = {"relation": HOSTILE, "rows": None, "files": None, "bytes": None, "unknown": HOSTILE_SCRIPT}
        scan: dict[str, JsonValue] = {**operator, "scan": unknown}
        maintenance = {"incremental": False, "text": HOSTILE, "hint": HOSTILE_SCRIPT, "operators": [operator, scan]}
        cost = {"reads_bytes": None, "reads_files": None, "writes_bytes": None, "unknown": HOSTILE_SCRIPT}
        explained = {
            "maintenance": maintenance,
            "size": unknown,
            "costs": {"recompute": cost, "history": None},
        }
        return {
            **texts,
            **explained,
            "states": [{"name": HOSTILE_SCRIPT, **explained}],
            "functions": {HOSTILE: HOSTILE},
            "displays": dict.fromkeys(("optimized", "logical", "physical"), HOSTILE_SCRIPT),
        }

    def lineage(self, view: str | None) -> JsonValue:
        source = {"relation": HOSTILE_SCRIPT, "column": HOSTILE, "how": HOSTILE}
        edge = {"view": HOSTILE, "relation": HOSTILE_SCRIPT, "kind": HOSTILE, "columns": [HOSTILE, HOSTILE_SCRIPT]}
        return {"outputs": [{"name": HOSTILE, "sources": [source]}], "edges": [edge]}

    def preview(self, request: Mapping[str, JsonValue]) -> JsonValue:
        texts = dict.fromkeys(("view", "strategy", "reason", "message", "hint"), HOSTILE)
        numbers = dict.fromkeys(
            (
                "change_rows_bound",
                "files_to_read",
                "files_skipped",
                "bytes_to_read",
                "bytes_to_write_bound",
                "recompute_bytes",
            )
        )
        view = {**texts, **numbers, "certain": False, "path": [HOSTILE, HOSTILE_SCRIPT]}
        views = [{**view, "affected": True}, {**view, "affected": False}]
        return {
            "views": views,
            "notices": [{"subject": HOSTILE, "message": HOSTILE}],
            "bytes_to_read": 1,
            "recompute_bytes": 1,
        }


def test_what_comes_from_data_is_text_wherever_it_is_shown(driver: Driver, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, HostileKeeper()) as one:
            await ready(one)
            token = make_token(one, "eve", "admin")
            await ask(one, "/v1/pause", {"view": HOSTILE, "reason": HOSTILE_SCRIPT}, token=token)
            async with window(driver, one, token=token) as console:
                await console.open("/")
                name, dataset, cycle = await console.page.evaluate(
                    "(texts) => texts.map(encodeURIComponent)", [HOSTILE, HOSTILE_SCRIPT, HOSTILE_SCRIPT]
                )
                for address in (
                    "/",
                    "/views",
                    f"/views?text={name}",
                    "/graph",
                    f"/graph/{name}",
                    f"/view/{name}",
                    f"/view/{dataset}",
                    f"/dataset/{dataset}",
                    f"/refresh/{name}/{cycle}",
                    f"/preview?dataset={dataset}&where={name}",
                    "/events",
                    "/requests",
                    f"/{name}",
                ):
                    await console.open(address)
                    assert await console.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
                    assert await console.page.evaluate("window.hit") is None, address
                    if len(address) > 40 and "view/" in address:
                        assert HOSTILE in await console.page.inner_text("h1") or dataset in address
                await console.open(f"/view/{name}")
                await console.button("Pause…").or_(console.button("Resume…")).click()
                assert HOSTILE in await console.page.inner_text("dialog h2")
                assert [text for text in console.complaints if "404 (Not Found)" not in text] == []

    driver.run(scenario())


def thousand() -> Topology:
    """A thousand views in layers of a hundred, each reading some of the layer before."""
    views = [
        ScheduledView(
            f"v{layer}_{number:02}",
            ("orders",) if layer == 0 else tuple(f"v{layer - 1}_{(number * 7 + step) % 100:02}" for step in range(3)),
            60_000,
        )
        for layer in range(10)
        for number in range(100)
    ]
    return make_topology(views, [WatchedDataset("orders", 10_000, None)])


def test_a_thousand_views_stay_usable(driver: Driver, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(shape=thousand())) as one:
            await ready(one)
            async with window(driver, one) as console:
                page = console.page

                async def size() -> int:
                    return int(await page.evaluate("document.querySelectorAll('*').length"))

                clock = SystemClock()
                for address in (
                    "/",
                    "/views",
                    "/graph",
                    "/graph/orders",
                    "/graph/v5_50?open=v4_50&open=v6_50",
                    "/view/v0_00",
                ):
                    began_ms = clock.monotonic_ms()
                    await console.open(address)
                    assert clock.monotonic_ms() - began_ms < 10_000, address
                    assert await size() < 2_500, address
                await console.open("/views")
                await console.sees("1–50 of 1,001")
                await page.get_by_role("link", name="next →").click()
                await console.sees("51–100 of 1,001")
                await page.get_by_role("searchbox", name="Name").fill("v9_99")
                await page.wait_for_selector("tbody tr:only-child >> text=v9_99")
                assert "text=v9_99" in page.url
                await page.reload()
                await page.wait_for_selector("tbody tr:only-child >> text=v9_99")
                await console.open("/graph/orders")
                await page.get_by_role("link", name="76 more readers of orders").click()
                await console.sees("What reads")
                await console.sees("1–50 of 100")
                assert console.complaints == []

    driver.run(scenario())
