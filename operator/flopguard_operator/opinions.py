"""Compare what the hook counted with second opinions, and name what it missed. Pure.

An opinion never changes what is charged: it says when to look. It is silent rather
than wrong: what is not recognised, or not known yet, raises no alarm.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator import conditions as c
from flopguard_operator import hardware
from flopguard_operator.conditions import UNKNOWN, Condition
from flopguard_operator.estimate.model import Bounds, Estimate
from flopguard_operator.estimate.process import TRAINING
from flopguard_operator.facts import Profile
from flopguard_operator.flops import display
from flopguard_operator.hardware import Watched
from flopguard_operator.processes import Process

ESTIMATES_DISAGREE = "EstimatesDisagree"
"""True when hook and formula differ by more than 5 %; Unknown without a formula."""
COVERAGE_INCOMPLETE = "CoverageIncomplete"
"""True when something ran that the hook could not count, or had to guess."""

TOLERATED_PERCENT = 5
_SHOWN = 8  # operators, sentences
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Compared:
    """The hook's figure and the formula's, over the processes that have both.

    Only training is compared: forward, backward, recomputation, optimizer.
    """

    hook: int = 0
    formula: Bounds = field(default_factory=Bounds)
    processes: int = 0
    doubts: tuple[str, ...] = ()
    why_not: str = ""  # a process that trains was not recognised
    rough: int = 0  # by the layers' shapes, of those that were not
    rough_hook: int = 0

    @property
    def differs(self) -> bool:
        """Whether the hook is more than 5 % outside of what the formula allows."""
        low, high = self.formula.low, self.formula.high
        part = 100 * self.hook
        below = part < (100 - TOLERATED_PERCENT) * low
        return self.processes > 0 and (below or part > (100 + TOLERATED_PERCENT) * high)


def compare(processes: Iterable[Process]) -> Compared:
    """Return the sum over all processes of a run, however many pods they are in."""
    total = Estimate()
    hook = count = rough = rough_hook = 0
    why_not = ""
    for process in processes:
        opinion = process.opinion
        if opinion is None or not opinion.estimate.flops:
            why_not = why_not or (opinion.why_not if opinion else "")
            continue
        trained = sum(process.done.get(name, 0) for name in TRAINING)
        if opinion.exact:
            total += opinion.estimate
            hook += trained
            count += 1
        else:
            why_not = why_not or opinion.why_not
            rough += _trained(opinion.estimate).expected
            rough_hook += trained
    bounds = _trained(total)
    bounds = Bounds(max(0, bounds.low), bounds.expected, bounds.high)
    return Compared(hook, bounds, count, total.doubts, why_not, rough, rough_hook)


def _trained(estimate: Estimate) -> Bounds:
    return sum((estimate.flops.get(n, Bounds()) for n in TRAINING), Bounds())


def rows(
    processes: tuple[Process, ...], watched: tuple[Watched, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Yield `status.estimates`: each source, its FLOPs, its ratio to the hook."""
    found = compare(processes)
    hook, formula = found.hook or found.rough_hook, found.formula.expected
    if not hook:
        return
    steps = max(process.steps for process in processes)
    heard = f"{found.processes or len(processes)} process(es), {steps} steps"
    devices = hardware.row(watched, processes)
    why_not = f"; {devices.note}" if devices.note and not devices.hook else ""
    yield _row("hook", hook, hook, f"training of {heard}, as last heard{why_not}")
    if found.processes and formula:
        yield _row("formula", formula, found.hook, _bounds_note(found))
    elif found.rough:
        note = f"by the layers' shapes and the tokens alone: {found.why_not}"
        yield _row("formula", found.rough, found.rough_hook, note)
    profiles = [p.facts.profile for p in processes if p.facts and p.facts.profile]
    flops = sum(profile.flops - profile.by_element for profile in profiles)
    beside = sum(profile.hook_flops for profile in profiles)
    if beside:
        yield _row("profiler", flops, beside, _profiled_note(profiles))
    if devices.hook:
        yield _row("hardware", devices.flops, devices.hook, devices.note)


def _row(source: str, flops: int, hook: int, note: str) -> dict[str, Any]:
    """Return a row; the ratio has four decimals, rounded down."""
    part = flops * 10_000 // hook if hook else 0
    return {
        "source": source,
        "flops": str(flops),
        "ratioToHook": f"{part // 10_000}.{part % 10_000:04d}",
        "note": note[:_LONGEST_NOTE],
    }


def _profiled_note(profiles: list[Profile]) -> str:
    """Say what was sampled, and why the profiler's figure is another."""
    steps = sum(profile.steps for profile in profiles)
    by_element = sum(profile.by_element for profile in profiles)
    unpriced = sorted({_short(name) for each in profiles for name in each.unpriced})
    said = [f"{steps} steps under torch.profiler"]
    if by_element:
        said.append(f"without {display(by_element)} FLOPs of work by element")
    if unpriced:
        names = ", ".join(unpriced[:_SHOWN])
        said.append(f"it knows no cost of {names}")
    return "; ".join(said)


def _short(operator: str) -> str:
    return operator.removeprefix("aten::")


def _bounds_note(found: Compared) -> str:
    low, high = display(found.formula.low, 4), display(found.formula.high, 4)
    note = f"{low} to {high} with the step that is under way"
    return "; ".join([note, *found.doubts])


def conditions(processes: tuple[Process, ...]) -> list[Condition]:
    """Return the two conditions that come from second opinions and error flags."""
    return [_disagree(processes), _coverage(processes)]


