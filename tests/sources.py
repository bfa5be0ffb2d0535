"""The source files of the project, for the tests that read them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("datafusion_ext", "registry", "incremental", "daemon")
CRATES: Final = ("functions", "lake", "maintenance", "engine", "datafusion_ext")


@dataclass(frozen=True, slots=True)
class PythonFile:
    """A Python file, parsed; `name` is its path beneath the project."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def imports(self) -> Iterator[str]:
        """Yield the dotted name of each module that the file imports, anywhere in it."""
        return _imported(ast.walk(self.tree))

    def imports_at_start(self) -> Iterator[str]:
        """Yield the dotted name of each module that is imported when the file is: at its top, not for types alone."""
        return _imported(self.tree.body)

    def calls(self) -> Iterator[str]:
        """Yield what is called, as far as it is a dotted name: `time.time`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case _:
                pass


def python_files(*folders: str) -> list[PythonFile]:
    """Parse every Python file of the folders."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [PythonFile(path, ast.parse(path.read_text())) for path in paths]


def rust_files(crate: str) -> list[Path]:
    """Return the Rust files of a crate, its own tests included."""
    return sorted(path for path in (ROOT / "rust" / crate).rglob("*.rs") if "target" not in path.parts)


def rust_code(path: Path) -> str:
    """Return a Rust file without its comments."""
    return re.sub(r"//.*", "", path.read_text())


def all_sources() -> list[Path]:
    """Return the files that people write here: code, configuration, documents; no schemas of others."""
    suffixes = {".py", ".pyi", ".rs", ".md", ".toml", ".sql", ".sh", ".service", ".json", ""}
    roots = (*PACKAGES, "rust", "tests", "examples", "benchmarks", "docs", "systemd", "container", "grafana", ".ci")
    files = [path for root in roots for path in sorted((ROOT / root).rglob("*")) if path.is_file()]
    files += [ROOT / name for name in ("Makefile", "README.md", "CHANGELOG.md", "pyproject.toml", "Cargo.toml")]
    left_out = {"__pycache__", "openlineage"}
    return [path for path in files if path.suffix in suffixes and not left_out & set(path.parts)]
