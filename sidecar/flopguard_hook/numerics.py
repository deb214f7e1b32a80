"""Numeric formats: which one an operand has, and what a product costs in it. Core."""

from typing import NamedTuple

_FORMATS = {
    "float64": "fp64",
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "complex128": "fp64",
    "complex64": "fp32",
    "complex32": "fp16",
    "int4": "int4",
    "uint4": "int4",
}
# (a+bi)(c+di) is four products and two sums, and adding it two more: 8 FLOPs for 2.
_COMPLEX_FACTOR = 4


class Numeric(NamedTuple):
    """The format an operator computes in.

    Attributes:
        format: One of `page.FORMATS`. Integers wider than 8 bit count as `int8`.
        factor: What the formula's figure is multiplied by: 4 for complex numbers.
    """

    format: str
    factor: int


def numeric(dtype: str, *, tf32: bool = False) -> Numeric:
    """Return the format of a dtype given by name, such as `torch.bfloat16`.

    Args:
        dtype: The name, with or without the `torch.` prefix.
        tf32: Whether products of float32 run in TF32 there.
    """
    name = dtype.rsplit(".", maxsplit=1)[-1]
    factor = _COMPLEX_FACTOR if name.startswith("complex") else 1
    if name.startswith("float8"):
        return Numeric("fp8", factor)
    if name.startswith("float4"):
        return Numeric("int4", factor)
    if tf32 and name in {"float32", "complex64"}:
        return Numeric("tf32", factor)
    return Numeric(_FORMATS.get(name, "int8"), factor)
