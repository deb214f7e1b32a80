"""What is noted of real models, of how they are trained, and of how that changes."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    checkpoint_wrapper,
)

from flopguard_hook.describing import Describer
from standins.notes import Notes
from training.needs import QUANTIZED, needs

# Of the libraries under test: peft asks transformers by a name that is to go.
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)

IDS = torch.ones(2, 16, dtype=torch.long)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}


def llama(**more: Any) -> Any:
    """Return a small Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**{**SIZES, **more}))


def adapted(model: Any, **options: Any) -> Any:
    """Return a model with a LoRA adapter."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(**options))


def described(module: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what is noted of a module at its first call."""
    notes = Notes()
    Describer(notes).describe(module, args, kwargs)  # type: ignore[arg-type] # stand-in
    (model,) = notes.facts["models"]
    return dict(model)


def layer(model: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the layers of a name that ends so."""
    (found,) = [entry for entry in model["layers"] if entry["name"].endswith(name)]
    return dict(found)


def test_full_model() -> None:
    """Parameters, layers and architecture of a Llama whose head is tied."""
    module = llama(tie_word_embeddings=True)
    model = described(module, input_ids=IDS)
    elements = sum(p.numel() for p in module.parameters())

    assert model["parameters"] == {
        "total": elements,
        "trainable": elements,
        "unpacked": elements,
        "local": elements,
        "scope": "global",
    }
    assert layer(model, "self_attn.k_proj") == {
        "name": "model.layers.*.self_attn.k_proj",
        "class": "Linear",
        "weight": [32, 64],
        "count": 3,
        "trainable": True,
    }
    assert layer(model, "lm_head")["shared"] is True
    architecture = model["architecture"]
    assert SIZES.items() <= architecture.items()
    assert architecture["attn_implementation"] == "sdpa"
    assert model["inputs"] == {"input_ids": [2, 16]}


def test_frozen_layers_are_told_from_trained_ones() -> None:
    """Partial unfreezing: the last of three blocks is trained."""
    module = llama()
    module.requires_grad_(False)  # noqa: FBT003 # torch takes it by position
    module.model.layers[2].requires_grad_(True)  # noqa: FBT003 # the same
    model = described(module, input_ids=IDS)
    gates = [
        (entry["trainable"], entry["count"])
        for entry in model["layers"]
        if entry["name"].endswith("gate_proj")
    ]

    assert sorted(gates) == [(False, 2), (True, 1)]
    trained = sum(p.numel() for p in module.model.layers[2].parameters())
    assert model["parameters"]["trainable"] == trained


def test_lora() -> None:
    """Type, rank, targets; trainable parameters as PEFT counts them."""
    module = adapted(llama(), r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    model = described(module, input_ids=IDS)
    trainable, total = module.get_nb_trainable_parameters()
    expected = {"type": "LORA", "rank": 4, "alpha": 8, "dora": False}

    assert (model["class"], model["base_class"]) == ("PeftModel", "LlamaForCausalLM")
    assert model["parameters"]["trainable"] == trainable
    assert model["parameters"]["total"] == total
    assert expected.items() <= model["adapter"].items()
    assert model["adapter"]["targets"] == ["q_proj", "v_proj"]
    assert layer(model, "q_proj.lora_A.default")["weight"] == [4, 64]


def test_ranks_that_differ_and_dora() -> None:
    """The largest rank, and how often each occurs."""
    module = adapted(
        llama(),
        r=4,
        rank_pattern={"v_proj": 8},
        target_modules=["q_proj", "v_proj"],
        use_dora=True,
    )
    adapter = described(module, input_ids=IDS)["adapter"]

    assert (adapter["rank"], adapter["dora"]) == (8, True)
    assert adapter["ranks"] == {"4": 3, "8": 3}


def test_adapter_of_ones_own() -> None:
    """Low-rank parts are known by their names without PEFT."""

    class Low(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lora_a = nn.Linear(16, 2, bias=False)
            self.lora_b = nn.Linear(2, 16, bias=False)

    model = described(nn.ModuleDict({"wq": Low(), "wk": Low()}), IDS)

    assert model["adapter"] == {"type": "LORA", "rank": 2, "targets": ["wk", "wq"]}


def test_prompt_tuning() -> None:
    """The virtual tokens lengthen every sequence."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7)
    model = described(get_peft_model(llama(), config), input_ids=IDS)

    assert model["adapter"]["type"] == "PROMPT_TUNING"
    assert model["adapter"]["virtual_tokens"] == 7


@QUANTIZED
def test_four_bit_weights_have_their_real_shape() -> None:
    """Two weights are stored in a byte; the shape is the layer's."""
    import bitsandbytes

    linear = bitsandbytes.nn.Linear4bit(64, 32, bias=False, quant_type="nf4")
    linear.weight = bitsandbytes.nn.Params4bit(
        torch.randn(32, 64), requires_grad=False, quant_type="nf4"
    )
    model = described(nn.Sequential(linear.to("cpu"), nn.Linear(32, 2)), IDS)

    packed = next(e for e in model["layers"] if e["class"] == "Linear4bit")
    assert (packed["weight"], packed["packed"]) == ([32, 64], "nf4")
    assert model["parameters"]["total"] == 32 * 64 // 2 + 66
    assert model["parameters"]["unpacked"] == 32 * 64 + 66
    assert model["dtypes"] == {"nf4": 32 * 64, "float32": 66}


def test_weights_packed_in_buffers() -> None:
    """GPTQ and AWQ layers have no parameter at all."""

    class QuantLinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_features, self.out_features = 64, 32
            self.register_buffer("qweight", torch.zeros(8, 32, dtype=torch.int32))

    model = described(nn.Sequential(QuantLinear()), IDS)

    assert model["layers"][0]["weight"] == [32, 64]
    assert model["parameters"]["unpacked"] == 32 * 64
    assert model["parameters"]["total"] == 0


@needs("transformers.integrations.moe")
def test_experts_are_layers() -> None:
    """Their weights are parameters of three dimensions with names of their own."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        **SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48
    )
    model = described(Qwen3MoeForCausalLM(config), input_ids=IDS)
    experts = {e["parameter"]: e for e in model["layers"] if "parameter" in e}

    assert experts["gate_up_proj"]["weight"] == [4, 96, 64]
    assert experts["down_proj"]["weight"] == [4, 64, 48]
    assert model["architecture"]["num_experts_per_tok"] == 2


def test_convolution() -> None:
    """Stride, padding and groups change what it costs."""
    entry = described(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), IDS)["layers"]

    assert entry[0]["weight"] == [8, 2, 3, 3]
    assert (entry[0]["stride"], entry[0]["padding"]) == ([2, 2], [1, 1])
    assert entry[0]["groups"] == 2


def checkpointed(*, reentrant: bool | None) -> Any:
    """Return a Llama that recomputes its activations in one of the two ways."""
    module = llama()
    if reentrant is not None:
        enable = getattr(module, "activation_checkpointing_enable", None)
        (enable or module.gradient_checkpointing_enable)({"use_reentrant": reentrant})
    return module


@pytest.mark.parametrize(
    ("make", "policy"),
    [
        (lambda: checkpointed(reentrant=None), "none"),
        (lambda: checkpointed(reentrant=True), "reentrant"),
        (lambda: checkpointed(reentrant=False), "non_reentrant"),
        (lambda: nn.Sequential(checkpoint_wrapper(nn.Linear(2, 2))), "non_reentrant"),
    ],
    ids=["none", "reentrant", "non-reentrant", "torch's wrapper"],
)
def test_checkpointing(make: Callable[[], Any], policy: str) -> None:
    """The keyword that transformers gives to torch decides."""
    assert described(make(), input_ids=IDS)["checkpointing"] == policy


def in_place() -> Any:
    """Return a model of which one block is compiled."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].compile()
    return module


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nn.Linear(2, 2), {"compile": ""}),
        (lambda: torch.compile(nn.Linear(2, 2)), {"compile": "default"}),
        (
            lambda: torch.compile(nn.Linear(2, 2), mode="reduce-overhead"),
            {"compile": "reduce-overhead"},
        ),
        (
            lambda: torch.compile(nn.Linear(2, 2), mode="max-autotune"),
            {"compile": "max-autotune"},
        ),
        (
            lambda: torch.compile(nn.Linear(2, 2), mode="max-autotune-no-cudagraphs"),
            {"compile": "max-autotune-no-cudagraphs"},
        ),
        (
            lambda: torch.compile(nn.Linear(2, 2), backend="eager"),
            {"compile": "backend:eager"},
        ),
        (in_place, {"compile": "default", "regional": True}),
    ],
    ids=["not", "default", "reduce", "autotune", "no graphs", "backend", "regional"],
)
def test_compile(make: Callable[[], Any], expected: dict[str, Any]) -> None:
    """The mode that was asked for; nothing is compiled for it."""
    model = described(make(), torch.ones(1, 2))

    assert {k: model[k] for k in ("compile", "regional") if k in model} == expected
    assert model["class"] in {"Linear", "Sequential"}


