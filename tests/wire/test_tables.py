import msgspec
import pytest

from pliant.wire.tables import RowAdagrad, RowAdam, RowInit, RowSGD, TableSpec

SPEC = TableSpec(name="users", dim=32, optimizer=RowAdagrad(lr=0.05))


def changed(**values):
    return msgspec.structs.replace(SPEC, **values)


def test_a_spec_travels():
    spec = changed(optimizer=RowAdam(), init=RowInit("normal", 0.1), expire_after_steps=5, min_count=2, max_rows=9)
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(spec), type=TableSpec) == spec


def test_an_ordinary_spec_has_no_problems():
    assert SPEC.problems() == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"name": ""}, "name has 0 characters; it takes 1 to 200"),
        ({"dim": 0}, "dim=0; a row has 1 to 65536 numbers"),
        ({"init": RowInit("normal", -1.0)}, "init scale=-1.0; it must be between 0 and 1e+30"),
        ({"init": RowInit("normal", float("nan"))}, "init scale=nan; it must be between 0 and 1e+30"),
        ({"expire_after_steps": 0}, "expire_after_steps=0; it must be at least 1"),
        ({"min_count": 0}, "min_count=0; it must be at least 1"),
        ({"max_rows": -4}, "max_rows=-4; it must be at least 1"),
        ({"optimizer": RowSGD(lr=0)}, "lr=0; it must be a finite number above 0"),
        ({"optimizer": RowSGD(lr=0.1, momentum=1.0)}, "momentum=1.0; it must be at least 0 and below 1"),
        ({"optimizer": RowAdagrad(lr=float("inf"))}, "lr=inf; it must be a finite number above 0"),
        ({"optimizer": RowAdagrad(lr=1, eps=-1)}, "eps=-1; it must be a finite number, not below 0"),
        ({"optimizer": RowAdam(betas=(0.9, 1.5))}, "betas[1]=1.5; it must be at least 0 and below 1"),
    ],
)
def test_each_problem_is_said(values, problem):
    spec = changed(**values)
    assert spec.problems() == [f"table {spec.name}: {problem}"]


def test_all_problems_are_said_at_once():
    assert len(changed(dim=0, min_count=0, optimizer=RowAdagrad(lr=0, eps=-1)).problems()) == 4
