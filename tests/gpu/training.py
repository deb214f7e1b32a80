"""Training loops: threads of the engine, devices, recomputation, memory, formats."""

import threading
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpu.expecting import Check, Expected, UnavailableError

STEPS = 20  # measured twice, then replayed
_WIDTH, _ROWS = 64, 8
_LAYER = 2 * _ROWS * _WIDTH * _WIDTH


def blocks(count: int) -> nn.Sequential:
    """Return layers of one product each, every one followed by an activation."""
    torch.manual_seed(0)
    parts = [(nn.Linear(_WIDTH, _WIDTH), nn.GELU()) for _ in range(count)]
    return nn.Sequential(*(part for pair in parts for part in pair))


def rows(device: str, *, grad: bool = False) -> torch.Tensor:
    """Return a batch."""
    return torch.randn(_ROWS, _WIDTH, device=device, requires_grad=grad)


def train(model: Any, inputs: torch.Tensor, steps: int = STEPS) -> None:
    """Train with SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(steps):
        model(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def costs(layers: int, steps: int = STEPS, *, again: int = 0) -> dict[str, int]:
    """Return the cost of training that many layers on inputs without gradients."""
    return {
        "forward": steps * layers * _LAYER,
        "backward": steps * (2 * layers - 1) * _LAYER,  # none for the first input
        "recompute": steps * again * _LAYER,
    }


def engine_threads(device: str) -> Expected:
    """Does the mode see what the engine's device threads run?"""
    train(blocks(3).to(device), rows(device))
    return Expected(costs(3))


def backward_in_another_thread(device: str) -> Expected:
    """Is a backward that another Python thread starts counted?"""
    model = blocks(2).to(device)
    for _ in range(STEPS):
        loss = model(rows(device)).sum()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    return Expected(costs(2))


def several_devices(_device: str) -> Expected:
    """Is a replayed backward over two devices, two threads, exact?"""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = blocks(2).to("cuda:0"), blocks(2).to("cuda:1")

        def forward(self, inputs: torch.Tensor) -> Any:
            return self.second(self.first(inputs).to("cuda:1"))

    train(Split(), rows("cuda:0"))
    return Expected(costs(4))


def recompute_reentrant(device: str) -> Expected:
    """Is a recomputation inside a nested run of the engine told as such?"""
    return _recompute(device, reentrant=True)


def recompute_by_hooks(device: str) -> Expected:
    """Is a recomputation by saved-tensor hooks in a device thread told as such?"""
    return _recompute(device, reentrant=False)


def _recompute(device: str, *, reentrant: bool) -> Expected:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = blocks(2)

        def forward(self, inputs: torch.Tensor) -> Any:
            return checkpoint(self.block, inputs, use_reentrant=reentrant)

    train(Checkpointed().to(device), rows(device, grad=True))
    flops = costs(2, again=2)
    return Expected({**flops, "backward": STEPS * 4 * _LAYER})


def out_of_memory(device: str) -> Expected:
    """Does counting go on, exactly, after a forward that ran out of memory?"""
    model = blocks(2).to(device)
    failed = 0

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, inputs: torch.Tensor, size: int) -> Any:
            held = self.inner(inputs)
            torch.empty(size, dtype=torch.uint8, device=device)
            return held

    greedy = Greedy()
    for number in range(STEPS):
        try:
            greedy(rows(device), 1 << 50 if number % 4 == 3 else 1).sum().backward()
        except RuntimeError:  # of which torch.OutOfMemoryError is one
            failed += 1
    if failed != STEPS // 4:
        msg = f"{failed} of {STEPS // 4} allocations of a petabyte failed"
        raise UnavailableError(msg)
    whole = costs(2, STEPS - failed)
    return Expected({**whole, "forward": STEPS * 2 * _LAYER}, note=f"{failed} failed")


def no_synchronisation(device: str) -> Expected:
    """Does a step under the hook never wait for the device?"""
    model, inputs = blocks(2).to(device), rows(device)
    torch.cuda.set_sync_debug_mode("error")
    for _ in range(STEPS):
        model(inputs).square().sum().backward()
    torch.cuda.set_sync_debug_mode("default")
    return Expected(costs(2))


def tf32_switch(device: str) -> Expected:
    """Is fp32 work told as tf32 while the switch is on?"""
    if torch.cuda.get_device_capability() < (8, 0):
        msg = "tf32 needs compute capability 8.0"
        raise UnavailableError(msg)
    torch.set_float32_matmul_precision("high")
    train(blocks(2).to(device), rows(device))
    return Expected(costs(2), formats=("tf32",))


def fp32_without_the_switch(device: str) -> Expected:
    """Is fp32 work told as fp32 while the switch is off?"""
    torch.set_float32_matmul_precision("highest")
    train(blocks(2).to(device), rows(device))
    return Expected(costs(2), formats=("fp32",))


def autocast_bf16(device: str) -> Expected:
    """Is work under autocast told as bf16, forward and backward?"""
    model, inputs = blocks(2).to(device), rows(device)
    for _ in range(STEPS):
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(inputs).square().sum()
        loss.backward()
    return Expected(costs(2), formats=("bf16",))


CHECKS = (
    Check(engine_threads, on_cpu=True),
    Check(backward_in_another_thread, on_cpu=True),
    Check(several_devices, devices=2),
    Check(recompute_reentrant, on_cpu=True),
    Check(recompute_by_hooks, on_cpu=True),
    Check(out_of_memory, on_cpu=True),
    Check(no_synchronisation),
    Check(tf32_switch),
    Check(fp32_without_the_switch, on_cpu=True),
    Check(autocast_bf16, on_cpu=True),
)
