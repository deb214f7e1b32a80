"""Know what a device can compute at most: dense FLOP/s per numeric format.

Data: one row per device with its vendor's document. Silence is charged at the fastest
format of a row, since nobody can tell which one was used. 4-bit integers are left out:
no training framework multiplies them. A device that is not here is an error that the
run shows, never a default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NV = "https://www.nvidia.com/content/dam/en-zz/Solutions"
_HOPPER = (
    "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
)
_ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
_GA102 = "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf"
_V100 = (
    "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet.pdf"
)
_A100 = f"{_NV}/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"

GIGA = 10**9
MEGA = 10**6


class UnknownDeviceError(LookupError):
    """No peak is known for a device; the message is a sentence for its user."""


@dataclass(frozen=True)
class Peak:
    """What the devices of one stream can compute at most, together."""

    flops_per_second: int
    devices: str  # "8 x NVIDIA H100 80GB HBM3 (fp8)"


@dataclass(frozen=True)
class Row:
    """One device: dense GFLOP/s by numeric format, and the document that says so."""

    source: str
    gigaflops: Mapping[str, int]

    @property
    def fastest(self) -> str:
        """The format with the highest figure; the first of equals."""
        return max(self.gigaflops, key=lambda name: self.gigaflops[name])


def _row(source: str, **gigaflops: int) -> Row:
    return Row(source, gigaflops)


_A100_ROW = _row(
    _A100,
    fp64=19_500,
    fp32=19_500,
    tf32=156_000,
    bf16=312_000,
    fp16=312_000,
    int8=624_000,
)
_H100_SXM = {
    "fp64": 67_000,
    "fp32": 67_000,
    "tf32": 494_500,
    "bf16": 989_500,
    "fp16": 989_500,
    "fp8": 1_979_000,
    "int8": 1_979_000,
}
_HOPPER_NVL = {
    "fp64": 60_000,
    "fp32": 60_000,
    "tf32": 417_500,
    "bf16": 835_500,
    "fp16": 835_500,
    "fp8": 1_670_500,
    "int8": 1_670_500,
}
# Datasheets that give figures "with sparsity" are halved here.
DEVICES: Mapping[str, Row] = {
    "v100 sxm2": _row(_V100, fp64=7_800, fp32=15_700, fp16=125_000),
    "v100 sxm3": _row(_V100, fp64=7_800, fp32=15_700, fp16=125_000),
    "v100 pcie": _row(_V100, fp64=7_000, fp32=14_000, fp16=112_000),
    "v100s pcie": _row(_V100, fp64=8_200, fp32=16_400, fp16=130_000),
    "t4": _row(
        f"{_NV}/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf",
        fp32=8_100,
        fp16=65_000,
        int8=130_000,
    ),
    "a10": _row(
        f"{_NV}/Data-Center/a10/pdf/datasheet-new/nvidia-a10-datasheet.pdf",
        fp32=31_200,
        tf32=62_500,
        bf16=125_000,
        fp16=125_000,
        int8=250_000,
    ),
    "a10g": _row(
        "https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf",
        fp32=35_000,
        tf32=35_000,
        bf16=70_000,
        fp16=70_000,
        int8=140_000,
    ),
    "a30": _row(
        f"{_NV}/data-center/products/a30-gpu/pdf/a30-datasheet.pdf",
        fp64=10_300,
        fp32=10_300,
        tf32=82_000,
        bf16=165_000,
        fp16=165_000,
        int8=330_000,
    ),
    "a40": _row(
        "https://images.nvidia.com/content/Solutions/data-center/a40/nvidia-a40-datasheet.pdf",
        fp32=37_400,
        tf32=74_800,
        bf16=149_700,
        fp16=149_700,
        int8=299_300,
    ),
    "a100 sxm4": _A100_ROW,
    "a100 pcie": _A100_ROW,
    "l4": _row(
        "https://resources.nvidia.com/en-us-data-center-overview/l4-gpu-datasheet",
        fp32=30_300,
        tf32=60_000,
        bf16=121_000,
        fp16=121_000,
        fp8=242_500,
        int8=242_500,
    ),
    "l40": _row(
        f"{_NV}/design-visualization/support-guide/NVIDIA-L40-Datasheet-January-2023.pdf",
        fp32=90_500,
        tf32=90_500,
        bf16=181_050,
        fp16=181_050,
        fp8=362_000,
        int8=362_000,
    ),
    "l40s": _row(
        "https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413",
        fp32=91_600,
        tf32=183_000,
        bf16=362_050,
        fp16=362_050,
        fp8=733_000,
        int8=733_000,
    ),
    "h100": Row(_HOPPER, _H100_SXM),  # NVML names the SXM module by its memory only
    "h100 sxm5": Row(_HOPPER, _H100_SXM),
    "h100 pcie": _row(
        "https://www.nvidia.com/content/dam/en-zz/Solutions/gtcs22/data-center/h100/PB-11133-001_v01.pdf",
        fp64=51_000,
        fp32=51_000,
        tf32=378_000,
        bf16=756_500,
        fp16=756_500,
        fp8=1_513_000,
        int8=1_513_000,
    ),
    "h100 nvl": Row(_HOPPER, _HOPPER_NVL),
    "h200": Row(
        "https://resources.nvidia.com/en-us-data-center-overview-mc/en-us-data-center-overview/hpc-datasheet-sc23-h200",
        _H100_SXM,
    ),
    "h200 nvl": Row(
        "https://resources.nvidia.com/en-us-data-center-overview-mc/en-us-data-center-overview/hpc-datasheet-sc23-h200",
        _HOPPER_NVL,
    ),
    # NVIDIA publishes no datasheet of the H20: the source is a buyer's comparison.
    "h20": _row(
        "https://zangshuxian.com/new/674733024499207168",
        fp64=1_000,
        fp32=44_000,
        tf32=74_000,
        bf16=148_000,
        fp16=148_000,
        fp8=296_000,
        int8=296_000,
    ),
    "gh200": Row(
        "https://resources.nvidia.com/en-us-grace-cpu/grace-hopper-superchip",
        _H100_SXM | {"bf16": 990_000, "fp16": 990_000},
    ),
    "b200": _row(
        "https://www.nvidia.com/en-us/data-center/hgx/",
        fp64=37_000,
        fp32=75_000,
        tf32=1_125_000,
        bf16=2_250_000,
        fp16=2_250_000,
        fp8=4_500_000,
        int8=4_500_000,
        fp4=9_000_000,
    ),
    "gb200": _row(
        "https://www.nvidia.com/en-us/data-center/gb200-nvl72/",
        fp64=40_000,
        fp32=80_000,
        tf32=1_250_000,
        bf16=2_500_000,
        fp16=2_500_000,
        fp8=5_000_000,
        int8=5_000_000,
        fp4=10_000_000,
    ),
    "rtx 4090": _row(
        _ADA,
        fp32=82_600,
        tf32=82_600,
        bf16=165_200,
        fp16=330_300,
        fp8=660_600,
        int8=660_600,
    ),
    "rtx 3090": _row(
        _GA102, fp32=35_600, tf32=35_600, bf16=71_000, fp16=142_000, int8=284_000
    ),
    "rtx a6000": _row(
        _GA102, fp32=38_700, tf32=77_400, bf16=154_800, fp16=154_800, int8=309_700
    ),
    "rtx 6000 ada": _row(
        f"{_NV}/design-visualization/rtx-6000/proviz-print-rtx6000-datasheet-web-2504660.pdf",
        fp32=91_100,
        tf32=182_100,
        bf16=364_200,
        fp16=364_200,
        fp8=728_500,
        int8=728_500,
    ),
}

# FLOPs per core and cycle of a unit, with everything a processor that has it may offer:
# two vector pipes of fused multiply-adds, and dot products of 8-bit integers.
# Intel 64 and IA-32 Architectures Optimization Reference Manual (248966), and for Arm
# the Neoverse V1 and V2 Software Optimization Guides (four pipes of 128 bits).
PER_CYCLE: Mapping[str, Mapping[str, int]] = {
    "amx": {"fp64": 32, "fp32": 64, "bf16": 2_048, "fp16": 2_048, "int8": 4_096},
    "avx512": {"fp64": 32, "fp32": 64, "bf16": 128, "fp16": 128, "int8": 256},
    "avx2": {"fp64": 16, "fp32": 32, "int8": 128},
    "avx": {"fp64": 8, "fp32": 16, "int8": 64},
    "sse": {"fp64": 4, "fp32": 8, "int8": 64},
    "neon": {"fp64": 16, "fp32": 32, "fp16": 64, "bf16": 128, "int8": 256},
    "sve": {"fp64": 32, "fp32": 64, "fp16": 128, "bf16": 128, "int8": 256},
}

_DROPPED = frozenset(("nvidia", "tesla", "geforce", "shared", "generation", "gpu"))
_SIZE = re.compile(r"\d+gb|hbm\d+e?")
_MOST_NAME = 200


def normalised(name: str) -> str:
    """Return the key of a device as NVML, DCGM or `nvidia.com/gpu.product` spell it.

    Case, punctuation, the maker, the memory and a MIG profile do not matter: a part of
    a device is charged as the whole one.
    """
    words = re.split(r"[^a-z0-9.]+", name[:_MOST_NAME].lower())
    if "mig" in words:
        words = words[: words.index("mig")]
    kept = (w for w in words if w and w not in _DROPPED and not _SIZE.fullmatch(w))
    return " ".join(kept)


def row(name: str) -> Row:
    """Return the row of a device.

    Raises:
        UnknownDeviceError: the table does not have it.
    """
    found = DEVICES.get(normalised(name))
    if found is None:
        shown = name[:60] if name.isprintable() else ascii(name[:60])
        message = (
            f'the peak of the device "{shown}" is not known, so its silence cannot be '
            "charged: ask for a row in peaks.py, with the vendor's datasheet"
        )
        raise UnknownDeviceError(message)
    return found


def of_devices(name: str, count: int) -> Peak:
    """Return the peak of `count` devices of one name.

    Raises:
        UnknownDeviceError: the table does not have it.
    """
    found = row(name)
    each = found.gigaflops[found.fastest] * GIGA
    return Peak(count * each, f"{count} x {name[:_MOST_NAME]} ({found.fastest})")


def of_cpu(cores: int, vector: str, mhz_max: int) -> Peak:
    """Return the peak of a processor: cores x clock x FLOPs per cycle.

    Args:
        cores: that may be used at once.
        vector: the widest unit, as the facts name it: a key of `PER_CYCLE`.
        mhz_max: the highest clock.

    Raises:
        UnknownDeviceError: the unit, the clock or the number of cores is not known.
    """
    unit = PER_CYCLE.get(vector)
    if unit is None or mhz_max <= 0 or cores <= 0:
        message = (
            "the peak of the processor is not known (cores, highest clock or vector "
            "unit are missing in the facts), so its silence cannot be charged"
        )
        raise UnknownDeviceError(message)
    fastest = max(unit, key=lambda name: unit[name])
    peak = cores * mhz_max * MEGA * unit[fastest]
    return Peak(peak, f"{cores} x CPU core {vector} {mhz_max} MHz ({fastest})")
