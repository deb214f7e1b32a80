"""Counts operators as torch dispatches them. Shell: the one subclass of a torch class.

Loaded only after the user's program has imported torch. A meter is on its thread's
stack of modes only while a window is measured.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Union

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _pop_mode, _push_mode

from flopguard_hook import facts, reading, table  # noqa: F401 # reading attaches itself
from flopguard_hook.formulas import Formula, is_uncounted
from flopguard_hook.interrupts import raise_users
from flopguard_hook.numerics import Numeric, numeric
from flopguard_hook.session import MASKED, Session, charge
from flopguard_hook.underlay import KNOWS_MODES, Underlay, is_empty
from flopguard_hook.windows import Windows

_MOST_UNKNOWN = 32
_PASS, _COMPOSITE, _SELECTS = "pass", "composite", "selects"

# How many rows these return depends on what tensors hold.
_CHOOSING = frozenset({"aten::nonzero", "aten::masked_select", "aten::index"})

_COMPOSITE_KEY = torch._C.DispatchKey.CompositeImplicitAutograd
_BACKENDS = (
    "CPU",
    "CUDA",
    "MPS",
    "XPU",
    "PrivateUse1",
    "Meta",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
)

_transforms = getattr(torch._C._functorch, "peek_interpreter_stack", lambda: None)
function_modes = getattr(torch._C, "_len_torch_function_stack", lambda: 0)
_nothing = contextlib.nullcontext()
_stack_size = torch._C._len_torch_dispatch_stack
_stack_at = torch._C._get_dispatch_stack_at


class Unknown:
    """An operator that may multiply and has no formula.

    Attributes:
        name: Its full name.
        calls: How often it ran in measured windows.
        estimate: FLOPs of those calls, where the module's shape tells; else 0.
    """

    __slots__ = ("calls", "estimate", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.estimate = 0


_Kind = Union[str, Formula, Unknown]


class Operators:
    """What each operator is, looked up once, and what one call of it costs.

    Attributes:
        unknown: The operators without a formula that were met, by name.
        composite: Those that are made of others: in inference mode they arrive whole.
        metered, dispatched: Stretches measured so far, and the operators in them.
    """

    def __init__(self, session: Session) -> None:
        self.unknown: dict[str, Unknown] = {}
        self.composite: set[Any] = set()
        self.metered = self.dispatched = 0
        self._session = session
        self._kinds: dict[Any, _Kind] = {}
        self._numerics: dict[tuple[Any, bool], Numeric] = {}

    def kind(self, func: Any) -> _Kind:
        """Return how an operator is treated; never raises."""
        return self._kinds.get(func) or self._classify(func)

    def _classify(self, func: Any) -> _Kind:
        kind: _Kind = _PASS
        try:
            name = _name(func)
            formula = table.find(name)
            if getattr(func, "_schema", None) and _is_composite(func.name()):
                self.composite.add(func)
            if formula is not None:
                kind = formula
            elif func in self.composite:
                kind = _COMPOSITE
            elif name in _CHOOSING:
                kind = _SELECTS
            elif is_uncounted(name):
                kind = self.note_unknown(name)
        except Exception as error:
            self._session.fail(error)
        self._kinds[func] = kind
        return kind

    def note_unknown(self, name: str, flag: str = "unknown_operator") -> Unknown:
        """Say loudly that something cannot be counted; return what keeps its calls."""
        self._session.flag(flag)
        return self.unknown.setdefault(name, Unknown(name))

    def described(self) -> list[dict[str, Any]]:
        """Return what is known of the operators without a formula, most calls first."""
        found = sorted(self.unknown.values(), key=lambda one: -one.calls)
        return [
            {
                "operator": facts.short(one.name),
                "calls": one.calls,
                **({"estimate": str(one.estimate)} if one.estimate else {}),
            }
            for one in found[:_MOST_UNKNOWN]
        ]

    def price(
        self, func: Any, kind: Formula, args: Any, kwargs: Any
    ) -> tuple[str, int, int] | None:
        """Return the numeric format, the FLOPs, and those a causal mask hides.

        None if the operator runs on tensors without data or cannot be counted. A
        formula that raises costs its operator, not the process.
        """
        try:
            operand = args[kind.operand]
            if isinstance(operand, (list, tuple)):
                operand = operand[0]
            if operand.is_meta or type(operand).__name__ == "FakeTensor":
                return None
            if operand.is_nested:  # a nested tensor has no shape
                self.note_unknown(_name(func)).calls += 1
                return None
            of = self._numeric(operand)
            flops = kind.flops_of(args, kwargs) * of.factor
            causal = flops
            if kind.causal_of is not None:
                causal = kind.causal_of(args, kwargs) * of.factor
        except Exception as error:
            raise_users(error)
            self.note_unknown(_name(func), "formula_failed").calls += 1
            return None
        return kind.format or of.format, flops, flops - causal

    def _numeric(self, operand: Any) -> Numeric:
        tf32 = operand.is_cuda and bool(torch._C._get_cublas_allow_tf32())
        key = (operand.dtype, tf32)
        if key not in self._numerics:
            self._numerics[key] = numeric(str(operand.dtype), tf32=tf32)
        return self._numerics[key]


class Meter(TorchDispatchMode):
    """Measures one thread's windows, at the bottom of its stack of modes.

    At the bottom it sees what is really executed, after the user's own modes, and no
    `with` block of the user's can pop it. torch hands it on to the engine's threads,
    hence the windows live here and not in a thread-local.

    Attributes:
        windows: The counting windows of the thread.
        live: Whether each operator is written into the page as it runs.
        counted: Operators counted in this window.
        varies: Whether a figure depended on what tensors hold.
        digest: Of the operators counted in this window, in order.
        selects: Whether rows were chosen by what tensors hold.
        muted: Above zero while a compiled graph runs, which counts for itself.
    """

    supports_higher_order_operators = True

    def __init__(self, session: Session, operators: Operators) -> None:
        super().__init__()
        self.windows = Windows()
        self.live = True
        self.counted = 0
        self.varies = False
        self.selects = False
        self.digest = 0
        self.muted = 0
        self._tally: dict[int, int] = {}
        self._session = session
        self._operators = operators

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile compile and run compiled code under this mode."""
        return True

    if not KNOWS_MODES:
        is_infra_mode = Underlay.is_infra_mode

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
        self._operators.dispatched += 1
        kind = self._operators.kind(func)
        if func in self._operators.composite:
            with _views_noted():
                return self._run(func, kind, args, kwargs)
        return self._run(func, kind, args, kwargs)

    def _run(self, func: Any, kind: _Kind, args: Any, kwargs: Any) -> Any:
        if kind is _PASS or self.muted or not self._session.armed:
            return func(*args, **kwargs)
        if kind is _SELECTS:
            self.selects = self.selects or _selects(func, args)
            return func(*args, **kwargs)
        if kind is _COMPOSITE:
            with self:  # the kernel that would run anyway, not one written in Python
                return func._op_dk(_COMPOSITE_KEY, *args, **kwargs)
        if isinstance(kind, Unknown):
            kind.calls += 1
            return func(*args, **kwargs)
        charges = self._begin(func, kind, args, kwargs)
        out = func(*args, **kwargs)
        self._finish(charges)
        return out

    def _begin(
        self, func: Any, kind: Any, args: Any, kwargs: Any
    ) -> tuple[tuple[int, int], ...]:
        """Charge an operator as begun; never raises."""
        try:
            if meter_on_stack() is not None:
                return ()  # another one, which sees the operator next and charges it
            with unseen():
                price = self._operators.price(func, kind, args, kwargs)
            if price is None:
                return ()
            numeric_format, flops, masked = price
            self.varies |= kind.depends_on_data(args, kwargs)
            category = self.windows.category(grad=torch.is_grad_enabled())
            charges = [charge(category, numeric_format, flops)]
            if masked and category in {"forward", "backward"}:
                charges.append((MASKED, masked))
            self.counted += 1
            self.digest = hash((self.digest, id(func), flops))
            if self.live:
                self._session.begin(charges)
        except Exception as error:
            self._session.fail(error)
            return ()
        return tuple(charges)

    def _finish(self, charges: "tuple[tuple[int, int], ...]") -> None:
        if charges and self._session.armed:
            try:
                for index, flops in charges:
                    self._tally[index] = self._tally.get(index, 0) + flops
                if self.live:
                    self._session.finish(charges)
            except Exception as error:
                self._session.fail(error)

    def start(self, *, live: bool) -> None:
        """Begin to measure.

        Args:
            live: False if the page says already what is about to run.
        """
        self.live = live
        self.counted = 0
        self.varies = False
        self.selects = False
        self.digest = 0
        self._operators.metered += 1
        self._tally = {}
        modes = _taken_off(down_to=None)
        try:
            self.__enter__()
        finally:
            _put_back(modes)

    def stop(self) -> tuple[tuple[int, int], ...]:
        """Leave the stack and return what was measured, by cell."""
        modes = _taken_off(down_to=self)
        if _stack_size():
            self.__exit__(None, None, None)
        _put_back(modes)
        return tuple(sorted(self._tally.items()))

    def add(self, charges: "tuple[tuple[int, int], ...]") -> None:
        """Charge what counted for itself, a compiled graph, as begun."""
        self.counted += 1
        self.digest = hash((self.digest, charges))
        if self.live:
            self._session.begin(charges)

    def added(self, charges: "tuple[tuple[int, int], ...]") -> None:
        """Charge it as done."""
        self._finish(charges)


