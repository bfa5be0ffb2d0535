"""The project as its wheel installs it, without building one: for tests that run it far from this checkout.

The folders and files are those that `[tool.maturin]` lists; the native module and the dependencies are those of the
environment that the tests run in.
"""

from __future__ import annotations

import base64
import compileall
import hashlib
import importlib.metadata
import os
import shutil
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
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


def lay_out_wheel(folder: Path, *, compiled: bool = True) -> None:
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
    if compiled:
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


def build_wheel(folder: Path) -> Path:
    """Pack what the wheel would hold into one, with the native module that is installed here; gives its path."""
    metadata = importlib.metadata.distribution("deltakeep")
    name = f"deltakeep-{metadata.version}"
    tag = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    wheel = folder / f"{name}-{tag}.whl"
    tags = f"Wheel-Version: 1.0\nGenerator: tests.installed\nRoot-Is-Purelib: false\nTag: {tag}\n"
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entries = "".join(f"{script} = {entry}\n" for script, entry in scripts.items())
    with TemporaryDirectory() as place:
        root = Path(place)
        lay_out_wheel(root, compiled=False)
        (root / "deltakeep.pth").unlink()
        about = root / f"{name}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(metadata.read_text("METADATA") or "")
        (about / "WHEEL").write_text(tags)
        (about / "entry_points.txt").write_text(f"[console_scripts]\n{entries}")
        files = sorted(path for path in root.rglob("*") if path.is_file())
        record = [f"{path.relative_to(root)},sha256={_digest(path)},{path.stat().st_size}" for path in files]
        (about / "RECORD").write_text("\n".join([*record, f"{name}.dist-info/RECORD,,"]) + "\n")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in [*files, about / "RECORD"]:
                archive.write(path, path.relative_to(root))
    return wheel


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return base64.urlsafe_b64encode(hashlib.file_digest(stream, "sha256").digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    print(build_wheel(Path(sys.argv[1])))
