"""`flopguard ledger`: copies, checks, proofs, and the decisions of a person."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flopguard_operator.cli import main
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.documents import digest
from flopguard_operator.ledger.encoding import encode_mark
from flopguard_operator.ledger.entries import DocumentNoted
from flopguard_operator.ledger.errors import ForkedError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark
from standins.ledgers import AT, assert_whole, tell
from unit.test_ledger_store_tampering import edit
from vectors.ledger_story import KEY, A, settled

NEXT = keys.from_raw(KEY.name, bytes(range(1, 33)))
WHO = ("--by", "ana", "--reason", "because")


def flopguard(*arguments: object, stdin: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Return a ledger with the story in it."""
    path = tmp_path / "ledger.db"
    with closing(SqliteStore(path, KEY)) as store:
        tell(store)
    return path


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """Return the file of the ledger's private key."""
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.pem())
    return path


def append(db: Path, count: int = 1) -> KnownHead:
    """Let the operator commit some more; return its newest head."""
    with closing(SqliteStore(db, KEY)) as store:
        for place in range(count):
            store.commit([settled(A, f"more-{place}", 5, 6)], [], AT)
        return KnownHead(store.head.size, store.head.root)


def test_an_intact_ledger_passes_every_check(db: Path) -> None:
    """Those of `verify`, and those of the file."""
    found = flopguard("ledger", "check", "--db", db)
    told = json.loads(flopguard("ledger", "check", "--db", db, "--json").output)
    names = {check["name"]: check["sentence"] for check in told["checks"]}

    assert found.exit_code == 0, found.output
    assert {"heads", "file", "quick start", "documents", "root"} <= names.keys()
    assert "nothing is due before 2036-11-22" in names["retention"]


DAMAGE = {
    "a head": "UPDATE heads SET note = substr(note, 1, 60) WHERE size = 2",
    "tree": "UPDATE leaves SET data = x'00' WHERE idx = 2",
    "standing": "DELETE FROM standing WHERE idx = (SELECT max(idx) FROM standing)",
    "latest": "UPDATE latest SET idx = 0",
    "counts": "UPDATE counts SET entries = 1",
    "documents": "UPDATE documents SET data = x'00'",
    "marks": "DELETE FROM marks",
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_whatever_was_changed_is_found(db: Path, change: str) -> None:
    """Also what a start does not look at."""
    with closing(SqliteStore(db, KEY)) as store:
        event = DocumentNoted(A, "Job", "sft", "u", digest(b"{}"), 2, "kubectl")
        store.commit([event], [], AT, {digest(b"{}"): b"{}"})
    assert flopguard("ledger", "check", "--db", db).exit_code == 0
    edit(db, lambda to: to.execute(change))

    assert flopguard("ledger", "check", "--db", db).exit_code == 1


def test_a_document_that_is_missing_is_incomplete(db: Path) -> None:
    """It may be elsewhere; nothing was changed."""
    with closing(SqliteStore(db, KEY)) as store:
        store.commit([DocumentNoted(A, "Job", "s", "u", "0" * 64, 2, "x")], [], AT)

    assert flopguard("ledger", "check", "--db", db).exit_code == 2


def test_a_copy_of_a_ledger_in_use_verifies(db: Path) -> None:
    """One file, private, and never over another one."""
    copy = db.with_name("copy.db")
    with closing(SqliteStore(db, KEY)) as store:
        store.commit([settled(A, "x", 5, 6)], [(A.uid, Mark("y", {}, 7))], AT)
        made = flopguard("ledger", "backup", "--db", db, copy)
        size = store.head.size
    again = flopguard("ledger", "backup", "--db", db, copy)

    assert made.exit_code == 0, made.output
    assert f"{size} entries" in made.output
    assert (again.exit_code, flopguard("verify", copy).exit_code) == (1, 0)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in db.parent.glob("copy*")) == ["copy.db"]
    with closing(SqliteStore(copy, KEY)) as store:
        assert store.load().marks[A.uid]["y"].begun == 7


def test_a_damaged_ledger_makes_no_copy(db: Path) -> None:
    """Else the good one of yesterday would be thrown away for it."""
    edit(db, lambda to: to.execute("UPDATE leaves SET data = x'00' WHERE idx = 2"))
    made = flopguard("ledger", "backup", "--db", db, db.with_name("copy.db"))

    assert made.exit_code == 1
    assert "leaf 2" in made.output
    assert list(db.parent.glob("copy*")) == []


def test_a_lost_ledger_is_restored(db: Path) -> None:
    """A newest copy goes on as if nothing had been."""
    copy = db.with_name("copy.db")
    flopguard("ledger", "backup", "--db", db, copy)
    for path in db.parent.glob("ledger.db*"):
        path.unlink()
    done = flopguard("ledger", "restore", copy, "--db", db)

    assert done.exit_code == 0, done.output
    append(db)


