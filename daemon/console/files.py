"""The files of the console, read once: pages, scripts, styles.

Invariant: only what lies in `pages/` is served, under its own name; a path is looked up, never opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
START: Final = "index.html"


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file with its media type and a tag that changes with its content."""

    content: bytes
    media_type: str
    tag: str


def page_files() -> Mapping[str, PageFile]:
    """All files by their names; `""` is the start."""
    found = {}
    for path in sorted((Path(__file__).parent / "pages").iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            found[path.name] = PageFile(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')
    return {**found, "": found[START]}
