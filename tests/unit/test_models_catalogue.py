"""The catalogue of base models: its data is sane, and nothing is found by a guess."""

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path

import pytest

from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import Catalogue, CatalogueError, build, key
from flopguard_operator.models.entries import (
    DISCLOSED,
    ESTIMATE,
    METHODS,
    UNUSABLE,
    Entry,
    Figure,
)
from flopguard_operator.models.table import COLUMNS, read_table

ROOT = Path(__file__).resolve().parents[2]
SYSTEMIC_LINE = 10**25  # Regulation (EU) 2024/1689 Art. 51(2)
FIGURES = [(entry, each) for entry in shipped.entries() for each in entry.figures]
DATE = re.compile(r"20[0-9]{2}-[01][0-9](-[0-3][0-9])?")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Return the catalogue that is shipped."""
    return shipped.catalogue()


def six_n_d(entry: Entry) -> int:
    """Return 6 x parameters x tokens, of a mixture of experts the active ones."""
    return 6 * (entry.active_parameters or entry.parameters or 0) * (entry.tokens or 0)


def test_everything_of_the_reference_is_in_it(catalogue: Catalogue) -> None:
    """167 base models, by what their best figure is worth."""
    worth = Counter(entry.standing for entry in catalogue.entries)

    assert len(catalogue.entries) == 167
    assert worth == {DISCLOSED: 21, ESTIMATE: 136, UNUSABLE: 10}


def test_every_name_leads_to_one_entry(catalogue: Catalogue) -> None:
    """Ids, names, Hugging Face ids and aliases never mean two models."""
    assert len({entry.id for entry in shipped.entries()}) == 167
    for entry in catalogue.entries:
        assert {catalogue.find(name) for name in entry.names} == {entry}
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", entry.id)


@pytest.mark.parametrize("entry", shipped.entries(), ids=lambda entry: entry.id)
def test_every_figure_has_a_source_a_date_and_bounds_around_it(entry: Entry) -> None:
    """And says how it was obtained; without a figure nothing is claimed."""
    for figure in entry.figures:
        assert figure.method in METHODS
        assert figure.source
        assert DATE.fullmatch(figure.date)
        assert (figure.value is None) == (figure.method == "undisclosed")
        if figure.value is not None:
            low, high = figure.bounds or (0, 0)
            assert 10**20 < low <= figure.value <= high < 10**27


@pytest.mark.parametrize(
    ("entry", "figure"),
    [
        (entry, each)
        for entry, each in FIGURES
        if each.method == "derived_6ND" and entry.tokens and entry.parameters
    ],
    ids=lambda each: each.id if isinstance(each, Entry) else "",
)
def test_six_parameters_tokens_is_what_it_says(entry: Entry, figure: Figure) -> None:
    """A typing error in parameters or tokens would be a factor of ten or more."""
    ratio = Fraction(figure.value or 0, six_n_d(entry))

    assert Fraction(9, 10) < ratio < Fraction(11, 10)


@pytest.mark.parametrize(
    ("entry", "figure"),
    [
        (entry, each)
        for entry, each in FIGURES
        if each.standing != UNUSABLE and entry.tokens and entry.parameters
    ],
    ids=lambda each: each.id if isinstance(each, Entry) else "",
)
def test_every_figure_is_near_to_six_parameters_tokens(
    entry: Entry, figure: Figure
) -> None:
    """Whatever its method: hardware figures are up to ten times as high, not more."""
    ratio = Fraction(figure.value or 0, six_n_d(entry))

    assert Fraction(1, 5) < ratio < 12


@pytest.mark.parametrize("entry", shipped.entries(), ids=lambda entry: entry.id)
def test_systemic_risk_is_said_where_a_figure_that_counts_is_above_the_line(
    entry: Entry,
) -> None:
    """The presumption of Art. 51(2), never from a guess."""
    counting = [*entry.estimates, *([entry.disclosed] if entry.disclosed else [])]
    above = any((figure.value or 0) > SYSTEMIC_LINE for figure in counting)

    assert entry.systemic_risk is above


def test_active_parameters_are_what_a_mixture_of_experts_is_measured_by() -> None:
    """They are fewer than all of them."""
    experts = [entry for entry in shipped.entries() if entry.active_parameters]

    assert len(experts) > 20
    for entry in experts:
        assert (entry.active_parameters or 0) < (entry.parameters or 0)


def test_sources_that_disagree_are_all_there(catalogue: Catalogue) -> None:
    """Each with its own method; the estimate is the range over all of them."""
    entry = catalogue.find("meta-llama/Llama-3.1-8B")
    assert entry is not None
    methods = {figure.method: figure.value for figure in entry.figures}

    assert methods["derived_6ND"] == 72 * 10**22
    assert methods["derived_hardware"] == 208 * 10**22
    assert methods["derived_mixed"] == 1224 * 10**21
    assert entry.estimated == (72 * 10**22, 208 * 10**22)
    assert entry.disclosed is None


def test_what_others_derived_beside_a_disclosed_figure_is_no_part_of_it(
    catalogue: Catalogue,
) -> None:
    """T5-11B: 3.3e22 is reported; 6.6e22 and an unexplained 4.05e22 are shown."""
    entry = catalogue.find("T5-11B")
    assert entry is not None
    assert entry.disclosed is not None

    assert entry.disclosed.value == 33 * 10**21
    assert entry.disclosed.bounds == (33 * 10**21, 33 * 10**21)
    assert len(entry.figures) == 3


FOUND = {
    "by its Hugging Face id": ("tiiuae/falcon-180B", "falcon-180b"),
    "in another case": ("TIIUAE/Falcon-180b", "falcon-180b"),
    "by its name": ("Falcon-180B", "falcon-180b"),
    "with a space for a hyphen": ("falcon 180b", "falcon-180b"),
    "by an alias": ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
    "with space around it": (" Qwen/Qwen3-8B ", "qwen3-8b"),
    "not with another size": ("meta-llama/Llama-3.1-9B", None),
    "not by a part of its name": ("falcon", None),
    "not with a suffix": ("tiiuae/falcon-180B-my-tune", None),
    "not of another organisation": ("acme/falcon-180B", None),
    "not by nothing": ("", None),
    "not by a name without end": ("falcon-180b" * 10**5, None),
}


@pytest.mark.parametrize(("name", "expected"), FOUND.values(), ids=FOUND.keys())
def test_looked_up(catalogue: Catalogue, name: str, expected: str | None) -> None:
    """Exactly, apart from case and separators."""
    entry = catalogue.find(name)

    assert (entry.id if entry else None) == expected


NEAR = {
    "another size": ("HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-135M"),
    "a typing error": ("mistralai/Mistrall-7B-v0.1", "mistralai/Mistral-7B-v0.1"),
    "no organisation": ("Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1"),
    "a missing hyphen": ("llama3.1-8b", "meta-llama/Llama-3.1-8B"),
    "a fine-tune of it": ("acme/Llama-3.1-8B-my-tune", "meta-llama/Llama-3.1-8B"),
}


@pytest.mark.parametrize(("name", "expected"), NEAR.values(), ids=NEAR.keys())
def test_near_miss_gets_a_suggestion(
    catalogue: Catalogue, name: str, expected: str
) -> None:
    """The nearest first, and at most three."""
    suggested = catalogue.suggest(name)

    assert catalogue.find(name) is None
    assert suggested[0] == expected
    assert len(suggested) <= 3


@pytest.mark.parametrize("name", ["", "gpt4", "bert-base-uncased", "\x00" * 200, "a"])
def test_what_is_like_nothing_gets_no_suggestion(
    catalogue: Catalogue, name: str
) -> None:
    """Rather nothing than noise."""
    assert catalogue.suggest(name) == ()


def test_search_wants_every_word(catalogue: Catalogue) -> None:
    """In names or provider, in any case."""
    found = [entry.id for entry in catalogue.search("Alibaba qwen3 8B")]

    assert found == ["qwen3-8b"]


def entry(ident: str, flops: int, **more: object) -> Entry:
    """Return an entry with one reported figure."""
    figure = Figure(flops, "reported", "letter", "2026-05-03")
    return replace(Entry(ident, ident, (figure,)), **more)  # type: ignore[arg-type] # fields of Entry


def test_a_later_version_replaces_an_earlier_one_whatever_their_order() -> None:
    """A revision is a new entry of the same id with a higher version."""
    old, new = entry("acme", 10**23), entry("acme", 2 * 10**23, version=2)

    assert build([old, new]).find("acme") is new
    assert build([new, old]).find("acme") is new


def test_a_private_entry_replaces_a_shipped_one_of_the_same_version() -> None:
    """It is given last."""
    own = entry("falcon-180b", 10**23, origin="models.yaml")

    assert build([*shipped.entries(), own]).find("falcon-180b") is own


def test_two_models_may_not_have_one_name() -> None:
    """Which one a run means would be a guess."""
    with pytest.raises(CatalogueError, match='"ACME" is a name of both a and b'):
        build([entry("a", 1, name="acme"), entry("b", 2, name="ACME")])


HEADER = ",".join(COLUMNS)
LINE = "acme,Acme,,,,,,,,,,1,1e23,,,reported,,letter,,2026-05,,"
BROKEN = {
    "other columns": ("id,name\n", "the columns must be"),
    "too few fields": (f"{HEADER}\nacme,Acme\n", "line 2: not 22 fields"),
    "too many fields": (f"{HEADER}\n{LINE},more\n", "line 2: not 22 fields"),
    "no name": (f"{HEADER}\n{LINE.replace('Acme', '')}\n", "needs id and name"),
    "no such method": (
        f"{HEADER}\n{LINE.replace('reported', 'felt')}\n",
        'line 2: "felt" is no method',
    ),
    "no figure": (f"{HEADER}\n{LINE.replace('1e23', 'much')}\n", "line 2: .*FLOPs"),
    "no version": (f"{HEADER}\n{LINE.replace(',1,', ',x,')}\n", "line 2: "),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_table_is_refused_with_its_line(text: str, says: str) -> None:
    """One error type, and a sentence."""
    assert read_table(f"{HEADER}\n{LINE}\n")[0].id == "acme"
    with pytest.raises(CatalogueError, match=says):
        read_table(text)


def test_figures_are_exact() -> None:
    """Never through a float: all digits of a figure stay."""
    text = LINE.replace("1e23", "123456789012345678901234")

    assert read_table(f"{HEADER}\n{text}\n")[0].figures[0].value == (
        123456789012345678901234
    )


def test_keys_ignore_case_and_separators_only() -> None:
    """A dot and a digit tell models apart."""
    assert key("Llama  3.1_8B") == key("llama-3.1-8b")
    assert key("llama-3.1-8b") != key("llama-31-8b")


@pytest.mark.parametrize("name", shipped.TEMPLATES)
def test_templates_in_the_docs_are_those_of_the_package(name: str) -> None:
    """The package's are what the command line fills in."""
    published = ROOT / "docs/templates" / f"{name}.md"

    assert published.read_text(encoding="utf-8") == shipped.template(name)
    assert "no legal advice" in shipped.template(name)


def test_the_licence_of_the_data_travels_with_it() -> None:
    """CC BY 4.0 wants the source named, and changes said."""
    package = resources.files("flopguard_operator.models")
    text = package.joinpath("ATTRIBUTION.md").read_text(encoding="utf-8")

    assert "Epoch AI" in text
    assert "CC BY 4.0" in text
    assert "Changes that were made" in text
