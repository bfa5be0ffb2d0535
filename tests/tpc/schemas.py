"""The tables of TPC-H and TPC-DS, as the specifications define them, in the words of Delta and of Arrow.

Identifiers are `long`, integers `integer`, fixed and variable text `string`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

import pyarrow as pa

Columns = Mapping[str, str]
"""The types of a table's columns by name, in the order of the table."""

_TPCH: Final = """
region    r_regionkey:long r_name r_comment
nation    n_nationkey:long n_name n_regionkey:long n_comment
supplier  s_suppkey:long s_name s_address s_nationkey:long s_phone s_acctbal:money s_comment
customer  c_custkey:long c_name c_address c_nationkey:long c_phone c_acctbal:money c_mktsegment c_comment
part      p_partkey:long p_name p_mfgr p_brand p_type p_size:integer p_container p_retailprice:money p_comment
partsupp  ps_partkey:long ps_suppkey:long ps_availqty:integer ps_supplycost:money ps_comment
orders    o_orderkey:long o_custkey:long o_orderstatus o_totalprice:money o_orderdate:date o_orderpriority o_clerk
          o_shippriority:integer o_comment
lineitem  l_orderkey:long l_partkey:long l_suppkey:long l_linenumber:integer l_quantity:money l_extendedprice:money
          l_discount:money l_tax:money l_returnflag l_linestatus l_shipdate:date l_commitdate:date l_receiptdate:date
          l_shipinstruct l_shipmode l_comment
"""

