"""TPC-H data by the million rows: equal arguments give equal rows, and generated tables are kept on disk.

Values are distributed as the specification says (revision 3, section 4.2), as far as the 22 queries can tell.
Orders have sparse keys, 8 of each 32, as in the specification: a later generation of an order takes another key of the
same block, so that new orders lie among the old ones.
Text comes from one pool of sentences, of which each comment is a random piece.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.projects import append_table
from tests.tpc.data import NATIONS, PRIORITIES, REGIONS
from tests.tpc.schemas import TPCH, arrow_schema

Integers: TypeAlias = npt.NDArray[np.int64]
Tables: TypeAlias = dict[str, pa.Table]

SEED: Final = 20261126
EDITION: Final = 1
"""Moves when the rows change, so that tables of an earlier edition are not taken for ours."""

GENERATIONS: Final = 4
"""How many keys a block has for each of its orders."""

CHUNK: Final = 250_000
"""Orders, or rows of another table, that are made at once; their about a million line items make a file of 35 MB."""

FIRST_DAY: Final = int(np.datetime64("1992-01-01").astype(np.int64))
LAST_ORDER_DAY: Final = int(np.datetime64("1998-08-02").astype(np.int64))
TODAY: Final = int(np.datetime64("1995-06-17").astype(np.int64))


def _words(text: str) -> list[str]:
    return text.split()


COLOURS: Final = _words(
    "almond antique aquamarine azure beige bisque black blanched blue blush brown burlywood burnished chartreuse "
    "chiffon chocolate coral cornflower cornsilk cream cyan dark deep dim dodger drab firebrick floral forest frosted "
    "gainsboro ghost goldenrod green grey honeydew hot indian ivory khaki lace lavender lawn lemon light lime linen "
    "magenta maroon medium metallic midnight mint misty moccasin navajo navy olive orange orchid pale papaya peach "
    "peru pink plum powder puff purple red rose rosy royal saddle salmon sandy seashell sienna sky slate smoke snow "
    "spring steel tan thistle tomato turquoise violet wheat white yellow"
)
TYPES: Final = [
    f"{size} {finish} {metal}"
    for size in ("STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO")
    for finish in ("ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED")
    for metal in ("TIN", "NICKEL", "BRASS", "STEEL", "COPPER")
]
CONTAINERS: Final = [
    f"{size} {kind}"
    for size in ("SM", "LG", "MED", "JUMBO", "WRAP")
    for kind in ("CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM")
]
SEGMENTS: Final = ("AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD")
INSTRUCTIONS: Final = ("DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN")
MODES: Final = ("REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB")
# The first four nouns are four times as frequent as the others, which makes one order in a hundred a special request.
NOUNS: Final = [
    *_words("packages requests accounts deposits") * 4,
    *_words("foxes ideas theodolites instructions dependencies excuses platelets asymptotes courts dolphins"),
    *_words("multipliers sauternes warthogs frets dinos attainments somas pinto beans"),
]
ADJECTIVES: Final = _words(
    "furious sly careful blithe quick fluffy slow quiet ruthless thin close dogged daring brave stealthy permanent "
    "enticing idle busy regular final ironic even bold silent special express pending"
)
VERBS: Final = _words("sleep wake are cajole haggle nag use boost affix detect integrate maintain nod was lose sublate")
ADVERBS: Final = _words("sometimes always never furiously slyly carefully blithely quickly fluffily slowly quietly")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The rows of each table at a scale factor."""

    scale: float

    @property
    def suppliers(self) -> int:
        return math.ceil(10_000 * self.scale)

    @property
    def parts(self) -> int:
        return math.ceil(200_000 * self.scale)

    @property
    def customers(self) -> int:
        # A third has no orders: those whose keys are divided by three.
        return math.ceil(50_000 * self.scale) * 3

    @property
    def orders(self) -> int:
        return math.ceil(1_500_000 * self.scale)


def prepare(folder: Path, scale: float) -> Path:
    """The folder of the eight Delta tables at a scale; they are made if they are not there yet."""
    lake = folder / f"tpch-{scale:g}-edition-{EDITION}"
    if lake.exists():
        return lake
    partial = lake.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for tables in generate(Sizes(scale)):
        for name, table in tables.items():
            # Each chunk is a file of its own.
            append_table(partial / name, table)
    return partial.rename(lake)


