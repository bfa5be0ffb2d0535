"""Lineage, against lists that were derived from the text of the queries by hand.

Columns are written without their relations, because the prefixes of TPC-H and TPC-DS tell them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest

from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests.tpc.queries import load
from tests.tpc.schemas import TPCDS, TPCH

Equation = tuple[str, frozenset[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a query reads and how, in words: see `CASES`.

    `reads` lists the columns of each relation in the order of its table. `outputs` gives each output column `=` and how
    it comes from which columns, nothing for none. `joins` gives the kind and one equation a line, where alternatives
    from the branches of a union stand beside each other.
    """

    reads: str
    outputs: str
    joins: str = ""
    filtered_by: str = ""
    grouped_by: str = ""
    ordered_by: str = ""
    null_aware: bool = False


CASES: Final = {
    "tpch_q01": Expected(
        reads="lineitem: l_quantity l_extendedprice l_discount l_tax l_returnflag l_linestatus l_shipdate",
        outputs="""
            l_returnflag = copied l_returnflag
            l_linestatus = copied l_linestatus
            sum_qty = aggregated l_quantity
            sum_base_price = aggregated l_extendedprice
            sum_disc_price = aggregated l_extendedprice l_discount
            sum_charge = aggregated l_extendedprice l_discount l_tax
            avg_qty = aggregated l_quantity
            avg_price = aggregated l_extendedprice
            avg_disc = aggregated l_discount
            count_order =
        """,
        filtered_by="l_shipdate",
        grouped_by="l_returnflag l_linestatus",
    ),
    "tpch_q03": Expected(
        reads="""
            customer: c_custkey c_mktsegment
            orders: o_orderkey o_custkey o_orderdate o_shippriority
            lineitem: l_orderkey l_extendedprice l_discount l_shipdate
        """,
        outputs="""
            l_orderkey = copied l_orderkey
            revenue = aggregated l_extendedprice l_discount
            o_orderdate = copied o_orderdate
            o_shippriority = copied o_shippriority
        """,
        joins="""
            inner c_custkey = o_custkey
            inner l_orderkey = o_orderkey
        """,
        # The limit keeps rows by revenue and date, and by the other columns where these tie.
        filtered_by="c_mktsegment o_orderdate l_shipdate l_extendedprice l_discount l_orderkey o_shippriority",
        grouped_by="l_orderkey o_orderdate o_shippriority",
        ordered_by="l_extendedprice l_discount o_orderdate l_orderkey o_shippriority",
    ),
    "tpch_q04": Expected(
        reads="""
            orders: o_orderkey o_orderdate o_orderpriority
            lineitem: l_orderkey l_commitdate l_receiptdate
        """,
        outputs="""
            o_orderpriority = copied o_orderpriority
            order_count =
        """,
        joins="left_semi o_orderkey = l_orderkey",
        filtered_by="o_orderdate l_commitdate l_receiptdate",
        grouped_by="o_orderpriority",
    ),
    "tpch_q09": Expected(
        reads="""
            part: p_partkey p_name
            supplier: s_suppkey s_nationkey
            lineitem: l_orderkey l_partkey l_suppkey l_quantity l_extendedprice l_discount
            partsupp: ps_partkey ps_suppkey ps_supplycost
            orders: o_orderkey o_orderdate
            nation: n_nationkey n_name
        """,
        outputs="""
            nation = copied n_name
            o_year = computed o_orderdate
            sum_profit = aggregated l_extendedprice l_discount ps_supplycost l_quantity
        """,
        joins="""
            inner s_suppkey = l_suppkey
            inner ps_suppkey = l_suppkey
            inner ps_partkey = l_partkey
            inner p_partkey = l_partkey
            inner o_orderkey = l_orderkey
            inner s_nationkey = n_nationkey
        """,
        filtered_by="p_name",
        grouped_by="n_name o_orderdate",
    ),
    "tpch_q13": Expected(
        reads="""
            customer: c_custkey
            orders: o_orderkey o_custkey o_comment
        """,
        outputs="""
            c_count = aggregated o_orderkey
            custdist =
        """,
        joins="left c_custkey = o_custkey",
        # A condition of the ON clause on the right side alone decides which orders there are to match.
        filtered_by="o_comment",
        # The outer groups are counts of orders.
        grouped_by="c_custkey o_orderkey",
    ),
    "tpch_q16": Expected(
        reads="""
            partsupp: ps_partkey ps_suppkey
            part: p_partkey p_brand p_type p_size
            supplier: s_suppkey s_comment
        """,
        outputs="""
            p_brand = copied p_brand
            p_type = copied p_type
            p_size = copied p_size
            supplier_cnt = aggregated ps_suppkey
        """,
        joins="""
            inner p_partkey = ps_partkey
            left_anti ps_suppkey = s_suppkey
        """,
        filtered_by="p_brand p_type p_size s_comment",
        # Suppliers are made distinct before they are counted.
        grouped_by="p_brand p_type p_size ps_suppkey",
        null_aware=True,
    ),
    "tpcds_q02": Expected(
        reads="""
            web_sales: ws_sold_date_sk ws_ext_sales_price
            catalog_sales: cs_sold_date_sk cs_ext_sales_price
            date_dim: d_date_sk d_week_seq d_year d_day_name
        """,
        outputs="""
            week_1 = copied d_week_seq
            sun_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            mon_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            tue_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            wed_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            thu_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            fri_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
            sat_ratio = aggregated d_day_name ws_ext_sales_price cs_ext_sales_price
        """,
        # Once for each of the two years, and the years with each other.
        joins="""
            inner d_date_sk = ws_sold_date_sk cs_sold_date_sk
            inner d_week_seq = d_week_seq
            inner d_date_sk = ws_sold_date_sk cs_sold_date_sk
            inner d_week_seq = d_week_seq
            inner d_week_seq = d_week_seq
        """,
        filtered_by="d_year",
        grouped_by="d_week_seq",
    ),
    "tpcds_q03": Expected(
        reads="""
            date_dim: d_date_sk d_year d_moy
            store_sales: ss_sold_date_sk ss_item_sk ss_ext_sales_price
            item: i_item_sk i_brand_id i_brand i_manufact_id
        """,
        outputs="""
            d_year = copied d_year
            brand_id = copied i_brand_id
            brand = copied i_brand
            sum_agg = aggregated ss_ext_sales_price
        """,
        joins="""
            inner d_date_sk = ss_sold_date_sk
            inner ss_item_sk = i_item_sk
        """,
        filtered_by="i_manufact_id d_moy d_year ss_ext_sales_price i_brand_id i_brand",
        grouped_by="d_year i_brand i_brand_id",
        ordered_by="d_year ss_ext_sales_price i_brand_id i_brand",
    ),
    "tpcds_q34": Expected(
        reads="""
            store_sales: ss_sold_date_sk ss_customer_sk ss_hdemo_sk ss_store_sk ss_ticket_number
            date_dim: d_date_sk d_year d_dom
            store: s_store_sk s_county
            household_demographics: hd_demo_sk hd_buy_potential hd_dep_count hd_vehicle_count
            customer: c_customer_sk c_salutation c_first_name c_last_name c_preferred_cust_flag
        """,
        outputs="""
            c_last_name = copied c_last_name
            c_first_name = copied c_first_name
            c_salutation = copied c_salutation
            c_preferred_cust_flag = copied c_preferred_cust_flag
            ss_ticket_number = copied ss_ticket_number
            cnt =
        """,
        joins="""
            inner ss_sold_date_sk = d_date_sk
            inner ss_store_sk = s_store_sk
            inner ss_hdemo_sk = hd_demo_sk
            inner ss_customer_sk = c_customer_sk
        """,
        filtered_by="d_dom hd_buy_potential hd_vehicle_count hd_dep_count d_year s_county",
        grouped_by="ss_ticket_number ss_customer_sk",
    ),
    "tpcds_q40": Expected(
        reads="""
            catalog_sales: cs_sold_date_sk cs_warehouse_sk cs_item_sk cs_order_number cs_sales_price
            catalog_returns: cr_item_sk cr_order_number cr_refunded_cash
            warehouse: w_warehouse_sk w_state
            item: i_item_sk i_item_id i_current_price
            date_dim: d_date_sk d_date
        """,
        outputs="""
            w_state = copied w_state
            i_item_id = copied i_item_id
            sales_before = aggregated d_date cs_sales_price cr_refunded_cash
            sales_after = aggregated d_date cs_sales_price cr_refunded_cash
        """,
        joins="""
            left cs_order_number = cr_order_number
            left cs_item_sk = cr_item_sk
            inner i_item_sk = cs_item_sk
            inner cs_warehouse_sk = w_warehouse_sk
            inner cs_sold_date_sk = d_date_sk
        """,
        filtered_by="i_current_price d_date w_state i_item_id",
        grouped_by="w_state i_item_id",
        ordered_by="w_state i_item_id",
    ),
    "tpcds_q71": Expected(
        reads="""
            item: i_item_sk i_brand_id i_brand i_manager_id
            web_sales: ws_sold_date_sk ws_sold_time_sk ws_item_sk ws_ext_sales_price
            catalog_sales: cs_sold_date_sk cs_sold_time_sk cs_item_sk cs_ext_sales_price
            store_sales: ss_sold_date_sk ss_sold_time_sk ss_item_sk ss_ext_sales_price
            date_dim: d_date_sk d_year d_moy
            time_dim: t_time_sk t_hour t_minute t_meal_time
        """,
        outputs="""
            brand_id = copied i_brand_id
            brand = copied i_brand
            t_hour = copied t_hour
            t_minute = copied t_minute
            ext_price = aggregated ws_ext_sales_price cs_ext_sales_price ss_ext_sales_price
        """,
        joins="""
            inner d_date_sk = ws_sold_date_sk
            inner d_date_sk = cs_sold_date_sk
            inner d_date_sk = ss_sold_date_sk
            inner i_item_sk = ws_item_sk cs_item_sk ss_item_sk
            inner t_time_sk = ws_sold_time_sk cs_sold_time_sk ss_sold_time_sk
        """,
        filtered_by="d_moy d_year i_manager_id t_meal_time",
        grouped_by="i_brand i_brand_id t_hour t_minute",
    ),
    "tpcds_q80": Expected(
        reads="""
            store_sales: ss_sold_date_sk ss_item_sk ss_store_sk ss_promo_sk ss_ticket_number \
                ss_ext_sales_price ss_net_profit
            store_returns: sr_item_sk sr_ticket_number sr_return_amt sr_net_loss
            catalog_sales: cs_sold_date_sk cs_catalog_page_sk cs_item_sk cs_promo_sk cs_order_number \
                cs_ext_sales_price cs_net_profit
            catalog_returns: cr_item_sk cr_order_number cr_return_amount cr_net_loss
            web_sales: ws_sold_date_sk ws_item_sk ws_web_site_sk ws_promo_sk ws_order_number \
                ws_ext_sales_price ws_net_profit
            web_returns: wr_item_sk wr_order_number wr_return_amt wr_net_loss
            store: s_store_sk s_store_id
            catalog_page: cp_catalog_page_sk cp_catalog_page_id
            web_site: web_site_sk web_site_id
            date_dim: d_date_sk d_date
            item: i_item_sk i_current_price
            promotion: p_promo_sk p_channel_tv
        """,
        outputs="""
            channel =
            id = computed s_store_id cp_catalog_page_id web_site_id
            sales = aggregated ss_ext_sales_price cs_ext_sales_price ws_ext_sales_price
            returned = aggregated sr_return_amt cr_return_amount wr_return_amt
            profit = aggregated ss_net_profit sr_net_loss cs_net_profit cr_net_loss ws_net_profit wr_net_loss
        """,
        joins="""
            left ss_item_sk = sr_item_sk
            left ss_ticket_number = sr_ticket_number
            inner ss_sold_date_sk = d_date_sk
            inner ss_store_sk = s_store_sk
            inner ss_item_sk = i_item_sk
            inner ss_promo_sk = p_promo_sk
            left cs_item_sk = cr_item_sk
            left cs_order_number = cr_order_number
            inner cs_sold_date_sk = d_date_sk
            inner cs_catalog_page_sk = cp_catalog_page_sk
            inner cs_item_sk = i_item_sk
            inner cs_promo_sk = p_promo_sk
            left ws_item_sk = wr_item_sk
            left ws_order_number = wr_order_number
            inner ws_sold_date_sk = d_date_sk
            inner ws_web_site_sk = web_site_sk
            inner ws_item_sk = i_item_sk
            inner ws_promo_sk = p_promo_sk
        """,
        # The limit keeps rows by place, and by the sums where these tie.
        filtered_by="""
            d_date i_current_price p_channel_tv s_store_id cp_catalog_page_id web_site_id
            ss_ext_sales_price cs_ext_sales_price ws_ext_sales_price sr_return_amt cr_return_amount wr_return_amt
            ss_net_profit sr_net_loss cs_net_profit cr_net_loss ws_net_profit wr_net_loss
        """,
        grouped_by="s_store_id cp_catalog_page_id web_site_id",
        ordered_by="""
            s_store_id cp_catalog_page_id web_site_id
            ss_ext_sales_price cs_ext_sales_price ws_ext_sales_price sr_return_amt cr_return_amount wr_return_amt
            ss_net_profit sr_net_loss cs_net_profit cr_net_loss ws_net_profit wr_net_loss
        """,
    ),
    "tpcds_q83": Expected(
        reads="""
            store_returns: sr_returned_date_sk sr_item_sk sr_return_quantity
            catalog_returns: cr_returned_date_sk cr_item_sk cr_return_quantity
            web_returns: wr_returned_date_sk wr_item_sk wr_return_quantity
            item: i_item_sk i_item_id
            date_dim: d_date_sk d_date d_week_seq
        """,
        outputs="""
            item_id = copied i_item_id
            store_quantity = aggregated sr_return_quantity
            store_share = aggregated sr_return_quantity cr_return_quantity wr_return_quantity
            catalog_quantity = aggregated cr_return_quantity
            catalog_share = aggregated sr_return_quantity cr_return_quantity wr_return_quantity
            web_quantity = aggregated wr_return_quantity
            web_share = aggregated sr_return_quantity cr_return_quantity wr_return_quantity
            average = aggregated sr_return_quantity cr_return_quantity wr_return_quantity
        """,
        # The days of the weeks of some days: a semi join within a semi join, for each channel.
        joins="""
            inner sr_item_sk = i_item_sk
            inner sr_returned_date_sk = d_date_sk
            left_semi d_date = d_date
            left_semi d_week_seq = d_week_seq
            inner cr_item_sk = i_item_sk
            inner cr_returned_date_sk = d_date_sk
            left_semi d_date = d_date
            left_semi d_week_seq = d_week_seq
            inner wr_item_sk = i_item_sk
            inner wr_returned_date_sk = d_date_sk
            left_semi d_date = d_date
            left_semi d_week_seq = d_week_seq
            inner i_item_id = i_item_id
            inner i_item_id = i_item_id
        """,
        filtered_by="d_date i_item_id sr_return_quantity cr_return_quantity wr_return_quantity",
        grouped_by="i_item_id",
        ordered_by="i_item_id sr_return_quantity cr_return_quantity wr_return_quantity",
    ),
    "tpcds_q97": Expected(
        reads="""
            store_sales: ss_sold_date_sk ss_item_sk ss_customer_sk
            catalog_sales: cs_sold_date_sk cs_bill_customer_sk cs_item_sk
            date_dim: d_date_sk d_month_seq
        """,
        outputs="""
            store_only = aggregated ss_customer_sk cs_bill_customer_sk
            catalog_only = aggregated ss_customer_sk cs_bill_customer_sk
            store_and_catalog = aggregated ss_customer_sk cs_bill_customer_sk
        """,
        # Groups without aggregates only ask whether there is a day, so the optimizer makes semi joins of these.
        joins="""
            left_semi ss_sold_date_sk = d_date_sk
            left_semi cs_sold_date_sk = d_date_sk
            full ss_customer_sk = cs_bill_customer_sk
            full ss_item_sk = cs_item_sk
        """,
        filtered_by="d_month_seq",
        grouped_by="ss_customer_sk ss_item_sk cs_bill_customer_sk cs_item_sk",
    ),
    "tpcds_q98": Expected(
        reads="""
            store_sales: ss_sold_date_sk ss_item_sk ss_ext_sales_price
            item: i_item_sk i_item_id i_item_desc i_current_price i_class i_category
            date_dim: d_date_sk d_date
        """,
        # The class of a row decides which revenue is its share's whole.
        outputs="""
            i_item_id = copied i_item_id
            i_item_desc = copied i_item_desc
            i_category = copied i_category
            i_class = copied i_class
            i_current_price = copied i_current_price
            itemrevenue = aggregated ss_ext_sales_price
            revenueratio = aggregated ss_ext_sales_price i_class
        """,
        joins="""
            inner ss_item_sk = i_item_sk
            inner ss_sold_date_sk = d_date_sk
        """,
        filtered_by="i_category d_date",
        grouped_by="i_item_id i_item_desc i_category i_class i_current_price",
    ),
}

