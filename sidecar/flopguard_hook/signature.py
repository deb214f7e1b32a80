"""What the cost of a module's call depends on, as far as it can be seen. Shell.

A signature has two parts: the structure (types, dtypes, literals, states), which must
be the same for two calls to be alike at all, and the sizes (dimensions, integers,
lengths of caches), which may differ within a family.
"""

from __future__ import annotations

import itertools
import weakref
from operator import itemgetter
from types import FunctionType
from typing import Any, Iterable, Mapping, NoReturn

import torch

from flopguard_hook.interrupts import raise_users
from flopguard_hook.parts import Parts, of_parameters
from flopguard_hook.polynomials import CACHE, DIMENSION, LITERAL

_Tensor = torch.Tensor
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
_LITERALS = frozenset({bool, type(None), str, bytes, torch.dtype, torch.device})
_MOST_ITEMS = 4096
_DECIDING = frozenset({bool, int, str, type(None)})
_MOST_VALUES = 8
_MOST_TOKENS = 4096
# Every module has them, and no forward looks at them.
_IDLE = frozenset({"_is_full_backward_hook", "_is_hf_initialized"})
_DEEPEST = 6
# Sequences packed into one: what counts is on the device.
_PACKED = ("cu_seq", "cu_len")

# They choose kernels and numeric formats. Not every torch has all of them.
_SWITCHES = [
    getattr(torch._C, name)
    for name in (
        "_get_cublas_allow_tf32",
        "_get_mkldnn_enabled",
        "_get_cudnn_enabled",
        "_get_flash_sdp_enabled",
        "_get_mem_efficient_sdp_enabled",
        "_get_math_sdp_enabled",
        "_get_cudnn_sdp_enabled",
    )
    if hasattr(torch._C, name)
]

_any_autocast = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)

# Modules of torch itself whose forward does not look at `training`.
_HEEDLESS = frozenset(
    "torch.nn.modules." + name
    for name in (
        "container",
        "conv",
        "embedding",
        "flatten",
        "fold",
        "linear",
        "loss",
        "normalization",
        "padding",
        "pixelshuffle",
        "pooling",
        "sparse",
        "upsampling",
    )
)


class UnsignableError(Exception):
    """The cost depends on what a signature does not show."""


