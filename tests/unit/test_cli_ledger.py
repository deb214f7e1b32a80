"""The command line on a real ledger: verify, report, export, show."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main
from flopguard_operator.ledger.keys import SigningKey, generate
from flopguard_operator.ledger.store import SqliteStore
from unit.story import commits, whole_events, whole_story, write_ledger

ORIGIN = "flopguard.dev/5d1f6f0e/ledger"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """Return the key that signs the ledger."""
    return generate(ORIGIN)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    """Return an operator's ledger with one run's whole life in it."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    write_ledger(path, key)
    return path


@pytest.fixture
def exported(database: Path, tmp_path: Path) -> Path:
    """Return the same ledger as an export, which a test may damage."""
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(flopguard("ledger", "export", "--db", str(database)).stdout_bytes)
    return path


def flopguard(
    *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments, input=io.BytesIO(stdin), env=env)


def test_verify_accepts_an_intact_ledger(exported: Path, key: SigningKey) -> None:
    """Every check is ok, with the key from a trusted source as well as without."""
    for more in ([], ["--vkey", key.verifier.text]):
        result = flopguard("verify", str(exported), *more)

        assert result.exit_code == 0, result.output
        assert "The ledger verifies." in result.output
        assert "mismatch" not in result.output


def test_verify_reads_standard_input_and_the_database(
    exported: Path, database: Path
) -> None:
    """An export can be piped, and the operator's own file is exported on the way."""
    piped = flopguard("verify", "-", stdin=exported.read_bytes())
    direct = flopguard("verify", str(database))

    assert (piped.exit_code, piped.output) == (0, direct.output)


def test_verify_says_in_json_what_it_found(exported: Path) -> None:
    """Programs get each check, and the sizes and hashes as in the head."""
    found = json.loads(flopguard("verify", str(exported), "--json").output)

    assert (found["outcome"], found["size"]) == ("ok", len(whole_story()))
    assert {check["outcome"] for check in found["checks"]} == {"ok"}


def test_verify_refuses_a_ledger_signed_by_somebody_else(exported: Path) -> None:
    """A whole and consistent file is still not the one that was asked for."""
    stranger = generate(ORIGIN).verifier.text

    assert flopguard("verify", str(exported), "--vkey", stranger).exit_code == 1


def test_changed_figure_is_a_mismatch(exported: Path) -> None:
    """One digit of one entry, and both commands end with 1."""
    data = exported.read_bytes()
    exported.write_bytes(data.replace(b'"overshoot":"2', b'"overshoot":"1', 1))
    verified = flopguard("verify", str(exported))
    reported = flopguard("report", "--ledger", str(exported))

    assert exported.read_bytes() != data
    assert verified.exit_code == 1
    assert "mismatch" in verified.output
    assert reported.exit_code == 1
    assert "does NOT verify" in reported.stdout.splitlines()[2]
    assert "flopguard verify" in reported.stderr


def test_cut_ledger_is_incomplete(exported: Path) -> None:
    """Without its head a ledger is neither right nor wrong: exit code 2."""
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(lines[:-1]))

    assert flopguard("verify", str(exported)).exit_code == 2
    assert flopguard("report", "--ledger", str(exported)).exit_code == 2
    assert flopguard("ledger", "show", str(exported)).exit_code == 2


NOT_LEDGERS = {
    "an empty file": b"",
    "random bytes": b"\xff\x00\x1b[2J" * 50,
    "another JSON": b'{"format":"else"}\n',
    "a line without an end": b"x" * 200_000,
    "a database that is none": b"SQLite format 3\0" + bytes(4096),
}