_TPCDS: Final = """
store_sales             ss_sold_date_sk:long ss_sold_time_sk:long ss_item_sk:long ss_customer_sk:long ss_cdemo_sk:long
                        ss_hdemo_sk:long ss_addr_sk:long ss_store_sk:long ss_promo_sk:long ss_ticket_number:long
                        ss_quantity:integer ss_wholesale_cost:money ss_list_price:money ss_sales_price:money
                        ss_ext_discount_amt:money ss_ext_sales_price:money ss_ext_wholesale_cost:money
                        ss_ext_list_price:money ss_ext_tax:money ss_coupon_amt:money ss_net_paid:money
                        ss_net_paid_inc_tax:money ss_net_profit:money
store_returns           sr_returned_date_sk:long sr_return_time_sk:long sr_item_sk:long sr_customer_sk:long
                        sr_cdemo_sk:long sr_hdemo_sk:long sr_addr_sk:long sr_store_sk:long sr_reason_sk:long
                        sr_ticket_number:long sr_return_quantity:integer sr_return_amt:money sr_return_tax:money
                        sr_return_amt_inc_tax:money sr_fee:money sr_return_ship_cost:money sr_refunded_cash:money
                        sr_reversed_charge:money sr_store_credit:money sr_net_loss:money
catalog_sales           cs_sold_date_sk:long cs_sold_time_sk:long cs_ship_date_sk:long cs_bill_customer_sk:long
                        cs_bill_cdemo_sk:long cs_bill_hdemo_sk:long cs_bill_addr_sk:long cs_ship_customer_sk:long
                        cs_ship_cdemo_sk:long cs_ship_hdemo_sk:long cs_ship_addr_sk:long cs_call_center_sk:long
                        cs_catalog_page_sk:long cs_ship_mode_sk:long cs_warehouse_sk:long cs_item_sk:long
                        cs_promo_sk:long cs_order_number:long cs_quantity:integer cs_wholesale_cost:money
                        cs_list_price:money cs_sales_price:money cs_ext_discount_amt:money cs_ext_sales_price:money
                        cs_ext_wholesale_cost:money cs_ext_list_price:money cs_ext_tax:money cs_coupon_amt:money
                        cs_ext_ship_cost:money cs_net_paid:money cs_net_paid_inc_tax:money cs_net_paid_inc_ship:money
                        cs_net_paid_inc_ship_tax:money cs_net_profit:money
catalog_returns         cr_returned_date_sk:long cr_returned_time_sk:long cr_item_sk:long cr_refunded_customer_sk:long
                        cr_refunded_cdemo_sk:long cr_refunded_hdemo_sk:long cr_refunded_addr_sk:long
                        cr_returning_customer_sk:long cr_returning_cdemo_sk:long cr_returning_hdemo_sk:long
                        cr_returning_addr_sk:long cr_call_center_sk:long cr_catalog_page_sk:long cr_ship_mode_sk:long
                        cr_warehouse_sk:long cr_reason_sk:long cr_order_number:long cr_return_quantity:integer
                        cr_return_amount:money cr_return_tax:money cr_return_amt_inc_tax:money cr_fee:money
                        cr_return_ship_cost:money cr_refunded_cash:money cr_reversed_charge:money
                        cr_store_credit:money cr_net_loss:money
web_sales               ws_sold_date_sk:long ws_sold_time_sk:long ws_ship_date_sk:long ws_item_sk:long
                        ws_bill_customer_sk:long ws_bill_cdemo_sk:long ws_bill_hdemo_sk:long ws_bill_addr_sk:long
                        ws_ship_customer_sk:long ws_ship_cdemo_sk:long ws_ship_hdemo_sk:long ws_ship_addr_sk:long
                        ws_web_page_sk:long ws_web_site_sk:long ws_ship_mode_sk:long ws_warehouse_sk:long
                        ws_promo_sk:long ws_order_number:long ws_quantity:integer ws_wholesale_cost:money
                        ws_list_price:money ws_sales_price:money ws_ext_discount_amt:money ws_ext_sales_price:money
                        ws_ext_wholesale_cost:money ws_ext_list_price:money ws_ext_tax:money ws_coupon_amt:money
                        ws_ext_ship_cost:money ws_net_paid:money ws_net_paid_inc_tax:money ws_net_paid_inc_ship:money
                        ws_net_paid_inc_ship_tax:money ws_net_profit:money
web_returns             wr_returned_date_sk:long wr_returned_time_sk:long wr_item_sk:long wr_refunded_customer_sk:long
                        wr_refunded_cdemo_sk:long wr_refunded_hdemo_sk:long wr_refunded_addr_sk:long
                        wr_returning_customer_sk:long wr_returning_cdemo_sk:long wr_returning_hdemo_sk:long
                        wr_returning_addr_sk:long wr_web_page_sk:long wr_reason_sk:long wr_order_number:long
                        wr_return_quantity:integer wr_return_amt:money wr_return_tax:money wr_return_amt_inc_tax:money
                        wr_fee:money wr_return_ship_cost:money wr_refunded_cash:money wr_reversed_charge:money
                        wr_account_credit:money wr_net_loss:money
inventory               inv_date_sk:long inv_item_sk:long inv_warehouse_sk:long inv_quantity_on_hand:integer
store                   s_store_sk:long s_store_id s_rec_start_date:date s_rec_end_date:date s_closed_date_sk:long
                        s_store_name s_number_employees:integer s_floor_space:integer s_hours s_manager
                        s_market_id:integer s_geography_class s_market_desc s_market_manager s_division_id:integer
                        s_division_name s_company_id:integer s_company_name s_street_number s_street_name s_street_type
                        s_suite_number s_city s_county s_state s_zip s_country s_gmt_offset:offset
                        s_tax_percentage:offset
call_center             cc_call_center_sk:long cc_call_center_id cc_rec_start_date:date cc_rec_end_date:date
                        cc_closed_date_sk:long cc_open_date_sk:long cc_name cc_class cc_employees:integer
                        cc_sq_ft:integer cc_hours cc_manager cc_mkt_id:integer cc_mkt_class cc_mkt_desc
                        cc_market_manager cc_division:integer cc_division_name cc_company:integer cc_company_name
                        cc_street_number cc_street_name cc_street_type cc_suite_number cc_city cc_county cc_state
                        cc_zip cc_country cc_gmt_offset:offset cc_tax_percentage:offset
web_site                web_site_sk:long web_site_id web_rec_start_date:date web_rec_end_date:date web_name
                        web_open_date_sk:long web_close_date_sk:long web_class web_manager web_mkt_id:integer
                        web_mkt_class web_mkt_desc web_market_manager web_company_id:integer web_company_name
                        web_street_number web_street_name web_street_type web_suite_number web_city web_county
                        web_state web_zip web_country web_gmt_offset:offset web_tax_percentage:offset
web_page                wp_web_page_sk:long wp_web_page_id wp_rec_start_date:date wp_rec_end_date:date
                        wp_creation_date_sk:long wp_access_date_sk:long wp_autogen_flag wp_customer_sk:long wp_url
                        wp_type wp_char_count:integer wp_link_count:integer wp_image_count:integer
                        wp_max_ad_count:integer
warehouse               w_warehouse_sk:long w_warehouse_id w_warehouse_name w_warehouse_sq_ft:integer w_street_number
                        w_street_name w_street_type w_suite_number w_city w_county w_state w_zip w_country
                        w_gmt_offset:offset
catalog_page            cp_catalog_page_sk:long cp_catalog_page_id cp_start_date_sk:long cp_end_date_sk:long
                        cp_department cp_catalog_number:integer cp_catalog_page_number:integer cp_description cp_type
customer                c_customer_sk:long c_customer_id c_current_cdemo_sk:long c_current_hdemo_sk:long
                        c_current_addr_sk:long c_first_shipto_date_sk:long c_first_sales_date_sk:long c_salutation
                        c_first_name c_last_name c_preferred_cust_flag c_birth_day:integer c_birth_month:integer
                        c_birth_year:integer c_birth_country c_login c_email_address c_last_review_date_sk:long
customer_address        ca_address_sk:long ca_address_id ca_street_number ca_street_name ca_street_type ca_suite_number
                        ca_city ca_county ca_state ca_zip ca_country ca_gmt_offset:offset ca_location_type
customer_demographics   cd_demo_sk:long cd_gender cd_marital_status cd_education_status cd_purchase_estimate:integer
                        cd_credit_rating cd_dep_count:integer cd_dep_employed_count:integer
                        cd_dep_college_count:integer
household_demographics  hd_demo_sk:long hd_income_band_sk:long hd_buy_potential hd_dep_count:integer
                        hd_vehicle_count:integer
income_band             ib_income_band_sk:long ib_lower_bound:integer ib_upper_bound:integer
date_dim                d_date_sk:long d_date_id d_date:date d_month_seq:integer d_week_seq:integer
                        d_quarter_seq:integer d_year:integer d_dow:integer d_moy:integer d_dom:integer d_qoy:integer
                        d_fy_year:integer d_fy_quarter_seq:integer d_fy_week_seq:integer d_day_name d_quarter_name
                        d_holiday d_weekend d_following_holiday d_first_dom:integer d_last_dom:integer
                        d_same_day_ly:integer d_same_day_lq:integer d_current_day d_current_week d_current_month
                        d_current_quarter d_current_year
time_dim                t_time_sk:long t_time_id t_time:integer t_hour:integer t_minute:integer t_second:integer
                        t_am_pm t_shift t_sub_shift t_meal_time
item                    i_item_sk:long i_item_id i_rec_start_date:date i_rec_end_date:date i_item_desc
                        i_current_price:money i_wholesale_cost:money i_brand_id:integer i_brand i_class_id:integer
                        i_class i_category_id:integer i_category i_manufact_id:integer i_manufact i_size i_formulation
                        i_color i_units i_container i_manager_id:integer i_product_name
promotion               p_promo_sk:long p_promo_id p_start_date_sk:long p_end_date_sk:long p_item_sk:long
                        p_cost:cost p_response_target:integer p_promo_name p_channel_dmail p_channel_email
                        p_channel_catalog p_channel_tv p_channel_radio p_channel_press p_channel_event p_channel_demo
                        p_channel_details p_purpose p_discount_active
reason                  r_reason_sk:long r_reason_id r_reason_desc
ship_mode               sm_ship_mode_sk:long sm_ship_mode_id sm_type sm_code sm_carrier sm_contract
"""