def _taken_off(down_to: Meter | None) -> list[Any]:
    """Take the modes above a meter off the stack, or all; return the top first."""
    modes = []
    while _stack_size() and _stack_at(_stack_size() - 1) is not down_to:
        modes.append(_pop_mode())
    return modes


def _put_back(modes: list[Any]) -> None:
    for mode in reversed(modes):
        _push_mode(mode)


def unseen() -> Any:
    """Return a context in which no function mode of the user's sees a read."""
    return torch._C.DisableTorchFunction() if function_modes() else _nothing


def _views_noted() -> Any:
    """Return a context in which a view of a weight knows of what, as without a mode.

    A product with one chooses another kernel, and rounds otherwise, if it does not.
    """
    if not torch.is_inference_mode_enabled():
        return _nothing
    key = torch._C.DispatchKey.ADInplaceOrView
    return torch._C._SetExcludeDispatchKeyGuard(key, False)  # noqa: FBT003 # no names


def meter_on_stack() -> Meter | None:
    """Return the meter that measures this thread now, if one does."""
    for i in range(_stack_size()):
        mode = _stack_at(i)
        if type(mode) is Meter:
            return mode
    return None


def is_plain() -> bool:
    """Say whether operators run as they are called: no mode, trace or transform."""
    return (
        is_empty() and torch._C._get_tracing_state() is None and _transforms() is None
    )


