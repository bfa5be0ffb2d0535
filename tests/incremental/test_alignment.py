from __future__ import annotations

from incremental.alignment import (
    Aligned,
    InputVector,
    Misaligned,
    Position,
    Vector,
    align,
    vector_from_json,
    vector_to_json,
)
from registry.names import DatasetName, RelationName, TableId, Version


def vector(**versions: int) -> Vector:
    return {DatasetName(name): Position(TableId(f"id-{name}"), Version(at)) for name, at in versions.items()}


def given(relation: str, positions: Vector | None) -> InputVector:
    return InputVector(RelationName(relation), positions)


def test_inputs_that_share_nothing_are_aligned() -> None:
    found = align([given("a", vector(d=1)), given("b", vector(e=9))], vector(d=1, e=9))
    assert found == Aligned(vector(d=1, e=9))


def test_shared_datasets_at_one_version_are_aligned_even_behind_the_pin() -> None:
    found = align([given("a", vector(d=1)), given("b", vector(d=1))], vector(d=5))
    assert found == Aligned(vector(d=1))


def test_the_laggard_is_named() -> None:
    found = align([given("a", vector(d=3)), given("d", vector(d=5))], vector(d=5))
    assert isinstance(found, Misaligned)
    assert [(one.relation, one.at, one.expected) for one in found.laggards] == [("a", 3, 5)]
    assert found.message == 'Waits for "a" at version 3 of "d", expected 5.'


def test_all_laggards_of_all_datasets_are_named() -> None:
    found = align(
        [given("a", vector(d=3, e=1)), given("b", vector(d=5, e=2)), given("c", vector(d=4))], vector(d=5, e=2)
    )
    assert isinstance(found, Misaligned)
    assert [(one.relation, one.dataset) for one in found.laggards] == [("a", "d"), ("a", "e"), ("c", "d")]


def test_another_table_under_the_same_name_is_no_older_version() -> None:
    old = {DatasetName("d"): Position(TableId("gone"), Version(9))}
    found = align([given("a", old), given("d", vector(d=0))], vector(d=0))
    assert isinstance(found, Misaligned)
    assert [one.relation for one in found.laggards] == ["a"]
    assert "another table" in found.message


def test_unknown_positions_agree_with_nothing() -> None:
    assert isinstance(align([given("a", None)], {}), Misaligned)


def test_vectors_survive_the_commit() -> None:
    assert vector_from_json(vector_to_json(vector(d=1, e=2))) == vector(d=1, e=2)
    assert vector_from_json(None) is None
    assert vector_from_json({"d": 3}) is None
    assert vector_from_json({"d": {"table_id": "x", "version": "3"}}) is None
