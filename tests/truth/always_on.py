"""A second counter, for tests: every operator, always on, by arithmetic of its own.

It shares no line with the hook: a plain dispatch mode, a table of products written from
the operators' definitions, categories from the grad mode and the engine's task alone.
Slow, and never shipped; what it counts is the exact figure that the hook must reach.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from truth.steps import per_element

Product = Callable[[Sequence[Any]], int]  # arguments to multiply-adds

# Below 0 outside the autograd engine; torch has no public name for it.
_engine_task = torch._C._current_graph_task_id  # noqa: SLF001


def _rows_by(left: Any, columns: int) -> int:
    """Return the multiply-adds of a (..., k) by k x columns product."""
    return int(prod(left.shape)) * columns


def _experts(args: Sequence[Any]) -> int:
    """Every row meets one matrix; of two 2-d operands the inner length is split."""
    left, right = args[0], args[1]
    if left.dim() == 2 and right.dim() == 2:
        return int(left.shape[0] * left.shape[1] * right.shape[1])
    rows = left.shape[-2] if left.dim() == 2 else right.shape[-1]
    return int(rows * left.shape[-1] * right.shape[-1])


def _attention(args: Sequence[Any]) -> int:
    """Two products: scores, and their product with the values."""
    query, key, value = args[0], args[1], args[2]
    scores = prod(query.shape[:3]) * key.shape[2]
    return int(scores * (query.shape[3] + value.shape[3]))


def _attention_backward(args: Sequence[Any]) -> int:
    """Five: scores again; gradients of scores, values, keys and queries."""
    query, key, value = args[1], args[2], args[3]
    scores = prod(query.shape[:3]) * key.shape[2]
    return int(scores * (3 * query.shape[3] + 2 * value.shape[3]))


def _convolution_products(small: Any, weight: Any) -> int:
    """Each position of the strided side meets each weight of its channel's kernel."""
    positions = int(prod(small.shape[2:]))
    return int(small.shape[0]) * positions * int(prod(weight.shape))


