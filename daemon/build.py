"""What is installed: versions from package metadata, without importing the packages."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PRODUCT = "deltakeep"
_PARTS = ("datafusion", "deltalake", "pyarrow", "rustworkx")
UNINSTALLED = "not installed"


def product_version() -> str:
    """The version of this product, or `not installed` in a bare checkout."""
    return _version(PRODUCT)


def installed_versions() -> dict[str, str]:
    """Product, Python and the packages that decide about results."""
    return {
        PRODUCT: product_version(),
        "python": platform.python_version(),
        **{part: _version(part) for part in _PARTS},
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return UNINSTALLED
