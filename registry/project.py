"""The project on disk: `deltakeep.toml` and the files under `views/` and `functions/`, read strictly and in one pass.

`load_project` gives a whole, valid project or raises one `DefinitionError` with every problem that it found; nothing
in between. It reads files and asks whether paths exist, it opens no table.
What needs the engine (functions, inputs of SQL views, cycles, columns) is checked by `registry.compiler`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry import toml_document as toml
from registry.cgroup import NO_LIMITS, CgroupLimits, Origin, cgroup_limits, engine_size
from registry.dataset import Dataset, SourcePosition, TableRef
from registry.errors import DefinitionError, Problem
from registry.function_files import MacroDefinition, parse_function_file
from registry.integrations import IntegrationSettings, read_integrations
from registry.location import TakenPlaces, absolute_uri, join_uri, place, storage_options, table_ref
from registry.names import DatasetName, ViewName, view_id
from registry.secrets import remember_environment
from registry.toml_document import Section, Unexpected, parse_toml
from registry.view import RefreshPolicy, StateTable, View
from registry.view_files import ParsedView, parse_python_views, parse_sql_view, source_digest
from registry.view_options import ViewOptions, read_defaults

PROJECT_FILE: Final = "deltakeep.toml"
VIEWS_FOLDER: Final = "views"
FUNCTIONS_FOLDER: Final = "functions"
DEFAULT_POLL_MS: Final = 10_000
POLL_MS_MIN: Final = 100


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The limits of the native session; `spill` is an absolute path, `settings` are DataFusion's.

    `timed_choice` is whether the choice between the paths of a refresh learns from how long they took; the last two say
    where memory and partitions come from.
    """

    memory_bytes: int
    spill: Path
    target_partitions: int
    durable: bool
    concurrency: int
    timed_choice: bool
    settings: Mapping[str, str]
    memory_from: Origin = "project"
    partitions_from: Origin = "project"


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Where the daemon listens: a Unix socket (absolute path) for control, `host:port` for metrics and the console.

    The rest is about the console: the file of its tokens, its names, the files for TLS, and whether a proxy encrypts.
    """

    socket: Path
    listen: str
    log: str
    console: bool
    tokens: Path
    hosts: tuple[str, ...]
    tls_certificate: Path | None
    tls_key: Path | None
    behind_proxy: bool
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What `deltakeep.toml` says, except for views."""

    name: str
    store: TableRef
    targets: TableRef
    datasets: Mapping[str, Dataset]
    defaults: ViewOptions
    engine: EngineSettings
    daemon: DaemonSettings
    integrations: IntegrationSettings


@dataclass(frozen=True, slots=True)
class Project:
    """A valid project; every place is absolute.

    `store` is the uri under which the artifact tables lie (`store_table`: with the options of its store), `targets` the
    one under which targets lie by default.
    """

    root: Path
    name: str
    store: str
    targets: str
    datasets: Mapping[str, Dataset]
    views: Mapping[str, View]
    engine: EngineSettings
    daemon: DaemonSettings
    store_table: TableRef
    functions: Mapping[str, MacroDefinition] = field(default_factory=dict)
    integrations: IntegrationSettings = field(default_factory=IntegrationSettings)

    @property
    def relations(self) -> Mapping[str, TableRef]:
        """Give the table of each dataset and view by its name."""
        tables = {name: dataset.table for name, dataset in self.datasets.items()}
        return {**tables, **{name: view.target for name, view in self.views.items()}}

    @property
    def declared(self) -> Mapping[str, View]:
        """Give the views that somebody wrote, without their states."""
        return {name: view for name, view in self.views.items() if view.state_of is None}

    def states_of(self, view: ViewName) -> tuple[ViewName, ...]:
        """Give the states of a view that are among the views, the first one first and each before the one behind it.

        They are found by their names: a cycle must not cost more for each view that it leaves alone.
        """
        found: list[ViewName] = []
        one = self.views.get(view)
        while one is not None and (one := self.views.get(one.state_name)) is not None and one.state_of is not None:
            found.append(one.name)
        return tuple(found)

    def state_of(self, view: View) -> View | None:
        """Give the state that a view, or a state, may have; None where it may have none."""
        name = view.state_name
        namesake = self.views.get(name)
        taken = name in self.datasets or (namesake is not None and namesake.state_of is None)
        if taken or view.state_table is StateTable.NEVER or view.refresh is RefreshPolicy.RECOMPUTE:
            return None
        target = TableRef(uri=join_uri(self.store, name), options=self.store_table.options)
        return view.state(target, view_id(self.name, name))

    def to_json(self) -> dict[str, object]:
        """Give the project as plain JSON values, without the values of store options."""
        return {
            "root": str(self.root),
            "name": self.name,
            "store": self.store,
            "targets": self.targets,
            "datasets": [dataset.to_json() for dataset in self.datasets.values()],
            "views": [view.to_json() for view in self.views.values()],
            "functions": sorted(self.functions),
        }


