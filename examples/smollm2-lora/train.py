"""Fine-tune a causal language model with LoRA or in full, on the CPU or one GPU.

A plain transformers + peft script: it knows nothing of the meter that may watch it.
It prints one JSON line per optimizer step and goes on from its newest saved state.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

KEPT_STATES = 2
PATTERN = 8  # tokens


def main() -> None:
    """Train for the asked number of optimizer steps."""
    # As process 1 of a container Python would ignore SIGTERM and use up the grace time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(sys.argv[1:])
    torch.manual_seed(options.seed)
    model = build_model(options)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=options.learning_rate)
    first = resume(options.output, model, optimizer)
    device = next(model.parameters()).device

    model.train()
    for step in range(first, options.steps + 1):
        tokens = batch(step, options, model.config.vocab_size).to(device)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(json.dumps({"step": step, "loss": round(loss.item(), 6)}), flush=True)
        if step % options.save_every == 0 or step == options.steps:
            save(options.output, step, model, optimizer)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; the environment gives the defaults of the folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL_DIR", "model"),
        help="folder of a model in Hugging Face format (default: $MODEL_DIR)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(os.environ.get("OUTPUT_DIR", "output")),
        help="folder of the saved states (default: $OUTPUT_DIR)",
    )
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--rank", type=int, default=8, help="rank of the adapters")
    parser.add_argument("--checkpointing", action="store_true", help="save memory")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2, help="sequences per step")
    parser.add_argument("--length", type=int, default=64, help="tokens per sequence")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--save-every", type=int, default=5, help="in steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def build_model(options: argparse.Namespace) -> PreTrainedModel:
    """Load the model and make the chosen part of it trainable."""
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    model.config.use_cache = False
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    if options.method == "lora":
        adapters = LoraConfig(
            r=options.rank,
            lora_alpha=2 * options.rank,
            target_modules=["q_proj", "v_proj"],
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, adapters)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def batch(step: int, options: argparse.Namespace, vocabulary: int) -> torch.Tensor:
    """Make the batch of a step: each sequence repeats a pattern of its own."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    shape = (options.batch, PATTERN)
    pattern = torch.randint(vocabulary, shape, generator=generator)
    return pattern.repeat(1, -(-options.length // PATTERN))[:, : options.length]


def save(
    folder: Path, step: int, model: PreTrainedModel, optimizer: torch.optim.Optimizer
) -> None:
    """Save what training changes, whole or not at all, and drop older states."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    state = {"step": step, "weights": weights, "optimizer": optimizer.state_dict()}
    unfinished = folder / "unfinished.tmp"
    torch.save(state, unfinished)
    unfinished.replace(folder / f"state-{step:08}.pt")
    for old in sorted(folder.glob("state-*.pt"))[:-KEPT_STATES]:
        old.unlink()


def resume(
    folder: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer
) -> int:
    """Load the newest saved state if there is one; return the step to do next."""
    states = sorted(folder.glob("state-*.pt"))
    if not states:
        return 1
    state = torch.load(states[-1], map_location="cpu", weights_only=True)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in state["weights"].items():
            parameters[name].copy_(weight)
    optimizer.load_state_dict(state["optimizer"])
    print(f"resumed from {states[-1].name}", file=sys.stderr, flush=True)
    return int(state["step"]) + 1


if __name__ == "__main__":
    main()
