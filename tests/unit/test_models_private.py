"""Private entries: a YAML file of one schema, read whole or refused with a sentence."""

import json
from pathlib import Path

import pytest
import yaml

from flopguard_operator.api.catalogue import MOST_BYTES, read_entries
from flopguard_operator.api.fields import SpecError
from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import CatalogueError
from flopguard_operator.models.entries import Entry
from flopguard_operator.models.shelf import Shelf, with_files
from flopguard_operator.models.told import document

WHOLE = """
models:
- id: acme-7b
  name: Acme Base 7B
  huggingFaceId: acme/base-7b
  aliases: [acme/base-7b-chat]
  provider: Acme
  released: 2026-05-01
  parameters: "7e9"
  tokens: "2e12"
  systemicRisk: false
  version: 3
  figures:
  - {flops: "8.4e22", low: "8e22", high: "9e22", method: reported,
     source: letter of 3 May 2026, date: 2026-05-03}
  - {flops: "1e23", method: derived_hardware, source: own estimate, date: 2026-04}
"""


def test_a_private_entry_is_read_whole() -> None:
    """Every field of the shipped table, exact."""
    (entry,) = read_entries(WHOLE, "acme.yaml")
    reported, derived = entry.figures

    assert (entry.id, entry.version, entry.origin) == ("acme-7b", 3, "acme.yaml")
    assert entry.names == (
        "acme/base-7b",
        "Acme Base 7B",
        "acme-7b",
        "acme/base-7b-chat",
    )
    assert (entry.parameters, entry.tokens) == (7 * 10**9, 2 * 10**12)
    assert reported.bounds == (8 * 10**22, 9 * 10**22)
    assert (reported.date, derived.date) == ("2026-05-03", "2026-04")


@pytest.mark.parametrize("entry", shipped.entries(), ids=lambda entry: entry.id)
def test_what_is_shown_can_be_given_back(entry: Entry) -> None:
    """The JSON of any shipped entry is a private entry of the same content."""
    text = json.dumps(document([entry]))

    (found,) = read_entries(text, "")

    assert found == entry


def test_the_example_is_a_config_map_that_the_operator_takes(tmp_path: Path) -> None:
    """Each key is a file in the folder that the chart mounts."""
    example = Path(__file__).resolve().parents[2] / "examples/manifests/models.yaml"
    config_map = yaml.safe_load(example.read_text())
    for name, text in config_map["data"].items():
        write(tmp_path, text, name)
    found = Shelf(tmp_path).catalogue()

    assert config_map["metadata"]["name"] == "flopguard-models"
    assert found.problems == ()
    assert found.find("acme/base-7b") is not None


def changed(old: str, new: str) -> str:
    """Return the whole file with one change."""
    assert old in WHOLE
    return WHOLE.replace(old, new)


REFUSED = {
    "no YAML": ("{", "acme.yaml: not YAML"),
    "no list": ("models: 3", "acme.yaml.models"),
    "a list alone": ("[1, 2]", "acme.yaml"),
    "nothing": ("", "acme.yaml"),
    "a field that nobody knows": (
        changed("provider:", "vendor:"),
        "models[0].vendor: Extra inputs are not permitted",
    ),
    "a number that lost its digits": (
        changed('"8.4e22"', "8.4e+22"),
        "models[0].figures[0].flops: FLOPs are a quoted string",
    ),
    "no source": (changed("source: own estimate, ", ""), "figures[1].source"),
    "no date": (changed(", date: 2026-04", ""), "figures[1].date"),
    "a date that is none": (changed("2026-04", "April"), "figures[1].date"),
    "a method that nobody knows": (changed("reported", "felt"), "figures[0].method"),
    "bounds that do not hold": (changed('"8e22"', '"9e22"'), "low may not be above"),
    "bounds without a figure": (changed('flops: "8.4e22", ', ""), "both need flops"),
    "no figure though it says so": (
        changed('flops: "1e23", ', ""),
        "leave flops out only with method undisclosed",
    ),
    "an id with spaces": (changed("id: acme-7b", "id: Acme 7B"), "models[0].id"),
    "a version of nothing": (changed("version: 3", "version: 0"), "models[0].version"),
    "half a character": ('models: [{id: "\\uD800"}]', "acme.yaml"),
    "a mountain of brackets": ("[" * 100_000, "acme.yaml: not YAML"),
    "more than a ConfigMap holds": ("#" * (MOST_BYTES + 1), "larger than 1048576"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_file_is_refused_with_a_sentence(text: str, says: str) -> None:
    """One error, which names the file and the field."""
    with pytest.raises(SpecError) as caught:
        read_entries(text, "acme.yaml")

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def write(folder: Path, text: str, name: str = "acme.yaml") -> None:
    """Put a file into the folder."""
    (folder / name).write_text(text)


def test_the_shelf_reads_only_what_has_changed(tmp_path: Path) -> None:
    """The same catalogue until a file is another one."""
    shelf = Shelf(tmp_path)
    assert shelf.catalogue() is shipped.catalogue()
    write(tmp_path, WHOLE)
    first = shelf.catalogue()

    assert first.find("acme/base-7b") is not None
    assert shelf.catalogue() is first
    write(tmp_path, changed("8.4e22", "8.5e22"))
    assert shelf.catalogue() is not first


def test_a_removed_file_takes_its_entries_along(tmp_path: Path) -> None:
    """They are no longer what the administrator says."""
    shelf = Shelf(tmp_path)
    write(tmp_path, WHOLE)
    shelf.catalogue()
    (tmp_path / "acme.yaml").unlink()

    assert shelf.catalogue().find("acme/base-7b") is None


def test_names_that_clash_keep_what_was_good(tmp_path: Path) -> None:
    """And the catalogue says what is the matter, once, until it is put right."""
    shelf = Shelf(tmp_path)
    write(tmp_path, WHOLE)
    shelf.catalogue()
    write(tmp_path, changed("Acme Base 7B", "Falcon-180B"))
    found = shelf.catalogue()

    assert found.find("Acme Base 7B") is not None
    assert found.problems == (
        'Private entries: "Falcon-180B" is a name of both falcon-180b and acme-7b.',
    )
    assert shelf.catalogue() is found
    write(tmp_path, WHOLE)
    assert shelf.catalogue().problems == ()


def test_a_folder_that_cannot_be_read_keeps_what_was_good(tmp_path: Path) -> None:
    """A volume that is gone for a moment makes no base model unknown."""
    folder = tmp_path / "models"
    folder.mkdir()
    shelf = Shelf(folder)
    write(folder, WHOLE)
    shelf.catalogue()
    (folder / "acme.yaml").unlink()
    (folder / "acme.yaml").mkdir()
    found = shelf.catalogue()

    assert found.find("acme/base-7b") is not None
    assert "Private entries: cannot read models" in found.problems[0]


def test_files_of_the_command_line_are_taken_or_refused(tmp_path: Path) -> None:
    """There a mistake ends the command."""
    write(tmp_path, WHOLE)
    write(tmp_path, changed("Acme Base 7B", "Falcon-180B"), "clash.yaml")

    assert with_files((tmp_path / "acme.yaml",)).find("acme-7b") is not None
    with pytest.raises(CatalogueError):
        with_files((tmp_path / "clash.yaml",))
