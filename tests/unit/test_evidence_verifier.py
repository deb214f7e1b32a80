"""verify.pyz, and the commands that make and check a pack."""

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main
from flopguard_operator.evidence import layout, zipped
from flopguard_operator.evidence.main import main as verifier
from unit.story import write_ledger
from vectors.ledger_story import KEY
from vectors.pack_story import files_of, packed, told

PACK, _ = packed(told().source())
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flopguard"
UV = CACHE / "tools" / "bin" / "uv"
RUN = "ml/support-sft"


def flopguard(*arguments: str, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments, input=io.BytesIO(stdin))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an operator's ledger with one run's whole life in it."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    write_ledger(path, KEY)
    return path


@pytest.fixture(scope="module")
def pack(database: Path) -> Path:
    """Return the pack of that run, made by the command."""
    path = database.with_name("pack.tar")
    made = flopguard("evidence", RUN, "--ledger", str(database), "-o", str(path))
    assert made.exit_code == 0, made.output
    return path


def imports(source: bytes) -> Iterator[str]:
    """Yield the top-level packages that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_verifier_is_built_to_the_byte() -> None:
    """Twice the same, with fixed times and rights, sorted."""
    data = zipped.build()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()

    assert data == zipped.build()
    assert [each.filename for each in found] == sorted(each.filename for each in found)
    assert {each.date_time for each in found} == {(1980, 1, 1, 0, 0, 0)}


def test_the_verifier_imports_the_standard_library_and_cryptography() -> None:
    """Nothing else can be missing on an auditor's computer."""
    with zipfile.ZipFile(io.BytesIO(zipped.build())) as archive:
        sources = [archive.read(each) for each in archive.namelist()]
    found = {name for source in sources for name in imports(source)}

    assert "cryptography" in found
    assert found <= {*sys.stdlib_module_names, "cryptography", "flopguard_operator"}
    assert not found & {"sqlite3", "socket", "urllib", "subprocess", "tempfile"}


def test_the_verifier_in_a_bare_environment(pack: Path, tmp_path: Path) -> None:
    """Only `cryptography`, another folder, this repository out of reach."""
    assert UV.exists(), "make install brings uv"
    bare, elsewhere = tmp_path / "bare", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "UV_CACHE_DIR": str(CACHE / "uv")}
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(bare)],
        [
            "pip",
            "install",
            "--offline",
            "--quiet",
            "--python",
            str(bare),
            "cryptography",
        ],
    ):
        subprocess.run([UV, *command], check=True, env=environment, timeout=120)
    (elsewhere / "pack.tar").write_bytes(pack.read_bytes())
    (elsewhere / "verify.pyz").write_bytes(files_of(pack.read_bytes())[layout.VERIFIER])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [bare / "bin" / "python", "verify.pyz", *arguments],
            capture_output=True,
            check=False,
            cwd=elsewhere,
            env={"PATH": "/nowhere"},
            text=True,
            timeout=60,
        )

    whole = run("pack.tar", "--vkey", KEY.verifier.text)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert whole.stdout.splitlines()[-1] == "The pack verifies."
    assert json.loads(run("--json", "pack.tar").stdout)["outcome"] == "ok"
    changed = pack.read_bytes().replace(b'"upper":"', b'"upper":"1', 1)
    (elsewhere / "pack.tar").write_bytes(changed)
    assert run("pack.tar").returncode == 1
    (elsewhere / "pack.tar").write_bytes(pack.read_bytes()[:50_000])
    assert run("pack.tar").returncode == 2
    assert run("no-such-file").returncode == 2
    loaded = subprocess.run(
        [bare / "bin" / "python", "-c", "import flopguard_operator"],
        capture_output=True,
        check=False,
        cwd=elsewhere,
        env={"PATH": "/nowhere"},
        timeout=60,
    )
    assert loaded.returncode == 1, "the environment is not bare"


