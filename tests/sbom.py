"""The bill of materials: what the locked dependencies are, in CycloneDX; `python -m tests.sbom FILE` writes it.

Everything comes from the lock files: `constraints.txt` for Python, `Cargo.lock` for the native module.
What a Python package is needed for, and what needs what, is told by the packages as they are installed here.
Invariant: each locked package is in it exactly once, with its version.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sources import ROOT

VERSION: Final = SchemaVersion.V1_6
NAMESPACE: Final = uuid.UUID("6a0b8c52-5a3e-4f0c-9d57-2f1b7c1f6c3d")
DEVELOPMENT: Final = "dev"
"""The extra whose packages no user gets."""


def bill_of_materials(root: Path = ROOT) -> Bom:
    """The bill of the checkout at `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pinned, crates = (root / "constraints.txt").read_text(), (root / "Cargo.lock").read_text()
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, pinned + crates))
    ours = Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION, bom_ref="deltakeep"
    )
    bom.metadata.component = ours
    _add_python(bom, ours, project, dict(_pins(pinned)))
    _add_rust(bom, ours, tomllib.loads(crates)["package"])
    return bom


def as_json(bom: Bom) -> str:
    """The bill as text."""
    return make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=1)


def _pins(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, separator, version = line.partition("==")
        if separator and not line.startswith("#"):
            yield canonicalize_name(name), version.strip()


def _add_python(bom: Bom, ours: Component, project: Mapping[str, Any], pins: Mapping[str, str]) -> None:
    extras: Mapping[str, list[str]] = project["optional-dependencies"]
    direct = _named(project["dependencies"])
    required = _closure(direct, pins)
    optional = _closure({name for extra in extras if extra != DEVELOPMENT for name in _named(extras[extra])}, pins)
    components = {}
    for name, version in pins.items():
        scope = ComponentScope.OPTIONAL if name in optional else ComponentScope.EXCLUDED
        components[name] = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            scope=ComponentScope.REQUIRED if name in required else scope,
            purl=PackageURL("pypi", None, name, version),
            bom_ref=f"pypi/{name}",
        )
    bom.components.update(components.values())
    for name, component in components.items():
        bom.register_dependency(component, [components[one] for one in sorted(_needs(name) & components.keys())])
    bom.register_dependency(ours, [components[name] for name in sorted(direct)])


def _named(requirements: Iterable[str]) -> set[str]:
    """The packages that requirements name, as far as they hold on this machine and without extras."""
    parsed = (Requirement(text) for text in requirements)
    return {canonicalize_name(one.name) for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})}


def _needs(name: str) -> set[str]:
    try:
        return _named(importlib.metadata.requires(name) or ())
    except importlib.metadata.PackageNotFoundError:
        return set()


def _closure(names: Iterable[str], pins: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    left = set(names) & pins.keys()
    while left:
        found |= left
        left = {need for name in left for need in _needs(name)} & pins.keys() - found
    return found


def _add_rust(bom: Bom, ours: Component, packages: list[Mapping[str, Any]]) -> None:
    """All crates of the lock file; it does not tell which of them only building or testing needs."""
    components = {_crate(one["name"], one["version"]): _rust_component(one) for one in packages}
    by_name: dict[str, list[str]] = {}
    for one in packages:
        by_name.setdefault(one["name"], []).append(_crate(one["name"], one["version"]))
    bom.components.update(components.values())
    for one in packages:
        needs = []
        for text in one.get("dependencies", ()):
            name, _, version = text.partition(" ")
            # The version stands there only where there are several.
            needs.append(_crate(name, version.split(" ")[0]) if version else by_name[name][0])
        bom.register_dependency(components[_crate(one["name"], one["version"])], [components[key] for key in needs])
    bom.register_dependency(
        ours, [components[_crate(one["name"], one["version"])] for one in packages if _is_ours(one)]
    )


def _rust_component(package: Mapping[str, Any]) -> Component:
    name, version, checksum = package["name"], package["version"], package.get("checksum")
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED,
        purl=None if _is_ours(package) else PackageURL("cargo", None, name, version),
        hashes=() if checksum is None else (HashType(alg=HashAlgorithm.SHA_256, content=checksum),),
        bom_ref=f"cargo/{_crate(name, version)}",
    )


def _is_ours(package: Mapping[str, Any]) -> bool:
    return "source" not in package


def _crate(name: str, version: str) -> str:
    return f"{name}@{version}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_json(bill_of_materials()))
