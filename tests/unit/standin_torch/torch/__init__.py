"""A stand-in for torch, for Pythons that have none: what the hook attaches to.

One operator, `mm`, that goes through the stack of dispatch modes as torch's does.
"""

import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

if os.environ.get("STANDIN_TORCH_BROKEN"):
    msg = "the stand-in was told to fail"
    raise ImportError(msg)

__version__ = "0+standin"
_stack: "list[Any]" = []
_grad = [True]


class Tensor:
    """Something with a shape."""

    dtype = "torch.float32"
    is_meta = is_cuda = is_nested = False

    def __init__(self, *shape: int) -> None:
        self.shape = shape


class TorchDispatchMode:
    """A mode that sees operators while it is on the stack."""

    def __enter__(self) -> None:
        """Push it."""
        _stack.append(self)

    def __exit__(self, *_: object) -> None:
        """Pop it."""
        _stack.remove(self)


class _Operator:
    _schema = SimpleNamespace(name="aten::mm")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _stack:
            return Tensor(args[0].shape[0], args[1].shape[1])
        mode = _stack.pop()
        try:
            return mode.__torch_dispatch__(self, (), args, kwargs)
        finally:
            _stack.append(mode)


mm = _Operator()


class Module:
    """A module without parameters."""

    def __call__(self, *args: Any) -> Any:
        """Run the forward."""
        return self.forward(*args)

    def forward(self, *args: Any) -> Any:
        """Multiply two operands."""
        return mm(*args)

    def parameters(self) -> "list[Any]":
        """Return none."""
        return []

    def named_modules(self) -> "list[Any]":
        """Return none."""
        return []


def _run_backward(*_: Any) -> None:
    _grad.append(False)
    mm(Tensor(1, 2), Tensor(2, 1))
    _grad.pop()


def is_grad_enabled() -> bool:
    """Say whether gradients are recorded: not in the engine."""
    return _grad[-1]


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType("torch." + name)
    vars(made).update(members)
    sys.modules["torch." + name] = made
    parent, _, last = ("torch." + name).rpartition(".")
    setattr(sys.modules[parent], last, made)
    return made


def _register(_hook: Callable[..., None]) -> None:
    """Take an optimizer hook that is never called."""


_module(
    "_C",
    _dynamo=SimpleNamespace(eval_frame=object()),
    _len_torch_dispatch_stack=lambda: len(_stack),
    _get_dispatch_stack_at=lambda i: _stack[i],
    _get_tracing_state=lambda: None,
)
_module("_guards", TracingContext=SimpleNamespace(try_get=lambda: None))
_module("compiler", is_compiling=lambda: False)
_module("cuda", is_initialized=lambda: False)
_module("nn", Module=Module)
_module("autograd", _engine_run_backward=_run_backward)
_module("autograd.graph", _engine_run_backward=_run_backward)
_module("utils")
_module("utils._python_dispatch", TorchDispatchMode=TorchDispatchMode)
_module("optim")
_module(
    "optim.optimizer",
    register_optimizer_step_pre_hook=_register,
    register_optimizer_step_post_hook=_register,
)