def is_traced() -> bool:
    """Say whether what runs is only recorded, on tensors without data."""
    if _stack_size() and any(
        torch._C._get_dispatch_mode(key) is not None for key in _TRACING
    ):
        return True
    # AOTAutograd runs the engine on tensors that hold no data.
    guards = sys.modules.get("torch._guards")
    return (
        guards is not None
        and "torch._dynamo" in sys.modules
        and guards.TracingContext.try_get() is not None
    )


_TRACING = tuple(
    getattr(torch._C._TorchDispatchModeKey, name)
    for name in ("FAKE", "PROXY", "FUNCTIONAL")
    if hasattr(torch._C._TorchDispatchModeKey, name)
)


def _name(func: Any) -> str:
    schema = getattr(func, "_schema", None)
    return str(schema.name if schema else f"higher_order::{func}")


def _is_composite(name: str) -> bool:
    """Say whether an operator is made of others and has no kernel of its own."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    try:
        return bool(has_kernel(name, "CompositeImplicitAutograd")) and not any(
            has_kernel(name, key) for key in _BACKENDS
        )
    except RuntimeError:  # one of TorchScript's, which torch does not dispatch
        return False


def _selects(func: Any, args: Any) -> bool:
    """Say whether a call chooses rows by a mask; indices by number do not."""
    if func.overloadpacket is not torch.ops.aten.index:
        return True
    return any(i is not None and i.dtype is torch.bool for i in args[1])
