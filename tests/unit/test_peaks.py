"""Peaks: every spelling of a device finds its row, and no other one's."""

import pytest

from flopguard_operator import peaks
from flopguard_operator.peaks import UnknownDeviceError

TERA = 10**12


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA-H100-80GB-HBM3", 989.5),
        ("NVIDIA-H100-80GB-HBM3-SHARED", 989.5),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA H20", 148),
        ("NVIDIA GH200 480GB", 990),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA-A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181.05),
        ("NVIDIA-L40S", 362.05),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
    ],
)
def test_a_device_is_found_as_the_driver_and_the_label_spell_it(
    name: str, bf16: float
) -> None:
    """NVML, DCGM and the node's label differ in case, dashes and memory only."""
    assert peaks.row(name).gigaflops["bf16"] == int(bf16 * 1000)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA H20-3e",
        "NVIDIA H1000",
        "AMD Instinct MI300X",
        "",
        "\x1b[31m",
        "x" * 10_000,
    ],
)
def test_another_device_is_never_taken_for_a_known_one(name: str) -> None:
    """A default would be wrong in silence; the sentence says what to do."""
    with pytest.raises(UnknownDeviceError, match="is not known") as caught:
        peaks.of_devices(name, 1)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_the_fastest_format_is_charged() -> None:
    """Nobody can tell in which format a silent device computes."""
    found = peaks.of_devices("NVIDIA H100 80GB HBM3", 8)

    assert found.flops_per_second == 8 * 1979 * TERA
    assert found.devices == "8 x NVIDIA H100 80GB HBM3 (fp8)"


def test_a_processor_is_cores_times_clock_times_flops_per_cycle() -> None:
    """Of its widest vector unit, in the format that it is fastest in."""
    found = peaks.of_cpu(2, "avx512", 3500)

    assert found.flops_per_second == 2 * 3_500_000_000 * 256
    assert found.devices == "2 x CPU core avx512 3500 MHz (int8)"


@pytest.mark.parametrize(
    ("cores", "vector", "clock"), [(0, "avx2", 3000), (2, "", 3000), (2, "avx2", 0)]
)
def test_a_processor_that_is_not_known_is_said(
    cores: int, vector: str, clock: int
) -> None:
    """The facts may be missing: then there is no figure."""
    with pytest.raises(UnknownDeviceError, match="processor"):
        peaks.of_cpu(cores, vector, clock)


def test_every_row_has_one_source_and_no_format_of_its_own() -> None:
    """A row without its document could not be checked."""
    formats = {"fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4"}
    for key, row in peaks.DEVICES.items():
        assert peaks.normalised(key) == key
        assert row.source.startswith("https://")
        assert set(row.gigaflops) <= formats
        assert all(figure > 0 for figure in row.gigaflops.values())