QUERIES: Final = {query.name: query for query in load()}


@pytest.fixture(scope="module")
def runtime() -> SessionRuntime:
    return build_session_runtime(RuntimeProfile(target_partitions=2, durable=False))


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, runtime: SessionRuntime) -> tuple[str, Expected, Any]:
    query = QUERIES[request.param]
    return query.name, CASES[query.name], runtime.compile(query.request(runtime)).lineage


def test_exactly_the_columns_that_matter_are_required(case: tuple[str, Expected, Any]) -> None:
    _, expected, lineage = case
    wanted = {relation: columns.split() for relation, columns in pairs(expected.reads, ":").items()}
    assert {one["relation"]: one["columns"] for one in lineage["relations"]} == wanted


def test_each_output_column_comes_from_its_inputs(case: tuple[str, Expected, Any]) -> None:
    name, expected, lineage = case
    wanted = {}
    for output, words in pairs(expected.outputs, "=").items():
        how, *columns = words.split() or [""]
        wanted[output] = {(relation_of(name, column), column, how) for column in columns}
    found = {
        one["name"]: {(source["relation"], source["column"], source["how"]) for source in one["sources"]}
        for one in lineage["outputs"]
    }
    assert found == wanted
    assert list(found) == list(wanted)


def test_joins_are_the_equations_of_the_query(case: tuple[str, Expected, Any]) -> None:
    name, expected, lineage = case
    found = [
        (join["kind"], frozenset(frozenset(one["column"] for one in key[side]) for side in ("left", "right")))
        for join in lineage["joins"]
        for key in join["keys"]
    ]
    assert sorted(found, key=repr_of) == sorted(equations(expected.joins), key=repr_of)
    assert [join["condition"] for join in lineage["joins"] if join["condition"]] == []
    assert any(join["null_aware"] for join in lineage["joins"]) is expected.null_aware
    sides = " ".join(column for _, pair in equations(expected.joins) for side in pair for column in side)
    assert columns_of(lineage["joined_on"]) == inputs(name, sides)