def load_project(
    root: Path, environment: Mapping[str, str] | None = None, limits: CgroupLimits | None = None
) -> Project:
    """Read the project in a folder.

    Raises `DefinitionError` with all problems. `environment` (default: that of the process) resolves `env:NAME` and
    `credential:NAME`; `limits` (default: those of the process) size an engine whose size the project leaves open.
    """
    root = root.absolute()
    environment = os.environ if environment is None else environment
    remember_environment(environment)
    problems: list[Problem] = []
    settings = None
    text = _read(root, PROJECT_FILE, problems)
    if text is not None:
        found = cgroup_limits() if limits is None else limits
        settings = parse_project_file(text, root, environment, problems, found)
    functions = _read_functions(root, problems)
    parsed = _read_views(root, settings.defaults if settings else ViewOptions(), problems)
    if settings is None:
        raise DefinitionError(problems)
    views = place_views(settings, parsed, root, problems)
    if problems:
        raise DefinitionError(sorted(problems, key=lambda one: (one.file != PROJECT_FILE, one.file, one.line or 0)))
    return Project(
        root=root,
        name=settings.name,
        store=settings.store.uri,
        targets=settings.targets.uri,
        datasets=settings.datasets,
        views=views,
        engine=settings.engine,
        daemon=settings.daemon,
        store_table=settings.store,
        functions=functions,
        integrations=settings.integrations,
    )


def read_settings(root: Path, environment: Mapping[str, str] | None = None) -> ProjectSettings | None:
    """Read `deltakeep.toml` alone; None where something is wrong with it, which `load_project` tells."""
    problems: list[Problem] = []
    text = _read(root.absolute(), PROJECT_FILE, problems)
    if text is None:
        return None
    environment = os.environ if environment is None else environment
    settings = parse_project_file(text, root.absolute(), environment, problems)
    return None if problems else settings


# --- files ------------------------------------------------------------------------------------------------------------


