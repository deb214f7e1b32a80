"""Keeps torch.compile from compiling the hook's own frames. Shell.

`torch._dynamo.disable` would import torch._dynamo, which costs seconds; the same mark
can be set on code objects without it.
"""

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any, Iterator

import torch

from flopguard_hook import dataset, saving
from flopguard_hook.dispatch import Meter
from flopguard_hook.imports import when_imported
from flopguard_hook.metering import Metering
from flopguard_hook.noting import note_facts

# None of them calls the program, but for operators.
_ENTRIES: Any = (
    Meter.__torch_dispatch__,
    Metering.enter_call,
    Metering.leave_call,
    Metering.enter_engine,
    Metering.leave_engine,
    Metering.enter_step,
    Metering.leave_step,
    note_facts,
    saving._entered,
    saving._note,
    dataset._note,
)

# Imported where needed. Before torch 2.7 a mark does not hold for what is called.
_LATER = ("profiling", "subclassing")


def hide_from_dynamo(*entries: Any) -> None:
    """Mark every function of the hook as not to be compiled when it runs.

    What an operator calls from within the meter is not compiled either.

    Args:
        entries: More functions to be treated like the meter's.
    """
    dynamo: Any = torch._C._dynamo.eval_frame
    if not hasattr(dynamo, "set_code_exec_strategy"):  # before torch 2.7
        skip = getattr(dynamo, "skip_code", lambda _: None)
        for code in (*_codes_of_package(), *(entry.__code__ for entry in entries)):
            skip(code)
        for name in _LATER:

            def skip_later(module: ModuleType) -> None:
                for code in _codes_of_module(module):
                    skip(code)

            when_imported(f"{__package__}.{name}", skip_later)
        return
    action, strategy = dynamo._FrameAction, dynamo._FrameExecStrategy
    frame_only = strategy(action.SKIP, action.DEFAULT)
    for code in _codes_of_package():
        dynamo.set_code_exec_strategy(code, frame_only)
    all_within = strategy(action.SKIP, action.SKIP)
    for function in (*_ENTRIES, *entries):
        dynamo.set_code_exec_strategy(function.__code__, all_within)


def _codes_of_package() -> "Iterator[CodeType]":
    package = __name__.split(".", maxsplit=1)[0]
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + "."):
            yield from _codes_of_module(module)


def _codes_of_module(module: ModuleType) -> "Iterator[CodeType]":
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__:
            yield from _codes_of(value)


def _codes_of(value: Any) -> "Iterator[CodeType]":
    if isinstance(value, FunctionType):
        yield from _with_nested(value.__code__)
    elif isinstance(value, type):
        for member in vars(value).values():
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType):
                yield from _with_nested(function.__code__)


def _with_nested(code: CodeType) -> "Iterator[CodeType]":
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)
