"""Good and bad manifests, as people write them, against the real API server."""

import json
from typing import Any

import pytest
import yaml

from cluster.kubectl import Kubectl, KubectlError
from contract.manifests import MANIFESTS, Manifest
from flopguard_operator.api.decision import DecisionSpec
from flopguard_operator.api.fields import ApiModel, SpecError, read
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec

SPECS: dict[str, type[ApiModel]] = {
    "FineTuneRun": RunSpec,
    "FineTuneProgram": ProgramSpec,
    "ThresholdDecision": DecisionSpec,
}
GOOD = [m for m in MANIFESTS if not m.answer]
BAD = [m for m in MANIFESTS if m.answer]


def table(manifests: list[Manifest]) -> pytest.MarkDecorator:
    """Parametrize a test with these manifests, their sentences as ids."""
    return pytest.mark.parametrize("manifest", manifests, ids=lambda m: m.case)


def create(kubectl: Kubectl, text: str) -> dict[str, Any]:
    """Return what the API server would store; everything but the write happens."""
    options = ("--dry-run=server", "-o", "json", "-f", "-")
    stored: dict[str, Any] = json.loads(kubectl.run("create", *options, stdin=text))
    return stored


@pytest.mark.apiserver
@table(GOOD)
def test_a_good_one_is_stored(module_namespace: Kubectl, manifest: Manifest) -> None:
    """The reader accepts what the API server stored, defaults filled in."""
    stored = create(module_namespace, manifest.text())

    spec = read(SPECS[manifest.kind], stored["spec"], "spec")

    assert stored["spec"].keys() <= spec.wire().keys()


@pytest.mark.apiserver
@table(BAD)
def test_a_bad_one_is_refused(module_namespace: Kubectl, manifest: Manifest) -> None:
    """The sentence that the user reads names the field or says what to do."""
    with pytest.raises(KubectlError) as refusal:
        create(module_namespace, manifest.text())

    assert manifest.answer in refusal.value.stderr


@table([m for m in BAD if m.reader])
def test_the_reader_refuses_it_too(manifest: Manifest) -> None:
    """A file that no API server checked ends in one error type, with a place."""
    spec = yaml.safe_load(manifest.text())["spec"]

    with pytest.raises(SpecError, match=r"^spec"):
        read(SPECS[manifest.kind], spec, "spec")
