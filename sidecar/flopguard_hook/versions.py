"""Which libraries, devices and hook a process runs. Shell: reads a few files.

Nothing is imported for it: a library that the program has not imported is not named.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from typing import Any, Iterable

from flopguard_hook.facts import short

_LIBRARIES = (
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "torchao",
    "torchtune",
    "torchvision",
    "torchaudio",
    "torchdata",
    "lightning",
    "pytorch_lightning",
    "unsloth",
    "axolotl",
    "megatron",
    "transformer_engine",
    "flash_attn",
    "xformers",
    "liger_kernel",
    "vllm",
    "sentence_transformers",
    "diffusers",
    "timm",
    "triton",
    "safetensors",
    "tokenizers",
    "webdataset",
    "ray",
    "gptqmodel",
    "hqq",
    "mamba_ssm",
    "numpy",
)
_MOST_BYTES = 1 << 16
_MOST_DEVICES = 64
# Flags of a processor, widest vector unit first.
_VECTORS = (
    ("amx_tile", "amx"),
    ("avx512f", "avx512"),
    ("avx2", "avx2"),
    ("avx", "avx"),
    ("sse2", "sse"),
    ("sve", "sve"),
    ("asimd", "neon"),
)
_KILO = 1000


def libraries() -> "dict[str, str]":
    """Return the versions of the known libraries that are imported."""
    found = {}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = short(version)
    return found


def digest() -> str:
    """Return 16 hexadecimal digits over the hook's own sources."""
    total = hashlib.sha256()
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
            total.update(f"{name} {content}\n".encode())
    return total.hexdigest()[:16]


def cuda(torch: Any) -> str:
    """Return which CUDA or ROCm torch was built for; empty for neither."""
    version = torch.version.cuda
    if not version and getattr(torch.version, "hip", None):
        version = f"rocm {torch.version.hip}"
    return short(version or "")


def gpus(torch: Any) -> "list[str]":
    """Return the names of the devices, once the program has started to use them."""
    if not torch.cuda.is_initialized():
        return []
    count = min(int(torch.cuda.device_count()), _MOST_DEVICES)
    return [short(torch.cuda.get_device_name(i)) for i in range(count)]


def cpu() -> "dict[str, Any]":
    """Return what the processor could do at most: cores, vector unit, clock."""
    text = _read("/proc/cpuinfo")
    found: dict[str, Any] = {"cores": cores(_affinity(), _quotas())}
    flags = _line(text, "flags") or _line(text, "Features")
    found["vector"] = vector(flags.split())
    clock = _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    found["mhz_max"] = int(clock) // _KILO if clock.isdecimal() else fastest(text)
    model = _line(text, "model name")
    if model:
        found["model"] = short(model)
    return found


def cores(affinity: int, quotas: "Iterable[tuple[int, int]]") -> int:
    """Return how many cores may be used at once, rounded up.

    Args:
        affinity: Cores that the process may be scheduled on.
        quotas: Of each control group: microseconds of CPU time a period, and that.
    """
    usable = [-(-quota // period) for quota, period in quotas if period > 0]
    return max(1, min([affinity, *usable]))


def vector(flags: "Iterable[str]") -> str:
    """Return the widest vector unit that a processor's flags name; empty for none."""
    known = set(flags)
    return next((name for flag, name in _VECTORS if flag in known), "")


def fastest(cpuinfo: str) -> int:
    """Return the highest clock that /proc/cpuinfo shows, in MHz; 0 for none."""
    shown = re.findall(r"^cpu MHz\s*:\s*(\d{1,6})", cpuinfo, re.MULTILINE)
    return max(map(int, shown), default=0)


def _affinity() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def _quotas() -> "list[tuple[int, int]]":
    """Read the bounds of this container's control group, both versions of those."""
    words = _read("/sys/fs/cgroup/cpu.max").split()
    if not words:
        folder = "/sys/fs/cgroup/cpu/cpu.cfs_"
        words = [_read(folder + n).strip() for n in ("quota_us", "period_us")]
    numbers = [int(word) for word in words if word.isdecimal()]
    return [(numbers[0], numbers[1])] if len(numbers) > 1 and numbers[0] else []


def _line(text: str, name: str) -> str:
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1] if match else ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""
