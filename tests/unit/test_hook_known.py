"""A torch that the hook does not know is never replayed."""

from types import SimpleNamespace
from typing import Any

import pytest

from flopguard_hook import resolving
from flopguard_hook.known import NAMES, NEWEST, why_unknown


def torch(version: str, *, without: str = "") -> Any:
    """Return a stand-in for a torch that has every name but one."""
    root = SimpleNamespace(__version__=version)
    for name in NAMES:
        if name == without:
            continue
        owner = root
        for part in name.split("."):
            if not hasattr(owner, part):
                setattr(owner, part, SimpleNamespace())
            owner = getattr(owner, part)
    return root


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("2.4.1+cu121", id="the oldest"),
        pytest.param("2.8.0a0+5228986c39.nv25.06", id="a vendor's build"),
        pytest.param("{}.{}.3".format(*NEWEST), id="the newest"),
    ],
)
def test_a_known_torch_may_be_replayed(version: str) -> None:
    """Whatever follows the second number."""
    assert why_unknown(torch(version)) == ""


@pytest.mark.parametrize(
    ("version", "why"),
    [
        pytest.param("2.3.1", "torch is 2.3, known are 2.4 to ", id="older"),
        pytest.param(f"{NEWEST[0]}.{NEWEST[1] + 1}.0.dev1", "torch is ", id="newer"),
        pytest.param("3.0.0", "torch is 3.0, known are ", id="of another kind"),
        pytest.param("unknown", "torch does not say its version", id="no number"),
    ],
)
def test_another_is_measured(version: str, why: str) -> None:
    """And the facts say why."""
    assert why_unknown(torch(version)).startswith(why)


@pytest.mark.parametrize("name", NAMES)
def test_a_torch_that_lacks_a_name_is_measured(name: str) -> None:
    """The hook would not see what that name tells."""
    assert (
        why_unknown(torch("2.8.0", without=name)) == f"this torch has no torch.{name}"
    )


@pytest.mark.parametrize(
    ("version", "needed"),
    [
        pytest.param("2.4.1+cu121", True, id="the oldest"),
        pytest.param("2.14.0a0+5228986c39.nv26.05", True, id="a vendor's build"),
        pytest.param("2.15.0", False, id="the oldest that bears it"),
        pytest.param("3.0.0", False, id="a newer one"),
        pytest.param("unknown", False, id="no version"),
    ],
)
def test_operators_are_looked_up_early_only_in_older_torch(
    version: str, *, needed: bool
) -> None:
    """Where two threads at once raise; newer torch bears it."""
    found = torch(version)
    found._C._dispatch_get_all_op_names = list  # noqa: SLF001 # torch's own names

    assert resolving.is_needed(found) is needed


def test_a_torch_without_a_list_of_its_operators_is_left_alone() -> None:
    """Nothing is looked up that cannot be."""
    assert not resolving.is_needed(torch("2.4.0"))