def test_an_older_copy_needs_a_decision_and_a_recovery(db: Path, pem: Path) -> None:
    """The whole way: refused, taken with --lose, refused by the operator, recovered."""
    copy = db.with_name("copy.db")
    flopguard("ledger", "backup", "--db", db, copy)
    lost = append(db, 3)
    refused = flopguard("ledger", "restore", copy, "--db", db)
    assert refused.exit_code == 2
    assert "does not extend the head" in refused.output
    assert (
        flopguard(
            "ledger",
            "restore",
            copy,
            "--db",
            db.with_name("else.db"),
            "--head",
            lost.text,
        ).exit_code
        == 2
    )
    done = flopguard("ledger", "restore", copy, "--db", db, "--lose")
    assert done.exit_code == 0, done.output
    (kept,) = db.parent.glob("ledger.db.replaced-*Z")
    assert flopguard("verify", kept).exit_code == 0
    with pytest.raises(ForkedError) as refusal:
        SqliteStore(db, KEY, [lost])
    assert f"flopguard ledger recover --head {lost.text}" in str(refusal.value)
    recovered = flopguard(
        *("ledger", "recover", "--db", db, "--key", "-", *WHO, "--head", lost.text),
        stdin=pem.read_bytes(),
    )
    assert recovered.exit_code == 0, recovered.output
    with closing(SqliteStore(db, KEY, [lost])) as store:
        store.claim("pod", "1", AT)
        assert_whole(store)
    parted = flopguard("ledger", "diff", kept, db)
    assert parted.exit_code == 1
    assert "LedgerRecovered" in flopguard("ledger", "show", db).output


def test_a_damaged_copy_is_not_restored(db: Path) -> None:
    """The present file stays where it is."""
    copy = db.with_name("copy.db")
    flopguard("ledger", "backup", "--db", db, copy)
    edit(copy, lambda to: to.execute("DELETE FROM leaves WHERE idx = 2"))
    done = flopguard("ledger", "restore", copy, "--db", db, "--lose")

    assert done.exit_code == 1
    assert list(db.parent.glob("*.replaced-*")) == []


def test_two_ledgers_are_compared(db: Path) -> None:
    """The same, one that goes on, and two that part."""
    copy, other = db.with_name("copy.db"), db.with_name("other.db")
    flopguard("ledger", "backup", "--db", db, copy)
    same = flopguard("ledger", "diff", copy, db)
    assert (same.exit_code, "byte by byte" in same.output) == (0, True)
    append(db, 2)
    more = flopguard("ledger", "diff", copy, db)
    assert more.exit_code == 0
    assert f"{db} goes on from {copy} with 2 more entries." in more.output
    with closing(SqliteStore(copy, KEY)) as store:
        store.commit([settled(A, "else", 9, 9)], [], AT)
    parted = flopguard("ledger", "diff", copy, db)
    told = json.loads(flopguard("ledger", "diff", copy, db, "--json").output)
    assert parted.exit_code == 1
    assert "stream else" in parted.output
    assert "stream more-0" in parted.output
    assert (told["forked"], told["common"]) == (True, told["sizes"][0] - 1)
    with closing(SqliteStore(other, NEXT)):
        assert "different keys" in flopguard("ledger", "diff", db, other).output


def test_an_entry_is_proven_to_a_stranger(db: Path, tmp_path: Path) -> None:
    """Each one; with its own bytes, and with nothing of the others."""
    vkey, proof = KEY.verifier.text, tmp_path / "proof"
    size = append(db).size
    for entry in range(size):
        made = flopguard("ledger", "prove", db, "--entry", entry)
        proof.write_text(made.output)
        checked = flopguard("ledger", "prove", "--check", proof, "--vkey", vkey)

        assert checked.exit_code == 0, checked.output
        assert f"in the ledger of {size} entries" in checked.output
    assert made.output.startswith("c2sp.org/tlog-proof@v1\nextra ")


def test_growth_is_proven_to_a_stranger(db: Path, tmp_path: Path) -> None:
    """From each size that the ledger had."""
    vkey, proof = KEY.verifier.text, tmp_path / "proof"
    size = append(db).size
    for old in range(size + 1):
        made = flopguard("ledger", "prove", db, "--since", old)
        proof.write_text(made.output)
        checked = flopguard("ledger", "prove", "--check", proof, "--vkey", vkey)

        assert checked.exit_code == 0, checked.output
        assert f"goes on from the one of {old} entries" in checked.output


@pytest.mark.parametrize("kind", [("--entry", 3), ("--since", 3)], ids=str)
def test_no_changed_proof_holds(
    db: Path, tmp_path: Path, kind: tuple[str, int]
) -> None:
    """Every single character is bound, but for those of no meaning: there are none."""
    text = flopguard("ledger", "prove", db, *kind).output
    vkey, proof = KEY.verifier.text, tmp_path / "proof"
    signature = text.rindex("\u2014 ")
    for place in range(0, signature, 7):
        for instead in ("", "0", "\n", "\u00e9"):
            if text[place] == instead:
                continue
            proof.write_text(text[:place] + instead + text[place + 1 :])
            found = flopguard("ledger", "prove", "--check", proof, "--vkey", vkey)

            assert found.exit_code == 1, (place, instead, found.output)
            assert isinstance(found.exception, SystemExit)


