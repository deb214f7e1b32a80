"""The cells of the table: which program with which options, and how it is started."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from counting.families import FAMILIES
from counting.methods import RECIPES


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
        name: Unique, short; `--cells` selects by it.
        family: What is trained, as the table says it.
        method: How, as the table says it.
        program: Module and function, `fitting:fit`.
        options: The function's keyword arguments.
        closed: Key of the closed formula in `closed.FORMULAS`.
        workers: Processes.
        launcher: `python`, `torchrun` or `accelerate`.
        eager: Options of the reference run where they differ: without torch.compile.
        differs: Why the closed formula or another column may differ.
        varies: Why the cost depends on data, not on shapes alone; then an error of the
            hook is shown but is no failure.
        without_counter: Why FlopCounterMode cannot run in this program.
        limit: Seconds that a run may take.
    """

    name: str
    family: str
    method: str
    program: str
    options: Mapping[str, Any] = field(default_factory=dict)
    closed: str = ""
    workers: int = 1
    launcher: str = "python"
    eager: Mapping[str, Any] = field(default_factory=dict)
    differs: str = ""
    varies: str = ""
    without_counter: str = ""
    limit: float = 400


@dataclass(frozen=True)
class Absent:
    """A cell that cannot run here, with the reason."""

    family: str
    method: str
    reason: str


def _fit(family: str, method: str = "full", **more: Any) -> Cell:
    options = {"family": family, "method": method, **more}
    return Cell(
        f"{family}-{method}",
        FAMILIES[family].label,
        RECIPES[method].label,
        "fitting:fit",
        options,
        closed="fit",
        differs=RECIPES[method].differs,
    )


def _families() -> Iterable[Cell]:
    """Every family, all parameters."""
    for family in FAMILIES:
        yield _fit(family)


def _methods() -> Iterable[Cell]:
    """Every method on Llama, and some on others."""
    for method in RECIPES:
        if method != "full":
            yield _fit("llama", method)
    for family in FAMILIES:
        if family != "llama":
            yield _fit(family, "lora")
    for family, method in (
        ("qwen2", "lora-all"),
        ("qwen3", "qlora"),
        ("mistral", "lora-checkpointed"),
        ("mixtral", "checkpointed"),
        ("gemma2", "reentrant"),
        ("gemma3", "checkpointed"),
    ):
        yield _fit(family, method)


def _real() -> Iterable[Cell]:
    """SmolLM2-135M, where it has been prepared."""
    for method in ("lora", "full"):
        yield Cell(
            f"smollm2-{method}",
            "SmolLM2-135M",
            RECIPES[method].label,
            "fitting:fit_smollm2",
            {"method": method},
            closed="smollm2",
        )


def _llama(name: str, method: str, program: str, **more: Any) -> Cell:
    """Return a cell on the small Llama."""
    options = more.pop("options", {})
    family = FAMILIES[options.get("family", "llama")].label
    return Cell(name, family, method, program, options, **{"closed": "fit", **more})


def _loops() -> Iterable[Cell]:
    """Loops without a trainer."""
    yield _llama(
        "loop-long",
        "plain loop, 600 steps",
        "plain:loop",
        options={"steps": 600},
    )
    yield _llama(
        "alternating", "LISA: blocks in turn", "plain:alternating", closed="alternating"
    )
    yield _llama(
        "toggled", "LoRA, switched off and on", "plain:toggled", closed="toggled"
    )
    yield _llama("evaluated", "training and evaluation", "plain:evaluated")
    yield _llama("generate", "generation, KV cache", "plain:generate")
    yield _llama(
        "sample-gemma3",
        "generation, sampled",
        "plain:generate",
        options={"family": "gemma3", "sample": True},
        differs="The formula reads all keys; a layer with a sliding window of 16 keeps "
        "no more than that in its cache.",
    )
    yield _llama("beams", "generation, 3 beams", "plain:generate", options={"beams": 3})
    yield _llama(
        "generate-t5",
        "generation, KV cache",
        "plain:generate",
        options={"family": "t5"},
        closed="",
    )
    yield _llama("ppo", "PPO: a loop of its parts", "plain:ppo")