def generate(sizes: Sizes) -> Iterator[Tables]:
    """All eight tables in chunks; the chunks of a table come in the order of its keys."""
    yield {"region": _region(), "nation": _nation()}
    for first, end in chunks(1, sizes.suppliers + 1):
        yield {"supplier": _supplier(sizes, first, end)}
    for first, end in chunks(1, sizes.customers + 1):
        yield {"customer": _customer(sizes, first, end)}
    for first, end in chunks(1, sizes.parts + 1):
        yield {"part": _part(first, end), "partsupp": offers(sizes, first, end)}
    for first, end in chunks(1, sizes.orders + 1):
        yield orders(sizes, first, end)


def chunks(first: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that are made at once."""
    return ((start, min(start + CHUNK, end)) for start in range(first, end, CHUNK))


def order_key(number: Any, generation: int) -> Any:
    """The key of an order by its number, counted from 1; for one generation the order of keys is that of numbers."""
    return (number >> 3 << 5) | (generation % GENERATIONS << 3) | (number & 7)


def orders(sizes: Sizes, first: int, end: int, generation: int = 0) -> Tables:
    """The orders with numbers in [first, end), and their line items."""
    random = np.random.default_rng([SEED, 1, generation, first, end])
    count = end - first
    keys = order_key(np.arange(first, end), generation)
    days = random.integers(FIRST_DAY, LAST_ORDER_DAY + 1, count)
    lengths = random.integers(1, 8, count)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    items = int(lengths.sum())
    order = np.repeat(np.arange(count), lengths)
    part = random.integers(1, sizes.parts + 1, items)
    quantity = random.integers(1, 51, items)
    price = quantity * _retail_price(part)
    discount, tax = random.integers(0, 11, items), random.integers(0, 9, items)
    shipped = days[order] + random.integers(1, 122, items)
    received = shipped + random.integers(1, 31, items)
    still_open = (shipped > TODAY).astype(np.int64)
    open_items = np.add.reduceat(still_open, starts)
    total = np.add.reduceat(price * (100 - discount) * (100 + tax) // 10_000, starts)
    customer = random.integers(0, sizes.customers // 3 * 2, count)
    return {
        "orders": _table(
            "orders",
            keys,
            customer // 2 * 3 + customer % 2 + 1,
            _pick(np.where(open_items == 0, 0, np.where(open_items == lengths, 1, 2)), ("F", "O", "P")),
            _money(total),
            _date(days),
            _any_of(random, PRIORITIES, count),
            _named("Clerk", random.integers(1, max(2, int(1_000 * sizes.scale) + 1), count)),
            np.zeros(count, np.int64),
            _text(random, count, 19, 78),
        ),
        "lineitem": _table(
            "lineitem",
            keys[order],
            part,
            _supplier_of(sizes, part, random.integers(0, 4, items)),
            np.arange(items) - starts[order] + 1,
            _money(quantity * 100),
            _money(price),
            _money(discount),
            _money(tax),
            _pick(np.where(received <= TODAY, random.integers(0, 2, items), 2), ("R", "A", "N")),
            _pick(still_open, ("F", "O")),
            _date(shipped),
            _date(days[order] + random.integers(30, 91, items)),
            _date(received),
            _any_of(random, INSTRUCTIONS, items),
            _any_of(random, MODES, items),
            _text(random, items, 10, 43),
        ),
    }


def offers(sizes: Sizes, first: int, end: int, generation: int = 0) -> pa.Table:
    """The rows of `partsupp` for the parts with keys in [first, end): four suppliers each."""
    random = np.random.default_rng([SEED, 2, generation, first, end])
    part = np.repeat(np.arange(first, end), 4)
    return _table(
        "partsupp",
        part,
        _supplier_of(sizes, part, np.arange(len(part)) % 4),
        random.integers(1, 10_000, len(part)),
        _money(random.integers(100, 100_001, len(part))),
        _text(random, len(part), 49, 198),
    )


def _region() -> pa.Table:
    random = np.random.default_rng([SEED, 3])
    count = len(REGIONS)
    return _table("region", np.arange(count), pa.array(REGIONS), _text(random, count, 31, 115))


def _nation() -> pa.Table:
    random = np.random.default_rng([SEED, 4])
    names, regions = zip(*NATIONS, strict=True)
    return _table(
        "nation", np.arange(len(NATIONS)), pa.array(names), np.array(regions), _text(random, len(NATIONS), 31, 114)
    )


def _supplier(sizes: Sizes, first: int, end: int) -> pa.Table:
    random = np.random.default_rng([SEED, 5, first, end])
    keys = np.arange(first, end)
    nation = random.integers(0, 25, len(keys))
    # Five in ten thousand complain, and as many recommend.
    said = {7: "Customer deferred Complaints", 8: "Customer gentle Recommends"}
    comment = _text(random, len(keys), 25, 72)
    for remainder, words in said.items():
        mine = pa.array(keys % min(2_000, sizes.suppliers) == remainder)
        comment = pc.if_else(mine, pc.binary_join_element_wise(comment, words, " "), comment)
    return _table(
        "supplier",
        keys,
        _named("Supplier", keys),
        _text(random, len(keys), 10, 40),
        nation,
        _phone(random, nation),
        _money(random.integers(-99_999, 1_000_000, len(keys))),
        comment,
    )


def _customer(_sizes: Sizes, first: int, end: int) -> pa.Table:
    random = np.random.default_rng([SEED, 6, first, end])
    keys = np.arange(first, end)
    nation = random.integers(0, 25, len(keys))
    return _table(
        "customer",
        keys,
        _named("Customer", keys),
        _text(random, len(keys), 10, 40),
        nation,
        _phone(random, nation),
        _money(random.integers(-99_999, 1_000_000, len(keys))),
        _any_of(random, SEGMENTS, len(keys)),
        _text(random, len(keys), 29, 116),
    )


def _part(first: int, end: int) -> pa.Table:
    random = np.random.default_rng([SEED, 7, first, end])
    keys = np.arange(first, end)
    maker, brand = random.integers(1, 6, len(keys)), random.integers(1, 6, len(keys))
    words = np.argpartition(random.random((len(keys), len(COLOURS)), np.float32), 5, axis=1)[:, :5]
    return _table(
        "part",
        keys,
        pc.binary_join_element_wise(*(_pick(words[:, column], COLOURS) for column in range(5)), " "),
        pc.binary_join_element_wise("Manufacturer#", _digits(maker), ""),
        pc.binary_join_element_wise("Brand#", _digits(maker * 10 + brand), ""),
        _any_of(random, TYPES, len(keys)),
        random.integers(1, 51, len(keys)),
        _any_of(random, CONTAINERS, len(keys)),
        _money(_retail_price(keys)),
        _text(random, len(keys), 5, 22),
    )


# --- columns ----------------------------------------------------------------------------------------------------------


def _table(name: str, *columns: Any) -> pa.Table:
    schema = arrow_schema(TPCH[name])
    typed = [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns]
    return pa.table([one.cast(field.type) for one, field in zip(typed, schema, strict=True)], schema=schema)


def _retail_price(part: Integers) -> Integers:
    return 90_000 + part // 10 % 20_001 + 100 * (part % 1_000)


def _supplier_of(sizes: Sizes, part: Integers, number: Integers) -> Integers:
    """One of the four suppliers of a part, by its number from 0."""
    count = sizes.suppliers
    return (part + number * (count // 4 + (part - 1) // count)) % count + 1


def _money(cents: Integers) -> pa.Array:
    """Decimals of 16 bytes, low half first, without a detour over texts."""
    halves = np.empty((len(cents), 2), np.int64)
    halves[:, 0], halves[:, 1] = cents, cents >> 63
    return pa.Array.from_buffers(pa.decimal128(15, 2), len(cents), [None, pa.py_buffer(halves)])


def _date(days: Integers) -> pa.Array:
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def _pick(codes: npt.NDArray[Any], values: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values)).dictionary_decode()


def _any_of(random: np.random.Generator, values: Sequence[str], count: int) -> pa.Array:
    return _pick(random.integers(0, len(values), count), values)


def _digits(values: Integers, width: int = 0) -> pa.Array:
    return pc.utf8_lpad(pa.array(values).cast(pa.string()), width, "0")


def _named(kind: str, keys: Integers) -> pa.Array:
    return pc.binary_join_element_wise(f"{kind}#", _digits(keys, 9), "")


def _phone(random: np.random.Generator, nation: Integers) -> pa.Array:
    local = [_digits(random.integers(10 ** (width - 1), 10**width, len(nation))) for width in (3, 3, 4)]
    return pc.binary_join_element_wise(_digits(nation + 10), *local, "-")


def _text(random: np.random.Generator, count: int, shortest: int, longest: int) -> pa.Array:
    lengths = random.integers(shortest, longest + 1, count)
    ends = np.cumsum(lengths)
    starts = random.integers(0, len(_POOL) - longest, count)
    letters = _POOL[np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])]
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])


def _pool(sentences: int) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng([SEED, 0])
    columns = [
        np.array(words)[random.integers(0, len(words), sentences)] for words in (ADJECTIVES, NOUNS, VERBS, ADVERBS)
    ]
    text = ". ".join(" ".join(words) for words in zip(*columns, strict=True))
    return np.frombuffer(text.encode("ascii"), np.uint8)


_POOL: Final = _pool(100_000)
