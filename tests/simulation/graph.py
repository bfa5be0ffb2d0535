"""A project of 20 views, four deep, over four datasets: joins, aggregates, windows and sets, and diamonds of them.

Every dataset is reached on several ways, so that a view that mixed two of its versions would show it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable

from tests import oracle
from tests.lake import Rows, SourceTable
from tests.simulation.chain import log_of, versions
from tests.workspace import Workspace

SHOPS: Final = 9
ITEMS: Final = 7
CITIES: Final = ("Bern", "Oslo", "Pisa", None)
KINDS: Final = ("food", "tool", None)

SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "orders": pa.schema([("id", pa.int64()), ("shop", pa.int64()), ("item", pa.int64()), ("amount", pa.int64())]),
    "shops": pa.schema([("shop", pa.int64()), ("city", pa.string())]),
    "items": pa.schema([("item", pa.int64()), ("kind", pa.string()), ("price", pa.int64())]),
    "visits": pa.schema([("shop", pa.int64()), ("day", pa.int64()), ("guests", pa.int64())]),
}

VIEWS: Final[Mapping[str, str]] = {
    # Over datasets alone.
    "large": "SELECT id, shop, item, amount FROM orders WHERE amount > 10",
    "per_shop": "SELECT shop, count(*) AS sales, sum(amount) AS total FROM orders GROUP BY shop",
    "located": "SELECT o.id, o.item, o.amount, s.city FROM orders o LEFT JOIN shops s ON o.shop = s.shop",
    "kinds": "SELECT DISTINCT kind FROM items",
    "guests_of": "SELECT shop, sum(guests) AS guests, max(guests) AS busiest FROM visits GROUP BY shop",
    "known": "SELECT shop FROM shops UNION SELECT shop FROM visits",
    "priced": "SELECT o.id, o.shop, i.kind, o.amount * i.price AS paid FROM orders o JOIN items i ON o.item = i.item",
    # Over those.
    "by_city": "SELECT city, count(*) AS sales, sum(amount) AS total FROM located GROUP BY city",
    "large_kinds": "SELECT l.id, l.shop, p.kind FROM large l JOIN priced p ON l.id = p.id",
    "busy": "SELECT coalesce(p.shop, g.shop) AS shop, p.sales, g.guests"
    " FROM per_shop p FULL JOIN guests_of g ON p.shop = g.shop",
    "ranked": "SELECT id, shop, paid, rank() OVER (PARTITION BY shop ORDER BY paid DESC) AS place FROM priced",
    "silent": "SELECT shop FROM known EXCEPT SELECT shop FROM per_shop",
    "kind_totals": "SELECT k.kind, count(p.id) AS sales, sum(p.paid) AS paid"
    " FROM kinds k LEFT JOIN priced p ON k.kind IS NOT DISTINCT FROM p.kind GROUP BY k.kind",
    # Over those.
    "best": "SELECT r.id, r.shop, l.city FROM ranked r JOIN located l ON r.id = l.id WHERE r.place <= 2",
    "city_lines": "SELECT l.city, b.total, count(*) AS lines, max(l.amount) AS most"
    " FROM located l JOIN by_city b ON l.city IS NOT DISTINCT FROM b.city GROUP BY l.city, b.total",
    "silent_guests": "SELECT s.shop, b.guests FROM silent s LEFT JOIN busy b ON s.shop = b.shop",
    "large_shares": "SELECT l.kind, count(*) AS sales, max(t.paid) AS paid"
    " FROM large_kinds l JOIN kind_totals t ON l.kind = t.kind GROUP BY l.kind",
    # Over those.
    "best_cities": "SELECT b.city, count(*) AS winners, max(c.total) AS total"
    " FROM best b LEFT JOIN city_lines c ON b.city = c.city GROUP BY b.city",
    "attention": "SELECT shop FROM silent_guests UNION ALL SELECT shop FROM best",
    "missed": "SELECT id, amount FROM large WHERE id NOT IN (SELECT id FROM best)",
}


def declared(root: Path) -> Workspace:
    """Declare the datasets, with rows, and the views; nothing is built."""
    workspace, chance = Workspace(root), random.Random(0)
    for name, schema in SCHEMAS.items():
        workspace.dataset(name, schema, MAKERS[name](chance, 30))
    newest = (DeltaTable(table.path).history(1)[0]["timestamp"] for table in workspace.datasets.values())
    # Strangers' commits carry the time of the machine; ours go on from there.
    workspace.clock.at_ms = max(newest)
    for name, query in VIEWS.items():
        workspace.view(name, query)
    return workspace


def orders(chance: random.Random, count: int) -> Rows:
    """Make orders, some of which are there twice, or name a shop or an item that nobody knows."""
    made = []
    for _ in range(count):
        row = {
            "id": chance.randrange(60),
            "shop": None if chance.random() < 0.1 else chance.randrange(SHOPS + 1),
            "item": chance.randrange(ITEMS + 1),
            "amount": chance.randrange(30),
        }
        made += [row] * chance.choice((1, 1, 1, 2))
    return made


def shops(chance: random.Random, count: int) -> Rows:
    known = chance.sample(range(SHOPS), min(count, SHOPS))
    return [{"shop": shop, "city": chance.choice(CITIES)} for shop in known]


def items(chance: random.Random, count: int) -> Rows:
    known = chance.sample(range(ITEMS), min(count, ITEMS))
    return [{"item": item, "kind": chance.choice(KINDS), "price": chance.randint(1, 5)} for item in known]


def visits(chance: random.Random, count: int) -> Rows:
    return [
        {"shop": chance.randrange(SHOPS + 3), "day": chance.randrange(20), "guests": chance.choice((None, 1, 5, 8))}
        for _ in range(count)
    ]


MAKERS: Final[Mapping[str, Callable[[random.Random, int], Rows]]] = {
    "orders": orders,
    "shops": shops,
    "items": items,
    "visits": visits,
}
UPDATES: Final[Mapping[str, tuple[str, str]]] = {
    "orders": ("amount", "(amount + 7) % 30"),
    "shops": ("city", "'Rome'"),
    "items": ("price", "price % 5 + 1"),
    "visits": ("guests", "coalesce(guests, 0) + 2"),
}
KEYS: Final[Mapping[str, str]] = {"orders": "id", "shops": "shop", "items": "item", "visits": "shop"}


def happen(workspace: Workspace, chance: random.Random, _: int) -> None:
    """Change some of the datasets, each by some commits."""
    for _ in range(chance.randint(1, 5)):
        disturb(workspace, chance)


def disturb(workspace: Workspace, chance: random.Random) -> None:
    """Make one commit in one of the datasets."""
    name = chance.choice(tuple(SCHEMAS))
    table, chosen = workspace.datasets[name], f"{KEYS[name]} % 5 = {chance.randrange(5)}"
    match chance.choice(("append", "append", "update", "delete", "optimize")):
        case "append":
            table.append(MAKERS[name](chance, chance.randint(1, 8)))
        case "update":
            column, value = UPDATES[name]
            table.update({column: value}, chosen)
        case "delete":
            table.delete(chosen)
        case _:
            table.optimize()


# ---- the diamond rule ------------------------------------------------------------------------------------------------

Vector = Mapping[str, int]
"""The version of each dataset that a content reflects."""


def assert_aligned(workspace: Workspace) -> None:
    """Fail if a view reflects two versions of one dataset, or if views of one cycle do.

    Each content is compared with its query, and with those of all views below it, over one version of each dataset:
    the vector that its commit tells.
    """
    made: dict[tuple[str, tuple[tuple[str, int], ...]], pa.Table] = {}
    for name, version in versions(workspace).items():
        if version >= 0:
            vector = vectors(workspace, name)[-1][1]
            assert set(vector) == set(datasets_of(workspace, name)), f'"{name}" does not say what it reflects'
            about = f'view "{name}" at {dict(vector)}'
            oracle.assert_equal(
                _expected(workspace, name, vector, made), oracle.read(workspace.target(name)), about=about
            )


def assert_siblings_agree(workspace: Workspace) -> None:
    """Fail if two views that were committed in one cycle reflect two versions of one dataset."""
    seen: defaultdict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for name in workspace.views:
        for clock_ms, vector in vectors(workspace, name):
            for dataset, version in vector.items():
                seen[clock_ms, dataset][name] = version
    mixed = {place: found for place, found in seen.items() if len(set(found.values())) > 1}
    assert not mixed, mixed


def vectors(workspace: Workspace, view: str) -> list[tuple[int, Vector]]:
    """Return the time of the cycle and the vector of each commit of a view, in order."""
    target = workspace.target(view)
    if not DeltaTable.is_deltatable(str(target)):
        return []
    told = [info["deltakeep"] for info in _infos(log_of(target))]
    return [(one["clock_ms"], {name: at["version"] for name, at in one["vector"].items()}) for one in told]


def _infos(log: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for actions in log:
        yield from (action["commitInfo"] for action in actions if "commitInfo" in action)


def datasets_of(workspace: Workspace, view: str) -> set[str]:
    """Return the datasets below a view."""
    inputs = workspace.inputs_of(view)
    below = (datasets_of(workspace, name) for name in inputs if name in workspace.views)
    return {name for name in inputs if name in workspace.datasets}.union(*below)


def depth_of(workspace: Workspace, view: str) -> int:
    """Return how many views are on the longest way from a view down to a dataset, itself included."""
    return 1 + max(
        (depth_of(workspace, name) for name in workspace.inputs_of(view) if name in workspace.views), default=0
    )


def _expected(workspace: Workspace, name: str, vector: Vector, made: dict[Any, pa.Table]) -> pa.Table:
    """Recompute a view, and the views below it, over the datasets at the versions of a vector."""
    if name in workspace.datasets:
        return _content(workspace.datasets[name], name, vector[name], made)
    key = (name, tuple(sorted((dataset, vector[dataset]) for dataset in datasets_of(workspace, name))))
    if key not in made:
        below = {one: _expected(workspace, one, vector, made) for one in workspace.inputs_of(name)}
        made[key] = oracle.recompute(workspace.views[name], below)
    return made[key]


def _content(table: SourceTable, name: str, version: int, made: dict[Any, pa.Table]) -> pa.Table:
    key = (name, ((name, version),))
    if key not in made:
        made[key] = table.content(version)
    return made[key]
