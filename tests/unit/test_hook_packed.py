"""Attention of packed sequences and under masks, against pairs counted one by one."""

from types import SimpleNamespace
from typing import Any

import pytest

from flopguard_hook import packed
from flopguard_hook.attention import visible_pairs
from flopguard_hook.formulas import Formula
from flopguard_hook.table import FORMULAS, find


def of(*shape: int) -> Any:
    """Return an operand of this shape, on a device."""
    return SimpleNamespace(shape=shape, is_cpu=False)


def ends(*held: int) -> Any:
    """Return a tensor of the host that holds these numbers."""
    return SimpleNamespace(shape=(len(held),), is_cpu=True, tolist=lambda: list(held))


def known(name: str) -> Formula:
    """Return the formula of an operator that has one."""
    formula = find(name)
    assert formula is not None
    return formula


@pytest.mark.parametrize("from_end", [True, False])
@pytest.mark.parametrize("right", [None, 0, 2])
@pytest.mark.parametrize("left", [None, 0, 3])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 7), (7, 3), (1, 4), (0, 2)])
def test_pairs_under_a_mask_are_those_that_it_leaves(
    queries: int, keys: int, left: int | None, right: int | None, *, from_end: bool
) -> None:
    """The closed form against every pair looked at."""
    shift = keys - queries if from_end else 0
    seen = sum(
        (left is None or key >= query + shift - left)
        and (right is None or key <= query + shift + right)
        for query in range(queries)
        for key in range(keys)
    )
    counted = visible_pairs(queries, keys, left=left, right=right, from_end=from_end)
    assert counted == seen


TOKENS = [of(10, 4, 16)] * 3  # of 4 heads, 16 wide
LENGTHS = ends(0, 4, 10)  # 4 and 6: 16 + 36 pairs, 10 + 21 of them causal
PAIR = 4 * 4 * 16  # two products of 2*16, for each of 4 heads


@pytest.mark.parametrize(
    ("name", "args"),
    [
        pytest.param(
            "aten::_flash_attention_forward",
            [*TOKENS, LENGTHS, LENGTHS, 6, 6, 0.0, True],
            id="torch's flash",
        ),
        pytest.param(
            "aten::_efficient_attention_forward",
            [*[of(1, 10, 4, 16)] * 3, None, LENGTHS, LENGTHS, 6, 6, 0.0, 1],
            id="torch's efficient",
        ),
        pytest.param(
            "torch_attn::_varlen_attn",
            [*TOKENS, LENGTHS, LENGTHS, 6, 6, True],
            id="torch's varlen",
        ),
        pytest.param(
            "flash_attn::_flash_attn_varlen_forward",
            [*TOKENS, LENGTHS, LENGTHS, 6, 6, 0.0, 1.0, True],
            id="flash-attn 2",
        ),
        pytest.param(
            "_flash_attn2_9e27194::varlen_fwd",
            [
                *[*TOKENS, None, LENGTHS, LENGTHS, None, None, None, None, 6, 6],
                *[0.0, 1.0, False, True, -1, -1],
            ],
            id="flash-attn 2 of a hub",
        ),
        pytest.param(
            "flash_attn_3::fwd",
            [
                *[*TOKENS, None, None, None, None, LENGTHS, LENGTHS, None, None, None],
                *[6, 6, None, None, None, None, None, None, None, None, None, 1.0],
                True,
            ],
            id="flash-attn 3",
        ),
    ],
)
def test_packed_sequences_are_charged_by_their_lengths(
    name: str, args: list[Any]
) -> None:
    """Each with itself; beside it what a causal kernel has to do."""
    formula = known(name)
    assert formula.flops_of(args, {}) == PAIR * (16 + 36)
    assert formula.causal_of is not None
    assert formula.causal_of(args, {}) == PAIR * (10 + 21)
    assert formula.depends_on_data(args, {})


