"""What every command has to do with bad input and bad output: a sentence, a code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flopguard_operator.cli import main
from flopguard_operator.ledger.keys import generate
from unit.story import write_ledger

LEDGER = "LEDGER"  # stands for a real one
FLOPGUARD = [sys.executable, "-m", "flopguard_operator.cli"]
EXPLAIN = ("explain", "--base-flops", "1e24", "--modification-flops")
FORECAST = ("forecast", "--tokens", "1e9", "--params")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an operator's ledger with one run's whole life in it."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    write_ledger(path, generate("flopguard.dev/5d1f6f0e/ledger"))
    return path


def with_ledger(arguments: tuple[str, ...], database: Path) -> list[str]:
    """Return arguments with the path of a real ledger in the place of `LEDGER`."""
    return [str(database) if word == LEDGER else word for word in arguments]


TRUSTING = {
    "verify": ("verify", LEDGER),
    "report": ("report", "--ledger", LEDGER),
    "gate": ("gate", "p", "--ledger", LEDGER),
    "audit": ("audit", "p", "--ledger", LEDGER),
    "ledger check": ("ledger", "check", "--db", LEDGER),
    "ledger prove": ("ledger", "prove", "--check", LEDGER),
}


@pytest.mark.parametrize("command", TRUSTING.values(), ids=TRUSTING)
@pytest.mark.parametrize(
    ("vkey", "sentence"),
    [("", "no file to read it from"), (" \n", "no file"), ("name", "not a vkey")],
    ids=["empty", "blank", "no key"],
)
def test_a_key_that_is_none_never_counts_as_any_key(
    database: Path, command: tuple[str, ...], vkey: str, sentence: str
) -> None:
    """A file that is missing in `--vkey "$(cat FILE)"` would else trust everybody."""
    found = CliRunner().invoke(main, [*with_ledger(command, database), "--vkey", vkey])

    assert found.exit_code == 2
    assert "'--vkey'" in found.output
    assert sentence in found.output


WRITING = {
    "the help": ("--help",),
    "a listing": ("models", "list"),
    "a verification": ("verify", LEDGER),
    "an export": ("ledger", "export", "--db", LEDGER),
}


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING)
def test_a_full_disk_is_told_in_a_sentence(
    database: Path, command: tuple[str, ...]
) -> None:
    """Not in a traceback."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    with full.open("wb") as output:
        found = subprocess.run(
            [*FLOPGUARD, *with_ledger(command, database)],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert found.returncode == 2
    assert found.stderr.startswith("Error: cannot use the ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING)
def test_a_reader_that_has_enough_is_no_error(
    database: Path, command: tuple[str, ...]
) -> None:
    """As `head`: nothing is said."""
    with subprocess.Popen(
        [*FLOPGUARD, *with_ledger(command, database)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()

    assert said == b""
    assert process.returncode == 1


WRONG = {
    "more than 30 digits": (*EXPLAIN, "9" * 31, "above the largest figure, 1e30"),
    "a small fraction": (*EXPLAIN, "1e-5", "not a FLOPs figure"),
    "no parameters": (*FORECAST, "0", 'write it like "2e9"'),
    "a fraction of a parameter": (*FORECAST, "0.5", 'write it like "2e9"'),
    "no number of parameters": (*FORECAST, "NaN", 'write it like "2e9"'),
    "a grace that is no number": (
        *("run", "--program", "p", "--grace", "nan", "--", "true"),
        "a number of seconds",
    ),
    "an interval that is no number": (
        *("run", "--program", "p", "--interval", "nan", "--", "true"),
        "a number of seconds",
    ),
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_a_figure_that_is_none_is_refused(words: tuple[str, ...]) -> None:
    """With what to write."""
    *arguments, sentence = words

    found = CliRunner().invoke(main, arguments)

    assert found.exit_code == 2
    assert isinstance(found.exception, SystemExit)
    assert sentence in found.output


def test_a_start_that_is_refused_says_so_in_json_too() -> None:
    """On standard error all is JSON then."""
    found = CliRunner().invoke(
        main, ["run", "--program", "p", "--json", "--", "/no/such/command"]
    )

    said = json.loads(found.stderr)
    assert found.exit_code == 127
    assert said["event"] == "not_started"
    assert "is not there" in said["message"]


def test_an_open_question_is_told_once() -> None:
    """Though both rule sets that are combined carry it."""
    found = CliRunner().invoke(main, ["policies", "show", "strictest"])

    questions = [line for line in found.output.splitlines() if line.startswith("Open")]
    assert questions
    assert len(questions) == len(set(questions))


CONFIG_MAPS = {
    "rule sets": ("policies", "validate", "policies.yaml"),
    "base models": ("models", "show", "acme-7b", "--private", "models.yaml"),
}


@pytest.mark.parametrize("words", CONFIG_MAPS.values(), ids=CONFIG_MAPS)
def test_a_config_map_is_called_one(words: tuple[str, ...]) -> None:
    """The examples are ConfigMaps; a command reads the text of one of their keys."""
    examples = Path(__file__).parents[2] / "examples" / "manifests"

    found = CliRunner().invoke(main, [*words[:-1], str(examples / words[-1])])

    assert found.exit_code == 1
    assert "a ConfigMap; each of its keys is a file of its own here" in found.output


def test_a_folder_is_not_taken_for_a_disk_that_fails(tmp_path: Path) -> None:
    """What to give instead is said."""
    found = CliRunner().invoke(main, ["ledger", "check", "--db", str(tmp_path)])

    assert found.exit_code == 2
    assert "is a directory: give its ledger.db" in found.output


READING = {
    "verify": ("verify", LEDGER),
    "ledger show": ("ledger", "show", LEDGER),
    "ledger check": ("ledger", "check", "--db", LEDGER),
}


@pytest.mark.parametrize("command", READING.values(), ids=READING)
def test_a_database_that_is_cut_anywhere_gets_a_sentence(
    database: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """SQLite finds holes in some of them, where bytes were, and no error."""
    whole = database.read_bytes()
    for size in range(0, len(whole), 1_500):
        cut = tmp_path / "cut.db"
        cut.write_bytes(whole[:size])

        found = CliRunner().invoke(main, with_ledger(command, cut))

        assert isinstance(found.exception, SystemExit), f"cut at {size} bytes"
        assert found.exit_code in (1, 2), f"cut at {size} bytes"


def test_a_schema_that_is_no_text_gets_a_sentence(
    database: Path, tmp_path: Path
) -> None:
    """SQLite's own message quotes it, which is no UTF-8."""
    broken = tmp_path / "broken.db"
    broken.write_bytes(database.read_bytes().replace(b"key (vkey", b"key \xf2vkey"))

    found = CliRunner().invoke(main, ["verify", str(broken)])

    assert found.exit_code == 1
    assert "is not an intact ledger" in found.output


def test_a_pack_of_nothing_says_what_there_is(database: Path, tmp_path: Path) -> None:
    """As report, gate and audit do."""
    pack = tmp_path / "pack.tar"
    arguments = ("evidence", "nobody", "--ledger", LEDGER, "-o", str(pack))

    found = CliRunner().invoke(main, with_ledger(arguments, database))

    assert found.exit_code == 2
    assert 'no program and no run "nobody"; it holds: ' in found.output
    assert not pack.exists()


ENTRY = """
models:
- id: acme-{name}
  name: Acme {name}
  provider: Acme
  version: 1
  figures:
  - {{flops: "1e23", method: reported, source: a letter, date: 2026-05-03}}
"""


def test_private_entries_of_two_files_with_one_name_both_count(tmp_path: Path) -> None:
    """Files are told apart by where they are."""
    options = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "models.yaml"
        file.write_text(ENTRY.format(name=name))
        options += ["--private", str(file)]

    found = [
        CliRunner().invoke(main, ["models", "show", f"acme-{name}", *options])
        for name in ("one", "two")
    ]

    assert [result.exit_code for result in found] == [0, 0]
