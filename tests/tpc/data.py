"""Small TPC-H data, random by a seed: few enough values that each of the 22 queries finds rows."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tests.lake import SourceTable

Row = dict[str, Any]

REGIONS: Final = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
NATIONS: Final[Sequence[tuple[str, int]]] = (
    ("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4), ("ETHIOPIA", 0), ("FRANCE", 3),
    ("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2), ("IRAN", 4), ("IRAQ", 4), ("JAPAN", 2), ("JORDAN", 4),
    ("KENYA", 0), ("MOROCCO", 0), ("MOZAMBIQUE", 0), ("PERU", 1), ("CHINA", 2), ("ROMANIA", 3), ("SAUDI ARABIA", 4),
    ("VIETNAM", 2), ("RUSSIA", 3), ("UNITED KINGDOM", 3), ("UNITED STATES", 1),
)  # fmt: skip
# The nations that queries name, and with them those of the telephone codes that query 22 asks for.
CHOSEN_NATIONS: Final = (2, 3, 6, 7, 8, 18, 20)
SEGMENTS: Final = ("AUTOMOBILE", "BUILDING", "MACHINERY")
PRIORITIES: Final = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")
TYPES: Final = (
    "ECONOMY ANODIZED STEEL",
    "PROMO BURNISHED COPPER",
    "STANDARD POLISHED BRASS",
    "LARGE PLATED BRASS",
    "MEDIUM POLISHED TIN",
)
BRANDS: Final = ("Brand#12", "Brand#23", "Brand#34", "Brand#45")
CONTAINERS: Final = ("SM CASE", "SM BOX", "MED BAG", "MED BOX", "LG CASE", "LG BOX")
SIZES: Final = (1, 3, 5, 9, 14, 15, 45)
COLOURS: Final = ("forest", "green", "almond", "salmon", "ivory")
MODES: Final = ("AIR", "AIR REG", "MAIL", "SHIP", "TRUCK")
INSTRUCTIONS: Final = ("DELIVER IN PERSON", "NONE")
FIRST_DAY: Final = dt.date(1993, 1, 1)
DAYS: Final = 5 * 365
TODAY: Final = dt.date(1995, 6, 17)

PARTS: Final = 160
SUPPLIERS: Final = 35
CUSTOMERS: Final = 150


@dataclass(slots=True)
class Lake:
    """A source of rows; `keys` are the order keys that were handed out and may still be there."""

    random: random.Random
    size: int = 1200
    """The orders to begin with, with about four line items each."""
    next_order: int = 1
    keys: list[int] = field(default_factory=list)

    def tables(self) -> Mapping[str, list[Row]]:
        """Make all eight tables."""
        order_rows, items = self.orders(self.size)
        return {
            "region": [{"r_regionkey": key, "r_name": name, "r_comment": "-"} for key, name in enumerate(REGIONS)],
            "nation": [
                {"n_nationkey": key, "n_name": name, "n_regionkey": region, "n_comment": "-"}
                for key, (name, region) in enumerate(NATIONS)
            ],
            "supplier": [self.supplier(key) for key in range(1, SUPPLIERS + 1)],
            "customer": [self.customer(key) for key in range(1, CUSTOMERS + 1)],
            "part": [self.part(key) for key in range(1, PARTS + 1)],
            "partsupp": [row for key in range(1, PARTS + 1) for row in self.offers(key)],
            "orders": order_rows,
            "lineitem": items,
        }

    def change(self, tables: Mapping[str, SourceTable]) -> None:
        """Insert and delete orders with their items, and update some rows of each other table that moves."""
        choose = self.random
        orders, items = self.orders(20)
        tables["orders"].append(orders)
        tables["lineitem"].append(items)

        gone = choose.sample(self.keys, 15)
        self.keys = [key for key in self.keys if key not in gone]
        listed = ", ".join(map(str, gone))
        tables["lineitem"].delete(f"l_orderkey IN ({listed})")
        tables["orders"].delete(f"o_orderkey IN ({listed})")

        tables["lineitem"].update({"l_discount": "l_discount + 0.01"}, f"l_orderkey % 40 = {choose.randrange(40)}")
        tables["lineitem"].delete(f"l_linenumber = 2 AND l_orderkey % 60 = {choose.randrange(60)}")
        tables["orders"].update({"o_orderpriority": "'1-URGENT'"}, f"o_orderkey % 50 = {choose.randrange(50)}")
        tables["customer"].update({"c_acctbal": "c_acctbal + 100"}, f"c_custkey % 10 = {choose.randrange(10)}")
        tables["supplier"].update({"s_comment": "'Customer Complaints'"}, f"s_suppkey = {choose.randint(1, 35)}")
        tables["partsupp"].update({"ps_supplycost": "ps_supplycost * 0.5"}, f"ps_partkey % 30 = {choose.randrange(30)}")
        tables["partsupp"].update({"ps_availqty": "21 - ps_availqty"}, f"ps_partkey % 3 = {choose.randrange(3)}")
        tables["part"].update({"p_size": "15"}, f"p_partkey % 40 = {choose.randrange(40)}")

    def supplier(self, key: int) -> Row:
        nation = CHOSEN_NATIONS[key % len(CHOSEN_NATIONS)]
        return {
            "s_suppkey": key,
            "s_name": f"Supplier#{key:09}",
            "s_address": f"{key} Dock Street",
            "s_nationkey": nation,
            "s_phone": self.phone(nation),
            "s_acctbal": self.money(-999, 9999),
            "s_comment": "Customer some Complaints" if key % 10 == 0 else "reliable",
        }

    def customer(self, key: int) -> Row:
        nation = self.random.choice(CHOSEN_NATIONS)
        return {
            "c_custkey": key,
            "c_name": f"Customer#{key:09}",
            "c_address": f"{key} Main Street",
            "c_nationkey": nation,
            "c_phone": self.phone(nation),
            "c_acctbal": self.money(-999, 9999),
            "c_mktsegment": self.random.choice(SEGMENTS),
            "c_comment": None if key % 20 == 0 else "regular",
        }

    def part(self, key: int) -> Row:
        return {
            "p_partkey": key,
            "p_name": " ".join(self.random.sample(COLOURS, 2)),
            "p_mfgr": f"Manufacturer#{key % 5 + 1}",
            "p_brand": self.random.choice(BRANDS),
            "p_type": self.random.choice(TYPES),
            "p_size": self.random.choice(SIZES),
            "p_container": self.random.choice(CONTAINERS),
            "p_retailprice": Decimal(90000 + key) / 100,
            "p_comment": "-",
        }

    def offers(self, part: int) -> list[Row]:
        return [
            {
                "ps_partkey": part,
                "ps_suppkey": supplier_of(part, number),
                "ps_availqty": self.random.randint(1, 20),
                "ps_supplycost": self.money(1, 1000),
                "ps_comment": "-",
            }
            for number in range(4)
        ]

    def orders(self, count: int) -> tuple[list[Row], list[Row]]:
        """Make orders with keys of their own, and their line items; a third of the customers has none."""
        orders: list[Row] = []
        items: list[Row] = []
        for _ in range(count):
            key, self.next_order = self.next_order, self.next_order + 1
            self.keys.append(key)
            day = FIRST_DAY + dt.timedelta(days=self.random.randrange(DAYS))
            own = self.items(key, day)
            shipped = [item["l_linestatus"] == "F" for item in own]
            customer = self.random.randint(1, CUSTOMERS)
            orders.append(
                {
                    "o_orderkey": key,
                    "o_custkey": customer - 1 if customer % 3 == 0 else customer,
                    "o_orderstatus": "F" if all(shipped) else "P" if any(shipped) else "O",
                    "o_totalprice": sum((item["l_extendedprice"] for item in own), Decimal(0)),
                    "o_orderdate": day,
                    "o_orderpriority": self.random.choice(PRIORITIES),
                    "o_clerk": f"Clerk#{key % 50:09}",
                    "o_shippriority": 0,
                    "o_comment": "special packages requests" if key % 9 == 0 else "-",
                }
            )
            items += own
        return orders, items

    def items(self, order: int, ordered: dt.date) -> list[Row]:
        # One order in twenty is large enough for query 18.
        large = order % 20 == 0
        return [
            self.item(order, number, ordered, self.random.randint(46, 50) if large else self.random.randint(1, 50))
            for number in range(1, 8 if large else self.random.randint(2, 7))
        ]

    def item(self, order: int, number: int, ordered: dt.date, quantity: int) -> Row:
        part = self.random.randint(1, PARTS)
        shipped = ordered + dt.timedelta(days=self.random.randint(1, 121))
        received = shipped + dt.timedelta(days=self.random.randint(1, 30))
        status = "F" if shipped <= TODAY else "O"
        return {
            "l_orderkey": order,
            "l_partkey": part,
            "l_suppkey": supplier_of(part, self.random.randrange(4)),
            "l_linenumber": number,
            "l_quantity": Decimal(quantity),
            "l_extendedprice": Decimal(quantity) * Decimal(90000 + part) / 100,
            "l_discount": Decimal(self.random.randint(0, 10)) / 100,
            "l_tax": Decimal(self.random.randint(0, 8)) / 100,
            "l_returnflag": "N" if status == "O" else self.random.choice("RA"),
            "l_linestatus": status,
            "l_shipdate": shipped,
            "l_commitdate": ordered + dt.timedelta(days=self.random.randint(30, 90)),
            "l_receiptdate": received,
            "l_shipinstruct": self.random.choice(INSTRUCTIONS),
            "l_shipmode": self.random.choice(MODES),
            "l_comment": "-",
        }

    def money(self, low: int, high: int) -> Decimal:
        return Decimal(self.random.randint(low * 100, high * 100)) / 100

    def phone(self, nation: int) -> str:
        return f"{nation + 10}-{self.random.randint(100, 999)}-{self.random.randint(1000, 9999)}"


def supplier_of(part: int, number: int) -> int:
    """Give one of the four suppliers of a part."""
    return (part + number * 9) % SUPPLIERS + 1
