"""`flopguard import`: a past job becomes a decision with bounds, and never a crash."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flopguard_operator import decisions
from flopguard_operator.api.decision import DecisionSpec
from flopguard_operator.api.fields import read
from flopguard_operator.cli import main
from flopguard_operator.estimate.model import Bounds
from flopguard_operator.imports.job import Job
from flopguard_operator.imports.manifest import MOST_REASON, Decided, decision
from flopguard_operator.ledger.entries import DecisionRecorded, RunRef

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
WEIGHTS = 8_030_261_248  # of Llama 3.1 8B
BARE = WEIGHTS - 128_256 * 4096  # without embeddings, as Transformers counts
TOKENS = 1_200_000_000
STATE = {"global_step": 900, "total_flos": float(6 * BARE * TOKENS), "log_history": []}
SIGNED = ("--decided-by", "dana@example.org", "--reason", "before metering")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the output folder of a job, with a checkpoint in it."""
    made = tmp_path / "support-sft" / "checkpoint-900"
    made.mkdir(parents=True)
    (made / "trainer_state.json").write_text(json.dumps(STATE))
    (made / "config.json").write_text(json.dumps(CONFIG))
    return made


def bring(*arguments: str) -> Result:
    """Run `flopguard import support-bot`."""
    return CliRunner().invoke(main, ["import", "support-bot", *arguments])


def job(*arguments: str) -> dict[str, Any]:
    """Return what `--json` says of the job."""
    result = bring(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)["job"]
    return found


def of_state(folder: Path, *more: str) -> tuple[str, ...]:
    """Return the options that name the files of a checkpoint."""
    state, config = folder / "trainer_state.json", folder / "config.json"
    return ("--from", str(state), "--config", str(config), *more)


def test_the_closed_form_takes_the_tokens_from_total_flos(folder: Path) -> None:
    """Of full fine-tuning about 6 FLOPs per parameter and token, and attention."""
    found = job(*of_state(folder, "--method", "Full", "--length", "2048"))

    assert found["formula"].endswith("1.2e9 tokens")
    assert int(found["flops"]) == pytest.approx(6 * WEIGHTS * TOKENS, rel=0.05)
    assert (found["name"], found["method"]) == ("support-sft", "TrainerState")


def test_the_bounds_are_never_nearer_than_thirty_percent(folder: Path) -> None:
    """Also where nothing is left open: the Guidelines' margin of a reported figure."""
    plain = ("--method", "Full", "--length", "2048", "--no-checkpointing")
    found = job(*of_state(folder, *plain))
    flops = int(found["flops"])

    assert 100 * int(found["low"]) <= 70 * flops
    assert 100 * int(found["high"]) >= 130 * flops
    assert "at least 30 %" in found["assumptions"][0]


def test_sources_of_the_tokens_that_disagree_widen_the_bounds(folder: Path) -> None:
    """A counter that says twice as much is the estimate, and the rest is covered."""
    (folder / "trainer_state.json").write_text(
        json.dumps({**STATE, "num_input_tokens_seen": 2 * TOKENS})
    )
    found = job(*of_state(folder, "--method", "Full", "--length", "2048"))

    assert int(found["flops"]) == pytest.approx(12 * WEIGHTS * TOKENS, rel=0.05)
    assert int(found["low"]) < 6.5 * WEIGHTS * TOKENS
    assert any("disagrees" in said for said in found["assumptions"])


def test_a_model_that_nobody_knows_is_counted_by_its_parameters(folder: Path) -> None:
    """6PD, from half to twice of it."""
    options = ("--params", "8e9", "--tokens", "1e9", "--method", "Full")
    found = job("--from", str(folder / "trainer_state.json"), *options)

    assert found["flops"] == str(6 * 8 * 10**9 * 10**9)
    assert int(found["high"]) == 2 * int(found["flops"])
    assert "6PD" in found["formula"]


def test_the_file_alone_gives_its_own_figure_and_says_what_it_is(folder: Path) -> None:
    """It is not taken for a count."""
    found = job("--from", str(folder / "trainer_state.json"))

    assert int(found["flops"]) == int(STATE["total_flos"])  # type: ignore[call-overload] # a float
    assert "total_flos" in found["formula"]
    assert int(found["high"]) == 2 * int(found["flops"])