def _disagree(processes: tuple[Process, ...]) -> Condition:
    found = compare(processes)
    if not found.processes:
        if found.why_not:
            message = f"There is no formula to compare with: {found.why_not}."
            return Condition(
                ESTIMATES_DISAGREE, UNKNOWN, "ArchitectureUnknown", message
            )
        message = "No process has told yet what it trains."
        return Condition(ESTIMATES_DISAGREE, UNKNOWN, "NothingToCompare", message)
    if not found.differs:
        return Condition(ESTIMATES_DISAGREE, c.FALSE)
    reason, cause = _cause(processes, found)
    ratio = found.hook * 1000 // max(1, found.formula.expected)
    message = (
        f"The hook counted {display(found.hook, 4)} FLOPs of training, "
        f"{ratio // 10}.{ratio % 10} % of what the formula says "
        f"({display(found.formula.expected, 4)}). {cause} What is charged is the "
        f"hook's count."
    )
    return Condition(ESTIMATES_DISAGREE, c.TRUE, reason, message)


def _cause(processes: tuple[Process, ...], found: Compared) -> tuple[str, str]:
    """Return the likeliest cause: as a reason, and as a sentence."""
    errors = {error for process in processes for error in process.errors}
    facts = [process.facts for process in processes if process.facts]
    fewer = found.hook < found.formula.expected
    windows = [window for each in facts for window in each.drift]
    why_off = next((each.replay_off for each in facts if each.replay_off), "")
    if fewer and errors & {"unknown_operator", "formula_failed", "hook_failed"}:
        return "UnknownOperators", (
            "Likely cause: work that the hook could not count (see CoverageIncomplete)."
        )
    if windows or "replay_drift" in errors:
        return "ReplayDrift", (
            f"Likely cause: a part of the model does not cost the same each time "
            f"({', '.join(windows[:_SHOWN]) or 'the facts say which'})."
        )
    if why_off:
        return "DataDependentCost", (
            f"Likely cause: what a call costs depends on its data ({why_off})."
        )
    if any(model.other_calls for each in facts for model in each.models):
        return "ForwardOnlyWork", (
            "Likely cause: calls without a gradient (generation, evaluation, reference "
            "models) between those that train."
        )
    if any(m.checkpointing not in ("", "none") for each in facts for m in each.models):
        return "Recomputation", (
            "Likely cause: activation checkpointing that recomputes more or less than "
            "each block once."
        )
    return "CauseUnknown", (
        "Likely causes: packed or padded sequences, layers that are skipped, or a "
        "variant of the model that the formula does not know."
    )


# The hook's and the sidecar's error flags, gravest first: reason and sentence.
_FLAGS: Mapping[str, tuple[str, str]] = {
    "hook_failed": (
        "HookFailed",
        "The hook failed in a process and counts no more there; training goes on.",
    ),
    "unknown_operator": ("UnknownOperators", ""),
    "formula_failed": ("FormulaFailed", ""),
    "too_many_pages": (
        "TooManyProcesses",
        "A pod has as many processes as its folder takes; later ones are not counted.",
    ),
    "page_write_failed": (
        "PageNotWritten",
        "A process could not write its page for a while; its count may be behind.",
    ),
    "unreadable": (
        "PageUnreadable",
        "A page is damaged; its last readable figures are used.",
    ),
    "replay_drift": ("ReplayDrift", ""),
    "unknown_optimizer": (
        "UnknownOptimizer",
        "An optimizer is not in the table; its steps are charged like AdamW's.",
    ),
}


def _coverage(processes: tuple[Process, ...]) -> Condition:
    if not processes:
        message = "No sidecar has told of a process yet."
        return Condition(COVERAGE_INCOMPLETE, UNKNOWN, "NothingHeard", message)
    errors = {error for process in processes for error in process.errors}
    named = any(process.unknown_operators for process in processes)
    if named and "formula_failed" not in errors:
        errors.add("unknown_operator")  # the facts may come before the page's flag
    found = [flag for flag in _FLAGS if flag in errors]
    if not found:
        return Condition(COVERAGE_INCOMPLETE, c.FALSE)
    sentences = [_FLAGS[flag][1] or _named(flag, processes) for flag in found]
    message = " ".join(dict.fromkeys(sentences))
    return Condition(COVERAGE_INCOMPLETE, c.TRUE, _FLAGS[found[0]][0], message)


def _named(flag: str, processes: tuple[Process, ...]) -> str:
    """Return the sentence of a flag that has names in the facts."""
    if flag == "replay_drift":
        windows = [w for p in processes if p.facts for w in p.facts.drift]
        names = ", ".join(list(dict.fromkeys(windows))[:_SHOWN]) or "not named yet"
        return (
            f"Parts of the model did not cost what they cost before ({names}); they "
            f"are measured in every step from then on, and the facts say by how much."
        )
    why = (
        "have no formula"
        if flag == "unknown_operator"
        else "have a formula that failed on what they were given"
    )
    names = ", ".join(_operators(processes)) or "not named yet"
    return f"Operators ran that {why}: {names}. Their FLOPs are not counted."


def _operators(processes: tuple[Process, ...]) -> list[str]:
    """Return the unknown operators with their calls, those called most first."""
    calls: dict[str, int] = {}
    flops: dict[str, int] = {}
    for process in processes:
        for each in process.unknown_operators:
            calls[each.name] = calls.get(each.name, 0) + each.calls
            if each.flops is not None:
                flops[each.name] = flops.get(each.name, 0) + each.flops
    ordered = sorted(calls, key=lambda name: (-calls[name], name))
    told = []
    for name in ordered[:_SHOWN]:
        known = [f"{calls[name]} calls"] if calls[name] else []
        if name in flops:
            known.append(f"about {display(flops[name])} FLOPs")
        told.append(f"{name} ({', '.join(known)})" if known else name)
    more = len(ordered) - _SHOWN
    return [*told, f"and {more} more"] if more > 0 else told