class Signature:
    """A signature in the making.

    Attributes:
        structure: Hashable parts, in order.
        sizes: Integers, in order.
        kinds: Of each size: DIMENSION, LITERAL or CACHE.
    """

    __slots__ = ("_has_device", "kinds", "sizes", "structure")

    def __init__(self) -> None:
        self.structure: list[Any] = []
        self.sizes: list[int] = []
        self.kinds: list[str] = []
        self._has_device = False

    def add(self, value: Any, depth: int = 0) -> None:
        """Add a value and what it holds.

        Raises:
            UnsignableError: Its cost cannot be told from shapes.
        """
        kind = type(value)
        if kind in _LITERALS:
            self.structure.append(value)
        elif isinstance(value, _Tensor):
            self._add_tensor(value, kind)
        elif kind is int:
            self.structure.append(kind)
            self.sizes.append(value)
            self.kinds.append(LITERAL)
        elif kind is float:  # schedules change it at every call
            self.structure.append(value == 0.0)
        elif depth > _DEEPEST or len(self.structure) > _MOST_ITEMS:
            _refuse("arguments without end")
        elif isinstance(value, dict):
            self._add_mapping(value, depth)
        elif isinstance(value, (list, tuple)):
            self.structure.append(len(value))
            for item in value:
                self.add(item, depth + 1)
        else:
            self._add_object(value, depth)

    def _add_tensor(self, tensor: Any, kind: type) -> None:
        if tensor.layout is not torch.strided or tensor.is_nested:
            _refuse("sparse or nested tensors")
        shape = tensor.shape
        if not self._has_device:  # the first tensor's: all are where the model is
            self._has_device = True
            self.structure.append(tensor.get_device())
        self.structure += (tensor.dtype, len(shape), tensor.requires_grad)
        self.sizes += shape
        self.kinds.append(DIMENSION * len(shape))
        if kind not in _PLAIN:
            self.structure += (kind, getattr(tensor, "placements", None))

    def _add_mapping(self, mapping: "Mapping[Any, Any]", depth: int) -> None:
        self.structure.append(len(mapping))
        for key, value in mapping.items():
            if type(key) is str:
                if key.startswith(_PACKED) and value is not None:
                    _refuse("packed sequences")
                self.structure.append(key)
            else:
                self.structure.append(type(key))
            self.add(value, depth + 1)

    def _add_object(self, value: Any, depth: int) -> None:
        kind = type(value)
        self.structure.append(kind)
        if isinstance(value, FunctionType):
            self.structure.append(id(value.__code__))
            return
        if isinstance(value, torch.nn.Module):
            self.structure.append(id(value))
            return
        held = getattr(value, "__dict__", None)
        if type(held) is not dict:
            return
        layers = held.get("layers")
        if type(layers) is list and hasattr(kind, "get_seq_length"):
            self._add_cache(layers)
        else:
            self._add_mapping(held, depth + 1)

    def _add_cache(self, layers: "Iterable[Any]") -> None:
        """Add a cache of keys and values: the lengths that its layers have."""
        seen = set()
        for layer in layers:
            keys = getattr(layer, "keys", None)
            length = keys.shape[-2] if isinstance(keys, _Tensor) and keys.ndim else 0
            item = (type(layer), length, getattr(layer, "cumulative_length", 0))
            if item not in seen:
                seen.add(item)
                self.structure.append(item[0])
                for size in item[1:]:
                    if type(size) is int:
                        self.sizes.append(size)
                        self.kinds.append(CACHE)


def _refuse(why: str) -> NoReturn:
    raise UnsignableError(why)


def ambient() -> tuple[Any, ...]:
    """Return the switches of torch that choose kernels and formats."""
    autocast: Any = False
    if _any_autocast():  # asking by the name of a device takes three times as long
        autocast = (
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
            torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        )
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        autocast,
        *[switch() for switch in _SWITCHES],
    )


_tokens: "dict[tuple[Any, ...], int]" = {}
_next_token = itertools.count()


def _token(values: "tuple[Any, ...]") -> int:
    """Return a number that stands for these values, and never for others."""
    if len(_tokens) >= _MOST_TOKENS:
        _tokens.clear()
    return _tokens.setdefault(values, next(_next_token))


