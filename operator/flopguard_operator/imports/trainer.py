"""Estimate a job by its `trainer_state.json` and the model's configuration."""

from collections.abc import Iterator
from dataclasses import replace

from flopguard_operator.estimate.model import Bounds
from flopguard_operator.flops import display
from flopguard_operator.forecast.architecture import parameters, recognised
from flopguard_operator.forecast.plan import Plan
from flopguard_operator.imports.job import JobError
from flopguard_operator.imports.trainer_state import TrainerState
from flopguard_operator.imports.training import Trained, of_training

_RULE = 6  # FLOPs per token and parameter without embeddings, in `total_flos`
_SPREAD_PERCENT = 110  # sources of the tokens that differ by more are told
_UNSEEN = (
    "steps that were computed again after a restart are not in the file, nor is work "
    "outside of its Trainer"
)

_NOT_TOLD = (
    "neither configuration nor parameters are given, so half to twice of it is covered;"
    " total_flos knows no attention, recomputation or generation"
)


def of_state(state: TrainerState, plan: Plan) -> Trained:
    """Return the FLOPs of the training that a `trainer_state.json` is about.

    Args:
        state: what the file says.
        plan: what is known beside it: configuration, method, length, batch, tokens.

    Raises:
        JobError: file and plan say too little.
    """
    sources = dict(_tokens(state, plan))
    if not sources or not (plan.config or plan.parameters):
        return _as_it_says(state)
    first, *_ = sources
    tokens = Bounds(min(sources.values()), sources[first], max(sources.values()))
    known = replace(plan, steps=state.steps or plan.steps)
    found = of_training(known, tokens)
    said = (f"tokens: {first}", *_spread(sources, tokens), *found.assumptions, _UNSEEN)
    return replace(found, assumptions=said)


def _tokens(state: TrainerState, plan: Plan) -> Iterator[tuple[str, int]]:
    """Yield what says how many tokens were trained on; the best word first."""
    if plan.tokens:
        yield "as given", plan.tokens
    if state.tokens:
        yield "num_input_tokens_seen, in which padding may be missing", state.tokens
    weights = _weights(plan)
    if state.total_flos and weights:
        yield (
            f"total_flos / (6 x {display(weights)} parameters), with padding",
            max(1, state.total_flos // (_RULE * weights)),
        )
    if state.samples and plan.length:
        yield "samples by the log x the sequence length", state.samples * plan.length
    if state.steps and plan.batch and plan.length:
        each = plan.batch * plan.length
        yield "steps x batch size x sequence length", state.steps * each
    if state.logged_tokens:
        yield "num_tokens of the log, without padding", state.logged_tokens


def _weights(plan: Plan) -> int:
    """Return the parameters without embeddings; 0 where the model is not known."""
    found = recognised(plan.config) if plan.config else ""
    if isinstance(found, str):
        return 0
    architecture, _ = found
    heads = sum(head.inputs * head.outputs for head in architecture.heads)
    tied = plan.config.get("tie_word_embeddings", True) is not False
    every = parameters(architecture, plan.config)
    inner = plan.config.get("text_config")
    sizes = inner if isinstance(inner, dict) else plan.config
    vocabulary = sizes.get("vocab_size")
    rows = vocabulary if isinstance(vocabulary, int) and vocabulary > 0 else 0
    embedded = max(rows * architecture.hidden, heads if tied else 0)
    return max(0, every - embedded)


def _spread(sources: dict[str, int], tokens: Bounds) -> Iterator[str]:
    if 100 * tokens.high > _SPREAD_PERCENT * tokens.low:
        others = "; ".join(f"{name}: {display(n)}" for name, n in sources.items())
        yield f"what tells the tokens disagrees, and the bounds cover it: {others}"


def _as_it_says(state: TrainerState) -> Trained:
    """Return `total_flos` itself, with wide bounds, where nothing else is known."""
    if not state.total_flos:
        message = (
            "neither the file nor the options say how much was trained on: give "
            "--config or --params, and --tokens, or --length with --batch"
        )
        raise JobError(message)
    flops = state.total_flos
    return Trained(
        Bounds(flops // 2, flops, 2 * flops),
        "total_flos as Transformers counted it: 6 FLOPs per token and parameter "
        "without embeddings",
        (
            _NOT_TOLD,
            _UNSEEN,
        ),
    )