def test_the_same_answers_from_both_commands(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`flopguard verify` and verify.pyz run the same checks."""
    code = verifier([str(pack), "--json"])
    ours = flopguard("verify", str(pack), "--json")

    assert (code, ours.exit_code) == (0, 0)
    assert json.loads(capsys.readouterr().out) == json.loads(ours.output)


def test_verify_takes_a_pack_from_standard_input(pack: Path) -> None:
    """As it takes an export."""
    result = flopguard("verify", "-", stdin=pack.read_bytes())

    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "The pack verifies."


def test_verify_says_of_a_changed_pack_what_does_not_hold(
    pack: Path, tmp_path: Path
) -> None:
    """Exit code 1, and 2 if only the end is missing."""
    data = pack.read_bytes()
    changed, cut = tmp_path / "changed.tar", tmp_path / "cut.tar"
    changed.write_bytes(data.replace(b'"overshoot":"2', b'"overshoot":"1'))
    cut.write_bytes(data[:-512])

    assert flopguard("verify", str(changed)).exit_code == 1
    assert flopguard("verify", str(cut)).exit_code == 2


def test_a_pack_goes_to_standard_output_too(database: Path, pack: Path) -> None:
    """It can be made in the operator's pod: what is said goes to the other stream."""
    made = flopguard("evidence", RUN, "--ledger", str(database), "-o", "-")

    assert made.stdout_bytes == pack.read_bytes()
    assert "entries of 1 runs" in made.stderr


def test_the_verifier_alone(tmp_path: Path) -> None:
    """An auditor gets it from a release instead of from the pack."""
    path = tmp_path / "verify.pyz"

    assert flopguard("evidence", "--verifier", str(path)).exit_code == 0
    assert path.read_bytes() == zipped.build()


AUDIT = [
    {
        "verb": "patch",
        "objectRef": {"resource": "jobs", "namespace": "ml", "name": "support-sft"},
        "user": {"username": "kim@example.org", "groups": ["secret-group"]},
        "requestObject": {"spec": {"token": "secret-body"}},
        "responseStatus": {"code": 403},
    },
    {"objectRef": {"resource": "jobs", "namespace": "ml", "name": "other"}},
    {"objectRef": ["not", "an", "object"]},
    ["no object at all"],
]


def test_an_audit_log_is_cut_to_the_runs_objects(
    database: Path, tmp_path: Path
) -> None:
    """Who did what and whether it was allowed; no bodies, and not in the ledger."""
    log, path = tmp_path / "audit.log", tmp_path / "pack.tar"
    lines = [*map(json.dumps, AUDIT), "no JSON", "[" * 5000, "x" * 5_000_000]
    log.write_text("\n".join(lines))
    arguments = ("--ledger", str(database), "-o", str(path), "--audit-log", str(log))
    assert flopguard("evidence", RUN, *arguments).exit_code == 0
    (line,) = files_of(path.read_bytes())[layout.AUDIT].splitlines()
    checked = json.loads(flopguard("verify", str(path), "--json").output)
    said = {check["name"]: check["sentence"] for check in checked["checks"]}

    assert json.loads(line) == {
        "verb": "patch",
        "objectRef.resource": "jobs",
        "objectRef.namespace": "ml",
        "objectRef.name": "support-sft",
        "user.username": "kim@example.org",
        "responseStatus.code": "403",
    }
    assert checked["outcome"] == "ok"
    assert "audit/audit.jsonl" in said["not in ledger"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("support-bot",),
        ("support-bot", "--ledger", "no-such-file", "-o", "-"),
        ("ml/no-such-run", "--ledger", "LEDGER", "-o", "-"),
        ("ml/support-sft", "--ledger", "LEDGER", "-o", "no-such-folder/pack.tar"),
        ("ml/support-sft", "--ledger", "LEDGER", "-o", "-", "--audit-log", "nothing"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_made_is_exit_code_2(
    arguments: tuple[str, ...], database: Path
) -> None:
    """A sentence, and no half of a pack."""
    given = [str(database) if each == "LEDGER" else each for each in arguments]
    result = CliRunner().invoke(
        main, ["evidence", *given], env={"FLOPGUARD_LEDGER": ""}
    )

    assert result.exit_code == 2, result.output
    assert "Error: " in result.stderr
    assert result.stdout_bytes == b""
