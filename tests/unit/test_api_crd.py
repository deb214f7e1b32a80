"""The CRDs: generated, fresh, structural, bounded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from flopguard_operator.api.crd import files, main, stale
from flopguard_operator.api.fields import ApiModel, Word
from flopguard_operator.api.resources import RESOURCES, crd
from flopguard_operator.api.schema import SchemaError, structural

ROOT = Path(__file__).resolve().parents[2]


def leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every property of a schema with its path."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from leaves(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from leaves(node[key], f"{path}[]")


def fields() -> Iterator[tuple[str, Any]]:
    """Yield every field of spec and status of all kinds."""
    for resource in RESOURCES:
        for part, model in (("spec", resource.spec), ("status", resource.status)):
            yield from leaves(structural(model), f"{resource.kind}.{part}")


def test_the_files_in_the_repository_are_fresh() -> None:
    """Else the cluster checks something that the operator does not read."""
    assert stale(ROOT) == [], "run: make crds"


def test_what_is_written_is_fresh_and_what_is_edited_is_stale(tmp_path: Path) -> None:
    """`make lint` fails on an edit by hand, and says which file."""
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--check"]) == 0

    (tmp_path / "crds" / "finetuneruns.yaml").write_text("edited")

    assert main([str(tmp_path), "--check"]) == 1
    assert stale(tmp_path) == ["crds/finetuneruns.yaml"]


def test_the_charts_copy_is_the_same_crds() -> None:
    """Helm installs what `kubectl apply -f crds/` would."""
    copy = files()["charts/flopguard/templates/crds.yaml"]
    plain = "\n".join(line for line in copy.splitlines() if "{{" not in line)
    found = list(yaml.safe_load_all(plain))
    notes = [one["metadata"].pop("annotations") for one in found]

    assert found == [crd(resource) for resource in RESOURCES]
    assert notes == [{"helm.sh/resource-policy": "keep"}] * len(RESOURCES)


def test_every_field_says_what_it_is() -> None:
    """`kubectl explain` is the reference that everybody has."""
    silent = [path for path, node in fields() if not node.get("description")]

    assert silent == []


def test_flops_are_strings_wherever_they_are() -> None:
    """int64 ends at 9.2e18: a number would be refused or rounded."""
    found = {path: n["type"] for path, n in fields() if path.lower().endswith("flops")}

    assert found.pop("FineTuneRun.status.flops") == "object"
    assert len(found) > 3
    assert set(found.values()) == {"string"}


def test_the_reference_names_every_field() -> None:
    """The page is for people who have no cluster at hand."""
    page = files()["docs/api.md"]
    names = {path.split(".")[-1].removesuffix("[]") for path, _ in fields()}

    assert [name for name in sorted(names) if name and name not in page] == []


def test_there_is_no_float() -> None:
    """API conventions: no floating point in an API, ever."""
    assert [path for path, node in fields() if node["type"] == "number"] == []


def test_a_status_has_no_defaults() -> None:
    """A figure in a status was observed; the API server makes none up."""
    for resource in RESOURCES:
        tree = structural(resource.status, defaults=False)

        assert [path for path, node in leaves(tree) if "default" in node] == []


class Unbounded(ApiModel):
    """A string without an end."""

    text: str


class Union(ApiModel):
    """A field of two types."""

    either: Word | int


class AnyObject(ApiModel):
    """A field that holds anything."""

    anything: dict[str, Any]


class Multiple(ApiModel):
    """A keyword that structural schemas lack."""

    even: Annotated[int, Field(multiple_of=2)]


@pytest.mark.parametrize("model", [Unbounded, Union, AnyObject, Multiple])
def test_what_a_crd_cannot_say_is_an_error(model: type[ApiModel]) -> None:
    """At `make crds`, with the field's name, and not at `kubectl apply`."""
    with pytest.raises(SchemaError, match=model.__name__):
        structural(model)