@pytest.mark.parametrize(
    ("options", "flops", "low", "high"),
    [
        # Annex A.3, H: 370,000 H100-hours at 989e12 and 50 % are 6.59e23.
        (("370000", "--utilisation", "0.5"), 6.59e23, 4.61e23, 8.57e23),
        (("370000",), 6.59e23, 1.32e23, 13.18e23),
        (("1000", "--utilisation", "0.2-0.6"), 1.42e21, 7.12e20, 2.14e21),
    ],
    ids=["a stated share", "no share: up to the peak", "a range of shares"],
)
def test_hours_of_devices_times_their_peak(
    options: tuple[str, ...], flops: float, low: float, high: float
) -> None:
    """The hardware formula, with the Guidelines' utilisation where none is given."""
    found = job("--gpu-hours", *options, "--gpu", "H100", "--precision", "bf16")

    assert int(found["flops"]) == pytest.approx(flops, rel=0.01)
    assert int(found["low"]) == pytest.approx(low, rel=0.01)
    assert int(found["high"]) == pytest.approx(high, rel=0.01)


FACTS = """
name: march
period: 2026-03-01/2026-03-04
source: minutes of March, page 2
training: {trainingTokens: "1.2e9", parameters: "8.03e9", method: Full}
hardware:
  - {gpu: NVIDIA H100 80GB HBM3, gpuHours: "60", precision: bf16}
"""


def facts(tmp_path: Path, text: str) -> tuple[str, ...]:
    """Return the options that name a file of facts."""
    file = tmp_path / "facts.yaml"
    file.write_text(text)
    return ("--facts", str(file))


def test_facts_are_estimated_and_held_against_the_hardware(tmp_path: Path) -> None:
    """The training tells the figure, the devices what is possible."""
    found = job(*facts(tmp_path, FACTS))

    assert found["flops"] == str(6 * 8_030_000_000 * 1_200_000_000)
    assert found["period"] == "2026-03-01/2026-03-04"
    said = "the estimate is 27 % of the hardware's peak over its GPU-hours"
    assert said in found["assumptions"]
    assert "the facts are from: minutes of March, page 2" in found["assumptions"]


def test_what_the_hardware_cannot_have_done_is_refused(tmp_path: Path) -> None:
    """One of the figures is wrong, and nobody but a person can say which."""
    result = bring(*facts(tmp_path, FACTS.replace('"60"', '"1"')))

    assert result.exit_code == 2
    assert "of what the hardware can compute" in result.output


def test_a_known_figure_is_taken_with_its_margin(tmp_path: Path) -> None:
    """And with how it was made."""
    text = 'flops: {estimate: "1e21", high: "2e21", how: DeepSpeed}'
    found = job(*facts(tmp_path, text))

    assert (found["low"], found["flops"]) == (str(7 * 10**20), str(10**21))
    assert (found["high"], found["formula"]) == (str(2 * 10**21), "DeepSpeed")


def test_the_manifest_is_a_decision_that_the_operator_acts_on(folder: Path) -> None:
    """YAML that the API's model takes, and the ledger's entry by it."""
    result = bring(*of_state(folder, *SIGNED, "--period", "2026-03-01/2026-03-04"))
    manifest = yaml.safe_load(result.stdout)
    spec = read(DecisionSpec, manifest["spec"], "spec")
    raw = {**manifest, "metadata": {**manifest["metadata"], "uid": "u"}}
    (one,) = decisions.read_all([raw])
    ref = RunRef("p", "", "support-bot")
    recorded = DecisionRecorded(
        ref, "u", "", "Import", 0, "", spec.reason, "", "", spec.decided_by
    )
    (entry,) = decisions.imports([recorded], [one])

    assert result.exit_code == 0
    assert manifest["metadata"]["name"] == f"import-support-sft-{entry.evidence[:8]}"
    assert (entry.method, entry.by) == ("trainer-state", "dana@example.org")
    assert 0 < entry.low < entry.flops < entry.high
    assert spec.reason.startswith("before metering. Estimate: closed form")
    assert "will count" in result.stderr


