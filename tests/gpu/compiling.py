"""Compiled programs: every mode of the compiler, and graphs that are replayed."""

import torch

from gpu.expecting import Check, Expected
from gpu.training import STEPS, blocks, costs, rows, train

_WARM = 3


def compiled(device: str) -> Expected:
    """Is a compiled model exact, and still compiled?"""
    return _compiled(device, "default")


def reduce_overhead(device: str) -> Expected:
    """Is a model that runs as CUDA graphs exact?"""
    return _compiled(device, "reduce-overhead")


def max_autotune(device: str) -> Expected:
    """Is a model whose products became Triton templates exact?"""
    return _compiled(device, "max-autotune")


def _compiled(device: str, mode: str) -> Expected:
    from torch._dynamo.utils import counters

    train(torch.compile(blocks(3).to(device), mode=mode), rows(device))
    graphs = counters["stats"]["unique_graphs"]
    breaks = sum(counters["graph_break"].values())
    if (graphs, breaks) != (1, 0):
        msg = f"{graphs} graphs and {breaks} graph breaks: {dict(counters)}"
        raise AssertionError(msg)
    return Expected(costs(3), note=f"{graphs} graph")


def graph_by_hand(device: str) -> Expected:
    """Is a captured graph that the program replays counted, or flagged?

    Nothing is dispatched in a replay. Whether it can be counted is open.
    """
    model, inputs = blocks(2).to(device).eval(), rows(device)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                model(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            model(inputs)
    for _ in range(STEPS):
        graph.replay()
    torch.cuda.synchronize()
    one = costs(2, 1)["forward"]
    return Expected({"no_grad": (_WARM + 1 + STEPS) * one, "forward": 0})


def triton_in_compiled(device: str) -> Expected:
    """Is a Triton kernel within a compiled function flagged?"""
    from gpu.foreign import launch_triton

    fast = torch.compile(lambda inputs: launch_triton(inputs).sum())
    for _ in range(_WARM):
        fast(rows(device))
    return Expected(uncounted=("triton",))


CHECKS = (
    Check(compiled, on_cpu=True),
    Check(reduce_overhead),
    Check(max_autotune, limit_s=600),
    Check(graph_by_hand),
    Check(triton_in_compiled),
)
