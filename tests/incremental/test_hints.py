"""The hints of the reasons for which a view cannot be kept by changes: who follows one has an incremental view.

Each case is a view that falls back today, and the same view after exactly what the hint says.
`says` are the words of the hint that are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from registry.errors import DefinitionError
from registry.reasons import ReasonCode
from tests.lake import Rows
from tests.sources import ROOT, rust_code
from tests.workspace import Workspace

SALES: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("shop", pa.int64()),
        ("day", pa.int64()),
        ("items", pa.int64()),
        ("price", pa.float64()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
RATES: Final = pa.schema([("shop", pa.int64()), ("within", pa.int64()), ("rate", pa.int64())])
ODD: Final = pa.schema([("id", pa.int64()), ("__weight", pa.int64())])
EVEN: Final = pa.schema([("id", pa.int64()), ("weight", pa.int64())])

TREE: Final = (
    "WITH RECURSIVE found(shop, depth) AS (SELECT shop, 0 FROM rates WHERE within IS NULL UNION ALL "
    "SELECT r.shop, f.depth + 1 FROM found f JOIN rates r ON r.within = f.shop) SELECT shop, depth FROM found"
)

_R = ReasonCode


@dataclass(frozen=True, slots=True)
class Case:
    """A view before and after its hint was followed; `header` is TOML, `later` are views that take something over."""

    name: str
    code: ReasonCode
    says: str
    before: str
    after: str
    header: str = ""
    header_after: str = ""
    later: Mapping[str, str] = field(default_factory=dict)


CASES: Final = (
    Case(
        "rollup",
        _R.OPERATOR_NOT_INCREMENTAL,
        "ROLLUP or CUBE as a UNION ALL of one GROUP BY each",
        before="SELECT shop, day, sum(items) AS items FROM sales GROUP BY ROLLUP (shop, day)",
        after=(
            "SELECT shop, day, sum(items) AS items FROM sales GROUP BY shop, day "
            "UNION ALL SELECT shop, NULL, sum(items) FROM sales GROUP BY shop "
            "UNION ALL SELECT NULL, NULL, sum(items) FROM sales"
        ),
    ),
    Case(
        "grouping sets",
        _R.OPERATOR_NOT_INCREMENTAL,
        "write GROUPING SETS",
        before="SELECT shop, day, max(items) AS items FROM sales GROUP BY GROUPING SETS ((shop), (day))",
        after=(
            "SELECT shop, CAST(NULL AS BIGINT) AS day, max(items) AS items FROM sales GROUP BY shop "
            "UNION ALL SELECT NULL, day, max(items) FROM sales GROUP BY day"
        ),
    ),
    Case(
        "median of everything",
        _R.AGGREGATE_WITHOUT_GROUPS,
        "group by a column, such as the day, and aggregate the groups in a later view",
        before="SELECT median(items) AS items FROM sales",
        after="SELECT day, median(items) AS items FROM sales GROUP BY day",
        later={"of_all": "SELECT max(items) AS items FROM kept"},
    ),
    Case(
        "sum without a state",
        _R.AGGREGATE_WITHOUT_GROUPS,
        'unless the view says state_table = "never"',
        before="SELECT sum(items) AS items FROM sales",
        after="SELECT sum(items) AS items FROM sales",
        header='state_table = "never"',
    ),
    Case(
        "rank over everything",
        _R.WINDOW_NOT_INCREMENTAL,
        "give each of them a PARTITION BY, all with one column in common",
        before="SELECT id, rank() OVER (ORDER BY items) AS place FROM sales",
        after="SELECT id, rank() OVER (PARTITION BY shop ORDER BY items) AS place FROM sales",
    ),
    Case(
        "a window of several without a partition",
        _R.WINDOW_NOT_INCREMENTAL,
        "each of them a PARTITION BY",
        before=(
            "SELECT id, sum(items) OVER (PARTITION BY shop ORDER BY id) AS upto, "
            "row_number() OVER (ORDER BY shop, id) AS place FROM sales"
        ),
        after=(
            "SELECT id, sum(items) OVER (PARTITION BY shop ORDER BY id) AS upto, "
            "row_number() OVER (PARTITION BY shop ORDER BY id) AS place FROM sales"
        ),
    ),
    Case(
        "share of the total",
        _R.WINDOW_NOT_INCREMENTAL,
        "a total over all rows can be a subquery, (SELECT sum(…) FROM …)",
        before="SELECT id, 100 * items / sum(items) OVER () AS percent FROM sales",
        after="SELECT id, 100 * items / (SELECT sum(items) FROM sales) AS percent FROM sales",
    ),
    Case(
        "limit",
        _R.LIMIT_NOT_INCREMENTAL,
        "leave LIMIT and OFFSET out, and put them into a later view",
        before="SELECT id, items FROM sales WHERE shop < 4 ORDER BY items DESC, id LIMIT 3",
        after="SELECT id, items FROM sales WHERE shop < 4",
        later={"best": "SELECT id, items FROM kept ORDER BY items DESC, id LIMIT 3"},
    ),
    Case(
        "offset",
        _R.LIMIT_NOT_INCREMENTAL,
        "LIMIT and OFFSET",
        before="SELECT id, items FROM sales ORDER BY id OFFSET 5",
        after="SELECT id, items FROM sales",
        later={"rest": "SELECT id, items FROM kept ORDER BY id OFFSET 5"},
    ),
    Case(
        "subquery of several rows",
        _R.SUBQUERY_NOT_INCREMENTAL,
        "make it an aggregate such as max() without GROUP BY, HAVING and LIMIT",
        before="SELECT id FROM sales WHERE items > (SELECT rate FROM rates WHERE shop = 3)",
        after="SELECT id FROM sales WHERE items > (SELECT max(rate) FROM rates WHERE shop = 3)",
    ),
    Case(
        "subquery with a limit",
        _R.SUBQUERY_NOT_INCREMENTAL,
        "without GROUP BY, HAVING and LIMIT",
        before="SELECT id FROM sales WHERE items > (SELECT rate FROM rates ORDER BY rate LIMIT 1)",
        after="SELECT id FROM sales WHERE items > (SELECT min(rate) FROM rates)",
    ),
    Case(
        "subquery as a join",
        _R.SUBQUERY_NOT_INCREMENTAL,
        "or join it",
        before="SELECT id FROM sales WHERE items > (SELECT rate FROM rates WHERE shop = 3)",
        after="SELECT s.id FROM sales s JOIN rates r ON s.items > r.rate WHERE r.shop = 3",
    ),
    Case(
        "subquery in the ON of an outer join",
        _R.SUBQUERY_NOT_INCREMENTAL,
        "in place of one in the ON of an outer join, CROSS JOIN its row before that join",
        before=(
            "SELECT s.id, r.rate FROM sales s "
            "LEFT JOIN rates r ON r.shop = s.shop AND r.rate < s.items - (SELECT min(rate) FROM rates)"
        ),
        after=(
            "SELECT s.id, r.rate FROM sales s CROSS JOIN (SELECT min(rate) AS least FROM rates) m "
            "LEFT JOIN rates r ON r.shop = s.shop AND r.rate < s.items - m.least"
        ),
    ),
    Case(
        "recursion",
        _R.RECURSION_NOT_INCREMENTAL,
        "keep it in a view of its own, so that those that read it can be",
        before=f"SELECT s.id, t.depth FROM sales s JOIN ({TREE}) t ON t.shop = s.shop",
        after="SELECT s.id, t.depth FROM sales s JOIN tree t ON t.shop = s.shop",
        later={"tree": TREE},
    ),
    Case(
        "volatile",
        _R.VOLATILE_FUNCTION,
        "derive the value from the rows, for example by md5() of their key",
        before="SELECT id, uuid() AS token FROM sales",
        after="SELECT id, md5(CAST(id AS VARCHAR)) AS token FROM sales",
        header='refresh = "recompute"',
    ),
    Case(
        "the time in what is returned",
        _R.CLOCK_DEPENDENT,
        "compare a column with now() in the WHERE of its own relation",
        before="SELECT id, at < now() AS past FROM sales",
        after="SELECT id FROM sales WHERE at < now()",
    ),
    Case(
        "reserved column",
        _R.UNSUPPORTED_EXPRESSION,
        'an input column "__weight" or "__change_weight" needs another name',
        before='SELECT s.id, "__weight" + 1 AS heavy FROM sales s JOIN odd ON odd.id = s.id',
        after="SELECT s.id, weight + 1 AS heavy FROM sales s JOIN even ON even.id = s.id",
    ),
    Case(
        "policy",
        _R.POLICY_RECOMPUTE,
        'set refresh = "auto"',
        before="SELECT id, items FROM sales",
        after="SELECT id, items FROM sales",
        header='refresh = "recompute"',
        header_after='refresh = "auto"',
    ),
)


def sales(first: int, count: int) -> Rows:
    return [
        {
            "id": one,
            "shop": one % 5,
            "day": one // 10,
            "items": one * 7 % 11,
            "price": one / 4,
            "at": datetime(2020, 1, 1 + one % 28, tzinfo=UTC),
        }
        for one in range(first, first + count)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("sales", SALES, sales(0, 60))
    made.dataset(
        "rates", RATES, [{"shop": one, "within": None if one == 0 else one // 2, "rate": one + 2} for one in range(5)]
    )
    made.dataset("odd", ODD, [{"id": one, "__weight": one} for one in range(80)])
    # The same table after its owner named the column otherwise.
    made.dataset("even", EVEN, [{"id": one, "weight": one} for one in range(80)])
    return made


@pytest.fixture
def opened(workspace: Workspace) -> Iterator[list[Keeper]]:
    keepers: list[Keeper] = []
    yield keepers
    for keeper in keepers:
        keeper.close()


def explained(keeper: Keeper, view: str) -> dict[str, Any]:
    found: dict[str, Any] = keeper.explain(view).to_json()["maintenance"]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_follows_a_hint_has_an_incremental_view(case: Case, workspace: Workspace, opened: list[Keeper]) -> None:
    assert case.says in case.code.hint
    workspace.view("kept", case.before, case.header)
    keeper = workspace.open()
    opened.append(keeper)
    workspace.cycle(keeper)
    workspace.datasets["sales"].append(sales(60, 3))
    record = workspace.cycle(keeper)["kept"]
    assert record.strategy == "recompute"
    # A view that calls what is volatile has to say that it is recomputed, and then that is why it is.
    told = _R.POLICY_RECOMPUTE if case.code is _R.VOLATILE_FUNCTION else case.code
    assert record.reason == told
    if case.code is not _R.POLICY_RECOMPUTE:
        found = explained(keeper, "kept")
        assert (found["incremental"], found["reason"], found["hint"]) == (False, case.code, case.code.hint)

    for name, query in case.later.items():
        workspace.view(name, query)
    workspace.view("kept", case.after, case.header_after)
    keeper.reload()
    assert explained(keeper, "kept")["incremental"]
    workspace.cycle(keeper)
    workspace.datasets["sales"].append(sales(63, 7))
    workspace.datasets["sales"].delete("id = 7 OR id = 11")
    records = workspace.cycle(keeper)
    assert (records["kept"].strategy, records["kept"].outcome) == ("incremental", "committed"), records["kept"].message
    workspace.assert_right()


def test_each_reason_that_a_plan_gives_has_a_hint_that_was_followed() -> None:
    """What the crate of the change rules ever gives is a reason of a plan."""
    crate = ROOT / "rust" / "maintenance" / "src"
    codes = dict(re.findall(r'^ {4}(\w+)(?:\(detail\))? = "(\w+)"', (crate / "reasons.rs").read_text(), re.MULTILINE))
    assert set(codes.values()) <= set(ReasonCode)
    given = {
        ReasonCode(codes[variant])
        for path in crate.glob("*.rs")
        if path.name != "reasons.rs"
        for variant in re.findall(r"Reason::([A-Z]\w+)", rust_code(path))
    }
    assert _R.LIMIT_NOT_INCREMENTAL in given
    assert given - {case.code for case in CASES} == {_R.DISTINCT_NOT_INCREMENTAL}, "each plan reason has a case above"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT DISTINCT shop, day FROM sales",
        "SELECT DISTINCT ON (shop) shop, id FROM sales ORDER BY shop, items DESC, id",
        "SELECT count(DISTINCT items) AS n, shop FROM sales GROUP BY shop",
        "SELECT shop FROM sales UNION SELECT shop FROM rates",
        "SELECT shop, day FROM sales GROUP BY shop, day",
    ],
)
def test_no_plan_gives_the_reason_of_a_distinct(query: str, workspace: Workspace, opened: list[Keeper]) -> None:
    """The optimizer makes groups of every DISTINCT; what the hint says is kept by changes too."""
    assert _R.DISTINCT_NOT_INCREMENTAL.hint == "use GROUP BY over the returned columns"
    workspace.view("kept", query)
    keeper = workspace.open()
    opened.append(keeper)
    assert explained(keeper, "kept")["incremental"]


def test_a_volatile_function_is_refused_with_its_hint(workspace: Workspace, opened: list[Keeper]) -> None:
    workspace.view("kept", "SELECT id, uuid() AS token FROM sales")
    keeper = workspace.open()
    opened.append(keeper)
    with pytest.raises(DefinitionError) as refused:
        keeper.explain("kept")
    assert _R.VOLATILE_FUNCTION.hint in str(refused.value)
    workspace.view("kept", "SELECT id, uuid() AS token FROM sales", 'refresh = "recompute"')
    keeper.reload()
    assert workspace.cycle(keeper)["kept"].outcome == "committed"


def test_nothing_makes_a_recursion_incremental_and_its_hint_says_so() -> None:
    assert _R.RECURSION_NOT_INCREMENTAL.hint.startswith("nothing makes a recursion incremental")


def test_exact_sums_do_not_depend_on_the_order_of_rows(workspace: Workspace, opened: list[Keeper]) -> None:
    assert "set exact_sums = true" in _R.FLOAT_ORDER_DEPENDENT.hint
    query = "SELECT shop, sum(price) AS price FROM sales GROUP BY shop"
    workspace.view("kept", query, "exact_sums = false")
    keeper = workspace.open()
    opened.append(keeper)
    workspace.cycle(keeper)
    assert keeper.verify(["kept"])[0].to_json()["approximate_reason"] == _R.FLOAT_ORDER_DEPENDENT
    workspace.view("kept", query, "exact_sums = true")
    keeper.reload()
    workspace.cycle(keeper)
    workspace.datasets["sales"].append(sales(60, 3))
    assert workspace.cycle(keeper)["kept"].strategy == "incremental"
    assert keeper.verify(["kept"])[0].to_json()["approximate_reason"] is None
    workspace.assert_right()