class ModuleState:
    """What a root module is made of, and what about it may change between calls.

    Everything is held weakly: the hook keeps no module and no parameter alive.

    Attributes:
        epoch: When it was looked at: rises as modules, parameters and hooks come and
            go.
        structure: Of modules, hooks and parameters.

    Args:
        root: The module.
        epoch: See there.
    """

    def __init__(self, root: Any, epoch: int) -> None:
        self.epoch = epoch
        self._watched: list[tuple[int, Watched]] = []  # each at its index
        self._configs: list[Watched] = []
        self._tuners = []
        configs: set[int] = set()
        modules = list(root.modules())
        for index, module in enumerate(modules):
            held = vars(module)
            kind = type(module)
            if kind.__module__ not in _HEEDLESS:
                self._watched.append((index, Watched(module)))
            config = held.get("config")
            if config is not None and id(config) not in configs:
                configs.add(id(config))
                if type(getattr(config, "__dict__", None)) is dict:
                    self._configs.append(Watched(config))
            if hasattr(kind, "merged_adapters") or "merged_adapters" in held:
                self._tuners.append(weakref.ref(module))
        parameters = list(root.parameters())
        self._parameters = [weakref.ref(p) for p in parameters]
        self._holders = _some_holders(modules)
        self._parts = Parts(modules)
        self.structure = hash((self._parts.structure, of_parameters(parameters)))
        self._values: list[Any] = []
        self._attributes = _token(())  # stands for the values, which are many
        self._adapters: list[Any] = []
        self._adapters_token: tuple[Any, ...] = ()

    def held(self, epoch: int) -> list[dict[str, Any]] | None:
        """Return the attributes of the modules, for `now`.

        None if the root is not made of what it was, or this is another epoch.
        """
        return self._parts.now() if self.epoch == epoch else None

    def now(self, held: list[dict[str, Any]], *, grad: bool) -> tuple[Any, ...]:
        """Return the state as it is.

        Args:
            held: The attributes of the modules.
            grad: Whether the pattern of trainable parameters matters.
        """
        values = [watched.of(held[index]) for index, watched in self._watched]
        values += [watched.now() for watched in self._configs]
        if values != self._values:
            self._values = values
            self._attributes = _token(tuple(values))
        pattern = b""
        for index, name, parameter in self._holders:
            found = held[index]["_parameters"].get(name)
            if found is not None and found is not parameter():
                _refuse("parameters of another")
        if grad:
            pattern = bytes(
                [2 if (p := r()) is None else p.requires_grad for r in self._parameters]
            )
        adapters = self._of_adapters() if self._tuners else ()
        return self._attributes, pattern, adapters

    def _of_adapters(self) -> tuple[Any, ...]:
        found: list[Any] = []
        for reference in self._tuners:
            tuner = reference()
            if tuner is not None:
                held = vars(tuner)
                found += (
                    held.get("_disable_adapters"),
                    held.get("_active_adapter"),
                    len(tuner.merged_adapters),
                )
        if found != self._adapters:
            # Lists are changed in place: what is compared later must be a copy.
            self._adapters = [list(x) if type(x) is list else x for x in found]
            self._adapters_token = tuple(
                tuple(x) if type(x) is list else x for x in self._adapters
            )
        return self._adapters_token


def _some_holders(modules: Iterable[Any]) -> list[tuple[int, str, Any]]:
    """Return where the first and the last parameters were found.

    Each as the module's index, a name and a reference: `functional_call` puts another
    one there.
    """
    held = [
        (index, name, weakref.ref(parameter))
        for index, module in enumerate(modules)
        for name, parameter in (vars(module).get("_parameters") or {}).items()
        if parameter is not None
    ]
    return held[:2] + held[-2:]


class Watched:
    """The plain attributes of a module or config, which may decide what a forward does.

    One that has had many values is a counter and decides nothing: it is let go.
    """

    __slots__ = ("_changes", "_get", "_held", "_names", "_size", "_values")

    def __init__(self, module: Any) -> None:
        self._held = weakref.ref(module)
        self._changes: dict[str, int] = {}
        self._look(vars(module))

    def _look(self, held: "dict[str, Any]") -> None:
        self._size = len(held)
        self._names = tuple(
            name
            for name, value in held.items()
            if type(value) in _DECIDING
            and name not in _IDLE
            and self._changes.get(name, 0) < _MOST_VALUES
        )
        # A single name's getter returns no tuple, which does as well.
        self._get: Any = itemgetter(*self._names) if self._names else len
        self._values: Any = self._get(held)

    def now(self) -> Any:
        """Return the values, the same object for as long as they are the same."""
        module = self._held()
        return None if module is None else self.of(module.__dict__)

    def of(self, held: "dict[str, Any]") -> Any:
        """Return the same of attributes that are at hand."""
        if len(held) != self._size:
            self._look(held)
        try:
            values = self._get(held)
        except KeyError as error:  # one was renamed
            raise_users(error)
            self._look(held)
            return self._values
        if values != self._values:
            self._note_changes(values)
            self._look(held)
        return self._values

    def _note_changes(self, values: Any) -> None:
        pairs = [(self._values, values)]
        if len(self._names) > 1:
            pairs = list(zip(self._values, values))
        for name, (old, new) in zip(self._names, pairs):
            if old != new and name != "training":
                self._changes[name] = self._changes.get(name, 0) + 1
