"""What is measured: arms, workloads, pieces and targets. Core."""

from typing import NamedTuple


class Arm(NamedTuple):
    """One way to run a program.

    Attributes:
        name: Its key in the results.
        title: Its heading in the tables.
        hooked: Whether the hook is armed, by environment variables alone.
        environment: Variables beside those.
        around: Context manager around each block: "", "counter" (FlopCounterMode) or
            "profiler" (torch.profiler).
        every: It takes part in one round of so many; slow arms need fewer.
    """

    name: str
    title: str
    hooked: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    around: str = ""
    every: int = 1


BARE = Arm("none", "no hook")
AGAIN = Arm("again", "no hook, second process")
HOOK = Arm("hook", "the hook", hooked=True)
ALWAYS = Arm(
    "always",
    "the hook, FLOPGUARD_REPLAY=Off",
    hooked=True,
    environment=(("FLOPGUARD_REPLAY", "Off"),),
    every=4,
)
COUNTER = Arm("counter", "FlopCounterMode", around="counter", every=8)
PROFILER = Arm("profiler", "torch.profiler", around="profiler", every=8)
ARMS = (BARE, AGAIN, HOOK, ALWAYS, COUNTER, PROFILER)


class Workload(NamedTuple):
    """A training program, or a piece of one, repeated in blocks.

    Attributes:
        name: Key of its builder in `bench.workloads.BUILDERS`.
        title: What it is, for the table.
        steps: Steps in a block.
        warm: Untimed steps before those: another process has used the caches.
        share: Weight in the time of a session.
        calls: Calls of the piece in a step; the figure is then per call. 0: a program.
    """

    name: str
    title: str
    steps: int
    warm: int = 1
    share: int = 2
    calls: int = 0


SETTLE = 12  # untimed steps after building: the hook measures what it replays later

PROGRAMS = (
    Workload("tiny", "host-bound: Llama 3 x 64, 2 x 16 tokens, AdamW", 12, share=4),
    Workload("medium", "Llama 4 x 256, 4 x 128 tokens, AdamW", 1, warm=0, share=8),
    Workload("thin", "the same on thin tensors: 4 x 16, 1 x 4 tokens", 12, share=4),
    Workload("lora", "host-bound, LoRA on all linear layers", 10),
    Workload("accumulation", "host-bound, accumulation 4", 4),
    Workload("checkpointing", "host-bound, checkpointing", 10),
    Workload("decode", "generate 16 tokens with a KV cache", 4),
    Workload("compiled", "host-bound, torch.compile", 12),
)
PIECES = (
    Workload("root-12", "call of a root module, 12 parameters", 1, calls=200, share=1),
    Workload("root-291", "the same, 291 parameters", 1, calls=100, share=1),
    Workload("root-1859", "the same, 1,859 parameters", 1, calls=20, share=1),
    Workload("nested", "call of a module within it", 1, calls=4000, share=1),
    Workload("backward", "backward that costs nothing", 1, calls=200, share=1),
    Workload("micro", "root call (12) and its backward", 1, calls=50, share=1),
    Workload("step-1", "optimizer step, 1 parameter", 1, calls=200, share=1),
    Workload("step-291", "optimizer step, 291 parameters", 1, calls=4, share=1),
)
QUICK = (Workload("micro", "50 products and their backwards", 2), PIECES[0])


class Target(NamedTuple):
    """A bound of issue 4 on one figure.

    Attributes:
        most: The bound.
        unit: Of the figure: "%", "us", "ms" or "MB".
        sentence: What it bounds.
    """

    most: float
    unit: str
    sentence: str


TARGETS = {
    "tiny": Target(2.0, "%", "the host-bound step"),
    "medium": Target(0.1, "%", "the 170 ms step, timed directly"),
    "thin": Target(0.1, "%", "the 170 ms step, from the same step on thin tensors"),
    "backward": Target(1.0, "us", "a backward, beside page writes"),
    "step-1": Target(1.0, "us", "an optimizer step, beside page writes"),
    "start": Target(10.0, "ms", "start of a process that imports torch"),
    "memory": Target(2.0, "MB", "memory of the hook"),
}
FORBIDDEN = ("torch.utils.flop_counter", "torch._dynamo")


def judge(low: float, high: float, most: float) -> str:
    """Say whether a figure keeps a bound, going by its interval.

    Args:
        low: Lower end of the interval.
        high: Upper end.
        most: The bound, in the same unit.
    """
    if high <= most:
        return "met"
    return "not met" if low > most else "not resolved"
