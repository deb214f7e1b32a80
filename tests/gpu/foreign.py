"""Kernels of others: none of them may go uncounted in silence."""

import importlib
from typing import Any

import torch

from gpu.expecting import Check, Expected, UnavailableError

_WIDTH = 256
_STEPS = 3


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(str(error)) from None


def _rows(device: str) -> torch.Tensor:
    return torch.randn(
        4, 16, _WIDTH, device=device, dtype=torch.bfloat16, requires_grad=True
    )


def transformer_engine(device: str) -> Expected:
    """Is a layer of TransformerEngine named and flagged?"""
    engine = _module("transformer_engine.pytorch")
    layer = engine.Linear(_WIDTH, _WIDTH, params_dtype=torch.bfloat16)
    for _ in range(_STEPS):
        layer(_rows(device)).sum().backward()
    return Expected(uncounted=("transformer_engine",))


def mamba(device: str) -> Expected:
    """Is the selective scan of mamba named and flagged?"""
    layer = _module("mamba_ssm").Mamba(_WIDTH).to(device, torch.bfloat16)
    for _ in range(_STEPS):
        layer(_rows(device)).sum().backward()
    return Expected(uncounted=("mamba",))


def triton_kernel(device: str) -> Expected:
    """Is a Triton kernel that the program launches itself named and flagged?"""
    for _ in range(_STEPS):
        launch_triton(torch.ones(_WIDTH, device=device))
    return Expected(uncounted=("triton",))


def launch_triton(inputs: torch.Tensor) -> torch.Tensor:
    """Double a vector with a kernel of our own."""
    triton: Any = _module("triton")
    from gpu.kernel import double

    out = torch.empty_like(inputs)
    double[triton.cdiv(inputs.numel(), 128),](inputs, out, inputs.numel(), BLOCK=128)
    return out


def custom_operator(device: str) -> Expected:
    """Is an operator that the program registers named and flagged?"""

    def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ right

    name = "flopguard_checks::product"
    product = torch.library.custom_op(name, multiply, mutates_args=())

    for _ in range(_STEPS):
        product(torch.ones(4, 4, device=device), torch.ones(4, 4, device=device))
    return Expected(uncounted=(name,))


CHECKS = (
    Check(transformer_engine),
    Check(mamba),
    Check(triton_kernel),
    Check(custom_operator, on_cpu=True),
)
