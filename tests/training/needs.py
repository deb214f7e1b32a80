"""Skips what an older torch or library cannot do, by asking whether it can."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.utils.flop_counter import flop_registry


def installed(package: str) -> str:
    """Return a package's name and version, to begin the reason of a skip with."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package}, which is not installed,"


def needs(module: str, name: str = "", *, keyword: str = "") -> pytest.MarkDecorator:
    """Return a mark that skips a test where something is not installed.

    Args:
        module: A module's full name; an operator is an attribute of `torch.ops.X`.
        name: Of what is to be in it; by default the module is enough.
        keyword: A word that its documentation or schema has to name.
    """
    missing = f"{installed(module.partition('.')[0])} has no {name or module}"
    return pytest.mark.skipif(
        not _has(module, name, keyword),
        reason=f"{missing} with {keyword}" if keyword else missing,
    )


def _has(module: str, name: str, keyword: str) -> bool:
    try:
        if module.startswith("torch.ops."):
            found = getattr(getattr(torch.ops, module.rpartition(".")[2]), name)
            return keyword in str(found.default._schema)  # noqa: SLF001 # no public name
        if find_spec(module) is None:
            return False
        found = getattr(import_module(module), name) if name else None
    except (AttributeError, ImportError):
        return False
    return keyword in str(getattr(found, "__doc__", ""))


# torch's own counter is a second opinion where it knows what a CPU runs.
COUNTS_CPU_ATTENTION = pytest.mark.skipif(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu not in flop_registry,  # noqa: SLF001 # its name
    reason=f"the counter of {installed('torch')} knows no attention of a CPU",
)

# Its operators are registered when it is imported, where its library can be loaded.
QUANTIZED = pytest.mark.skipif(
    find_spec("bitsandbytes") is None
    or not _has("bitsandbytes.functional", "int8_linear_matmul", "")
    or not _has("torch.ops.bitsandbytes", "int8_linear_matmul", ""),
    reason=f"{installed('bitsandbytes')} does not quantize on a CPU",
)


def _fuses_grouped_heads() -> bool:
    image, grouped = torch.ones(2, 4, 6, 8), torch.ones(2, 2, 6, 8)
    try:
        choice = torch._fused_sdp_choice(image, grouped, grouped, enable_gqa=True)  # noqa: SLF001 # no public name
    except TypeError:
        return False
    return bool(choice != SDPBackend.MATH.value)


GROUPED = pytest.mark.skipif(
    not _fuses_grouped_heads(),
    reason=f"{installed('torch')} has no kernel for grouped heads on a CPU",
)

# The example, its closed formula and the cells of `make verify-counting` are of it:
# before, rotary embeddings were a product and checkpoints reentrant by default.
TRANSFORMERS_5 = pytest.mark.skipif(
    not _has("transformers.integrations.moe", "", ""),
    reason="the closed formulas are of models as transformers 5 builds them, not "
    f"{installed('transformers')}",
)
