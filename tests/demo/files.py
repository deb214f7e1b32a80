"""The demo's files: folders that pods mount, the exported ledger, the reports."""

import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.kubectl import Kubectl
from flopguard_operator import flops
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.export import read
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.verify import verify_lines
from stage import release


@dataclass(frozen=True)
class Books:
    """An exported ledger, checked and read."""

    account: Account
    entries: list[Entry]  # of the run
    ledger: dict[str, Any]  # size, root and verified

    @property
    def verified(self) -> bool:
        """Whether every check of the verifier passed."""
        return bool(self.ledger["verified"])


def train_folder() -> Path:
    """Return the train environment (`make train`)."""
    return Path(os.environ["FLOPGUARD_TRAIN"])


def model_folder() -> Path:
    """Return the model (`make model`)."""
    return Path(os.environ["FLOPGUARD_MODEL"])


def budget_of(manifest: Path) -> int:
    """Return the budget that a run's manifest gives, in FLOPs."""
    found = re.search(r'maxFlops: "([^"]+)"', manifest.read_text(encoding="utf-8"))
    if found is None:
        message = f"{manifest} has no maxFlops"
        raise AssertionError(message)
    return flops.parse(found[1])


def read_books(kubectl: Kubectl, file: Path, run: str) -> Books:
    """Export the ledger from the operator's pod, verify it, and fold it."""
    file.write_text(release.ledger(kubectl), encoding="utf-8")
    return books_of(file, run)


def books_of(file: Path, run: str) -> Books:
    """Verify an exported ledger, and fold it."""
    lines = file.read_bytes().splitlines(keepends=True)
    report = verify_lines(lines, check_signature)
    contents = read(lines)
    accounts = [a for a in fold(contents.entries).values() if a.ref.name == run]
    account = accounts[-1]
    entries = [e for e in contents.entries if e.event.run == account.ref]
    ledger = {
        "size": report.size,
        "root": report.root,
        "verified": report.exit_code == 0,
    }
    return Books(account, entries, ledger)


def write_reports(folder: Path, ledger: Path, run: str) -> None:
    """Write the report of a run with the command that people use."""
    for form, suffix in (("md", "md"), ("html", "html"), ("json", "json")):
        command = [
            *(sys.executable, "-m", "flopguard_operator.cli", "report"),
            *("--ledger", str(ledger), "--run", run, "--format", form),
            *("-o", str(folder / f"report.{suffix}")),
        ]
        subprocess.run(command, check=True)


def write_pack(kubectl: Kubectl, file: Path, run: str) -> bool:
    """Let the operator make a run's evidence pack; say whether it verifies.

    By the verifier that lies in it, in a Python that sees nothing of this repository.
    """
    cli = ("python3", "-m", "flopguard_operator.cli", "evidence", run, "-o", "-")
    path = ("--ledger", "/var/lib/flopguard/ledger.db")
    inside = kubectl.within(release.NAMESPACE)
    command = inside.command("exec", release.OPERATOR_POD, "--", *cli, *path)
    with file.open("wb") as out:
        subprocess.run(command, stdout=out, check=True)
    verifier = file.with_name("verify.pyz")
    with tarfile.open(file) as pack:
        member = pack.extractfile("verify.pyz")
        assert member is not None, "the pack has no verify.pyz"
        verifier.write_bytes(member.read())
    check = [sys.executable, "-I", str(verifier), str(file)]
    done = subprocess.run(check, cwd="/", capture_output=True, text=True, check=False)
    file.with_name("verify.txt").write_text(done.stdout, encoding="utf-8")
    return done.returncode == 0