def watched() -> tuple[Notes, Describer]:
    """Return a describer and what it notes."""
    notes = Notes()
    return notes, Describer(notes)  # type: ignore[arg-type] # a stand-in


def test_change_of_the_trained_parameters_is_an_event() -> None:
    """Unfrozen in mid-run: noted with the step and the FLOPs at which it happened."""
    notes, describer = watched()
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)  # noqa: FBT003 # torch takes it by position
    describer.describe(module, (IDS,), {})
    notes.steps, notes.flops = 10, 10**20
    module[0].requires_grad_(True)  # noqa: FBT003 # the same
    describer.describe(module, (IDS,), {})
    first = notes.facts["events"][0]

    assert first == {
        "fact": "models[0].parameters",
        "before": {"trainable": 10},
        "after": {"trainable": 30},
        "step": 10,
        "flops": str(10**20),
    }
    assert notes.facts["models"][0]["parameters"]["trainable"] == 30


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda module: module.to(torch.bfloat16), "dtypes"),
        (lambda module: module.append(nn.Linear(2, 2)), "layers"),
        (lambda module: module[0].compile(), "compile"),
    ],
    ids=["dtype", "structure", "compiled"],
)
def test_change_of_a_model_is_an_event(
    change: Callable[[Any], object], fact: str
) -> None:
    """Whatever the hook noted of it."""
    notes, describer = watched()
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    describer.describe(module, (IDS,), {})
    change(module)
    describer.describe(module, (IDS,), {})

    assert f"models[0].{fact}" in [event["fact"] for event in notes.facts["events"]]