@pytest.mark.parametrize("data", NOT_LEDGERS.values(), ids=NOT_LEDGERS.keys())
@pytest.mark.parametrize(
    "command",
    [("verify",), ("report", "--ledger"), ("ledger", "show")],
    ids=["verify", "report", "show"],
)
def test_what_is_no_ledger_gets_a_sentence(
    command: tuple[str, ...], data: bytes, tmp_path: Path
) -> None:
    """No file ends in a traceback, and no control character reaches the terminal."""
    path = tmp_path / "file"
    path.write_bytes(data)
    result = flopguard(*command, str(path))

    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "no-such-file"),
        ("verify", "."),
        ("report", "--ledger", "no-such-file"),
        ("ledger", "export", "--db", "no-such-folder/ledger.db"),
        ("ledger", "export"),
        ("verify",),
        ("report", "--ledger", "x", "--format", "pdf"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    """A missing file, folder or option is said, not thrown."""
    result = flopguard(*arguments, env={"FLOPGUARD_LEDGER": ""})

    assert result.exit_code == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("form", "begin"),
    [
        ("html", "<!DOCTYPE html>"),
        ("md", "# flopguard report"),
        ("json", "{"),
        ("csv", "kind,name"),
    ],
)
def test_report_in_each_format(
    form: str, begin: str, exported: Path, tmp_path: Path
) -> None:
    """The file that -o writes is what standard output would have been."""
    arguments = ("report", "--ledger", str(exported), "--format", form)
    printed = flopguard(*arguments)
    saved = flopguard(*arguments, "-o", str(tmp_path / "out"))

    assert (printed.exit_code, saved.exit_code, saved.output) == (0, 0, "")
    assert printed.output.startswith(begin)
    assert (tmp_path / "out").read_text() == printed.output


def test_report_of_one_run_by_name_or_uid(exported: Path) -> None:
    """Both ways to name a run give the same report."""
    story = whole_story()[0].event.run
    by_name = flopguard("report", "--ledger", str(exported), "--run", "ml/support-sft")
    by_uid = flopguard("report", "--ledger", str(exported), "--run", story.uid)

    assert by_name.exit_code == 0
    assert by_name.output == by_uid.output


def test_report_of_a_program_or_a_run_as_an_argument(exported: Path) -> None:
    """A program brings its runs; the option and the argument are one."""
    ledger = ("--ledger", str(exported), "--json")
    program = json.loads(flopguard("report", "support-bot", *ledger).stdout)
    run = flopguard("report", "ml/support-sft", *ledger).stdout

    assert [one["name"] for one in program["programs"]] == ["support-bot"]
    assert [one["name"] for one in program["runs"]] == ["support-sft"]
    assert json.loads(run)["programs"] == []
    assert run == flopguard("report", "--run", "ml/support-sft", *ledger).stdout
    both = flopguard("report", "support-bot", "--run", "ml/support-sft", *ledger)
    assert both.exit_code == 2


def test_report_of_a_run_that_is_not_there_lists_those_that_are(
    exported: Path,
) -> None:
    """A typing error costs one more command, not a search."""
    result = flopguard("report", "--ledger", str(exported), "--run", "ml/suport-sft")

    assert result.exit_code == 2
    said = 'no program or run "ml/suport-sft"; it holds: ml/support-sft, support-bot'
    assert said in result.stderr


def test_report_that_cannot_be_written_is_exit_code_2(exported: Path) -> None:
    """A missing folder is named."""
    arguments = ("report", "--ledger", str(exported), "-o", "no-such-folder/report")
    result = flopguard(*arguments)

    assert result.exit_code == 2
    assert "no-such-folder" in result.stderr


def test_show_prints_one_line_per_entry(exported: Path) -> None:
    """The hold's story can be searched with grep."""
    lines = flopguard("ledger", "show", str(exported)).output.splitlines()

    assert len(lines) == len(whole_story())
    assert sum("HoldSet" in line for line in lines) == 1


def test_export_reads_beside_an_operator_that_writes(
    tmp_path: Path, key: SigningKey
) -> None:
    """An export in the middle of a run's life verifies, and the next one is longer."""
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, key)
    sizes = []
    for at, together in commits(whole_events()):
        store.commit(together, [], at)
        data = flopguard("ledger", "export", env={"FLOPGUARD_LEDGER": str(path)})
        found = flopguard("verify", "-", "--json", stdin=data.stdout_bytes)
        sizes.append(json.loads(found.output)["size"])
    store.close()

    assert sizes == sorted(set(sizes))
    assert sizes[-1] == len(whole_story())


def test_command_line_loads_nothing_of_the_cluster_or_of_torch(exported: Path) -> None:
    """An auditor has none of them; a fresh interpreter shows what is loaded."""
    code = (
        "import sys\n"
        "from flopguard_operator.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
    )
    watch = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules)))\n"
    ran = subprocess.run(
        [sys.executable, "-c", watch + code, "report", "--ledger", str(exported)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(ran.stdout.splitlines()[-1].split())

    assert "flopguard_operator.report.document" in loaded
    assert not loaded & {"kopf", "kubernetes", "torch", "pydantic", "aiohttp"}
