"""Page files for tests, written as the hook writes them, and what a scan finds."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flopguard_hook.page import SLOT_BYTES, Page, encode_slot
from flopguard_sidecar import meter
from flopguard_sidecar.folder import Scan

NONCE = "0123456789abcdef0123456789abcdef"


def nonce(number: int) -> str:
    """Return the nonce that ends with a number; nonces sort like their numbers."""
    return f"{number:032x}"


def page(
    done: Mapping[str, Mapping[str, int]],
    begun: Mapping[str, Mapping[str, int]] | None = None,
    **changes: Any,
) -> Page:
    """Return a page; `begun` equals `done` unless given."""
    counted = {category: dict(formats) for category, formats in done.items()}
    started = counted if begun is None else {c: dict(f) for c, f in begun.items()}
    plain = Page(NONCE, 0, counted, started, 0, closed=False, errors=())
    return plain._replace(**changes)


def forward(flops: int, **changes: Any) -> Page:
    """Return a page with `flops` of bf16 forward work, done and begun."""
    return page({"forward": {"bf16": flops}}, **changes)


def file_bytes(written: Page) -> bytes:
    """Return the bytes of a page file whose other slot was never written."""
    slots = [bytes(SLOT_BYTES), bytes(SLOT_BYTES)]
    slots[written.generation & 1] = encode_slot(written)
    return b"".join(slots)


def put(folder: Path, written: Page, facts: str | None = None) -> Path:
    """Write a page as the hook does: new under another name, then one slot in place."""
    path = folder / f"{written.nonce}.page"
    if path.exists():
        with path.open("r+b") as file:
            at = (written.generation & 1) * SLOT_BYTES
            os.pwrite(file.fileno(), encode_slot(written), at)
    else:
        other = path.with_suffix(".new")
        other.write_bytes(file_bytes(written))
        other.rename(path)
    if facts is not None:
        path.with_suffix(".json").write_text(facts)
    return path


def flops(scan: Scan) -> int:
    """Return the forward FLOPs of a scan."""
    return meter.total(scan.pages).done["forward"]
