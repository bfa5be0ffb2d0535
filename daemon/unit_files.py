"""The units of one project: those of `systemd/`, fitted to where the project, its user and this installation are.

`unit_files` is pure: values in, texts out.  `site_of` looks at the project and the machine; neither writes anything.
Invariant: a unit may write where its project writes, and nowhere else.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from daemon.place import PROJECT_FILE
from registry.credentials import FOLDER_VARIABLE
from registry.errors import DeltakeepError
from registry.location import local_path
from registry.project import Project, load_project

FOLDER: Final = Path(__file__).resolve().parents[1] / "systemd"
"""The units as they are shipped: beside this package, in a checkout and in a wheel alike."""
SOCKET_PATH_MAX: Final = 107
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_SHORT_LIVED: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - compared with, never written to
_FOLDER_SETTINGS: Final = ("Configuration", "State", "Cache", "Runtime")
Change = tuple[str, tuple[str, ...]]


class CannotExport(DeltakeepError):
    """The units cannot be made for this project here."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the units have to know: `writable` are the folders that the project writes to, `reads` all other places."""

    name: str
    root: Path
    commands: Path
    user: str
    group: str
    socket: Path
    writable: tuple[Path, ...]
    reads: tuple[Path, ...]
    credentials: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The name of the units, without their kinds."""
        return f"deltakeep-{self.name.replace('_', '-')}"


def site_of(root: Path, user: str | None, group: str | None) -> Site:
    """Look at a project; `user` None is the owner of its folder, `group` None that user's first group.

    Raises `CannotExport` for a user or group that is unknown, and `DefinitionError` for a project that is broken.
    """
    text = (root / PROJECT_FILE).read_text(encoding="utf-8")
    credentials, variables = (
        tuple(sorted(set(re.findall(rf'"{kind}:([^"]+)"', text)))) for kind in ("credential", "env")
    )
    project = _load_without_secrets(root, credentials, variables)
    owner = _user(user, root)
    first_group = _group(group, owner)
    commands = Path(sys.executable).parent
    targets = {local_path(view.target.uri) for view in project.views.values()}
    own = {target for target in targets if target is not None and target.parent != local_path(project.targets)}
    places = {
        local_path(project.store),
        local_path(project.targets),
        project.engine.spill,
        project.daemon.socket.parent,
    }
    datasets = (local_path(dataset.table.uri) for dataset in project.datasets.values())
    prefixes = (Path(sys.prefix), Path(sys.base_prefix))
    return Site(
        name=project.name,
        root=root,
        commands=commands,
        user=owner.pw_name,
        group=first_group,
        socket=project.daemon.socket,
        writable=_outermost({place for place in {*places, *own} if place is not None}),
        reads=(*prefixes, *(place for place in datasets if place is not None)),
        credentials=credentials,
        variables=variables,
    )


def places_of_others(site: Site) -> tuple[Path, ...]:
    """Folders that the service writes to and that hold something of another user's."""
    found = []
    for place in site.writable:
        inside = (place, *place.glob("*"), *place.glob("*/_delta_log")) if place.is_dir() else ()
        if any(pwd.getpwnam(site.user).pw_uid != one.stat().st_uid for one in inside):
            found.append(place)
    return tuple(found)


def unit_files(site: Site, service: str, socket: str) -> Mapping[str, str]:
    """Fit the shipped texts of a service and its socket to a site; gives the units by file name."""
    if len(os.fsencode(site.socket)) > SOCKET_PATH_MAX:
        raise CannotExport(
            "path_too_long",
            f'the kernel does not take "{site.socket}" as a socket: more than {SOCKET_PATH_MAX} bytes',
            hint=f'say [daemon] socket = "/run/{site.unit}/control.sock"',
        )
    header = f"# The project in {site.root}, made by `daemonctl export systemd`; change it by drop-ins."
    socket_changes = (
        ("Description=", (f"Description=Control socket of {site.unit}.service",)),
        ("ListenStream=", (f"ListenStream={_escaped(site.socket)}",)),
        ("SocketUser=", (f"SocketUser={site.user}",)),
        ("SocketGroup=", (f"SocketGroup={site.group}",)),
    )
    return {
        f"{site.unit}.service": _fitted(header, service, tuple(_service_changes(site))),
        f"{site.unit}.socket": _fitted(header, socket, socket_changes),
    }


def _fitted(header: str, text: str, changes: tuple[Change, ...]) -> str:
    """Replace each line that starts as one of the changes says; what is above the first section goes."""
    lines = [header, ""]
    for old in text[text.index("[Unit]") :].splitlines():
        lines += next((new for start, new in changes if old.startswith(start)), (old,))
    return "\n".join(lines) + "\n"


