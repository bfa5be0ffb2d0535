"""Small TPC-DS data, random by a seed: few enough values that with most seeds nearly all queries find rows.

Columns that the queries look at take their values from `VALUES`, keys those of the table that they refer to, and any
other column whatever its type allows.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tests.lake import SourceTable
from tests.tpc.schemas import TPCDS

Row = dict[str, Any]


def _days() -> Iterator[dt.date]:
    """List the days on which everything happens: those that the queries ask for, and a few between."""
    months = {
        1998: (5, 11),
        1999: (2, 3, 11),
        2000: (2, 3, 4, 6, 7, 11),
        2001: (1, 4, 5, 8),
        2002: (2, 3),
    }
    for year, chosen in months.items():
        for month in chosen:
            yield from (dt.date(year, month, day) for day in (1, 2, 13, 26))


DAYS: Final = tuple(_days())
BUSY: Final = (*DAYS, *6 * (dt.date(2001, 1, 2),), *5 * (dt.date(1998, 11, 13),), *3 * (dt.date(2000, 7, 2),))
"""The days to choose from, some of them more often: queries 6, 31 and 91 leave few rows of what happens then."""

HOURS: Final = (8, 9, 19, 20)
MINUTES: Final = (5, 20, 35, 50)
DEMOGRAPHICS: Final = (
    ("S", "College"), ("M", "Advanced Degree"), ("M", "4 yr Degree"), ("D", "2 yr Degree"), ("M", "Unknown"),
    ("W", "Advanced Degree"),
)  # fmt: skip
PRICES: Final = tuple(map(Decimal, ("0.50", "60.00", "75.00", "110.00", "140.00")))
SALES: Final = tuple(map(Decimal, ("40.00", "95.00", "100.00", "105.00")))
"""What lines sell for: few and near each other, so that items earn alike by several channels, as query 58 asks."""
LISTED: Final = tuple(map(Decimal, ("150.00", "300.00", "450.00", "600.00")))
"""List prices well above what is refunded, as query 64 asks, and above costs and discounts, as queries 4 and 11 do."""
PROFITS: Final = tuple(map(Decimal, ("-50.00", "120.00", "180.00", "250.00", "1900.00")))

CLASSES: Final[Mapping[str, Sequence[str]]] = {
    "Books": ("personal", "reference", "computers"),
    "Electronics": ("portable", "stereo"),
    "Children": ("self-help",),
    "Sports": ("football",),
    "Home": ("stereo", "wallpaper"),
    "Women": ("accessories", "dresses"),
    "Music": ("classical", "pants"),
    "Men": ("fragrances", "shirts"),
    "Jewelry": ("birdal",),
}

VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "c_first_name": ("Ada", "Bo", "Cy", None),
    "c_last_name": ("Frost", "Gray", "Hill", None),
    "c_salutation": ("Dr.", "Ms.", None),
    "c_preferred_cust_flag": ("Y", "N", None),
    "ca_city": ("Edgewood", "Fairview", "Midway"),
    "ca_country": ("United States",),
    "ca_county": (
        "Rush County", "Toole County", "Jefferson County", "Dona Ana County", "La Porte County", "Williamson County",
        "Daviess County", "Walker County",
    ),
    "ca_gmt_offset": (Decimal("-5.00"), Decimal("-7.00")),
    "ca_state": ("TX", "OH", "OR", "NM", "NM", "KY", "KY", "GA", "GA", "CA", "IL", "IL", None),
    "ca_zip": ("85669", "85669", "86197", "88274", "83405", "31904", "22222-3333", None),
    "cc_county": ("Williamson County",),
    "cc_manager": ("Bob Belcher", "Felipe Perkins"),
    "cc_name": ("NY Metro", "Mid Atlantic"),
    "cd_credit_rating": ("Good", "Low Risk"),
    "cd_purchase_estimate": (500, 1000),
    "cr_refunded_cash": (*PRICES, None),
    "cr_reversed_charge": (Decimal("0.00"), Decimal("5.00")),
    "cr_store_credit": (Decimal("0.00"), Decimal("5.00")),
    "cs_ext_list_price": LISTED,
    "cs_ext_sales_price": SALES,
    "cs_sales_price": (*PRICES, Decimal("510.00")),
    "hd_buy_potential": (">10000", "Unknown", "Unknown", "Unknown", "0-500"),
    "hd_dep_count": (1, 1, 3, 4, 6, 7),
    "hd_vehicle_count": (0, 1, 2, 3, 4),
    "i_brand": ("amalgamalg #1", "edu packscholar #2", "importoexporti #1"),
    "i_brand_id": (1001001, 1002002, 1003001),
    "i_category_id": (1, 2, 3),
    "i_class_id": (1, 2, 3),
    "i_color": ("slate", "purple", "burlywood", "indian", "pale"),
    "i_current_price": tuple(map(Decimal, ("0.99", "1.20", "5.00", "30.00", "70.00", "75.00", "90.00"))),
    "i_manager_id": (1, 8, 28),
    "i_manufact": ("able", "ought", None),
    "i_manufact_id": (128, 129, 270, 350, 423, 677, 694, 808, 821, 940, 977),
    "i_size": ("small", "medium", "large", "extra large", "petite", "N/A"),
    "i_units": ("Ounce", "Oz", "Pound", "Dozen", "Each"),
    "i_product_name": ("ought", "able", "pri"),
    "inv_quantity_on_hand": (80, 120, 200, 300, 450, None),
    "p_channel_dmail": ("Y", "N"),
    "p_channel_email": ("Y", "N"),
    "p_channel_event": ("Y", "N", None),
    "p_channel_tv": ("Y", "N"),
    "s_city": ("Fairview", "Midway"),
    "s_company_id": (1, 2),
    "s_company_name": ("Unknown", "able"),
    "s_county": ("Williamson County", "Williamson County", "Franklin Parish"),
    "s_gmt_offset": (Decimal("-5.00"), Decimal("-5.00"), Decimal("-6.00")),
    "s_market_id": (5, 8, 8),
    "s_number_employees": (210, 250, 290, 300),
    "s_state": ("TN", "TN", "SD"),
    "s_store_name": ("ese", "ese", "able"),
    "s_zip": ("85669", "31904"),
    "sm_carrier": ("BARIAN", "DHL", "UPS"),
    "sm_type": ("EXPRESS", "OVERNIGHT", "REGULAR"),
    "ss_coupon_amt": tuple(map(Decimal, ("0.00", "500.00", "2500.00", "13000.00"))),
    "ss_ext_list_price": LISTED,
    "ss_ext_sales_price": SALES,
    "ss_net_profit": PROFITS,
    "ss_sales_price": PRICES,
    "w_state": ("TN", "SD", None),
    "w_warehouse_name": ("Conventional childr", "Important issues liv", "Doors canno", None),
    "web_company_name": ("pri", "pri", "able"),
    "web_name": ("site_0", "site_1"),
    "wp_char_count": (5000, 5100, 5150, 6000),
    "ws_ext_list_price": LISTED,
    "ws_ext_sales_price": SALES,
    "ws_sales_price": PRICES,
}  # fmt: skip

REFERENCES: Final[Mapping[str, str]] = {
    "customer_sk": "customer",
    "cdemo_sk": "customer_demographics",
    "hdemo_sk": "household_demographics",
    "addr_sk": "customer_address",
    "store_sk": "store",
    "promo_sk": "promotion",
    "item_sk": "item",
    "time_sk": "time_dim",
    "warehouse_sk": "warehouse",
    "ship_mode_sk": "ship_mode",
    "web_site_sk": "web_site",
    "web_page_sk": "web_page",
    "call_center_sk": "call_center",
    "catalog_page_sk": "catalog_page",
    "reason_sk": "reason",
    "income_band_sk": "income_band",
}
"""The tables that columns refer to, by the end of the columns' names; dates are apart."""

