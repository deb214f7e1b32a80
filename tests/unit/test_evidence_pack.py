"""Evidence packs: what is in one, what proves it, and what a stranger is told."""

import io
import json
import tarfile
from dataclasses import replace

import pytest

from flopguard_operator.evidence import layout
from flopguard_operator.evidence.pack import UnknownError
from flopguard_operator.evidence.source import of_export
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.keys import check_signature, from_raw
from vectors.ledger_story import KEY, A, B, entries, exported, story
from vectors.pack_story import NEW_KEY, files_of, packed, random_ledger, told

LEDGER = told()
PACK, MADE = packed(LEDGER.source())
FILES = files_of(PACK)


def verified(data: bytes, vkey: str = "") -> Report:
    """Verify a pack that is in memory."""
    return verify_pack(io.BytesIO(data), check_signature, vkey)


def outcomes(report: Report) -> dict[str, str]:
    """Return the checks that did not pass."""
    return {c.name: c.outcome for c in report.checks if c.outcome != "ok"}


def test_an_honest_pack_verifies_with_any_of_the_ledgers_keys() -> None:
    """The first key handed over to the one that signed, and both are good."""
    for vkey in ("", KEY.verifier.text, NEW_KEY.verifier.text):
        report = verified(PACK, vkey)

        assert outcomes(report) == {}
        assert report.exit_code == 0


def test_a_pack_of_another_ledger_is_a_mismatch() -> None:
    """A key that never signed this ledger does not vouch for it."""
    stranger = from_raw(KEY.name, bytes(32)).verifier.text

    assert outcomes(verified(PACK, stranger)) == {"keys": "mismatch"}


def test_the_same_ledger_gives_the_same_bytes() -> None:
    """No clock and no order of a set shows in a pack."""
    assert packed(told().source())[0] == PACK


def test_any_tar_reads_it_and_finds_plain_files() -> None:
    """Sorted names, mode 0644, owner 0, time 0."""
    with tarfile.open(fileobj=io.BytesIO(PACK)) as archive:
        found = archive.getmembers()

    assert [m.name for m in found] == sorted(FILES)
    assert {(m.mode, m.uid, m.gid, m.mtime, m.type) for m in found} == {
        (0o644, 0, 0, 0, tarfile.REGTYPE)
    }


def test_it_holds_the_entries_of_the_program_and_of_the_ledger_itself() -> None:
    """Exact bytes, in order; another program's entries stay out."""
    leaves = FILES[layout.LEAVES].splitlines()
    found = [decode(leaf) for leaf in leaves]

    assert [encode(entry) for entry in found] == leaves
    assert {entry.event.run.uid for entry in found} == {A.uid, B.uid, ""}
    assert (MADE.runs, MADE.entries, MADE.complete) == (2, len(found), True)
    assert b"ocr" not in PACK


def test_it_ends_at_a_count_and_says_what_came_later() -> None:
    """The newest entry of run B waits for the next count."""
    assert MADE.size == len(LEDGER.entries) - 1
    assert MADE.later == 1


def test_up_to_the_newest_head_it_is_not_shown_to_be_whole() -> None:
    """What was not counted may be missing: that is said, and is no mismatch."""
    data, made = packed(LEDGER.source(), newest=True)

    assert (made.size, made.later, made.complete) == (len(LEDGER.entries), 0, False)
    assert outcomes(verified(data)) == {}, "the one later entry is in the pack"

    many = random_ledger(5)
    many.commit(*(e.event for e in many.entries[:1]))
    data, _ = packed(many.source(), "program-1", newest=True)

    assert outcomes(verified(data)) == {"completeness": "incomplete"}


def test_a_run_by_name_or_uid() -> None:
    """Both give the run alone."""
    for name in ("ml/support-sft", A.uid):
        data, made = packed(LEDGER.source(), name)
        manifest = json.loads(files_of(data)[layout.MANIFEST])

        assert outcomes(verified(data)) == {}
        assert made.runs == 1
        assert manifest["predicate"]["about"] == {"kind": "runs", "name": name}


def test_what_is_not_in_the_ledger_is_refused() -> None:
    """A typing error makes no empty pack."""
    with pytest.raises(UnknownError):
        packed(LEDGER.source(), "ml/suport-sft")


def test_the_manifest_states_totals_limits_head_and_digests() -> None:
    """A person finds the figures without a tool."""
    said = json.loads(FILES[layout.MANIFEST])
    runs = {run["name"]: run for run in said["predicate"]["runs"]}

    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert {each["name"] for each in said["subject"]} == set(FILES) - {layout.MANIFEST}
    assert runs["support-sft"]["flops"]["upper"] == "1370"
    assert runs["support-sft"]["terms"]["budget"] == "5000"
    assert said["predicate"]["totals"] == {"measured": "1341", "upper": "1381"}
    assert said["predicate"]["head"]["size"] == MADE.size


def test_documents_go_in_under_their_digests() -> None:
    """Each that an entry of the program notes, and no other."""
    noted = [
        e.event for e in LEDGER.entries if type(e.event).__name__ == "DocumentNoted"
    ]
    names = {name for name in FILES if name.startswith("documents/")}

    assert len(noted) == len(story())
    assert names == {layout.document(digest) for digest in LEDGER.documents}


def test_a_document_that_was_lost_leaves_the_pack_incomplete() -> None:
    """It is told when the pack is made, and when it is verified."""
    lost = dict(list(LEDGER.documents.items())[1:])
    data, made = packed(replace(LEDGER.source(), documents=lost))

    assert made.lacking == 1
    assert outcomes(verified(data)) == {"documents": "incomplete"}


def test_an_export_makes_a_pack_that_says_what_it_cannot_show() -> None:
    """With all entries of the ledger none is missing; with one run, who knows."""
    source = of_export(io.BytesIO(exported(entries(story()))))

    assert outcomes(verified(packed(source)[0])) == {}
    assert outcomes(verified(packed(source, "ml/support-sft")[0])) == {
        "completeness": "incomplete"
    }


def test_a_rotation_that_no_head_bears_out_is_incomplete() -> None:
    """Without the head that both keys signed, the new key is one that anybody made."""
    source = LEDGER.source()
    alone = [head for head in source.heads if head.count("\n\u2014") == 1]
    data, _ = packed(replace(source, heads=tuple(alone)))

    assert outcomes(verified(data)) == {"keys": "incomplete"}


@pytest.mark.parametrize("seed", range(5))
def test_packs_of_random_ledgers_verify(seed: int) -> None:
    """Each program of a ledger, and a run of it, whole and in order."""
    source = random_ledger(seed).source()
    for name in ("program-0", "program-1", "program-2", "team-1/run-4"):
        data, made = packed(source, name)

        assert outcomes(verified(data)) == {}
        assert made.complete


def test_a_pack_is_verified_as_it_stands_in_a_terminal() -> None:
    """Every check is a sentence, and no control character comes through."""
    for check in verified(PACK).checks:
        assert check.message[0].isupper()
        assert check.message.endswith(".")
        assert check.message.isprintable()
