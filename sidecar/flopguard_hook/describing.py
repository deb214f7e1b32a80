"""Notes what the root modules are and what they were called with. Shell.

Facts are welcome, never needed: what cannot be described is counted all the same. The
parts that look into modules are loaded at the first call of one.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

import torch

from flopguard_hook import batches, changes, facts
from flopguard_hook.interrupts import raise_users

if TYPE_CHECKING:
    from flopguard_hook.batches import Batch
    from flopguard_hook.session import Session

_MOST_MODELS = 8
_MOST_DESCRIPTIONS = 256
_MASK_DIMENSIONS = 2

# What is an event when it changes, in a model and in the process.
_OF_MODELS = (
    "parameters",
    "dtypes",
    "layers",
    "adapter",
    "checkpointing",
    "compile",
    "wrappers",
    "architecture",
)
_OF_PROCESS = (
    "optimizers",
    "accumulation",
    "world_size",
    "parallelism",
    "precision",
    "dataset",
    "gpus",
)

# What an entry of `counts` may name its module by.
Reference = Any


class _Model:
    """A root module that was described.

    Attributes:
        reference: To the module, weak.
        facts: As in docs/formats.md, without what is known from its calls.
        batch: The sizes of its first call.
        trained: Whether it was described in a call with gradients.
        calls: How often it was called, by sizes and grad mode.
        sampled: Positions looked at for padding, and how many of them were padding.
        purposes: Of its measured calls without gradients, how often each was met.
    """

    def __init__(self, module: Any, found: "dict[str, Any]", batch: Batch) -> None:
        self.reference = weakref.ref(module)
        self.facts = found
        self.batch = batch
        self.trained = False
        self.calls: dict[tuple[Batch, bool], int] = {}
        self.sampled = (0, 0)
        self.purposes: dict[str, int] = {}


class Describer:
    """Describes the first root modules of a process, and how they change."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything: in a forked child."""
        self._models: list[_Model] = []
        self._left = _MOST_DESCRIPTIONS
        self._process: dict[str, Any] = {}

    def describe(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Note a root module, or how it changed since; raises nothing of its own.

        To be called at a module's first call, at its first with gradients, and when
        its structure, its trainable parameters or its adapters changed.
        """
        if self._left <= 0 or _is_traced():
            return
        self._left -= 1
        try:
            known = self._known(module)
            if known is None:
                self._add(module, args, kwargs)
            elif torch.is_grad_enabled():
                # Without gradients adapters are switched off and on again (DPO).
                self._compare(known, module)
            self._note_process(module, (known or self._known(module)))
        except Exception as error:  # lazy, scripted or nested things have no shape
            raise_users(error)

    def flush(self, counts: "Iterable[tuple[Reference, Any, bool, int]]") -> None:
        """Note how often the modules were called; raises nothing of its own.

        Args:
            counts: Per signature: the module or a weak reference to it, the sizes of
                the call (a `batches.Batch`, or a shape), whether with gradients, and
                the calls **since the process started**. Signatures that differ in
                other things are added up.
        """
        try:
            self._count(counts)
            self._note_models()
            self._note_batch()
            self._note_changes()
        except Exception as error:
            raise_users(error)

    def sample_padding(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Look once at the mask of a measured call; raises nothing of its own.

        Reads the mask from its device: to be called in measured windows only.
        """
        try:
            model = self._known(module)
            mask: Any = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
            if model is None or not torch.is_grad_enabled() or _is_traced():
                return
            if not _is_readable_mask(mask):
                return
            kept = int((mask != 0).sum())
            total, padding = model.sampled
            total += mask.numel()
            padding += mask.numel() - kept
            model.sampled = (total, padding)
        except Exception as error:
            raise_users(error)

    def saw_purpose(self, module: Any, purpose: str) -> None:
        """Note why a module was called without gradients, in a measured window.

        Args:
            module: The root module.
            purpose: As `purpose.of_frames` says.
        """
        model = self._known(module)
        if model is not None:
            model.purposes[purpose] = model.purposes.get(purpose, 0) + 1

    def _known(self, module: Any) -> "_Model | None":
        for model in self._models:
            if model.reference() is module:
                return model
        return None

    def _add(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if len(self._models) >= _MOST_MODELS and not self._has_room():
            return
        found = {**_described(module), "inputs": batches.of_inputs(args, kwargs)}
        model = _Model(module, found, batches.batch_of(module, args, kwargs))
        model.trained = torch.is_grad_enabled()
        if len(self._models) >= _MOST_MODELS:
            self._models[self._replaceable()] = model
        else:
            self._models.append(model)
        self._note_models()

    def _has_room(self) -> bool:
        return self._replaceable() >= 0

    def _replaceable(self) -> int:
        """Return the smallest model that is gone and was called once, or -1."""
        gone = [
            (model.facts["parameters"]["total"], i)
            for i, model in enumerate(self._models)
            if model.reference() is None and sum(model.calls.values()) <= 1
        ]
        return min(gone)[1] if gone else -1

    def _compare(self, model: _Model, module: Any) -> None:
        before, now = model.facts, _described(module)
        model.facts = {**before, **now}
        if "adapter" in before and "adapter" not in now:
            model.facts["adapter"] = {}
        if model.trained:
            prefix = f"models[{self._models.index(model)}]."
            changed = changes.differences(prefix, before, model.facts, _OF_MODELS)
            if "adapter" in now and "adapter" not in before:
                entry = {"fact": f"{prefix}adapter", "before": {}}
                changed.append({**entry, "after": now["adapter"]})
            self._note_events(changed)
        model.trained = True
        self._note_models()

    def _count(self, counts: "Iterable[tuple[Reference, Any, bool, int]]") -> None:
        totals: dict[int, dict[tuple[Batch, bool], int]] = {}
        for reference, sizes, grad, calls in counts:
            model = self._referred(reference)
            if model is not None:
                batch = batches.as_batch(sizes, model.batch)
                per_batch = totals.setdefault(id(model), {})
                key = (batch, bool(grad))
                per_batch[key] = per_batch.get(key, 0) + int(calls)
        for model in self._models:
            for key, calls in totals.get(id(model), {}).items():
                # The counts only grow: of signatures forgotten since, the old is kept.
                model.calls[key] = max(calls, model.calls.get(key, 0))

    def _referred(self, reference: Reference) -> "_Model | None":
        if not isinstance(reference, weakref.ref):
            return self._known(reference)
        for model in self._models:
            if model.reference is reference:
                return model
        module = reference()
        return None if module is None else self._known(module)

    def _note_models(self) -> None:
        self._session.note("models", [_written(model) for model in self._models])

    def _note_batch(self) -> None:
        """Note the rows of an optimizer step over all workers."""
        from flopguard_hook import parallel

        trained = [
            (calls, key[0].shape[0])
            for model in self._models
            for key, calls in model.calls.items()
            if key[1] and key[0].shape
        ]
        accumulation = self._session.noted("accumulation", 0)
        if trained and accumulation:
            kinds = [
                parallel.Kind(kind["kind"], kind.get("degree", 0))
                for kind in self._session.noted("parallelism", [])
            ]
            world_size = self._session.noted("world_size", 1)
            workers = parallel.data_workers(kinds, world_size)
            self._session.note("global_batch", max(trained)[1] * accumulation * workers)

    def _note_process(self, module: Any, model: "_Model | None") -> None:
        """Note what surrounds a model: libraries, devices, other processes."""
        from flopguard_hook import surroundings

        session = self._session
        dtypes = {} if model is None else model.facts["dtypes"]
        noted = surroundings.of_process(module, dtypes, session.noted("world_size", 1))
        kinds = [*session.noted("parallelism", []), *noted.pop("parallelism", [])]
        if kinds:
            names = {kind["kind"]: kind for kind in kinds}
            session.note("parallelism", list(names.values()))
        for key, value in noted.items():
            session.note(key, value)
        if not session.noted("digest", ""):
            for key, value in surroundings.of_machine().items():
                session.note(key, value)

    def _note_changes(self) -> None:
        """Note which facts of the process changed since they were last looked at."""
        missing = object()
        now = {key: self._session.noted(key, missing) for key in _OF_PROCESS}
        now = {key: value for key, value in now.items() if value is not missing}
        self._note_events(changes.differences("", self._process, now, _OF_PROCESS))
        self._process.update(now)

    def _note_events(self, changed: "list[dict[str, Any]]") -> None:
        if not changed:
            return
        session: Any = self._session
        moment = moment_of(session)
        events = session.noted("events", [])
        session.note("events", changes.with_events(events, changed, moment))


def moment_of(session: Any) -> changes.Moment:
    """Return where a session stands now."""
    total = getattr(session, "total_done", None)
    return changes.Moment(
        int(getattr(session, "steps", 0)), int(total() if total else 0)
    )


def _described(module: Any) -> "dict[str, Any]":
    """Return what is known of a module without its calls."""
    from flopguard_hook import architecture, layers, methods

    model, wrappers = methods.unwrapped(module)
    adapter = methods.adapter_of(model)
    base = getattr(getattr(model, "base_model", None), "model", None)
    inner = {"base_class": facts.short(type(base).__name__)}
    found = {
        "class": facts.short(type(model).__name__),
        **(inner if adapter and base is not None else {}),
        **layers.of_weights(model if not wrappers else _outer(module, model, wrappers)),
        "checkpointing": methods.checkpointing_of(module),
        **methods.compile_of(module),
        **({"adapter": adapter} if adapter else {}),
        **({"wrappers": wrappers} if wrappers else {}),
    }
    config = architecture.of_config(getattr(model, "config", None))
    return {**found, "architecture": config} if config else found


def _outer(module: Any, model: Any, wrappers: Sequence[str]) -> Any:
    """Return what to look for parameters in: FSDP 1 keeps them in its wrapper."""
    return module if "FullyShardedDataParallel" in wrappers else model


def _written(model: _Model) -> "dict[str, Any]":
    """Return a model's facts with those of its calls."""
    written = dict(model.facts)
    if model.batch.input:
        written["batch_input"] = facts.short(model.batch.input)
    if model.calls:
        written.update(batches.of_calls(model.calls, model.batch.input))
    total, padding = model.sampled
    if total:
        written["tokens_sampled"], written["padding_sampled"] = total, padding
    if model.purposes:
        often = max(model.purposes, key=lambda name: model.purposes[name])
        written["no_grad_purpose"] = facts.short(often)
    return written


def _is_readable_mask(mask: Any) -> bool:
    """Say whether a mask has one number per position and may be read now."""
    is_plain = type(mask) is torch.Tensor and mask.dim() == _MASK_DIMENSIONS
    if not is_plain or mask.is_meta or mask.is_floating_point():
        return False
    if torch._C._len_torch_function_stack():  # the user's, which would see it read
        return False
    if mask.is_cuda:  # reading would break a graph that is being captured
        return not torch.cuda.is_current_stream_capturing()
    return True


def _is_traced() -> bool:
    """Say whether what is done now would be recorded, or seen by a user's mode."""
    modes = [
        type(torch._C._get_dispatch_stack_at(i)).__module__
        for i in range(torch._C._len_torch_dispatch_stack())
    ]
    return (
        torch._C._get_tracing_state() is not None
        or any(not name.startswith("flopguard_hook.") for name in modes)
        or torch._guards.TracingContext.try_get() is not None
    )