def _tables(text: str, decimals: Mapping[str, str]) -> dict[str, Columns]:
    """Read the lists above: a line that is not indented begins a table, a column without a type is a string."""
    tables: dict[str, Columns] = {}
    for block in re.split(r"\n(?=\w)", text.strip()):
        name, *columns = block.split()
        pairs = (column.partition(":") for column in columns)
        tables[name] = {column: decimals.get(kind, kind or "string") for column, _, kind in pairs}
    return tables


TPCH: Final = _tables(_TPCH, {"money": "decimal(15,2)"})
TPCDS: Final = _tables(_TPCDS, {"money": "decimal(7,2)", "offset": "decimal(5,2)", "cost": "decimal(15,2)"})


def delta_schema(columns: Columns) -> str:
    """Give the schema string of a Delta table with these columns, all of them nullable."""
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in columns.items()]
    return json.dumps({"type": "struct", "fields": fields})


def arrow_schema(columns: Columns) -> pa.Schema:
    """Give the Arrow schema of these columns."""
    return pa.schema([(name, _arrow_type(kind)) for name, kind in columns.items()])


def _arrow_type(kind: str) -> pa.DataType:
    plain = {"long": pa.int64(), "integer": pa.int32(), "string": pa.string(), "date": pa.date32()}
    if kind in plain:
        return plain[kind]
    precision, scale = re.findall(r"\d+", kind)
    return pa.decimal128(int(precision), int(scale))
