"""A base model by name alone: what is known of it becomes what a run is judged by."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.api import resolve
from flopguard_operator.api.fields import read
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.entries import Entry as LedgerEntry
from flopguard_operator.ledger.entries import TermsSet
from flopguard_operator.models import shipped
from flopguard_operator.models.basis import told
from flopguard_operator.models.catalogue import NOTHING, Catalogue
from flopguard_operator.models.shelf import Shelf
from flopguard_operator.policy.terms import BaseModel
from standins import objects
from standins.world import World, spent
from unit.story import TERMS, terms_set

SHIPPED = shipped.catalogue()


def base(catalogue: Catalogue = SHIPPED, **spec: Any) -> BaseModel:
    """Return the base model that a run with this `baseModel` is judged by."""
    run = {"workload": {"name": "train"}, "baseModel": spec}
    return resolve.terms(read(RunSpec, run, "spec"), None, catalogue).base


def test_a_disclosed_figure_is_known() -> None:
    """With its source and date, and the name as the person wrote it."""
    found = base(name="TIIUAE/falcon-180b")

    assert found.name == "TIIUAE/falcon-180b"
    assert found.pretraining_flops == 376 * 10**22
    assert found.estimate_low is None
    assert found.method == "reported"
    assert found.source.startswith("catalogue: falcon-180b version 1, 2026-02: Epoch")
    assert found.source.endswith("https://falconllm.tii.ae/falcon-180b.html")


def test_an_estimate_of_others_is_carried_beside_and_is_not_known() -> None:
    """With its whole range; each policy says whether it counts."""
    found = base(name="meta-llama/Llama-3.1-8B")

    assert found.pretraining_flops is None
    assert (found.estimate_low, found.estimate_high) == (72 * 10**22, 208 * 10**22)
    assert found.method == "derived_mixed"


def test_one_estimate_has_no_upper_one() -> None:
    """It is one figure, not a range."""
    found = base(name="Qwen/Qwen2.5-7B")

    assert (found.estimate_low, found.estimate_high) == (82188 * 10**19, None)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("xai-org/grok-1", "speculative"),
        ("mistralai/Mixtral-8x7B-v0.1", "speculative"),
        ("mistralai/Mistral-7B-v0.1", "undisclosed"),
        ("bigscience/bloom-7b1", "not_stated"),
    ],
)
def test_what_nobody_stands_for_never_counts(name: str, method: str) -> None:
    """Neither as a figure nor as an estimate."""
    found = base(name=name)

    assert found.pretraining_flops is None
    assert found.estimate_low is None
    assert found.method == method


def test_a_figure_that_is_given_is_not_looked_up() -> None:
    """The person's own figure and source stand, whatever the catalogue says."""
    found = base(name="tiiuae/falcon-180B", pretrainingFlops="1e24", source="letter")

    assert found == BaseModel("tiiuae/falcon-180B", 10**24, "letter")


def test_a_near_miss_stays_unknown() -> None:
    """A suggestion is for people; the terms have no figure."""
    assert base(name="tiiuae/falcon-181B") == BaseModel("tiiuae/falcon-181B")
    assert base(NOTHING, name="tiiuae/falcon-180B") == BaseModel("tiiuae/falcon-180B")


def test_systemic_risk_is_added_and_never_taken_away() -> None:
    """A model above 1e25 carries it even if a manifest says otherwise."""
    assert base(name="meta-llama/Llama-3.1-405B").systemic_risk
    assert base(name="meta-llama/Llama-3.1-405B", systemicRisk=False).systemic_risk
    assert base(name="tiiuae/falcon-180B", systemicRisk=True).systemic_risk
    assert not base(name="tiiuae/falcon-180B").systemic_risk


TOLD = {
    "a near miss": (
        "tiiuae/falcon-181B",
        'The catalogue has no "tiiuae/falcon-181B"; did you mean tiiuae/falcon-',
    ),
    "nothing alike": ("acme/x1", 'The catalogue has no "acme/x1".'),
    "an estimate": (
        "meta-llama/Llama-3.1-8B",
        "it is 7.2e23 to 2.08e24 FLOPs as derived by others",
    ),
    "a guess": ("xai-org/grok-1", "2.9e24 FLOPs, a guess by others; never counts"),
    "nothing published": ("Mistral 7B", "The catalogue knows of no published figure."),
}


@pytest.mark.parametrize(("name", "says"), TOLD.values(), ids=TOLD.keys())
def test_what_is_told_of_a_base_that_is_not_known(name: str, says: str) -> None:
    """A sentence for the condition of the run."""
    assert says in told(base(name=name), SHIPPED)


def given(name: str, flops: str) -> str:
    """Return what is told where a person gave the figure."""
    return told(base(name=name, pretrainingFlops=flops, source="letter"), SHIPPED)