def _aligning() -> Iterable[Cell]:
    """The trainers of TRL."""
    for name, label, options in (
        ("sft", "SFT (TRL)", {}),
        ("sft-lora", "SFT with LoRA (TRL)", {"adapted": True}),
        ("sft-mixtral", "SFT (TRL)", {"family": "mixtral"}),
        ("dpo", "DPO (TRL)", {}),
        ("dpo-lora", "DPO with LoRA (TRL)", {"adapted": True}),
        ("reward", "reward model (TRL)", {}),
        ("grpo", "GRPO (TRL)", {}),
        ("rloo", "RLOO (TRL), PPO-like", {}),
    ):
        program = "aligning:" + name.split("-")[0]
        yield _llama(name, label, program, options=options, closed="aligned")


def _parallel() -> Iterable[Cell]:
    """Two workers on gloo."""
    two: dict[str, Any] = {"workers": 2, "launcher": "torchrun"}
    for name, label, closed in (
        ("ddp", "DDP, torchrun", "fit"),
        ("ddp_accumulated", "DDP, no_sync, torchrun", "fit"),
        ("fsdp1", "FSDP1, torchrun", "fit"),
        ("fsdp2", "FSDP2, torchrun", "fit"),
        ("tensor", "tensor parallel, torchrun", "tensor"),
    ):
        yield _llama(name, label, "parallel:" + name, closed=closed, **two)
    yield _llama(
        "pipeline",
        "pipeline, torchrun",
        "parallel:pipeline",
        closed="pipeline",
        without_counter="FlopCounterMode's hooks on modules end a pipeline's program: "
        "its gradients are asked for by `autograd.grad`.",
        **two,
    )
    yield _llama(
        "accelerate",
        "full, accelerate launch",
        "fitting:fit",
        options={"family": "llama"},
        workers=2,
        launcher="accelerate",
    )


_COMPILED = (
    "The reference and FlopCounterMode run the same program without torch.compile: a "
    "compiled graph's products cannot be watched one by one."
)


def _compiled() -> Iterable[Cell]:
    """What torch.compile makes of it; the reference is eager."""
    modes: Iterable[tuple[str, str, dict[str, Any]]] = (
        ("default", "whole", {}),
        ("reduce-overhead", "whole", {"options": {"mode": "reduce-overhead"}}),
        ("max-autotune", "whole", {"options": {"mode": "max-autotune"}}),
        ("regional", "blocks", {}),
    )
    for label, what, more in modes:
        options = {"compiled": what, "kinds": 1, "steps": 14, **more}
        yield _llama(
            f"compile-{label}",
            f"torch.compile, {label}",
            "plain:loop",
            options=options,
            eager={"compiled": ""},
            differs=_COMPILED,
            limit=600,
        )
    yield _llama(
        "compile-dynamic",
        "torch.compile, dynamic shapes",
        "plain:loop",
        options={"compiled": "whole", "kinds": 4, "options": {"dynamic": True}},
        eager={"compiled": ""},
        differs=_COMPILED,
        limit=600,
    )


def _varying() -> Iterable[Cell]:
    """Programs whose cost depends on the data."""
    yield _llama(
        "masked-head",
        "head on labelled positions",
        "plain:masked_head",
        closed="",
        varies="The number of labels in a batch decides how many rows the head has. "
        "Two batches with as many by chance look alike until the next one is measured.",
    )
    yield _llama(
        "layerdrop",
        "LayerDrop 0.3",
        "plain:dropped_layers",
        options={},
        closed="",
        varies="Which blocks run is drawn in every forward.",
    )


def cells() -> list[Cell]:
    """Return every cell, in the order of the table."""
    return [
        *_families(),
        *_methods(),
        *_real(),
        *_loops(),
        *_aligning(),
        *_parallel(),
        *_compiled(),
        *_varying(),
    ]


_GPU = "needs a GPU: `python -m tests.gpu`, docs/gpu-checks.md"
ABSENT: list[Absent] = [
    Absent("any", "FlashAttention 2 and 3, TransformerEngine, fp8", _GPU),
    Absent("any", "torch.compile with Triton kernels, CUDA graphs", _GPU),
    Absent("any", "8-bit layers by the int8 kernels of bitsandbytes", _GPU),
    Absent("Llama", "PPO (TRL)", "TRL 1.16 has no PPO trainer; a loop stands above"),
]
