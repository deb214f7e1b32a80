"""Counts operators as torch dispatches them. Shell: the one subclass of a torch class.

Loaded only after the user's program has imported torch.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Union

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flopguard_hook import facts
from flopguard_hook.formulas import Formula, is_uncounted
from flopguard_hook.numerics import Numeric, numeric
from flopguard_hook.session import Charge, Session
from flopguard_hook.table import FORMULAS
from flopguard_hook.windows import Windows

_PASS, _COMPOSITE = "pass", "composite"
_Kind = Union[str, Formula]

_stack_size = torch._C._len_torch_dispatch_stack
_stack_at = torch._C._get_dispatch_stack_at


class Meter(TorchDispatchMode):
    """Charges the operators of one thread, at the bottom of its stack of modes.

    At the bottom it sees what is really executed, after the user's own modes, and no
    `with` block of the user's can pop it. torch hands it on to the engine's threads,
    hence the windows live here and not in a thread-local.

    Attributes:
        windows: The counting windows of the thread.
    """

    supports_higher_order_operators = True

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.windows = Windows()
        self._session = session
        self._kinds: dict[Any, _Kind] = {}
        self._numerics: dict[tuple[Any, bool], Numeric] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile compile and run compiled code under this mode."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from wrapping the mode: that would import torch._dynamo, 2 s."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operator, charged as begun before and as done after."""
        kwargs = kwargs or {}
        # A wrapper (DTensor, a quantized tensor) turns into operators on what it holds.
        if types and any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented
        kind = self._kinds.get(func) or self._classify(func)
        if kind is _PASS or not self._session.armed:
            return func(*args, **kwargs)
        if kind is _COMPOSITE:
            with self:
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        charges = self._begin(func, kind, args, kwargs)
        out = func(*args, **kwargs)
        self._finish(charges)
        return out

    def _classify(self, func: Any) -> _Kind:
        """Look an operator up, once; never raises."""
        kind: _Kind = _PASS
        try:
            schema = getattr(func, "_schema", None)
            name = str(schema.name if schema else f"higher_order::{func}")
            if name in FORMULAS:
                kind = FORMULAS[name]
            elif schema and _is_composite(func.name()):
                # In inference mode these arrive whole.
                kind = _COMPOSITE
            elif is_uncounted(name):
                self._note_uncounted(name)
        except Exception as error:
            self._session.fail(error)
        self._kinds[func] = kind
        return kind

    def _note_uncounted(self, name: str) -> None:
        self._session.flag("unknown_operator")
        names = self._session.noted("unknown_operators", [])
        self._session.note("unknown_operators", facts.with_name(names, name))

    def _begin(
        self, func: Any, kind: Any, args: Any, kwargs: Any
    ) -> tuple[Charge, ...]:
        """Charge an operator as begun; never raises."""
        try:
            operand = args[kind.operand]
            if operand.is_meta or type(operand).__name__ == "FakeTensor":
                return ()
            if _another_below():
                return ()
            if operand.is_nested:  # a nested tensor has no shape
                self._note_uncounted(func._schema.name)
                return ()
            of = self._numeric(operand)
            flops = kind.flops_of(args, kwargs) * of.factor
            category = self.windows.category(grad=torch.is_grad_enabled())
            if category == "recompute":
                self._session.note("checkpointing", value=True)
            charges = (Charge(category, of.format, flops),)
            self._session.begin(charges)
        except Exception as error:
            self._session.fail(error)
            return ()
        return charges

    def _finish(self, charges: "tuple[Charge, ...]") -> None:
        if not charges or not self._session.armed:
            return
        try:
            self._session.finish(charges)
        except Exception as error:
            self._session.fail(error)

    def _numeric(self, operand: Any) -> Numeric:
        tf32 = operand.is_cuda and _uses_tf32()
        key = (operand.dtype, tf32)
        if key not in self._numerics:
            self._numerics[key] = numeric(str(operand.dtype), tf32=tf32)
        return self._numerics[key]


def _is_composite(name: str) -> bool:
    """Say whether an operator is made of others."""
    try:
        key = "CompositeImplicitAutograd"
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, key))
    except RuntimeError:  # one of TorchScript's, which torch does not dispatch
        return False


def _uses_tf32() -> bool:
    return bool(torch._C._get_cublas_allow_tf32())


def _another_below() -> bool:
    """Say whether another meter sees the operator next: then that one charges it."""
    return any(type(_stack_at(i)) is Meter for i in range(_stack_size()))


class Meters:
    """The meter of each thread, put on its stack when the thread first needs it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._local = threading.local()

    def current(self) -> Meter | None:
        """Return this thread's meter, on its stack; None where it cannot be put.

        Only an empty stack takes it: it belongs below the user's own modes.
        """
        for i in range(_stack_size()):
            mode = _stack_at(i)
            if type(mode) is Meter:
                return mode
        if _stack_size():
            return None
        lease = getattr(self._local, "lease", None)
        if lease is None:
            lease = self._local.lease = _Lease(Meter(self._session))
        lease.meter.__enter__()
        return lease.meter

    def start_anew(self) -> None:
        """Forget the open windows: in a forked child."""
        lease = getattr(self._local, "lease", None)
        if lease is not None:
            lease.meter.windows = Windows()


class _Lease:
    """Takes the meter off the stack when its thread ends.

    A thread-local is cleared in its own thread while that still holds the GIL. torch
    would drop the mode later, without it, and could deadlock.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if _stack_size() and _stack_at(_stack_size() - 1) is self.meter:
                self.meter.__exit__(None, None, None)
