"""The project as its wheel installs it, without building one: for tests that run it far from this checkout.

The folders and files are those that `[tool.maturin]` lists; the native module and the dependencies are those of the
environment that the tests run in.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.sources import ROOT

SCRIPT: Final = """#!{python}
import sys
from {module} import main
sys.exit(main())
"""


def site_packages() -> Path:
    """The packages of the environment that the tests run in."""
    return Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def lay_out_wheel(folder: Path) -> None:
    """Write what the wheel would put into `site-packages`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["maturin"]
    for package in settings["python-packages"]:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md":
                _put(path, folder / path.relative_to(ROOT))
    for one in settings["include"]:
        formats = [one["format"]] if isinstance(one["format"], str) else one["format"]
        if "wheel" in formats:
            for path in sorted(ROOT.glob(one["path"])):
                _put(path, folder / path.relative_to(ROOT))
    # Hides the link to this checkout, where the folder lies over an environment with an editable installation.
    (folder / "deltakeep.pth").write_text("")
    compileall.compile_dir(folder, quiet=1, stripdir=str(folder))


def write_scripts(folder: Path, python: str) -> None:
    """Write the commands that the wheel installs."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        script = folder / name
        script.write_text(SCRIPT.format(python=python, module=entry.partition(":")[0]))
        script.chmod(0o755)


def _put(source: Path, target: Path) -> None:
    """Link a file, or copy it where links do not reach; the native module is large."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