def _convolution(args: Sequence[Any]) -> int:
    inputs, weight, transposed = args[0], args[1], args[6]
    if transposed:
        return _convolution_products(inputs, weight)
    stride, padding, dilation = args[3], args[4], args[5]
    sizes = [
        (size + 2 * pad - gap * (width - 1) - 1) // step + 1
        for size, width, step, pad, gap in zip(
            inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return int(inputs.shape[0] * prod(sizes) * prod(weight.shape))


def _convolution_backward(args: Sequence[Any]) -> int:
    gradient, inputs, weight = args[0], args[1], args[2]
    wanted = sum(bool(asked) for asked in args[10][:2])  # of input and weight
    small = inputs if args[7] else gradient
    return wanted * _convolution_products(small, weight)


PRODUCTS: dict[str, Product] = {
    "aten::mm": lambda a: _rows_by(a[0], a[1].shape[1]),
    "aten::addmm": lambda a: _rows_by(a[1], a[2].shape[1]),
    "aten::bmm": lambda a: _rows_by(a[0], a[1].shape[2]),
    "aten::baddbmm": lambda a: _rows_by(a[1], a[2].shape[2]),
    "aten::addbmm": lambda a: _rows_by(a[1], a[2].shape[2]),
    "aten::addmm_": lambda a: _rows_by(a[1], a[2].shape[1]),
    "aten::baddbmm_": lambda a: _rows_by(a[1], a[2].shape[2]),
    "aten::mv": lambda a: _rows_by(a[0], 1),
    "aten::addmv": lambda a: _rows_by(a[1], 1),
    "aten::dot": lambda a: _rows_by(a[0], 1),
    "aten::linear": lambda a: _rows_by(a[0], a[1].shape[0]),
    "aten::_int_mm": lambda a: _rows_by(a[0], a[1].shape[1]),
    "aten::_scaled_mm": lambda a: _rows_by(a[0], a[1].shape[1]),
    "aten::_weight_int8pack_mm": lambda a: _rows_by(a[0], a[1].shape[0]),
    "aten::_grouped_mm": _experts,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
    "bitsandbytes::gemm_4bit": lambda a: _rows_by(a[0], a[2][0]),
    "bitsandbytes::int8_linear_matmul": lambda a: _rows_by(a[0], a[1].shape[0]),
    "bitsandbytes::int8_scaled_mm": lambda a: _rows_by(a[0], a[1].shape[0]),
}

# What a multiplying operator is called by; one of these without a product is an alarm.
_SUSPICIOUS = ("mm", "matmul", "conv", "attention", "linear", "dot", "gemv", "rnn")
_INNOCENT = {
    "aten::_fused_rms_norm",
    "aten::_convolution_mode",
    "aten::common_type",
    "aten::linear_backward",
    "aten::linspace",
    "aten::_scaled_dot_product_attention_math",
}


def _is_dry(values: Iterable[Any]) -> bool:
    """Say whether there is a tensor without data: then nothing is multiplied."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return any(t.is_meta or type(t).__name__ == "FakeTensor" for t in tensors)


class AlwaysOn(TorchDispatchMode):
    """Counts the products of one thread by category.

    Attributes:
        flops: FLOPs by category, two per multiply-add.
        calls: The root modules' calls: class, grad mode, shapes of their tensors.
        alarms: Operators that look like products and have no entry in PRODUCTS.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.calls: list[dict[str, Any]] = []
        self.alarms: set[str] = set()
        self._root_grad: list[bool] = []  # of the root calls that are open
        self._in_step = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and add what it multiplied."""
        kwargs = kwargs or {}
        # DTensors and quantized tensors become operators on what they hold.
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented
        schema = getattr(func, "_schema", None)
        name = str(schema.name) if schema else str(func)
        if name not in PRODUCTS and torch.is_inference_mode_enabled():
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self._note(name, [*args, *kwargs.values()])
        return out

    def _note(self, name: str, args: list[Any]) -> None:
        if _is_dry(args):
            return
        product = PRODUCTS.get(name)
        if product is not None:
            self.flops[self._category()] += 2 * product(args)
        elif any(part in name for part in _SUSPICIOUS) and name not in _INNOCENT:
            self.alarms.add(name)

    def _category(self) -> str:
        grad = torch.is_grad_enabled()
        if _engine_task() >= 0:
            return "recompute" if grad else "backward"
        if self._root_grad:
            grad = self._root_grad[0]
        elif self._in_step:
            return "optimizer"
        return "forward" if grad else "no_grad"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count within the block; also note root calls and optimizer steps."""
        original = torch.nn.Module.__call__

        def call(module: Any, *args: Any, **kwargs: Any) -> Any:
            if _engine_task() >= 0:
                return original(module, *args, **kwargs)
            if not self._root_grad:
                self._note_call(module, args, kwargs)
            self._root_grad.append(torch.is_grad_enabled())
            try:
                return original(module, *args, **kwargs)
            finally:
                self._root_grad.pop()

        before = register_optimizer_step_pre_hook(self._entered)
        after = register_optimizer_step_post_hook(self._left)
        torch.nn.Module.__call__ = call
        try:
            with self:
                yield
        finally:
            torch.nn.Module.__call__ = original
            before.remove()
            after.remove()

    def _note_call(self, module: Any, args: Any, kwargs: Any) -> None:
        named = {**{str(i): value for i, value in enumerate(args)}, **kwargs}
        if _is_dry(named.values()):
            return
        shapes = {
            key: list(value.shape)
            for key, value in named.items()
            if isinstance(value, torch.Tensor)
        }
        integers = {k: v for k, v in named.items() if type(v) is int}
        length = getattr(named.get("past_key_values"), "get_seq_length", int)
        self.calls.append(
            {
                "root": type(module).__name__,
                "grad": torch.is_grad_enabled(),
                "shapes": shapes,
                "integers": integers,
                "cached": int(length()),
            }
        )

    def _entered(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._in_step += 1
        for group in optimizer.param_groups:
            elements = sum(
                getattr(parameter, "_local_tensor", parameter).numel()
                for parameter in group["params"]
                if parameter.grad is not None
            )
            cost = per_element(type(optimizer).__name__, group)
            self.flops["optimizer"] += cost * elements

    def _left(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._in_step -= 1
