"""`make fuzz-verify`: let atheris look for bytes that crash the verifier, or fool it.

PYTHONPATH=tests python -m robustness.reading -max_total_time=60

The first byte chooses: the bytes are a pack, or a file of a good pack whose digests are
mended. A crash is an exception; being fooled is a pack that verifies with the ledger's
key though a file that the ledger vouches for is another.
"""

import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flopguard_operator"]):
    from flopguard_operator.evidence import layout
    from flopguard_operator.evidence.verify import verify_pack
    from flopguard_operator.ledger.keys import check_signature
    from robustness.forging import mended
    from robustness.tampering import subjects
    from vectors.ledger_story import KEY
    from vectors.pack_story import archived

_FILES = (layout.LEAVES, layout.PROOFS, layout.HEADS, layout.CENSUS, layout.POLICY)
_RAW = (layout.MANIFEST, layout.HEAD, layout.VKEY)


def once(data: bytes) -> None:
    """Verify what these bytes make.

    Raises:
        AssertionError: it verifies, and is not one of the good packs.
    """
    choice, rest = data[:1] or b"\0", data[1:]
    (one, *_) = subjects()
    number = choice[0] % (1 + len(_FILES) + len(_RAW))
    if number == 0:
        made = rest
    elif number <= len(_FILES):
        made = mended({**one.files, _FILES[number - 1]: rest})
    else:
        made = archived({**one.files, _RAW[number - 1 - len(_FILES)]: rest})
    report = verify_pack(io.BytesIO(made), check_signature, KEY.verifier.text)
    if report.exit_code == 0 and made not in {each.data for each in subjects()}:
        less = number <= len(_FILES) and number and _FILES[number - 1] == layout.HEADS
        assert less, "a forged pack verifies"


def corpus(folder: Path) -> None:
    """Write what to begin with: a good pack, and each file of one."""
    (one, *_) = subjects()
    made = [one.data, *(one.files.get(name, b"") for name in (*_FILES, *_RAW))]
    for number, data in enumerate(made):
        (folder / str(number)).write_bytes(bytes([number]) + data)


def main() -> None:
    """Run libFuzzer with the options that it was given."""
    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder))
        atheris.Setup([*sys.argv, "-max_len=100000", folder], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