MISUSE = {
    "nothing to prove": ("ledger", "prove", "{db}"),
    "two things to prove": ("ledger", "prove", "{db}", "--entry", "1", "--since", "1"),
    "no key to check with": ("ledger", "prove", "--check", "{db}"),
    "no head": ("ledger", "restore", "{db}", "--db", "x", "--head", "812"),
    "a head without a root": ("ledger", "restore", "{db}", "--db", "x", "--head", "8:"),
    "no such ledger": ("ledger", "check", "--db", "no-such-file"),
    "no such copy": ("ledger", "restore", "no-such-file", "--db", "x"),
    "no folder for the copy": ("ledger", "backup", "--db", "{db}", "none/copy.db"),
    "no key": ("ledger", "retain", "--db", "{db}", "--years", "1", "--key", "none"),
}


@pytest.mark.parametrize("arguments", MISUSE.values(), ids=MISUSE.keys())
def test_what_cannot_be_done_is_exit_code_2(
    db: Path, arguments: tuple[str, ...]
) -> None:
    """With a sentence, and nothing changed."""
    before = db.read_bytes()
    more = WHO if "retain" in arguments else ()
    found = flopguard(*(each.format(db=db) for each in arguments), *more)

    assert found.exit_code == 2, found.output
    assert "Error: " in found.output
    assert db.read_bytes() == before


def test_an_entry_that_is_not_there_cannot_be_proven(db: Path) -> None:
    """Nor growth from a size that never was."""
    for option in ("--entry", "--since"):
        found = flopguard("ledger", "prove", db, option, 999)

        assert found.exit_code == 1
        assert "the ledger has" in found.output


def test_a_key_is_rotated_and_both_verify(db: Path, pem: Path) -> None:
    """The one before leads to the one after; the operator needs the new one."""
    following = pem.with_name("next.pem")
    following.write_bytes(NEXT.pem())
    done = flopguard(
        *("ledger", "rotate-key", "--db", db, "--key", pem, "--next", following, *WHO)
    )
    assert done.exit_code == 0, done.output
    for key in (KEY, NEXT):
        assert flopguard("verify", db, "--vkey", key.verifier.text).exit_code == 0
    with closing(SqliteStore(db, NEXT)) as store:
        assert_whole(store)
    wrong = flopguard(
        *("ledger", "retain", "--db", db, "--key", pem, "--years", 15, *WHO)
    )
    assert wrong.exit_code == 1


def test_retention_is_a_signed_decision(db: Path, pem: Path) -> None:
    """`check` says who made it, and what is due by it."""
    before = flopguard("ledger", "check", "--db", db).output
    done = flopguard(
        *("ledger", "retain", "--db", db, "--key", pem, "--years", 15, *WHO)
    )
    after = flopguard("ledger", "check", "--db", db)

    assert "Kept for 10 years, the default; nobody has decided" in before
    assert done.exit_code == 0, done.output
    assert "Kept for 15 years, as ana decided" in after.output
    assert after.exit_code == 0


def test_each_command_says_in_json_what_it_did(db: Path, pem: Path) -> None:
    """A program needs no sentence to be parsed."""

    def told(*arguments: object) -> Any:
        done = flopguard(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    copy, pack, proof = (db.with_name(name) for name in ("copy.db", "p.tar", "proof"))
    size = append(db).size
    copied = told("ledger", "backup", "--db", db, copy)
    packed = told("evidence", A.uid, "--ledger", db, "-o", pack, "--newest")
    proof.write_text(flopguard("ledger", "prove", db, "--entry", 1).output)
    vkey = KEY.verifier.text
    proven = told("ledger", "prove", "--check", proof, "--vkey", vkey)
    restored = told("ledger", "restore", copy, "--db", db)
    kept = told("ledger", "retain", "--db", db, "--key", pem, "--years", 15, *WHO)
    shown = flopguard("ledger", "show", db, "--json").output.splitlines()

    assert copied["size"] == restored["size"] == proven["size"] == size
    assert packed["pack"] == str(pack)
    assert json.loads(shown[1]) == proven["entry"]
    assert kept == {"entry": len(shown) - 1, "years": 15}


def test_marks_above_what_is_settled_are_right(db: Path) -> None:
    """Between settlements they are."""
    with closing(sqlite3.connect(db)) as to:
        done = {"forward": 10**9, "backward": 10**9}
        above = Mark("pod-1", done, 2 * 10**9, 99, 9, "sidecar", final=True)
        mark = encode_mark(above)
        to.execute("UPDATE marks SET mark = ? WHERE stream = 'pod-1'", (mark,))
        to.commit()

    assert flopguard("ledger", "check", "--db", db).exit_code == 0


@pytest.mark.parametrize(
    "name",
    [
        *("backup", "restore", "check", "show", "diff", "prove", "export"),
        *("recover", "rotate-key", "retain"),
    ],
)
def test_help_teaches_by_examples(name: str) -> None:
    """And has the exit codes."""
    told = flopguard("ledger", name, "--help").output

    assert "Examples:" in told
    assert "Exit codes:" in told
