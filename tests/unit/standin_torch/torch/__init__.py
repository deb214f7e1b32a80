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

__version__ = "2.8+standin"
_stack: "list[Any]" = []
_grad = [True]


class dtype:  # noqa: N801 # torch's name
    """The one that there is."""

    def __repr__(self) -> str:
        """Return its full name."""
        return "torch.float32"


class device:  # noqa: N801 # torch's name
    """Never made: all is on the CPU."""


float32 = dtype()
strided = object()


class Tensor:
    """Something with a shape."""

    dtype = float32
    layout = strided
    is_meta = is_cuda = is_nested = requires_grad = False

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.ndim = len(shape)

    def get_device(self) -> int:
        """Return the number of the CPU."""
        return -1


class TorchDispatchMode:
    """A mode that sees operators while it is on the stack."""

    def __enter__(self) -> None:
        """Push it."""
        _stack.append(self)

    def __exit__(self, *_: object) -> None:
        """Pop it."""
        assert _pop_mode() is self  # as torch does


def _pop_mode() -> Any:
    return _stack.pop()


class _Operator:
    _schema = SimpleNamespace(name="aten::mm")

    def name(self) -> str:
        return "aten::mm"

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

    def __init__(self) -> None:
        self.training = True

    def __call__(self, *args: Any) -> Any:
        """Run the forward."""
        return self.forward(*args)

    def forward(self, *args: Any) -> Any:
        """Multiply two operands."""
        return mm(*args)

    def modules(self) -> "list[Any]":
        """Return the module, which has no others in it."""
        return [self]

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


class inference_mode:  # noqa: N801 # torch's name
    """A guard that guards nothing."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End."""


class RemovableHandle:
    """A hook on a module, of which there is none."""

    next_id = 0

    def remove(self) -> None:
        """Remove it."""


def is_grad_enabled() -> bool:
    """Say whether gradients are recorded: not in the engine."""
    return _grad[-1]


def _no(*_: Any) -> bool:
    return False


is_inference_mode_enabled = is_autocast_enabled = is_autocast_cpu_enabled = _no


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType("torch." + name)
    vars(made).update(members)
    sys.modules["torch." + name] = made
    parent, _, last = ("torch." + name).rpartition(".")
    setattr(sys.modules[parent], last, made)
    return made


def _register(_hook: Callable[..., None]) -> None:
    """Take a hook that is never called."""


_SWITCHES = (
    "_get_cublas_allow_tf32",
    "_get_flash_sdp_enabled",
    "_get_mem_efficient_sdp_enabled",
    "_get_math_sdp_enabled",
    "_get_cudnn_sdp_enabled",
)
_module(
    "_C",
    **dict.fromkeys(_SWITCHES, _no),
    _dynamo=SimpleNamespace(eval_frame=object()),
    _functorch=SimpleNamespace(peek_interpreter_stack=lambda: None),
    _TorchDispatchModeKey=SimpleNamespace(FAKE=0, PROXY=1, FUNCTIONAL=2),
    _current_graph_task_id=lambda: -1,
    _get_dispatch_mode=lambda _: None,
    _len_torch_function_stack=lambda: 0,
    DispatchKey=SimpleNamespace(CompositeImplicitAutograd=object()),
    _len_torch_dispatch_stack=lambda: len(_stack),
    _get_dispatch_stack_at=lambda i: _stack[i],
    _get_tracing_state=lambda: None,
    _dispatch_has_kernel_for_dispatch_key=_no,
)
_module("_guards", TracingContext=SimpleNamespace(try_get=lambda: None))
_module("compiler", is_compiling=_no)
_module("cuda", is_initialized=_no)
_module("version", cuda=None)
_module("nn", Module=Module, Parameter=type("Parameter", (Tensor,), {}))
_module("nn.modules")
_module(
    "nn.modules.module",
    register_module_module_registration_hook=_register,
    register_module_parameter_registration_hook=_register,
)
_module("autograd", _engine_run_backward=_run_backward)
_module("autograd.graph", _engine_run_backward=_run_backward)
_module("utils")
_module("utils.hooks", RemovableHandle=RemovableHandle)
_module(
    "utils._python_dispatch",
    TorchDispatchMode=TorchDispatchMode,
    _pop_mode=_pop_mode,
    _push_mode=_stack.append,
)
_module("optim")
_module(
    "optim.optimizer",
    register_optimizer_step_pre_hook=_register,
    register_optimizer_step_post_hook=_register,
)
