"""Real architectures under torch.compile; each program is as in `compiling`."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from training.compiling import Run, main

Programs = tuple[Run, Run]


def llama(**options: Any) -> Any:
    """Return a small Llama."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=48,
            vocab_size=64,
            **options,
        )
    )


def training(model: Any, *lengths: int) -> Run:
    """Return a program: forward and backward on a batch of each length."""
    batches = [torch.randint(0, 64, (2, length)) for length in lengths]

    def program() -> None:
        for ids in batches:
            model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    return program


def both(model: Any, *lengths: int, **options: Any) -> Programs:
    """Return the training of a model, and of the same model compiled."""
    return training(model, *lengths), training(
        torch.compile(model, **options), *lengths
    )


def whole() -> Programs:
    """One graph of the whole model."""
    return both(llama(), 16, fullgraph=True)


def lengths() -> Programs:
    """Batches of any length."""
    return both(llama(), 16, 11, 7, dynamic=True)


def eager_attention() -> Programs:
    """Attention as products and a softmax, which inductor may fuse."""
    return both(llama(attn_implementation="eager"), 16)


def bfloat16() -> Programs:
    """Half the width."""
    return both(llama().bfloat16(), 16)


def max_autotune() -> Programs:
    """Products from templates where these are faster."""
    return both(llama(), 16, mode="max-autotune")


def reduce_overhead() -> Programs:
    """CUDA graphs, where there is CUDA."""
    return both(llama(), 16, mode="reduce-overhead")


def layers() -> Programs:
    """Each layer compiled for itself."""
    model = llama()
    fast = copy.deepcopy(model)
    for layer in fast.model.layers:
        layer.compile()
    return training(model, 16), training(fast, 16)


def checkpointed() -> Programs:
    """Activation checkpointing within the graph."""
    model = llama()
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return both(model, 16)


def lora() -> Programs:
    """Adapters; what is frozen has no gradient to compute."""
    options = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    return both(get_peft_model(llama(), options), 16)


def gpt2() -> Programs:
    """Another architecture, with dropout."""
    options = GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=64,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=0,
    )
    return both(GPT2LMHeadModel(options), 16)


def generation() -> Programs:
    """Tokens one by one, with a static cache."""
    model = llama().eval()
    fast = copy.deepcopy(model)
    fast.forward = torch.compile(fast.forward)
    ids = torch.randint(3, 64, (2, 8))

    def generating(model: Any) -> Run:
        options = {"min_new_tokens": 6, "max_new_tokens": 6, "do_sample": False}
        static = {"cache_implementation": "static", "disable_compile": True}
        return lambda: model.generate(ids, **options, **static)

    return generating(model), generating(fast)


PROGRAMS: dict[str, Callable[[], Programs]] = {
    program.__name__: program
    for program in (
        whole,
        lengths,
        eager_attention,
        bfloat16,
        max_autotune,
        reduce_overhead,
        layers,
        checkpointed,
        lora,
        gpt2,
        generation,
    )
}

if __name__ == "__main__":
    main(PROGRAMS)
