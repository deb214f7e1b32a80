"""Attention: every kernel behind torch's function, and those of other libraries."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu.expecting import Check, Expected, UnavailableError

_B, _H, _S, _D = 2, 4, 128, 64
_PRODUCT = 2 * _B * _H * _S * _S * _D  # one of the two of a forward
_STEPS = 4


def heads(device: str, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    """Return query, key and value as B x H x S x D."""
    shape = (_B, _H, _S, _D)
    return [
        torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
        for _ in range(3)
    ]


def _flops(backward_products: int) -> dict[str, int]:
    return {
        "forward": _STEPS * 2 * _PRODUCT,
        "backward": _STEPS * backward_products * _PRODUCT,
    }


def _torchs(device: str, backend: Any, backward_products: int) -> Expected:
    with sdpa_kernel(backend):
        for _ in range(_STEPS):
            try:
                out = functional.scaled_dot_product_attention(
                    *heads(device), is_causal=True
                )
            except RuntimeError as error:
                raise UnavailableError(str(error)) from None
            out.sum().backward()
    return Expected(_flops(backward_products))


def sdpa_flash(device: str) -> Expected:
    """Is the flash kernel exact: 2 products forward, 5 backward?"""
    return _torchs(device, SDPBackend.FLASH_ATTENTION, 5)


def sdpa_efficient(device: str) -> Expected:
    """Is the memory-efficient kernel exact?"""
    return _torchs(device, SDPBackend.EFFICIENT_ATTENTION, 5)


def sdpa_cudnn(device: str) -> Expected:
    """Is cuDNN's kernel exact?"""
    return _torchs(device, SDPBackend.CUDNN_ATTENTION, 5)


def sdpa_math(device: str) -> Expected:
    """Are the single products exact: 2 forward, 4 backward?"""
    return _torchs(device, SDPBackend.MATH, 4)


def flex_attention(device: str) -> Expected:
    """Is compiled flex_attention charged as full squares, forward and backward?"""
    from torch.nn.attention import flex_attention as flex

    fast: Any = torch.compile(flex.flex_attention)
    for _ in range(_STEPS):
        fast(*heads(device)).sum().backward()
    return Expected(_flops(5))


def flash_attn(device: str) -> Expected:
    """Are the operators of flash_attn 2 known by their names and layouts?"""
    return _library(device, "flash_attn", "flash_attn")


def flash_attn_3(device: str) -> Expected:
    """Are the operators of FlashAttention 3 known by their names and layouts?"""
    return _library(device, "flash_attn_interface", "flash_attn_3")


def flash_attn_varlen(device: str) -> Expected:
    """Is a packed batch charged as the sum of its sequences' squares?"""
    module = _module("flash_attn")
    lengths = [_S // 2, _S, _S // 4]
    ends = torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)
    packed = [
        torch.randn(
            sum(lengths), _H, _D, device=device, dtype=torch.bfloat16
        ).requires_grad_()
        for _ in range(3)
    ]
    for _ in range(_STEPS):
        out = module.flash_attn_varlen_func(
            *packed, ends, ends, max(lengths), max(lengths)
        )
        out.sum().backward()
    one = 2 * _H * _D * sum(length**2 for length in lengths)
    return Expected({"forward": _STEPS * 2 * one, "backward": _STEPS * 5 * one})


def hub_kernel(device: str) -> Expected:
    """Are the operators of a flash kernel from the hub known by their names?"""
    kernels = _module("kernels")
    try:
        module = kernels.get_kernel("kernels-community/flash-attn")
    except Exception as error:  # noqa: BLE001 # offline, or no build for this torch
        raise UnavailableError(str(error)) from None
    return _run(device, module.flash_attn_func, "flash")


def _library(device: str, name: str, namespace: str) -> Expected:
    return _run(device, _module(name).flash_attn_func, namespace)


def _run(device: str, function: Callable[..., Any], namespace: str) -> Expected:
    shape = (_B, _S, _H, _D)
    for _ in range(_STEPS):
        given = [
            torch.randn(shape, device=device, dtype=torch.bfloat16).requires_grad_()
            for _ in range(3)
        ]
        out = function(*given)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
    return Expected(_flops(5), note="; ".join(schemas(namespace)))


def schemas(namespace: str) -> list[str]:
    """Return the schemas of all operators of namespaces that begin so."""
    return sorted(
        str(schema)
        for schema in torch._C._jit_get_all_schemas()  # noqa: SLF001 # the only list
        if schema.name.startswith(namespace)
    )


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(str(error)) from None


CHECKS = (
    Check(sdpa_flash, on_cpu=True),
    Check(sdpa_efficient),
    Check(sdpa_cudnn),
    Check(sdpa_math, on_cpu=True),
    Check(flex_attention),
    Check(flash_attn),
    Check(flash_attn_varlen),
    Check(flash_attn_3),
    Check(hub_kernel),
)