def test_nothing_is_told_where_there_is_nothing_to_do() -> None:
    """The figure is the catalogue's, within its estimates, or not in it at all."""
    assert told(base(name="tiiuae/falcon-180B"), SHIPPED) == ""
    assert given("tiiuae/falcon-180B", "3.76e24") == ""
    assert given("meta-llama/Llama-3.1-8B", "1e24") == ""
    assert given("xai-org/grok-1", "1e24") == ""
    assert given("acme/x1", "1e24") == ""
    assert told(BaseModel(), SHIPPED) == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tiiuae/falcon-180B", "3.76e24, disclosed by the model's provider"),
        ("meta-llama/Llama-3.1-8B", "7.2e23 to 2.08e24, derived by others"),
    ],
)
def test_a_figure_that_differs_is_told(name: str, says: str) -> None:
    """It stands, and whoever reads the status sees that others say otherwise."""
    assert "that is given, 9e24 FLOPs, is not that of the catalogue" in given(
        name, "9e24"
    )
    assert says in given(name, "9e24")


def test_bases_from_before_the_catalogue_keep_their_bytes() -> None:
    """What is not known of a base is left out of an entry of the ledger."""
    event = terms_set(TERMS)
    plain = encode(LedgerEntry(0, "2026-11-22T00:00:00.000Z", event))
    found = replace(TERMS, base=base(name="meta-llama/Llama-3.1-8B"))
    looked_up = LedgerEntry(0, "2026-11-22T00:00:00.000Z", terms_set(found))

    assert b"estimate" not in plain
    assert b"method" not in plain
    assert decode(encode(looked_up)) == looked_up


PRIVATE = """
models:
- id: acme-7b
  name: acme/base-7b
  version: {version}
  figures:
  - {{flops: "{flops}", method: reported, source: letter, date: 2026-05-0{version}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder into which the kubelet puts the ConfigMap."""
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
def world(tmp_path: Path, folder: Path) -> World:
    """Return a run of a program on a base model that the catalogue does not ship."""
    made = World(tmp_path)
    made.cycle.shelf = Shelf(folder)
    lender = objects.program()
    lender["spec"]["baseModel"] = {"name": "acme/base-7b"}
    made.cache.see_program("ADDED", lender)
    made.revise(program="support-bot", budget={"maxFlops": "1e20"})
    return made


def known(world: World) -> tuple[str, str, str]:
    """Return status, reason and message of the condition of the base model."""
    condition = world.condition("BaseModelKnown")
    return condition["status"], condition["reason"], condition["message"]


def terms_of(world: World) -> Sequence[TermsSet]:
    """Return what the run was judged by, one after the other."""
    return [event for event in world.recorded(TermsSet) if event.run.uid == "run-1"]


def test_a_revised_figure_judges_the_run_and_its_program_anew(
    world: World, folder: Path
) -> None:
    """Each version is an entry with its threshold, and every verdict replays."""
    world.once(spent(10))
    assert known(world)[:2] == ("False", "BaseModelUnknown")
    for version, flops in ((1, "1e24"), (2, "5e23")):
        text = PRIVATE.format(version=version, flops=flops)
        (folder / "acme.yaml").write_text(text)
        world.once(spent(10 * (version + 1)))

    judged = terms_of(world)
    status = world.cache.programs["support-bot"]["status"]

    assert known(world)[0] == "True"
    assert [event.terms.base.pretraining_flops for event in judged] == [
        None,
        10**24,
        5 * 10**23,
    ]
    assert [event.limit for event in judged][1:] == [str(3 * 10**23), str(15 * 10**22)]
    assert "acme-7b version 2, 2026-05-02" in judged[-1].terms.base.source
    assert status["limitDisplay"] == "1.5e23"
    assert world.verified().exit_code == 0


def test_an_unchanged_catalogue_changes_no_terms(world: World, folder: Path) -> None:
    """A file that is written again with the same entries is no news."""
    (folder / "acme.yaml").write_text(PRIVATE.format(version=1, flops="1e24"))
    world.once(spent(10))
    (folder / "acme.yaml").write_text(PRIVATE.format(version=1, flops="1e24") + "\n")
    world.once(spent(20))

    assert len(terms_of(world)) == 1


def test_a_broken_file_takes_nothing_away(world: World, folder: Path) -> None:
    """The last good entries stay; what is wrong is said where a base is unknown."""
    (folder / "acme.yaml").write_text(PRIVATE.format(version=1, flops="1e24"))
    world.once(spent(10))
    (folder / "acme.yaml").write_text("models: [{id: acme-7b}]")
    world.once(spent(20))
    assert known(world)[0] == "True"

    world.revise(baseModel={"name": "acme/base-8b"})
    world.once(spent(30))
    status, _, message = known(world)

    assert status == "False"
    assert "did you mean acme/base-7b?" in message
    assert "Private entries: acme.yaml.models[0].name: Field required" in message


def test_an_estimate_is_told_by_a_reason_of_its_own(world: World) -> None:
    """Who reads the status sees what a disclosure would replace."""
    world.revise(baseModel={"name": "meta-llama/Llama-3.1-8B"})
    world.once(spent(10))
    status, reason, message = known(world)

    assert (status, reason) == ("False", "BaseModelEstimated")
    assert "7.2e23 to 2.08e24 FLOPs" in message
    assert "3.3e22 FLOPs govern" in message
