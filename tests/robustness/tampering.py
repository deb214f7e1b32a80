"""Tamper with evidence packs in every way that we know, and see whether it is told.

Three forgers (`forging`): one changes bytes; one knows the format and mends whatever
anybody can mend; one signs, with a key of his own or with the real one, but not a
ledger that its own rules allow. The auditor has the public key. What a forger can do
unseen is in `UNDETECTABLE`; tests do it, to show that the list says no more than is so.
"""

import io
import random
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.keys import check_signature
from robustness import forging
from robustness.forging import Forgery, Subject
from robustness.rows import Row
from vectors.ledger_story import KEY
from vectors.pack_story import files_of, packed, random_ledger, told

_MOST_TRIES = 50

FORGERIES: Mapping[str, Forgery] = MappingProxyType(
    {
        "a bit of a pack is flipped": forging.flipped,
        "bytes of a pack are overwritten": forging.overwritten,
        "bytes or blocks are cut out of a pack": forging.cut_out,
        "bytes or blocks are put into a pack": forging.put_in,
        "a pack is truncated": forging.truncated,
        "something is put behind a pack": forging.lengthened,
        "blocks of a pack are swapped": forging.swapped_blocks,
        "links, devices, paths and doubles in a pack": forging.odd_member,
        "an entry is altered": forging.altered_entry,
        "an entry is deleted": forging.deleted_entry,
        "the last entries are cut off": forging.truncated_entries,
        "a run is deleted": forging.deleted_run,
        "an entry of another pack is inserted": forging.inserted_entry,
        "an entry is repeated": forging.repeated_entry,
        "entries are reordered": forging.reordered_entries,
        "proofs are swapped, also between packs": forging.swapped_proofs,
        "a proof is altered": forging.altered_proof,
        "a file is swapped between packs": forging.swapped_file,
        "a file is deleted": forging.deleted_file,
        "a file is added": forging.added_file,
        "a file that the ledger vouches for is altered": forging.altered_file,
        "the manifest lies": forging.altered_manifest,
        "the head is rolled back": forging.older_head,
        "heads are repeated, reordered or swapped": forging.reordered_heads,
        "signed anew with another key": forging.strangers_key,
        "signed anew with the same key, beside a known head": forging.with_known_head,
        "signed anew with the same key, against the rules": forging.contradictory,
    }
)

UNDETECTABLE = (
    {
        "name": "a ledger written anew by whoever holds its key",
        "what": "entries, totals and verdicts that agree with each other, and are"
        " signed: seen only by whoever kept a head of before, from a run's status, a"
        " ConfigMap, Prometheus or an older pack.",
    },
    {
        "name": "an older pack instead of the newest",
        "what": "it is true for its time; whoever knows a newer head sees its age.",
    },
    {
        "name": "heads of other times left out",
        "what": "ledger/heads.jsonl then proves less, and says nothing that is false;"
        " only a head that bears a handing over of keys out is missed.",
    },
    {
        "name": "VERIFY.md, verify.pyz or audit/ replaced, and the manifest with them",
        "what": "no entry speaks of them and nobody signs the manifest. Take the"
        " verifier from a release, and audit logs from their keeper; every verification"
        " names these files.",
    },
)


@cache
def subjects() -> tuple[Subject, ...]:
    """Return the packs that are tampered with, of stories and of random ledgers."""
    asked = [(told(), "support-bot"), (told(), "ml/support-sft")]
    asked += [(told(rotates=False), "support-bot")]
    asked += [
        (random_ledger(n, runs=6, commits=20), f"program-{n % 3}") for n in (0, 1)
    ]
    found = []
    for ledger, name in asked:
        data, made = packed(ledger.source(), name)
        assert detected(data) == "", f"the pack of {name} is not good"
        found.append(Subject(name, data, files_of(data), ledger, made.size))
    return tuple(found)


def detected(data: bytes) -> str:
    """Return which checks fail, with the key from a trusted source; "" if none does."""
    report = verify_pack(io.BytesIO(data), check_signature, KEY.verifier.text)
    return ", ".join(check.name for check in report.checks if check.outcome != "ok")


def forged(seed: int) -> tuple[str, bytes]:
    """Return what a seed does to a pack, and the pack after it."""
    names = list(FORGERIES)
    fault = names[seed % len(names)]
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    good = {one.data for one in subjects()}
    for _ in range(_MOST_TRIES):
        one, other = dice.sample(subjects(), 2)
        data = FORGERIES[fault](dice, one, other)
        if data is not None and data not in good:
            return fault, data
    message = f"seed {seed}: {fault} changes nothing"
    raise AssertionError(message)


def packs(seeds: range) -> Iterator[Row]:
    """Yield a row for each forged pack.

    Raises:
        AssertionError: A forged pack verifies; the seed is in the message.
    """
    for seed in seeds:
        fault, data = forged(seed)
        if not detected(data):
            message = f"seed {seed}: {fault}, and the pack verifies"
            raise AssertionError(message)
        yield Row(fault, "tampering", 1)
