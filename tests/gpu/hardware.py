"""Counted FLOPs beside what the hardware says, and what counting costs there."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gpu.expecting import Check, Expected, UnavailableError
from gpu.training import blocks, costs, rows

_SIZE = 8192
_SECONDS = 5.0
_TENSOR_ACTIVE = 5  # NVML GPM metric: any tensor pipe, percent of time
_SLACK = 1.05

# Dense bf16, TFLOP/s, from the makers' data sheets; the first part that fits a name.
_PEAKS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.5,
    "H200 NVL": 835.5,
    "H100": 989.4,
    "H200": 989.4,
    "GH200": 989.4,
    "B200": 2250.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
}


def products_against_peak(device: str) -> Expected:
    """Does a loop of products count no more than the GPU can do in that time?"""
    name = torch.cuda.get_device_name()
    peak = next((peak for part, peak in _PEAKS.items() if part in name), None)
    left = torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16)
    multiply(left, 3)
    counted, seconds = multiply(left, None)
    rate = counted * 2 * _SIZE**3 / seconds / 1e12
    if peak is not None and rate > peak * _SLACK:
        msg = f"{rate:.0f} TFLOP/s counted, the peak of {name} is {peak:.0f}"
        raise AssertionError(msg)
    note = f"{name}: {rate:.0f} TFLOP/s counted, peak {peak or 'unknown'}"
    return Expected({"forward": (counted + 3) * 2 * _SIZE**3}, note=note)


def products_against_counters(device: str) -> Expected:
    """Do the hardware's counters (NVML GPM) see at least the counted work?"""
    name = torch.cuda.get_device_name()
    peak = next((peak for part, peak in _PEAKS.items() if part in name), None)
    if peak is None:
        msg = f"no peak is known for {name}"
        raise UnavailableError(msg)
    nvml, handle = _nvml()
    left = torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16)
    multiply(left, 3)
    first, last = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
    nvml.nvmlGpmSampleGet(handle, first)
    counted, seconds = multiply(left, None)
    nvml.nvmlGpmSampleGet(handle, last)
    active = _tensor_active(nvml, first, last) / 100
    rate = counted * 2 * _SIZE**3 / seconds / 1e12
    note = f"{name}: {rate:.0f} TFLOP/s counted, tensor pipes {active:.0%} of {peak}"
    if rate > active * peak * _SLACK:
        raise AssertionError(note)
    return Expected({"forward": (counted + 3) * 2 * _SIZE**3}, note=note)


def summed_activity(device: str) -> Expected:
    """Does the sidecar's sum of tensor activity, times the peak, cover the count?

    Three samples of the sidecar's own source, as its thread takes them.
    """
    root = Path(__file__).resolve().parents[2]
    sys.path += [str(root / "sidecar"), str(root / "operator")]
    from flopguard_operator import peaks
    from flopguard_sidecar.nvml import NvmlSource

    name = torch.cuda.get_device_name()
    try:
        peak = peaks.row(name).gigaflops["bf16"] * peaks.GIGA
    except LookupError as error:
        raise UnavailableError(str(error)) from None
    source = NvmlSource.open()
    if source is None:
        msg = "NVML shows no device, or nvidia-ml-py is not installed"
        raise UnavailableError(msg)
    left = torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16)
    multiply(left, 3)
    source.sample()
    counted = 0
    for _ in range(3):
        counted += multiply(left, None)[0]
        samples = source.sample().samples
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    seconds = next((s.tensor_active_seconds for s in samples if s.uuid == uuid), None)
    if seconds is None:
        msg = "this GPU has no GPM counters (Hopper and newer have)"
        raise UnavailableError(msg)
    flops, most = counted * 2 * _SIZE**3, seconds * peak
    note = f"{name}: {seconds:.1f} s of activity, {most / flops:.2f} x the count"
    if flops > most * 1.1:  # the operator's own margin
        raise AssertionError(note)
    return Expected({"forward": (counted + 3) * 2 * _SIZE**3}, note=note)


def energy_of_work(device: str) -> Expected:
    """Does the sidecar's energy of products lie between idle and a device's most?"""
    root = Path(__file__).resolve().parents[2]
    sys.path += [str(root / "sidecar")]
    from flopguard_sidecar.energy import NO_ENERGY, Instant
    from flopguard_sidecar.nvml import NvmlSource

    source = NvmlSource.open()
    if source is None:
        msg = "NVML shows no device, or nvidia-ml-py is not installed"
        raise UnavailableError(msg)
    left = torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16)
    counted, energy = 0, NO_ENERGY
    began = time.perf_counter()
    for _ in range(3):
        energy = energy.after(source.sample(), Instant(1, time.monotonic()))
        counted += multiply(left, None)[0]
    energy = energy.after(source.sample(), Instant(2, time.monotonic()))
    if not energy.counters:
        msg = "this GPU has no energy counter (Volta and newer have)"
        raise UnavailableError(msg)
    watts = energy.millijoules / 1000 / (time.perf_counter() - began)
    each = watts / len(energy.counters)
    note = f"{len(energy.counters)} device(s), {each:.0f} W each on average"
    if not 10 < each < 3000:  # watts: idle, and above any device
        raise AssertionError(note)
    return Expected({"forward": counted * 2 * _SIZE**3}, note=note)


def multiply(left: torch.Tensor, count: int | None) -> tuple[int, float]:
    """Multiply so often, or for some seconds; return how often and how long."""
    torch.cuda.synchronize()
    began, done = time.perf_counter(), 0
    while done != count and (count or time.perf_counter() - began < _SECONDS):
        left @ left
        done += 1
        if done % 16 == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return done, time.perf_counter() - began


def _nvml() -> tuple[Any, Any]:
    try:
        import pynvml
    except ImportError as error:
        raise UnavailableError(str(error)) from None
    pynvml.nvmlInit()
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    if not pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
        msg = "this GPU has no GPM counters (Hopper and newer have)"
        raise UnavailableError(msg)
    return pynvml, handle


def _tensor_active(nvml: Any, first: Any, last: Any) -> float:
    asked = nvml.c_nvmlGpmMetricsGet_t()
    asked.version = nvml.NVML_GPM_METRICS_GET_VERSION
    asked.numMetrics = 1
    asked.sample1, asked.sample2 = first, last
    asked.metrics[0].metricId = _TENSOR_ACTIVE
    return float(nvml.nvmlGpmMetricsGet(asked).metrics[0].value)


def cold_step(device: str) -> Expected:
    """What does a measured step cost beside a replayed one?"""
    model, inputs = blocks(64).to(device), rows(device)
    spent = []
    for _ in range(60):
        began = time.perf_counter()
        model(inputs).square().sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(1000 * (time.perf_counter() - began))
    measured = ", ".join(f"{ms:.1f}" for ms in spent[:3])
    note = f"first steps {measured} ms, last ones {statistics.median(spent[-20:]):.2f}"
    return Expected(costs(64, 60), note=note)


CHECKS = (
    Check(products_against_peak),
    Check(products_against_counters),
    Check(summed_activity),
    Check(energy_of_work),
    Check(cold_step, on_cpu=True),
)
