"""Reading specs: what people write becomes exact values, anything else one error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import flops
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.api.runstatus import FlopsStatus, RunStatus

WORKLOAD = {"name": "train"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
SPEC_KEYS = st.sampled_from(
    [
        *("program", "workload", "baseModel", "policy", "budget", "threshold", "plan"),
        *("metering", "onDelete", "name", "maxFlops", "warnAtPercent", "source"),
        *("pretrainingFlops", "percentOfThreshold", "holdAtPercent", "kind"),
    ]
)
SPECS = st.recursive(
    JSON, lambda inner: st.dictionaries(SPEC_KEYS, inner), max_leaves=12
)


def budget(figure: str) -> int | None:
    """Return what is read for a budget that was written so."""
    spec = {"workload": WORKLOAD, "budget": {"maxFlops": figure}}
    read_budget = read(RunSpec, spec, "spec").budget
    assert read_budget is not None
    return read_budget.max_flops


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("3.3e22", 33 * 10**21),
        ("3.3E+22", 33 * 10**21),
        ("10000000000000000000001", 10**22 + 1),
        ("1.9", 1),
    ],
    ids=["one", "an exponent", "E and plus", "beyond a float", "rounded down"],
)
def test_figures_are_exact(text: str, count: int) -> None:
    """A float would lose the last digits of a budget; 3.3e22 is 33 and 21 zeros."""
    assert budget(text) == count


@given(st.from_regex(flops.PATTERN, fullmatch=True))
def test_every_figure_that_the_crd_accepts_is_read(text: str) -> None:
    """CEL judges `double(self) >= 1.0 && double(self) < 1e30`, and 48 characters."""
    if 1.0 <= float(text) < 1e30 and len(text) <= 48:
        assert budget(text) is not None
    elif float(text) < 1.0:
        with pytest.raises(SpecError, match="at least 1"):
            budget(text)


def outcome(value: Any) -> RunSpec | str:
    """Return the spec that is read, or the sentence of the one error."""
    try:
        return read(RunSpec, value, "spec")
    except SpecError as error:
        return str(error)


@given(SPECS)
def test_whatever_comes_in_ends_in_one_error(value: Any) -> None:
    """Objects come from tenants: no other exception may reach the operator's loop."""
    found = outcome(value)

    if isinstance(found, RunSpec):
        assert read(RunSpec, found.wire(), "spec") == found
    else:
        assert found.startswith("spec")
        assert found.isprintable()
        assert len(found) < 2000


@pytest.mark.parametrize("text", ["\ud800", "a\nb", "\u2028", "x" * 10_000])
def test_a_sentence_can_be_written_anywhere(text: str) -> None:
    """Into an event, an annotation, a log: one line, bounded, UTF-8."""
    spec = {"workload": {"name": text}, "budget": {"maxFlops": text}, "policy": text}

    found = outcome(spec)

    assert isinstance(found, str)
    assert found.isprintable()
    assert found.encode()


def test_a_key_that_is_no_text_is_one_error_too() -> None:
    """A key of a map becomes part of the place that the error names."""
    with pytest.raises(SpecError, match=r"^status\.flops\.byCategory") as found:
        read(RunStatus, {"flops": {"byCategory": {"\ud800": "x"}}}, "status")

    assert str(found.value).encode()


def test_a_deep_value_is_no_way_to_crash() -> None:
    """A field that is not known is never walked into."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"more": deep}

    spec = read(RunSpec, {"workload": WORKLOAD, "unknown": deep}, "spec")

    assert spec.workload.name == "train"


def test_an_error_names_the_field_as_the_user_wrote_it() -> None:
    """The place is in the YAML's spelling, with the index of a list."""
    spec = {"workload": WORKLOAD, "threshold": {"warnAtPercent": [20, 0]}}

    with pytest.raises(SpecError, match=r"^spec\.threshold\.warnAtPercent\[1\]: "):
        read(RunSpec, spec, "spec")


def test_of_many_errors_the_first_few_are_told() -> None:
    """A condition's message is bounded."""
    warnings = [0] * 9
    spec = {"workload": WORKLOAD, "threshold": {"warnAtPercent": warnings}}

    with pytest.raises(SpecError, match=r"; and 6 more$"):
        read(RunSpec, spec, "spec")


def test_unknown_fields_are_ignored() -> None:
    """The CRD may be newer than the operator that reads it."""
    spec = {"workload": {**WORKLOAD, "cluster": "b"}, "colour": "green"}

    assert read(RunSpec, spec, "spec") == read(RunSpec, {"workload": WORKLOAD}, "spec")


def test_null_is_a_field_left_out() -> None:
    """The API server drops nulls before it stores; a file may still have them."""
    spec = {"workload": WORKLOAD, "onDelete": None, "threshold": {"onApproach": None}}

    found = read(RunSpec, spec, "spec")

    assert found.on_delete == "Keep"
    assert found.threshold is not None
    assert found.threshold.on_approach == "Suspend"


def test_counts_are_digits_on_the_wire() -> None:
    """JSON readers elsewhere round integers above 2**53."""
    status = RunStatus(flops=FlopsStatus(measured=10**25 + 1, upper=10**25 + 2))

    assert status.wire()["flops"] == {
        "measured": "10000000000000000000000001",
        "upper": "10000000000000000000000002",
        "byCategory": {},
    }
    assert read(RunStatus, status.wire(), "status") == status


@pytest.mark.parametrize("count", ["-1", "1e3", "٣", "9" * 61, 1.0, True, -1])
def test_a_count_is_nothing_but_digits(count: Any) -> None:
    """Neither signs, exponents, other scripts' digits, nor a figure without end."""
    with pytest.raises(SpecError, match=r"^status\.flops\.upper"):
        read(RunStatus, {"flops": {"upper": count}}, "status")


def test_an_empty_program_is_a_program() -> None:
    """Everything in it is optional: it may be there for its runs to share a name."""
    assert read(ProgramSpec, {}, "spec").review_at_percent == 90
