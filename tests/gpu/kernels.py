"""Products of few bits, grouped products, convolutions, recurrent layers."""

from typing import Any

import torch
from torch import nn

from gpu.expecting import Check, Expected, UnavailableError

_ROWS, _IN, _OUT = 64, 128, 256
_ONE = 2 * _ROWS * _IN * _OUT
_STEPS = 4
_GROUPS = 4


def _rows(device: str) -> torch.Tensor:
    return torch.randn(
        _ROWS, _IN, device=device, dtype=torch.bfloat16, requires_grad=True
    )


def fp8_product(device: str) -> Expected:
    """Is a scaled fp8 product exact and told as fp8?"""
    eight = torch.float8_e4m3fn
    left = torch.randn(_ROWS, _IN, device=device).to(eight)
    right = torch.randn(_OUT, _IN, device=device).to(eight).t()
    scale = torch.ones((), device=device)
    multiply: Any = torch._scaled_mm  # noqa: SLF001 # what libraries call
    with torch.no_grad():
        for _ in range(_STEPS):
            try:
                multiply(left, right, scale, scale, out_dtype=torch.bfloat16)
            except (RuntimeError, NotImplementedError) as error:
                raise UnavailableError(str(error)) from None
    return Expected({"no_grad": _STEPS * _ONE}, formats=("fp8",))


def grouped_product(device: str) -> Expected:
    """Is the grouped product of experts exact, forward and both gradients?"""
    multiply = getattr(nn.functional, "grouped_mm", None)
    if multiply is None:
        msg = "this torch has no grouped_mm"
        raise UnavailableError(msg)
    weight = torch.randn(_GROUPS, _IN, _OUT, device=device, dtype=torch.bfloat16)
    weight.requires_grad_()
    size = _ROWS // _GROUPS
    ends = torch.arange(size, _ROWS + 1, size, device=device, dtype=torch.int32)
    for _ in range(_STEPS):
        multiply(_rows(device), weight, offs=ends).square().sum().backward()
    return Expected({"forward": _STEPS * _ONE, "backward": _STEPS * 2 * _ONE})


def four_bit_linear(device: str) -> Expected:
    """Is a 4-bit linear layer of bitsandbytes exact?"""
    bitsandbytes = _bitsandbytes()
    layer = bitsandbytes.nn.Linear4bit(
        _IN, _OUT, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
    )
    return _frozen(layer.to(device), device)


def eight_bit_linear(device: str) -> Expected:
    """Is an 8-bit linear layer of bitsandbytes exact?"""
    bitsandbytes = _bitsandbytes()
    layer = bitsandbytes.nn.Linear8bitLt(_IN, _OUT, bias=False, has_fp16_weights=False)
    return _frozen(layer.to(device), device)


def four_bit_decode(device: str) -> Expected:
    """Is the product of one row with 4-bit weights (decoding) exact?"""
    bitsandbytes = _bitsandbytes()
    layer = bitsandbytes.nn.Linear4bit(
        _IN, _OUT, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
    ).to(device)
    row = torch.randn(1, _IN, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        for _ in range(_STEPS):
            layer(row)
    return Expected({"no_grad": _STEPS * _ONE // _ROWS})


def _frozen(layer: Any, device: str) -> Expected:
    for _ in range(_STEPS):
        layer(_rows(device)).sum().backward()
    return Expected({"forward": _STEPS * _ONE, "backward": _STEPS * _ONE})


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise UnavailableError(str(error)) from None
    return bitsandbytes


def grouped_convolution(device: str) -> Expected:
    """Is a convolution with groups exact, forward and both gradients?"""
    layer = nn.Conv2d(8, 16, 3, padding=1, groups=4, bias=False).to(device)
    for _ in range(_STEPS):
        inputs = torch.randn(2, 8, 10, 10, device=device, requires_grad=True)
        layer(inputs).sum().backward()
    one = 2 * 2 * 16 * 10 * 10 * (8 // 4) * 3 * 3
    return Expected({"forward": _STEPS * one, "backward": _STEPS * 2 * one})


def recurrent_layer(device: str) -> Expected:
    """Is a recurrent layer in one kernel exact, forward and both gradients?"""
    width, state, length, batch = 8, 16, 4, 2
    layer = nn.LSTM(width, state).to(device)
    for _ in range(_STEPS):
        inputs = torch.randn(length, batch, width, device=device, requires_grad=True)
        layer(inputs)[0].sum().backward()
    gates = 4
    one = 2 * length * batch * gates * state * (width + state)
    return Expected({"forward": _STEPS * one, "backward": _STEPS * 2 * one})


CHECKS = (
    Check(fp8_product, on_cpu=True),
    Check(grouped_product, on_cpu=True),
    Check(four_bit_linear, on_cpu=True),
    Check(eight_bit_linear, on_cpu=True),
    Check(four_bit_decode, on_cpu=True),
    Check(grouped_convolution, on_cpu=True),
    Check(recurrent_layer, on_cpu=True),
)