@pytest.mark.parametrize("use", ["filtered_by", "grouped_by", "ordered_by"])
def test_columns_that_decide_about_rows_are_named(case: tuple[str, Expected, Any], use: str) -> None:
    name, expected, lineage = case
    assert columns_of(lineage[use]) == inputs(name, getattr(expected, use))


def pairs(text: str, sign: str) -> dict[str, str]:
    lines = (line.partition(sign) for line in text.strip().splitlines())
    return {left.strip(): right.strip() for left, _, right in lines}


def equations(text: str) -> list[Equation]:
    found = []
    for left, right in pairs_of_lines(text):
        kind, *columns = left.split()
        found.append((kind, frozenset((frozenset(columns), frozenset(right.split())))))
    return found


def pairs_of_lines(text: str) -> list[tuple[str, str]]:
    lines = (line.partition("=") for line in text.strip().splitlines())
    return [(left, right) for left, _, right in lines]


def repr_of(equation: Equation) -> tuple[str, list[list[str]]]:
    kind, sides = equation
    return kind, sorted(sorted(side) for side in sides)


def relation_of(query: str, column: str) -> str:
    tables = TPCH if query.startswith("tpch") else TPCDS
    (relation,) = (name for name, columns in tables.items() if column in columns)
    return relation


def inputs(query: str, columns: str) -> set[tuple[str, str]]:
    return {(relation_of(query, column), column) for column in columns.split()}


def columns_of(found: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(one["relation"], one["column"]) for one in found}