def test_lengths_on_a_device_are_charged_at_the_longest() -> None:
    """10 tokens with 6 keys each: an upper bound, without waiting for the device."""
    args = [*TOKENS, of(3), of(3), 6, 6, 0.0, True]
    assert known("aten::_flash_attention_forward").flops_of(args, {}) == PAIR * 60


def test_a_reader_of_devices_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then lengths are exact there too."""
    monkeypatch.setattr(packed, "_reader", packed._reader)  # noqa: SLF001 # put back
    packed.read_with(lambda _tensor: [0, 4, 10])
    args = [*TOKENS, of(3), of(3), 6, 6, 0.0, True]
    assert known("aten::_flash_attention_forward").flops_of(args, {}) == PAIR * 52


@pytest.mark.parametrize(
    ("name", "args", "full", "visible"),
    [
        # 2*4 heads, 8 positions: 64 pairs, 36 of them causal; 4*16 for a pair
        pytest.param(
            "flash_attn::_flash_attn_forward",
            [*[of(2, 8, 4, 16)] * 3, 0.0, 1.0, True, -1, -1],
            8 * 64 * 64,
            8 * 36 * 64,
            id="causal",
        ),
        # Each query sees itself and one before: 15 pairs
        pytest.param(
            "flash_attn::_flash_attn_forward",
            [*[of(2, 8, 4, 16)] * 3, 0.0, 1.0, True, 1, 0],
            8 * 64 * 64,
            8 * 15 * 64,
            id="sliding window",
        ),
        # Five products of 2*16
        pytest.param(
            "flash_attn::_flash_attn_backward",
            [
                *[*[of(2, 8, 4, 16)] * 5, of(2, 4, 8), None, None, None],
                *[0.0, 1.0, False, -1, -1],
            ],
            8 * 64 * 160,
            8 * 64 * 160,
            id="backward, all visible",
        ),
        pytest.param(
            "flash_attn_3::fwd",
            [*[of(2, 8, 4, 16)] * 3, None, None, of(2, 8, 4, 16)],
            8 * 64 * 96,
            8 * 64 * 96,
            id="a second query: scores twice",
        ),
        pytest.param(
            "aten::_scaled_dot_product_flash_attention_for_cpu",
            [*[of(2, 4, 8, 16)] * 3, 0.0, True],
            8 * 64 * 64,
            8 * 36 * 64,
            id="torch's, on the CPU",
        ),
        pytest.param(
            "aten::_scaled_dot_product_cudnn_attention",
            [*[of(2, 4, 8, 16)] * 3, None, True, 0.0, True],
            8 * 64 * 64,
            8 * 36 * 64,
            id="cuDNN's",
        ),
        pytest.param(
            "aten::_scaled_dot_product_cudnn_attention",
            [*[of(2, 4, 8, 16)] * 3, 0.0, True, False],
            8 * 64 * 64,
            8 * 36 * 64,
            id="cuDNN's with torch 2.4",
        ),
        pytest.param(
            "aten::_scaled_dot_product_efficient_attention_backward",
            [
                *[*[of(2, 4, 8, 16)] * 4, None, of(2, 4, 8, 16), of(2, 4, 8)],
                *[of(1), of(1), 0.0, [True, True, True, False], True],
            ],
            8 * 64 * 160,
            8 * 36 * 160,
            id="torch's efficient, backward",
        ),
    ],
)
def test_a_mask_is_figured_beside_the_rectangle(
    name: str, args: list[Any], full: int, visible: int
) -> None:
    """The rectangle is what is charged."""
    formula = known(name)
    assert formula.flops_of(args, {}) == full
    assert formula.causal_of is not None
    assert formula.causal_of(args, {}) == visible
    assert not formula.depends_on_data(args, {})


def test_only_attention_depends_on_data() -> None:
    """All else can be replayed."""
    varying = {name for name, formula in FORMULAS.items() if formula.varies}
    assert all("att" in name for name in varying)