def shipped(name: str) -> str:
    """The text of a unit as it is shipped; raises `CannotExport` where this installation lacks it."""
    try:
        return (FOLDER / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CannotExport(
            "not_installed", f'"{FOLDER / name}" is not part of this installation', hint="reinstall deltakeep"
        ) from None


# --- the service ------------------------------------------------------------------------------------------------------


def _service_changes(site: Site) -> Iterator[Change]:
    """What becomes of the lines that start like this: the lines in their place."""
    runtime = _runtime_folder(site)
    writable = tuple(place for place in site.writable if runtime is None or place != site.socket.parent)
    project = f"-C {_quoted(site.root)}"
    yield "Description=", (f"Description=Incremental views of {site.name}",)
    yield "Environment=PATH=", (f'Environment="PATH={_escaped(site.commands)}:/usr/local/bin:/usr/bin:/bin"',)
    yield "SyslogIdentifier=", (f"SyslogIdentifier={site.unit}",)
    yield "ExecStart=", (*_made_before(site, writable), f"ExecStart={_quoted(site.commands / 'deltakeep')} {project}")
    yield "ExecReload=", (f"ExecReload={_quoted(site.commands / 'daemonctl')} {project} reload",)
    yield "User=", (f"User={site.user}",)
    yield "Group=", (f"Group={site.group}",)
    for kind in _FOLDER_SETTINGS:
        if kind == "Runtime" and runtime is not None:
            yield "RuntimeDirectory=", (f"RuntimeDirectory={runtime}",)
        else:
            yield f"{kind}Directory", ()
    if runtime is None:
        yield "# The control socket lies there", ()
    if not site.credentials:
        yield "# Secrets that", ()
    loaded = tuple(f"LoadCredential={name}:{_escaped(site.root / 'credentials' / name)}" for name in site.credentials)
    yield "# LoadCredential=", (*loaded, *_variables(site))
    yield "# Targets and datasets elsewhere", ("# All that the project writes to.",)
    # Without the dash a folder that is missing would keep even the command from running that makes it.
    yield "# ReadWritePaths=", tuple(f"ReadWritePaths={_quoted(place, '-')}" for place in writable)
    needed = (site.root, site.commands, site.socket, *writable, *site.reads)
    if any(place.is_relative_to(home) for place in needed for home in _HOMES):
        yield "ProtectHome=", ("# Something that is needed lies in a home.", "ProtectHome=read-only")
    if any(place.is_relative_to(folder) for place in needed for folder in _SHORT_LIVED):
        yield "PrivateTmp=", ("# Something that is needed lies among temporary files.", "PrivateTmp=no")


def _made_before(site: Site, writable: tuple[Path, ...]) -> tuple[str, ...]:
    """Make folders that are missing, as root, before the sandbox needs them."""
    if not writable:
        return ()
    folders = " ".join(_quoted(place) for place in writable)
    return (
        f"ExecStartPre=+/bin/mkdir -p -m 0750 {folders}",
        f"ExecStartPre=+/bin/chown {site.user}:{site.group} {folders}",
    )


def _runtime_folder(site: Site) -> str | None:
    """The folder of the socket below /run, which systemd makes; None where it lies elsewhere."""
    folder = site.socket.parent
    return str(folder.relative_to("/run")) if folder.is_relative_to("/run") and folder != Path("/run") else None


def _variables(site: Site) -> tuple[str, ...]:
    if not site.variables:
        return ()
    names = ", ".join(site.variables)
    return (f"# deltakeep.toml takes {names} from here.", f"EnvironmentFile=/etc/deltakeep/{site.unit}.env")


def _escaped(place: Path) -> str:
    return str(place).replace("%", "%%")


def _quoted(place: Path, prefix: str = "") -> str:
    """A path as a word of a command or a list."""
    text = prefix + _escaped(place).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s\"'\\;]", text) else text


# --- the site ---------------------------------------------------------------------------------------------------------


def _load_without_secrets(root: Path, credentials: tuple[str, ...], variables: tuple[str, ...]) -> Project:
    """Load a project whose secrets are not here: where things are does not depend on them."""
    with TemporaryDirectory() as folder:
        for name in credentials:
            if "/" not in name:
                (Path(folder) / name).touch()
        return load_project(root, {**dict.fromkeys(variables, ""), FOLDER_VARIABLE: folder})


def _user(name: str | None, root: Path) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(root.stat().st_uid) if name is None else pwd.getpwnam(name)
    except KeyError:
        what = f'there is no user "{name}"' if name is not None else f'the owner of "{root}" has no name'
        raise _unknown(what, "make one with `useradd --system`, or name another with --user") from None


def _group(name: str | None, owner: pwd.struct_passwd) -> str:
    try:
        return grp.getgrgid(owner.pw_gid).gr_name if name is None else grp.getgrnam(name).gr_name
    except KeyError:
        what = f'there is no group "{name}"' if name is not None else f'the group of "{owner.pw_name}" has no name'
        raise _unknown(what, "name another with --group") from None


def _unknown(what: str, hint: str) -> CannotExport:
    return CannotExport("not_found", what, hint=hint)


def _outermost(places: set[Path]) -> tuple[Path, ...]:
    """Leave out what lies in another one."""
    return tuple(sorted(place for place in places if not any(other in place.parents for other in places)))