def _read(root: Path, file: str, problems: list[Problem]) -> str | None:
    try:
        return (root / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = f'run "daemonctl init" in {root}, or name the project\'s folder' if file == PROJECT_FILE else ""
        problems.append(Problem(file, None, "the file does not exist", "a file", hint))
    except UnicodeDecodeError as error:
        problems.append(Problem(file, None, f"byte {error.start} is not UTF-8", "a text file in UTF-8"))
    except OSError as error:
        problems.append(Problem(file, None, f"the file cannot be read: {error.strerror or error}"))
    return None


def _read_views(root: Path, defaults: ViewOptions, problems: list[Problem]) -> list[ParsedView]:
    """Read all view files in the order of their names."""
    folder = root / VIEWS_FOLDER
    found: list[ParsedView] = []
    sources: dict[str, bytes] = {}
    # Helper modules count for the digest wherever they lie under the folder; views are declared at its top.
    for path in sorted(folder.rglob("*.py")):
        try:
            sources[path.relative_to(root).as_posix()] = path.read_bytes()
        except OSError as error:
            file = path.relative_to(root).as_posix()
            problems.append(Problem(file, None, f"the file cannot be read: {error.strerror or error}"))
    digest = source_digest(sources)
    for path in sorted(folder.glob("*")):
        if path.suffix not in (".sql", ".py") or path.name.startswith((".", "_")):
            continue
        file = path.relative_to(root).as_posix()
        text = _read(root, file, problems)
        if text is None:
            continue
        if path.suffix == ".sql":
            view = parse_sql_view(file, path.stem, text, defaults, problems)
            found += [view] if view is not None else []
        else:
            found += parse_python_views(file, str(path), text, digest=digest, defaults=defaults, problems=problems)
    return found


def _read_functions(root: Path, problems: list[Problem]) -> dict[str, MacroDefinition]:
    """Read all function files in the order of their names."""
    found: dict[str, MacroDefinition] = {}
    for path in sorted((root / FUNCTIONS_FOLDER).glob("*.sql")):
        if path.name.startswith((".", "_")):
            continue
        file = path.relative_to(root).as_posix()
        text = _read(root, file, problems)
        if text is not None:
            found[path.stem] = parse_function_file(file, path.stem, text, problems)
    return found


# --- deltakeep.toml ---------------------------------------------------------------------------------------------------


def parse_project_file(
    text: str,
    root: Path,
    environment: Mapping[str, str],
    problems: list[Problem],
    limits: CgroupLimits = NO_LIMITS,
) -> ProjectSettings | None:
    """Read the text of `deltakeep.toml`; None where it is no TOML, else what could be read, with problems."""
    document = parse_toml(text, PROJECT_FILE, 1, problems)
    if document is None:
        return None
    project = document.section("project")
    name = project.require("name", toml.name, "the project's name", '[project] name = "shop"') or "project"
    options = storage_options(project, environment)
    store = table_ref(root, project.take("store", place, "state"), options)
    targets = table_ref(root, project.take("targets", place, "views_out"), options)
    project.finish()

    datasets: dict[str, Dataset] = {}
    declared = document.section("datasets")
    for key, section in declared.sections():
        dataset = _dataset(key, section, root, environment)
        if dataset is not None:
            datasets[key] = dataset

    section = document.section("defaults")
    defaults = read_defaults(section)
    section.finish()
    engine = _engine(document.section("engine"), root, limits)
    daemon = _daemon(document.section("daemon"), root)
    integrations = read_integrations(document, root, environment)
    document.finish()
    settings = ProjectSettings(name, store, targets, datasets, defaults, engine, daemon, integrations)
    problems += _dataset_clashes(settings)
    return settings


def _dataset(key: str, section: Section, root: Path, environment: Mapping[str, str]) -> Dataset | None:
    try:
        toml.name(key)
    except Unexpected as error:
        what = f'"{key}" is not a name for a dataset'
        section.problems.append(Problem(section.file, section.line, what, error.expected, error.hint))
    uri = section.require("uri", place, "the path or uri of a Delta table", f'uri = "lake/{key}"')
    options = storage_options(section, environment)
    poll_ms = section.take("poll", _poll_ms, DEFAULT_POLL_MS)
    writers: tuple[str, ...] = section.take("trusted_writers", toml.texts, tuple[str, ...]())
    description = section.take("description", toml.any_text, "")
    section.finish()
    if uri is None:
        return None
    position = SourcePosition(section.file, section.line)
    return Dataset(DatasetName(key), table_ref(root, uri, options), poll_ms, writers, position, description)


def _poll_ms(value: object) -> int:
    found = toml.duration_ms(value)
    if found < POLL_MS_MIN:
        raise Unexpected(f"at least {POLL_MS_MIN}ms")
    return found


def _dataset_clashes(settings: ProjectSettings) -> list[Problem]:
    problems = []
    seen: dict[str, str] = {}
    for name, dataset in settings.datasets.items():
        uri = dataset.table.uri
        if uri in seen:
            what = f'datasets "{seen[uri]}" and "{name}" are the same table {uri}'
            hint = "declare the table once; a query may use it twice under aliases"
            problems.append(Problem(dataset.source.file, dataset.source.line, what, "one dataset a table", hint))
        seen.setdefault(uri, name)
    return problems


def _engine(section: Section, root: Path, limits: CgroupLimits) -> EngineSettings:
    size = engine_size(
        limits,
        section.take("memory", _size_if_said, None),
        section.take("target_partitions", _partitions_if_said, None),
    )
    engine = EngineSettings(
        memory_bytes=size.memory_bytes,
        spill=_path(root, section.take("spill", toml.text, "state/spill")),
        target_partitions=size.target_partitions,
        durable=section.take("durable", toml.boolean, True),
        concurrency=section.take("concurrency", toml.number_of_tasks, 1),
        timed_choice=section.take("timed_choice", toml.boolean, True),
        settings=section.take("settings", toml.text_map, {}),
        memory_from=size.memory_from,
        partitions_from=size.partitions_from,
    )
    section.finish()
    return engine


def _size_if_said(value: object) -> int | None:
    return toml.size_bytes(value)


def _partitions_if_said(value: object) -> int | None:
    return toml.number_of_tasks(value)


def _daemon(section: Section, root: Path) -> DaemonSettings:
    daemon = DaemonSettings(
        socket=_path(root, section.take("socket", toml.text, "state/deltakeep.sock")),
        listen=section.take("listen", _listen, "127.0.0.1:9187"),
        log=section.take("log", _log, "auto"),
        log_level=section.take("log_level", _log_level, "info"),
        console=section.take("console", toml.boolean, True),
        tokens=_path(root, section.take("tokens", toml.text, "state/tokens.json")),
        hosts=section.take("hosts", toml.texts, tuple[str, ...]()),
        tls_certificate=_optional_path(root, section.take("tls_certificate", toml.text, None)),
        tls_key=_optional_path(root, section.take("tls_key", toml.text, None)),
        behind_proxy=section.take("behind_proxy", toml.boolean, False),
    )
    section.finish()
    if (daemon.tls_certificate is None) != (daemon.tls_key is None):
        what = "TLS needs both tls_certificate and tls_key"
        section.problems.append(Problem(section.file, section.line, what, "both keys, or none of them"))
    return daemon


def _optional_path(root: Path, text: str | None) -> Path | None:
    return None if text is None else _path(root, text)


def _path(root: Path, text: str) -> Path:
    return Path(os.path.normpath(root / Path(text).expanduser()))


def _listen(value: object) -> str:
    host, colon, port = toml.text(value).rpartition(":")
    if colon and host and port.isdecimal() and int(port) < 65_536:
        return f"{host}:{int(port)}"
    raise Unexpected('host and port such as "127.0.0.1:9187"')


def _log(value: object) -> str:
    if value in ("auto", "json", "console"):
        return str(value)
    raise Unexpected('one of "auto", "json", "console"')


def _log_level(value: object) -> str:
    if value in ("debug", "info", "warning", "error"):
        return str(value)
    raise Unexpected('one of "debug", "info", "warning", "error"')


# --- views in their project -------------------------------------------------------------------------------------------


def place_views(
    settings: ProjectSettings, parsed: list[ParsedView], root: Path, problems: list[Problem]
) -> dict[str, View]:
    """Give each view its id and target; names that are taken and places that overlap are problems."""
    views: dict[str, View] = {}
    places = TakenPlaces()
    for dataset in settings.datasets.values():
        places.take(dataset.table.uri, f'dataset "{dataset.name}" at {dataset.source}')
    places.take(settings.store.uri, "the project's store")
    for one in parsed:
        table = TableRef(uri=join_uri(settings.targets.uri, one.name), options=settings.targets.options)
        if one.options.target is not None:
            table = TableRef(uri=absolute_uri(root, one.options.target), options=settings.targets.options)
        taken = views.get(one.name) or settings.datasets.get(one.name)
        if taken is not None:
            kind = "view" if isinstance(taken, View) else "dataset"
            what = f'view "{one.name}" has the name of the {kind} at {taken.source}'
            problems.append(Problem(one.source.file, one.source.line, what, "a name of its own", "rename one of them"))
            continue
        clash = _clash(one.name, table.uri, places)
        if clash is not None:
            line = one.option_lines.get("target", one.source.line)
            hint = 'give the view another place by the option target = "…"'
            problems.append(Problem(one.source.file, line, clash, "a folder that nobody else uses", hint))
        places.take(table.uri, f'the target of view "{one.name}" at {one.source}')
        views[one.name] = View(
            name=ViewName(one.name),
            id=view_id(settings.name, one.name),
            definition=one.definition,
            target=table,
            target_lag_ms=one.options.target_lag_ms,
            refresh=one.options.refresh,
            write=one.options.write,
            source=one.source,
            description=one.options.description,
            exact_sums=one.options.exact_sums,
            state_table=one.options.state_table,
        )
    return views


def _clash(name: str, uri: str, places: TakenPlaces) -> str | None:
    """Say with what a target overlaps: another target, a dataset or an artifact table."""
    match places.overlap(uri):
        case None:
            return None
        case "at", what:
            return f'the target {uri} of view "{name}" is {what}'
        case "inside", what:
            return f'the target {uri} of view "{name}" lies inside {what}'
        case _, what:
            return f'{what} lies inside the target {uri} of view "{name}"'
