"""A browser for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.daemon.console.browser import Driver


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    # Imported with the first test that looks at pages: the others of the folder need no browser.
    from tests.daemon.console.browser import Driver

    one = Driver.start()
    yield one
    one.stop()