def test_adapter_added_in_mid_run_is_an_event() -> None:
    """Without an adapter before, the whole of it is told."""
    notes, describer = watched()
    module = llama()
    describer.describe(module, (), {"input_ids": IDS})
    from peft import LoraConfig

    module.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    describer.describe(module, (), {"input_ids": IDS})
    told = {event["fact"]: event for event in notes.facts["events"]}

    assert told["models[0].adapter"]["before"] == {}
    assert told["models[0].adapter"]["after"]["rank"] == 2


def test_adapters_switched_off_for_a_reference_are_no_event() -> None:
    """DPO does it in every step, without gradients."""
    notes, describer = watched()
    module = adapted(llama(), r=2, target_modules=["q_proj"])
    describer.describe(module, (), {"input_ids": IDS})
    with module.disable_adapter(), torch.no_grad():
        describer.describe(module, (), {"input_ids": IDS})

    assert "events" not in notes.facts
    assert notes.facts["models"][0]["adapter"]["disabled"] is False


def test_change_of_the_process_is_an_event() -> None:
    """Another optimizer, another data set."""
    notes, describer = watched()
    notes.note("optimizers", ["AdamW"])
    describer.flush([])
    notes.note("optimizers", ["AdamW", "Muon"])
    notes.steps = 3
    describer.flush([])
    describer.flush([])

    (event,) = notes.facts["events"]
    assert (event["fact"], event["after"], event["step"]) == ("optimizers", ["Muon"], 3)


