"""Renders the outcomes as docs/counting.md and docs/counting.json. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from counting.cells import Absent
from counting.outcomes import Outcome, products

HEAD = """# Counting, against four other ways to count

Written by `make verify-counting`; no figure here was typed. {summary}

**What is counted.** Every multiplication and addition of a matrix product, convolution
or attention kernel that the training process executes: two FLOPs per multiply-add, the
full square of attention where the kernel computes it, padding included. Additions of a
bias, activations, norms and embeddings are not counted by any column. The categories
are `forward`, `backward`, `recompute` (activation checkpointing), `no_grad`
(generation, reference models) and `optimizer` (operations per trained element, by a
formula for each class); the table compares all five, and so does its error.

**How to read it.** Each row is a program that trains, in {least} to {most} steps over
batches of many sizes, a small random model of the family; SmolLM2-135M is the real one.

- *exact*: FLOPs of a second counter that watches every operator from the program's
  start to its end and shares no code with the hook (`tests/truth/always_on.py`),
  optimizer included, over all workers.
- *hook*: its error in FLOPs. It runs as deployed: a fresh process and two environment
  variables. Compared after every step, in every category; shown is the largest
  difference of a category at the end.
  A process that ended cleanly has done all that it began, unless a note says more.
- *replay off*: the same for the hook with `FLOPGUARD_REPLAY=Off`, which measures all.
- *replayed*: how many of the run's windows were charged without being measured.
- *closed formula*: `tests/truth`, arithmetic on the configuration and the shapes of the
  batches, without the optimizer.
- *FlopCounterMode*: of torch, without the optimizer; *total_flos*: of the Trainer.

The last three are shown as their difference from *exact*, products only. Why they
differ is said below the table; a dash says that there is no such figure. All integers,
by category, are in `counting.json`.
"""

REASONS = """
**FlopCounterMode** knows no figure for 4-bit products, grouped products (the experts of
mixtures), products in place (TRL's fused head) and `mv`/`dot`, counts a DTensor's
product by its global shape on every worker, and runs a compiled model eagerly.

**total_flos** is 6 x tokens x parameters without embeddings: no attention, no tied
head, every expert, frozen weights as if trained, no recomputation, generation and
reference models at zero.
"""


def render(outcomes: Sequence[Outcome], absent: Sequence[Absent], made: str) -> str:
    """Return the page.

    Args:
        outcomes: One per row.
        absent: Cells that cannot run here.
        made: Versions and machine, one sentence.
    """
    steps = [outcome.steps for outcome in outcomes if outcome.steps]
    head = HEAD.format(
        summary=_summary(outcomes, made),
        least=min(steps, default=0),
        most=max(steps, default=0),
    )
    lines = [head, *_table(outcomes), *_reasons(outcomes), REASONS]
    if absent:
        lines += [
            "## What cannot run here",
            "",
            "| family | method | why |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {a.family} | {a.method} | {a.reason} |" for a in absent]
    return "\n".join(lines).rstrip() + "\n"


def _summary(outcomes: Sequence[Outcome], made: str) -> str:
    wrong = [o for o in outcomes if o.errors]
    families = {o.cell.family for o in outcomes}
    methods = {o.cell.method for o in outcomes}
    exact = sum(not o.error for o in outcomes)
    state = f"{exact} of {len(outcomes)} rows have error 0"
    if wrong:
        state += f"; {len(wrong)} failed and are listed below the table"
    return f"{made} {len(families)} models, {len(methods)} methods; {state}."


def _table(outcomes: Sequence[Outcome]) -> list[str]:
    titles = (
        "model",
        "method",
        "steps",
        "exact",
        "hook",
        "replay off",
        "replayed",
        "closed formula",
        "FlopCounterMode",
        "total_flos",
    )
    lines = ["| " + " | ".join(titles) + " |", "| --- | --- |" + " ---: |" * 8]
    notes = _notes(outcomes)
    for outcome in outcomes:
        marks = "".join(f" [{notes[text]}]" for text in _texts(outcome))
        cells = [
            outcome.cell.family,
            outcome.cell.method + marks,
            str(outcome.steps),
            f"{sum(outcome.exact.values()):,}",
            f"{outcome.error:+,}" if outcome.error else "0",
            _apart(outcome.always_on, outcome.exact),
            _share(outcome.windows),
            _percent(
                None if outcome.closed is None else products(outcome.closed), outcome
            ),
            _percent(outcome.flop_counter, outcome),
            _percent(outcome.total_flos, outcome),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _texts(outcome: Outcome) -> list[str]:
    cell = outcome.cell
    begun = ""
    if outcome.unfinished:
        begun = f"The upper bound stayed {outcome.unfinished:,} above what was done."
    texts = (cell.differs, cell.varies, cell.without_counter, begun)
    return [text for text in texts if text]


def _notes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Number the notes in the order of the table."""
    texts = [text for outcome in outcomes for text in _texts(outcome)]
    return {text: n for n, text in enumerate(dict.fromkeys(texts), start=1)}


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [""]
    lines += [f"{number}. {text}" for text, number in _notes(outcomes).items()]
    wrong = [outcome for outcome in outcomes if outcome.errors]
    if wrong:
        lines += ["", "## Failed", ""]
    for outcome in wrong:
        errors = "; ".join(error.replace("\n", " / ") for error in outcome.errors)
        lines.append(f"- `{outcome.cell.name}`: {errors}")
    return lines


def _apart(ours: Mapping[str, int], exact: Mapping[str, int]) -> str:
    names = [*ours, *exact]
    worst = max((ours.get(n, 0) - exact.get(n, 0) for n in names), key=abs, default=0)
    return f"{worst:+,}" if worst else "0"


def _share(windows: tuple[int, int]) -> str:
    measured, replayed = windows
    return f"{replayed} of {measured + replayed}" if measured + replayed else "-"


def _percent(flops: int | None, outcome: Outcome) -> str:
    """Return how far a figure is from the exact one: 0 only if equal."""
    exact = products(outcome.exact)
    if flops is None or not exact:
        return "-"
    if flops == exact:
        return "0"
    return f"{100 * (flops - exact) / exact:+.2f} %"


def as_json(outcomes: Sequence[Outcome], absent: Sequence[Absent], made: str) -> str:
    """Return the figures; FLOPs are strings of digits."""
    document = {
        "made": made,
        "rows": [_row(outcome) for outcome in outcomes],
        "absent": [vars(a) for a in absent],
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _row(outcome: Outcome) -> dict[str, Any]:
    measured, replayed = outcome.windows
    return {
        "cell": outcome.cell.name,
        "model": outcome.cell.family,
        "method": outcome.cell.method,
        "workers": outcome.cell.workers,
        "launcher": outcome.cell.launcher,
        "steps": outcome.steps,
        "measured": measured,
        "replayed": replayed,
        "hook": _digits(outcome.hook),
        "exact": _digits(outcome.exact),
        "replay_off": _digits(outcome.always_on),
        "closed": None if outcome.closed is None else _digits(outcome.closed),
        "flop_counter": _digit(outcome.flop_counter),
        "total_flos": _digit(outcome.total_flos),
        "error": str(outcome.error),
        "unfinished": str(outcome.unfinished),
        "errors": outcome.errors,
        "notes": _texts(outcome),
    }


def _digits(flops: Mapping[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in flops.items()}


def _digit(flops: int | None) -> str | None:
    return None if flops is None else str(flops)
