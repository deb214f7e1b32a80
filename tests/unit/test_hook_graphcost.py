"""The cost of a compiled graph, from what is stored of it."""

import json
import pickle

import pytest

from flopguard_hook.graphcost import (
    Call,
    GraphCost,
    GraphFigure,
    Symbol,
    figure,
    schema,
)
from flopguard_hook.sizes import UnknownSizeError

ROWS, WIDTH = Symbol("s0", 0, -1), Symbol("s1", 2, 1)


def tensor(*shape: int | str, dtype: str = "torch.float32") -> tuple[object, ...]:
    """Return a tensor as a figure holds it."""
    return ("tensor", dtype, "cpu", shape)


def mm(*shape: int | str, role: str = "forward", dtype: str = "torch.float32") -> Call:
    """Return the product of m x k and k x n."""
    m, k, n = shape
    factors = (tensor(m, k, dtype=dtype), tensor(k, n, dtype=dtype))
    return Call(role, "aten::mm", tf32=True, args=factors, kwargs=(), times=1)


def test_a_graph_of_fixed_shapes_has_one_cost() -> None:
    """2·3·4·5 and twice 2·3·4·6."""
    stored = figure([ROWS], [mm(3, 4, 5), mm(3, 4, 6), mm(3, 4, 6)])

    found = GraphFigure(stored)

    assert found.symbols == ()
    assert found.at(()).costs == (GraphCost("forward", "fp32", 408, 408),)
    assert len(stored[2]) == 2, "equal calls are stored once"


def test_a_graph_of_changing_shapes_costs_by_its_sizes() -> None:
    """Only the sizes that matter are asked for, and what was seen is remembered."""
    stored = figure([ROWS, WIDTH, Symbol("s2", 1, 0)], [mm("2*s0", 4, "s1 + 1")])

    found = GraphFigure(stored)

    assert found.symbols == (ROWS, WIDTH)
    assert found.at((3, 7)).costs == (GraphCost("forward", "fp32", 384, 384),)
    assert found.at((5, 1)).costs == (GraphCost("forward", "fp32", 160, 160),)
    assert found.at((3, 7)) is found.at((3, 7))


def test_roles_and_formats_are_kept_apart() -> None:
    """A backward graph has what it recomputes beside its own."""
    calls = [
        mm(1, 2, 3, role="recompute"),
        mm(1, 2, 3, role="backward"),
        mm(1, 2, 3, role="backward", dtype="torch.bfloat16"),
        mm(0, 2, 3, dtype="torch.float16"),
    ]

    costs = GraphFigure(figure([], calls)).at(()).costs

    assert costs == (
        GraphCost("recompute", "fp32", 12, 12),
        GraphCost("backward", "fp32", 12, 12),
        GraphCost("backward", "bf16", 12, 12),
    )


def test_float32_on_a_gpu_runs_in_tf32_where_that_is_switched_on() -> None:
    """As the kernels were compiled."""
    call = mm(1, 2, 3)
    args = tuple((kind, dtype, "cuda", shape) for kind, dtype, _, shape in call.args)

    (cost,) = GraphFigure(figure([], [call._replace(args=args)])).at(()).costs

    assert cost.format == "tf32"


def test_a_causal_kernel_has_a_second_figure() -> None:
    """The whole square is charged, and beside it what a causal kernel executes."""
    heads = tensor(1, 2, 4, 8)
    name = "aten::_scaled_dot_product_flash_attention_for_cpu"
    causal = (heads, heads, heads, 0.0, True)
    calls = [
        Call("forward", name, tf32=False, args=causal, kwargs=(), times=3),
        Call("forward", name, tf32=False, args=causal[:3], kwargs=(), times=1),
    ]

    (cost,) = GraphFigure(figure([], calls)).at(()).costs

    square = 2 * 2 * (4 * 4) * (8 + 8)
    triangle = 2 * 2 * (4 * 5 // 2) * (8 + 8)
    assert (cost.flops, cost.causal) == (4 * square, 3 * triangle + square)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            Call("forward", "mine::own", tf32=False, args=(), kwargs=(), times=1),
            id="an operator without formula",
        ),
        pytest.param(
            Call("forward", "aten::mm", tf32=False, args=(), kwargs=(), times=1),
            id="arguments that no formula takes",
        ),
        pytest.param(
            mm("s0//0", 1, 1),
            id="a size that has no value",
        ),
    ],
)
def test_what_cannot_be_counted_is_named_and_costs_only_itself(call: Call) -> None:
    """The rest of the graph is charged."""
    found = GraphFigure(figure([ROWS], [mm(1, 2, 3), call]))

    evaluated = found.at((2,) * len(found.symbols))

    assert evaluated.uncounted == (call.operator,)
    assert [cost.flops for cost in evaluated.costs] == [12]


def test_a_packed_kernel_is_charged_its_bound_and_named() -> None:
    """Where its sequences end is in a tensor of which only the shape is known."""
    tokens, ends = tensor(10, 2, 8), tensor(4, dtype="torch.int32")
    args = (tokens, tokens, tokens, ends, ends, 5, 5, 0.0, False, False)
    name = "aten::_flash_attention_forward"

    evaluated = GraphFigure(
        figure([], [Call("forward", name, tf32=False, args=args, kwargs=(), times=1)])
    ).at(())

    assert evaluated.uncounted == (name,)
    assert [cost.flops for cost in evaluated.costs] == [2 * 2 * (10 * 5) * (8 + 8)]


def test_a_size_known_only_within_the_graph_makes_no_figure() -> None:
    """Such a graph is left to what it dispatches."""
    with pytest.raises(UnknownSizeError, match="u0"):
        figure([ROWS], [mm("u0", 2, 3)])


def test_nothing_to_charge_is_free() -> None:
    """No call of such a graph needs to be charged."""
    assert GraphFigure(figure([ROWS], [])).is_free
    assert not GraphFigure(figure([ROWS], [mm(1, 1, 1)])).is_free


def test_a_figure_is_made_of_plain_values() -> None:
    """It is stored in an artefact that a process without the hook loads."""
    stored = figure([ROWS], [mm("s0", 2, 3)])

    text = json.dumps(stored)

    assert "flopguard" not in text
    assert b"flopguard" not in pickle.dumps(stored)


def test_a_figure_made_with_another_table_is_refused() -> None:
    """A hook that knew fewer operators left them out."""
    stored = figure([], [mm(1, 2, 3)])

    assert stored[0] == schema()
    with pytest.raises(ValueError, match="0-00000000"):
        GraphFigure(("0-00000000", *stored[1:]))
