"""A real browser for the console's pages: Debian's chromium, driven by Playwright in the test's event loop."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from playwright.async_api import Browser, Page, Playwright, async_playwright

from tests.daemon.running import Running

Result = TypeVar("Result")
PATIENCE_MS = 20_000
# Every name but the console's own leads nowhere, so that a page that needs the outside cannot work.
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"]


@dataclass
class Driver:
    """One browser for a module's tests, and the loop that everything of them runs in."""

    runner: asyncio.Runner
    playwright: Playwright
    browser: Browser

    @classmethod
    def start(cls) -> Driver:
        path = shutil.which("chromium")
        assert path is not None, "chromium is missing: .ci/setup installs it"
        runner = asyncio.Runner()

        async def launch() -> tuple[Playwright, Browser]:
            playwright = await async_playwright().start()
            return playwright, await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)

        return cls(runner, *runner.run(launch()))

    def run(self, scenario: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(scenario)

    def stop(self) -> None:
        async def close() -> None:
            await self.browser.close()
            await self.playwright.stop()

        self.runner.run(close())
        self.runner.close()


@dataclass
class Console:
    """A window on the console of a running service; `complaints` are errors of scripts and refused resources."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, address: str = "/") -> None:
        """Go to a page by what follows the #, and wait until it is drawn."""
        await self.page.goto(f"{self.origin}/console/#{address}")
        await self.drawn()

    async def drawn(self) -> None:
        await self.page.wait_for_selector("main:not([aria-busy]) h1")

    async def sees(self, text: str) -> None:
        await self.page.get_by_text(text).first.wait_for()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)


@asynccontextmanager
async def window(
    driver: Driver,
    one: Running,
    *,
    width: int = 1280,
    dark: bool = False,
    token: str | None = None,
) -> AsyncIterator[Console]:
    """A fresh window; with a token as if it had been typed in."""
    assert one.service.public_address is not None
    host, port = one.service.public_address
    context = await driver.browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    if token is not None:
        await context.add_init_script(f"sessionStorage.setItem('deltakeep-token', '{token}')")
    console = Console(await context.new_page(), f"http://{host}:{port}")
    console.page.on("request", lambda request: console.requests.append(request.url))
    console.page.on("pageerror", lambda error: console.complaints.append(str(error)))
    console.page.on(
        "console", lambda said: console.complaints.append(said.text) if said.type in {"error", "warning"} else None
    )
    try:
        yield console
    finally:
        await context.close()


# Texts whose contrast with what is behind them is below WCAG's 4.5 : 1 (3 : 1 where they are large).
LOW_CONTRAST = """() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const clear = (colour) => colour === 'transparent' || colour === 'none' || numbers(colour)[3] === 0;
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const rect = at.namespaceURI.endsWith('svg') && at.querySelector(':scope > rect');
      const colour = rect ? getComputedStyle(rect).fill : getComputedStyle(at).backgroundColor;
      if (!clear(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest('noscript, title, .skip')) continue;
    const style = getComputedStyle(element);
    const colour = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [high, low] = [light(colour), light(behind(element))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${node.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""

# What can be reached by keyboard and says nothing to who cannot see it.
NAMELESS = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && one.type !== 'hidden')
  .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length))
  .map((one) => one.outerHTML.slice(0, 120))"""

# By how many pixels the page is wider than the window.
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