def test_calls_are_counted_by_module_and_by_reference() -> None:
    """Counts only grow, and a dead module keeps its own."""
    notes, describer = watched()
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    for module in (first, second):
        describer.describe(module, (), {"input_ids": IDS})
    gone = weakref.ref(second)
    del second, module
    describer.flush(
        [(first, (2, 16), True, 5), (first, (2, 16), True, 2), (gone, (4, 8), True, 1)]
    )
    notes.note("accumulation", 4)
    describer.flush([(first, (2, 16), True, 6)])
    models = notes.facts["models"]

    assert [m["calls"]["training"] for m in models] == [7, 1]
    assert models[0]["tokens"] == {"training": 224, "no_grad": 0}
    assert models[0]["lengths"] == {"16": 7}
    assert notes.facts["global_batch"] == 8


def test_decoder_has_a_length_of_its_own() -> None:
    """T5: the labels say how long the decoder's input is."""
    from transformers import T5Config, T5ForConditionalGeneration

    from flopguard_hook.batches import batch_of

    config = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    module = T5ForConditionalGeneration(config)
    batch = batch_of(module, (), {"input_ids": IDS, "labels": IDS[:, :5]})

    assert (batch.shape, batch.decoder, batch.tokens) == ((2, 16), 5, 2 * (16 + 5))


def test_embeddings_are_a_batch_of_tokens() -> None:
    """Their last dimension is the model's own."""
    from flopguard_hook.batches import batch_of

    batch = batch_of(llama(), (), {"inputs_embeds": torch.ones(3, 5, 64)})

    assert (batch.shape, batch.tokens, batch.input) == ((3, 5), 15, "inputs_embeds")


def test_padding_and_purpose_are_sampled() -> None:
    """Zeros of the masks that were looked at; the purpose that was met most often."""
    notes, describer = watched()
    module = llama()
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, :6] = 0
    describer.describe(module, (), {"input_ids": IDS, "attention_mask": mask})
    for _ in range(3):
        describer.sample_padding(module, (), {"attention_mask": mask})
    describer.sample_padding(module, (), {"attention_mask": torch.ones(2, 1, 4, 4)})
    for purpose in ("other", "evaluation", "evaluation"):
        describer.saw_purpose(module, purpose)
    describer.flush([])
    model = notes.facts["models"][0]

    assert (model["tokens_sampled"], model["padding_sampled"]) == (96, 18)
    assert model["no_grad_purpose"] == "evaluation"


class Broken(nn.Module):
    """A module that answers no question."""

    def named_modules(self, *_args: Any, **_kwargs: Any) -> Any:
        """Fail."""
        raise RuntimeError

    @property
    def config(self) -> Any:
        """Fail."""
        raise RuntimeError


@pytest.mark.parametrize(
    "make",
    [Broken, lambda: nn.LazyLinear(2), lambda: torch.jit.script(nn.Linear(2, 2))],
    ids=["raises", "has no shape yet", "scripted"],
)
def test_odd_module_breaks_nothing(make: Callable[[], Any]) -> None:
    """What cannot be described is not; nothing is raised."""
    _, describer = watched()
    module = make()
    describer.describe(module, (IDS,), {"input_ids": object()})
    describer.flush([(module, (1,), True, 1), (None, (), False, 1)])
    describer.sample_padding(module, (), {"attention_mask": "none"})


def test_throw_away_modules_do_not_crowd_out_the_model() -> None:
    """Eight are kept; a module that is gone makes room for a new one."""
    notes, describer = watched()
    for _ in range(12):
        describer.describe(nn.Linear(2, 2), (IDS,), {})
    describer.describe(llama(), (), {"input_ids": IDS})

    classes = [model["class"] for model in notes.facts["models"]]
    assert len(classes) == 8
    assert "LlamaForCausalLM" in classes


def test_surroundings() -> None:
    """Versions of what is imported, the hook's digest, what the processor can do."""
    notes, describer = watched()
    module = llama().to(torch.bfloat16)
    describer.describe(module, (), {"input_ids": IDS})
    import transformers

    assert notes.facts["versions"]["transformers"] == transformers.__version__
    assert "deepspeed" not in notes.facts["versions"]
    assert len(notes.facts["digest"]) == 16
    assert notes.facts["cpu"]["cores"] >= 1
    assert notes.facts["precision"] == "bf16"