SIZES: Final[Mapping[str, int]] = {
    "store": 8,
    "call_center": 3,
    "web_site": 4,
    "web_page": 8,
    "catalog_page": 6,
    "warehouse": 4,
    "customer": 40,
    "customer_address": 50,
    "customer_demographics": 2 * len(DEMOGRAPHICS),
    "household_demographics": 50,
    "income_band": 20,
    "date_dim": len(DAYS),
    "time_dim": len(HOURS) * len(MINUTES),
    "item": 60,
    "promotion": 8,
    "reason": 4,
    "ship_mode": 4,
}
"""The tables with one key, and how many keys there are: 1 and up, but for those of days."""

RETURNED: Final = 0.4
"""The share of a store's lines that come back, and of other orders of which most lines do."""

UNKNOWN: Final = 0.03
"""The share of references and of values that are NULL."""


def key_of(day: dt.date) -> int:
    """Give the key of a day, as the specification counts: the Julian day."""
    return day.toordinal() + 1_721_425


@dataclass(slots=True)
class Lake:
    """A source of rows and of changes; tickets and orders are numbered by one counter."""

    random: random.Random
    sales: int = 220
    """The orders of each channel to begin with; one in ten has 15 lines or more."""
    next_number: int = 1
    numbers: list[int] = field(default_factory=list)

    def tables(self) -> Mapping[str, list[Row]]:
        """Make all tables."""
        return {table: [self.member(table, key) for key in keys(table)] for table in SIZES} | self.facts(self.sales)

    def facts(self, orders: int) -> dict[str, list[Row]]:
        """Make orders of each channel, what came back of them, and counts of the stock."""
        made: dict[str, list[Row]] = {name: [] for name in TPCDS if name not in SIZES}
        for _ in range(orders):
            self.ticket(made)
            self.catalog_order(made)
            self.web_order(made)
        made["inventory"] += [self.row("inventory", inv_date_sk=self.stock_day()) for _ in range(3 * orders)]
        return made

    def ticket(self, made: dict[str, list[Row]]) -> None:
        """Make a ticket of a store; some of its items come back, and of these some are bought again by catalogue."""
        number, day = self.number(), self.day()
        shared = self.shared("store_sales", "item promo")
        for line in range(self.lines()):
            sale = self.row(
                "store_sales",
                **shared,
                ss_ticket_number=number,
                ss_sold_date_sk=day,
                ss_item_sk=self.item_of(number, line),
            )
            made["store_sales"].append(sale)
            if self.random.random() < RETURNED:
                same = {f"sr_{name}": sale[f"ss_{name}"] for name in ("item_sk", "customer_sk", "cdemo_sk", "store_sk")}
                back = self.later(day)
                made["store_returns"].append(
                    self.row("store_returns", **same, sr_ticket_number=number, sr_returned_date_sk=back)
                )
                if self.random.random() < RETURNED:
                    again = {"cs_bill_customer_sk": same["sr_customer_sk"], "cs_item_sk": same["sr_item_sk"]}
                    made["catalog_sales"].append(
                        self.row(
                            "catalog_sales", **again, cs_order_number=self.number(), cs_sold_date_sk=self.later(back)
                        )
                    )

    def catalog_order(self, made: dict[str, list[Row]]) -> None:
        """Make an order by catalogue, of which one in three has something come back."""
        number, day = self.number(), self.day()
        shared = self.shared("catalog_sales", "item promo warehouse ship_date")
        returned = self.random.random() < RETURNED
        for line in range(self.lines()):
            item = self.item_of(number, line)
            sale = self.row(
                "catalog_sales",
                **shared,
                cs_order_number=number,
                cs_sold_date_sk=day,
                cs_ship_date_sk=self.later(day),
                cs_item_sk=item,
            )
            made["catalog_sales"].append(sale)
            if returned and self.random.random() < 2 * RETURNED:
                made["catalog_returns"].append(
                    self.row(
                        "catalog_returns", cr_order_number=number, cr_item_sk=item, cr_returned_date_sk=self.later(day)
                    )
                )

    def web_order(self, made: dict[str, list[Row]]) -> None:
        """Make an order by web, of which one in three has something come back."""
        number, day = self.number(), self.day()
        shared = self.shared("web_sales", "item promo warehouse ship_date")
        returned = self.random.random() < RETURNED
        for line in range(self.lines()):
            item = self.item_of(number, line)
            sale = self.row(
                "web_sales",
                **shared,
                ws_order_number=number,
                ws_sold_date_sk=day,
                ws_ship_date_sk=self.later(day),
                ws_item_sk=item,
            )
            made["web_sales"].append(sale)
            if returned and self.random.random() < 2 * RETURNED:
                made["web_returns"].append(
                    self.row(
                        "web_returns", wr_order_number=number, wr_item_sk=item, wr_returned_date_sk=self.later(day)
                    )
                )

    def member(self, table: str, key: int) -> Row:
        """Make the row of a key; most of its columns are random, so that the same key gives another row next time."""
        first, *_ = TPCDS[table]
        return self.row(table, **{first: key}, **self.told(table, key))

    def told(self, table: str, key: int) -> Row:
        """Give the columns that follow from the key, or from each other."""
        match table:
            case "date_dim":
                return _date(dt.date.fromordinal(key - 1_721_425))
            case "time_dim":
                return _time(key)
            case "customer_demographics":
                marital, education = DEMOGRAPHICS[key // 2 % len(DEMOGRAPHICS)]
                return {
                    "cd_gender": "MF"[key % 2],
                    "cd_marital_status": marital,
                    "cd_education_status": education,
                }
            case "income_band":
                return {"ib_lower_bound": key * 10_000 - 9_999, "ib_upper_bound": key * 10_000}
            case "household_demographics":
                return {"hd_income_band_sk": self.random.randint(1, 10)}
            case "item":
                category = self.random.choice(tuple(CLASSES))
                # Several rows of a thing in time have one identifier.
                return {
                    "i_item_id": f"ITEM{key // 2:04}",
                    "i_item_desc": f"thing {key % 7}",
                    "i_category": category,
                    "i_class": self.random.choice(CLASSES[category]),
                }
            case "reason":
                return {"r_reason_desc": f"reason {key + 26}"}
            case "customer" | "store" | "call_center" | "catalog_page":
                prefix, _, _ = next(iter(TPCDS[table])).partition("_")
                return {f"{prefix}_{table}_id": f"{table.upper()}{key:04}"}
            case _:
                return {}

    def row(self, table: str, **given: Any) -> Row:
        """Make a row of which some columns are given."""
        return {
            column: given[column] if column in given else self.value(column, kind)
            for column, kind in TPCDS[table].items()
        }

    def value(self, column: str, kind: str) -> Any:
        if column in VALUES:
            return self.random.choice(VALUES[column])
        if self.random.random() < UNKNOWN:
            return None
        if column.endswith("date_sk"):
            return self.day()
        for end, table in REFERENCES.items():
            if column.endswith(f"_{end}"):
                return self.random.choice(keys(table))
        match kind:
            case "long" | "integer":
                return self.random.randint(1, 20)
            case "string":
                return self.random.choice(("-", "some", "more"))
            case "date":
                return self.random.choice(DAYS)
            case "decimal(5,2)":
                return Decimal(self.random.randint(-500, 500)) / 100
            case _:
                return Decimal(self.random.randint(0, 20_000)) / 100

    def shared(self, table: str, apart: str) -> Row:
        """Make what all lines of an order have in common: its references, but for some."""
        made = self.row(table)
        prefix, _, _ = next(iter(made)).partition("_")
        own = {f"{prefix}_{name}_sk" for name in (*apart.split(), "sold_date")}
        return {name: value for name, value in made.items() if name.endswith("_sk") and name not in own}

    def number(self) -> int:
        number, self.next_number = self.next_number, self.next_number + 1
        self.numbers.append(number)
        return number

    def lines(self) -> int:
        return self.random.randint(15, 20) if self.random.random() < 0.1 else self.random.randint(1, 5)

    def item_of(self, number: int, line: int) -> int:
        """Give the item of a line; no order has an item twice."""
        return (number * 7 + line) % SIZES["item"] + 1

    def day(self) -> int | None:
        return None if self.random.random() < UNKNOWN else key_of(self.random.choice(BUSY))

    def later(self, key: int | None) -> int | None:
        """Give a day that is soon after another one."""
        if key is None:
            return self.day()
        chosen = DAYS.index(dt.date.fromordinal(key - 1_721_425)) + self.random.randint(0, 6)
        return key_of(DAYS[min(chosen, len(DAYS) - 1)])

    def stock_day(self) -> int:
        return key_of(self.random.choice([day for day in DAYS if day.year == 2000]))

    # ---- changes ----------------------------------------------------------------------------------------------------

    def change(self, tables: Mapping[str, SourceTable]) -> None:
        """Insert, update and delete rows of all tables of facts, and of half of the others."""
        for name, rows in self.facts(6).items():
            tables[name].append(rows)
        self.change_facts(tables)
        for name in self.random.sample(tuple(SIZES), len(SIZES) // 2):
            self.change_members(name, tables[name])

    def change_facts(self, tables: Mapping[str, SourceTable]) -> None:
        gone = self.random.sample(self.numbers, 12)
        self.numbers = [number for number in self.numbers if number not in gone]
        listed = ", ".join(map(str, gone))
        for name, column in ORDER_NUMBERS.items():
            tables[name].delete(f"{column} IN ({listed})")
        choose = self.random.randrange
        tables["inventory"].delete(f"inv_item_sk = {choose(60) + 1} AND inv_warehouse_sk = {choose(4) + 1}")
        for name, column, value in self.random.sample(UPDATES, len(UPDATES) // 2):
            tables[name].update({column: value}, f"{ROW_NUMBERS[name]} % 25 = {choose(25)}")

    def change_members(self, name: str, table: SourceTable) -> None:
        """Make some rows anew, which brings keys back that are gone, and delete some, if there are many."""
        known, (first, *_) = keys(name), TPCDS[name]
        count = max(1, len(known) // 20)
        table.merge([self.member(name, key) for key in self.random.sample(known, count)], first)
        if self.random.random() < 0.5:
            table.delete(f"{first} = {self.random.choice(known)}")


ORDER_NUMBERS: Final[Mapping[str, str]] = {
    "store_sales": "ss_ticket_number",
    "store_returns": "sr_ticket_number",
    "catalog_sales": "cs_order_number",
    "catalog_returns": "cr_order_number",
    "web_sales": "ws_order_number",
    "web_returns": "wr_order_number",
}
ROW_NUMBERS: Final[Mapping[str, str]] = {**ORDER_NUMBERS, "inventory": "inv_item_sk"}
"""Columns by which rows are chosen for updates."""

UPDATES: Final[Sequence[tuple[str, str, str]]] = (
    ("store_sales", "ss_ext_sales_price", "ss_ext_sales_price + 1.5"),
    ("store_sales", "ss_sales_price", "75"),
    ("store_sales", "ss_store_sk", "NULL"),
    ("store_sales", "ss_customer_sk", "ss_customer_sk % 40 + 1"),
    ("store_sales", "ss_quantity", "NULL"),
    ("store_returns", "sr_return_amt", "sr_return_amt * 0.5"),
    ("store_returns", "sr_reason_sk", "2"),
    ("catalog_sales", "cs_sales_price", "cs_sales_price + 0.25"),
    ("catalog_sales", "cs_ext_discount_amt", "cs_ext_discount_amt + 40"),
    ("catalog_sales", "cs_warehouse_sk", "cs_warehouse_sk % 4 + 1"),
    ("catalog_sales", "cs_ship_addr_sk", "NULL"),
    ("catalog_returns", "cr_refunded_cash", "NULL"),
    ("catalog_returns", "cr_net_loss", "cr_net_loss + 3"),
    ("web_sales", "ws_ext_sales_price", "ws_ext_sales_price + 2"),
    ("web_sales", "ws_ext_discount_amt", "ws_ext_discount_amt * 2"),
    ("web_sales", "ws_bill_customer_sk", "ws_bill_customer_sk % 40 + 1"),
    ("web_returns", "wr_return_amt", "wr_return_amt + 1"),
    ("inventory", "inv_quantity_on_hand", "inv_quantity_on_hand + 20"),
)
"""What is done to some rows of a table: its name, a column, and its new value."""


def keys(table: str) -> Sequence[int]:
    """Give all keys that rows of a table may have."""
    if table == "date_dim":
        return [key_of(day) for day in DAYS]
    return range(1, SIZES[table] + 1)


def _date(day: dt.date) -> Row:
    month_seq = (day.year - 1900) * 12 + day.month - 1
    return {
        "d_date_id": day.isoformat(),
        "d_date": day,
        "d_month_seq": month_seq,
        "d_week_seq": (key_of(day) - 2_415_021) // 7,
        "d_quarter_seq": month_seq // 3,
        "d_year": day.year,
        "d_dow": day.isoweekday() % 7,
        "d_moy": day.month,
        "d_dom": day.day,
        "d_qoy": (day.month + 2) // 3,
        "d_day_name": day.strftime("%A"),
    }


def _time(key: int) -> Row:
    hour, minute = HOURS[(key - 1) // len(MINUTES)], MINUTES[(key - 1) % len(MINUTES)]
    return {
        "t_time": hour * 3600 + minute * 60,
        "t_hour": hour,
        "t_minute": minute,
        "t_meal_time": "breakfast" if hour < 9 else "dinner" if hour >= 19 else None,
    }