def test_a_reason_is_never_longer_than_the_api_takes() -> None:
    """The assumptions that do not fit are counted."""
    said = tuple(f"{number} {'x' * 200}" for number in range(20))
    long = Job("j", "Facts", Bounds(1, 2, 3), "a formula", "ab" * 32, said)
    spec = decision(long, Decided("bot", "dana", "y" * 1000))["spec"]

    assert 1800 < len(spec["reason"]) <= MOST_REASON
    assert spec["reason"].endswith(" And 16 more assumptions.")
    assert read(DecisionSpec, spec, "spec").imported is not None


def test_nothing_is_signed_in_nobodys_name(folder: Path) -> None:
    """The estimate is shown all the same."""
    result = bring(*of_state(folder))

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--decided-by and --reason" in result.stderr


BROKEN = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "no step": b'{"total_flos": 1}',
    "a step that is a text": b'{"global_step": "900"}',
    "not a number": b'{"global_step": 1, "total_flos": NaN}',
    "infinite": b'{"global_step": 1, "total_flos": 1e999}',
    "negative": b'{"global_step": 1, "total_flos": -1}',
    "too many digits": b'{"global_step": ' + b"9" * 5000 + b"}",
    "larger than anything": b'{"global_step": ' + b"9" * 400 + b"}",
    "nested": b'{"global_step": 1, "log_history": ' + b"[" * 100_000,
    "nothing in it": b'{"global_step": 0, "log_history": [null, {"num_tokens": []}]}',
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_none_ends_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    """Whoever made it."""
    file = tmp_path / "trainer_state.json"
    file.write_bytes(data)
    result = bring("--from", str(file), "--json")

    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: ")


WRONG = {
    "no YAML": "a: [",
    "a text": "hello",
    "nothing": "{}",
    "an unknown field": 'flops: {estimate: "1", how: x, by: me}',
    "a bare number": "flops: {estimate: 1000000, how: x}",
    "bounds that are turned": 'flops: {estimate: "1", low: "2", how: x}',
    "an unknown device": 'hardware: [{gpu: Cray, gpuHours: "1"}]',
    "an unknown format": 'hardware: [{gpu: H100, gpuHours: "1", precision: fp3}]',
    "more than the peak": 'hardware: [{gpu: H100, gpuHours: "1", utilisation: ["2"]}]',
    "too many hours": 'hardware: [{gpu: H100, gpuHours: "1e29"}]',
    "a plan without work": "training: {method: Full}",
    "a configuration that is none": 'training: {modelConfig: "[]", steps: 1}',
    "aliases": "a: &a [x]\nb: [*a, *a]",
    "too long": "#" * 200_000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_facts_that_are_none_end_in_a_sentence(tmp_path: Path, text: str) -> None:
    """That says where, and what to write."""
    result = bring(*facts(tmp_path, text), "--json")

    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "one of --from, --facts and --gpu-hours"),
        (("--gpu-hours", "1", "--facts", "x"), "one of --from"),
        (("--gpu-hours", "1"), "needs --gpu"),
        (("--gpu-hours", "-1", "--gpu", "H100"), "written like 512"),
        (("--gpu-hours", "0", "--gpu", "H100"), "above 0"),
        (("--gpu-hours", "1", "--gpu", "Cray"), "known are a10"),
        (("--gpu-hours", "1", "--gpu", "H100", "--period", "soon"), "ISO 8601"),
        (("--gpu-hours", "1", "--gpu", "H100", "--period", "2026-03/2026-02"), "ISO"),
        (("--gpu-hours", "1", "--gpu", "H100", "--params", "0"), "from 1 to 1e30"),
        (("--gpu-hours", "1", "--gpu", "H100", "--tokens", "0"), "from 1 to 1e30"),
        (("--from", "no-such-file"), "no-such-file"),
    ],
)
def test_options_that_do_not_fit_are_told(options: tuple[str, ...], said: str) -> None:
    """With what to do."""
    result = bring(*options)

    assert result.exit_code == 2
    assert said in result.output
