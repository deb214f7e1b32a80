"""What a run is judged by: its own words, else its program's, else the defaults."""

from typing import Any

import pytest

from flopguard_operator.api.fields import read
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.api.resolve import may_join, terms
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms
from flopguard_operator.report.legal import base_model

PROGRAM = {
    "baseModel": {"name": "lent", "pretrainingFlops": "8e24", "source": "paper"},
    "budget": {"maxFlops": "1e23"},
}
LENT = BaseModel("lent", 8 * 10**24, "paper")


def judged(run: dict[str, Any], program: dict[str, Any] | None = None) -> Terms:
    """Return the terms of a run with these fields, in a program with those."""
    spec = read(RunSpec, {"workload": {"name": "train"}, **run}, "spec")
    lender = None if program is None else read(ProgramSpec, program, "spec")
    return terms(spec, lender)


def test_a_bare_run_is_judged_by_the_defaults() -> None:
    """The same ones as in the ledger's own dataclasses: one place each."""
    assert judged({}) == Terms()


def test_an_empty_threshold_is_the_default_one() -> None:
    """The CRD's defaults and the policy's are the same figures."""
    assert judged({"threshold": {}}).approach == Approach()


def test_an_all_default_budget_has_the_default_warnings() -> None:
    """The same, for the budget."""
    assert judged({"budget": {"maxFlops": "1e22"}}).budget == Budget(10**22)


def test_what_is_left_out_is_lent() -> None:
    """Base model and policy; the program's budget is held against all of its runs."""
    found = judged({}, PROGRAM)

    assert found.base == LENT
    assert found.budget is None
    assert found.approach.on_approach == "Annotate"


def test_a_base_model_is_taken_as_a_whole() -> None:
    """The program's figure never lands on the run's model."""
    found = judged({"baseModel": {"name": "own"}}, PROGRAM)

    assert found.base == BaseModel("own")


def test_an_upper_estimate_goes_along_with_the_figure() -> None:
    """It is shown; what is compared stays the figure."""
    base = {"name": "own", "pretrainingFlops": "8e24", "source": "paper"}
    found = judged({"baseModel": base | {"pretrainingFlopsHigh": "9.1e24"}}).base

    assert found.pretraining_flops == 8 * 10**24
    assert (found.estimate_low, found.estimate_high) == (8 * 10**24, 91 * 10**23)
    assert "may be up to 9.1e24 FLOPs" in base_model(found)
    assert judged({"baseModel": base}).base.estimate_high is None


def test_a_budget_is_taken_as_a_whole() -> None:
    """A share of the threshold does not add to the program's FLOPs."""
    found = judged({"budget": {"percentOfThreshold": 10}}, PROGRAM)

    assert found.budget == Budget(percent_of_threshold=10)


def test_warnings_rise() -> None:
    """In whatever order, and however often, they were written."""
    found = judged({"threshold": {"warnAtPercent": [80, 20, 80]}})

    assert found.approach.warn_at_percent == (20, 80)


@pytest.mark.parametrize(
    ("program", "joins"),
    [({}, True), ({"namespaces": ["ml"]}, True), ({"namespaces": ["other"]}, False)],
    ids=["open to all", "named", "not named"],
)
def test_who_may_join(program: dict[str, Any], *, joins: bool) -> None:
    """A program that names its namespaces lends to no other."""
    assert may_join(read(ProgramSpec, program, "spec"), "ml") is joins


def test_a_program_that_names_no_namespace_lends_to_none() -> None:
    """An empty list is not the same as none: it closes the program."""
    assert not may_join(read(ProgramSpec, {"namespaces": []}, "spec"), "ml")
