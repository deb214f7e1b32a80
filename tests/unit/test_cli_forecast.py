"""`flopguard forecast`: three methods on the same data, beside the lines."""

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main

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
WHOLE = ("--tokens", "1e9", "--length", "2048", "--batch", "64", "--no-checkpointing")
BASE = ("--base", "<b>own</b>", "--base-flops", "1e24", "--budget", "4e19")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a file with the configuration of Llama 3.1 8B."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    return file


def forecast(*arguments: str) -> Result:
    """Run `flopguard forecast`."""
    return CliRunner().invoke(main, ["forecast", *arguments])


def test_full_costs_more_than_lora_and_all_is_exact(config: Path) -> None:
    """Digits, not floats; LoRA saves the gradients of the weights, a third of all."""
    result = forecast("--config", str(config), *WHOLE, *BASE, "--json")
    found = {row["method"]: row for row in json.loads(result.output)["forecasts"]}

    assert result.exit_code == 0
    assert list(found) == ["Full", "LoRA", "QLoRA"]
    full, lora = int(found["Full"]["expected"]), int(found["LoRA"]["expected"])
    assert 0.65 < lora / full < 0.75
    assert full == pytest.approx(6 * 8.03e9 * 1e9, rel=0.05)
    assert found["Full"]["crosses"] == ["budget"]
    assert found["LoRA"]["crosses"] == []
    assert found["LoRA"]["percent"]["threshold"] == "0.01"


def test_the_terminal_shows_ranges_lines_and_assumptions(config: Path) -> None:
    """One row for each method, in eighty and a few columns."""
    result = forecast("--config", str(config), "--tokens", "1e9", *BASE)
    lines = result.output.splitlines()
    rows = [line for line in lines if line.startswith(("Full", "LoRA", "QLoRA"))]

    assert [row.split()[0] for row in rows[:3]] == ["Full", "LoRA", "QLoRA"]
    assert rows[0].endswith("crosses budget")
    assert rows[1].endswith("may cross budget")
    assert all("o" in row and "|" in row for row in rows[:3])
    assert "| budget: 4e19 FLOPs" in lines
    assert any("far above, not drawn: threshold: 3e23" in line for line in lines)
    assert any(line.startswith("- the batch size is not given") for line in lines)


def test_a_method_alone_and_parameters_alone(config: Path) -> None:
    """The rule of thumb says what it is."""
    one = forecast("--params", "8.03e9", "--tokens", "1e9", "--method", "LoRA")
    other = forecast(
        *("--config", str(config), *WHOLE, "--method", "LoRA", "--rank", "8"),
        *("--targets", "q_proj, v_proj", "--json"),
    )

    assert "4 FLOPs per parameter and token" in one.output
    (row,) = json.loads(other.output)["forecasts"]
    assert (row["method"], row["basis"]) == ("LoRA", "ClosedForm")


def test_the_catalogue_is_asked_for_a_base(config: Path) -> None:
    """Its figures are those that `flopguard models show` tells."""
    known = forecast("--config", str(config), *WHOLE, "--base", "zai-org/GLM-4.5")
    unknown = forecast("--config", str(config), *WHOLE, "--base-flops", "unknown")

    assert known.exit_code == 0
    assert "threshold: 3.3e22" in unknown.output


class Tags(HTMLParser):
    """Collects the tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and where it points to."""
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href")]


def test_a_plot_is_written_that_asks_for_nothing(config: Path, tmp_path: Path) -> None:
    """SVG alone, or a page; what a person typed does nothing in either."""
    for suffix in ("svg", "html"):
        result = forecast(
            *("--config", str(config), *WHOLE, *BASE),
            *("-o", str(tmp_path / f"plot.{suffix}")),
        )
        assert result.exit_code == 0

    drawn = ET.fromstring((tmp_path / "plot.svg").read_text())  # noqa: S314 - our own
    texts = " ".join(each.text or "" for each in drawn.iter())
    page = Tags()
    page.feed((tmp_path / "plot.html").read_text())

    assert "budget: 4e19" in texts
    assert "QLoRA" in texts
    assert "<b>own</b>" in texts  # as text
    assert {"svg", "h1", "li"} <= set(page.tags)
    assert not {"script", "link", "b", "img"} & set(page.tags)
    assert page.addresses == []


WRONG = {
    "no model": (("--tokens", "1e9"), "number of parameters", 2),
    "no amount": (("--params", "1e9"), "how much is trained on", 2),
    "a plot that is no plot": (
        ("--params", "1e9", "--tokens", "1", "-o", "plot.png"),
        ".svg or .html",
        2,
    ),
    "a file that is not there": (
        ("--config", "nowhere.json", "--tokens", "1e9"),
        "nowhere.json",
        2,
    ),
    "tokens that are no number": (("--tokens", "many"), 'write it like "2e9"', 2),
}


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"), WRONG.values(), ids=WRONG.keys()
)
def test_what_cannot_be_forecast_ends_in_a_sentence(
    arguments: tuple[str, ...], sentence: str, code: int
) -> None:
    """And says what to give."""
    result = forecast(*arguments)

    assert result.exit_code == code
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_a_configuration_that_is_none_is_told(tmp_path: Path) -> None:
    """Also one of strange bytes."""
    file = tmp_path / "config.json"
    file.write_bytes(b"\xff{")

    result = forecast("--config", str(file), "--tokens", "1e9")

    assert result.exit_code == 2
    assert "not a JSON object" in result.output
