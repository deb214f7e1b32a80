"""The page: one process's counters as 4,096 bytes, both ways.

Core: bytes in, values out; no I/O. The hook writes pages, the sidecar reads them.

A page holds two slots of 2,048 bytes. A process writes slot `generation & 1` whole and
never touches the other one, so a write that is torn by a crash leaves the previous
figures readable. As long as it lives it holds the lock of the file (flock), so that a
reader knows of which pages it has seen the last. All numbers are little-endian:

    offset  bytes  content
         0      8  magic `FLOPGRD` and the version, 1
         8      8  generation, rises by one with each write
        16     16  nonce of the process
        32      8  optimizer steps
        40      8  flags: bit 0 closed, then one bit for each name of ERROR_FLAGS
        48     16  zero
        64    640  done, 5 categories of 8 formats of 128 bit
       704    640  begun, likewise
      1344    700  zero
      2044      4  CRC32 of the 2,044 bytes before
"""

import binascii
import re
import struct
from typing import Iterable, Iterator, NamedTuple

CATEGORIES = ("forward", "backward", "recompute", "no_grad", "optimizer")
FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4")
ERROR_FLAGS = (
    "hook_failed",
    "unknown_operator",
    "page_write_failed",
    "unknown_optimizer",
    "too_many_pages",
    "formula_failed",
    "replay_drift",
)

SLOT_BYTES = 2048
PAGE_BYTES = 2 * SLOT_BYTES

_MAGIC = b"FLOPGRD\x01"
_HEADER = struct.Struct("<8sQ16sQQ")
_NONCE = re.compile(r"[0-9a-f]{32}")
_COUNTER = struct.Struct("<QQ")  # low half, high half
_COUNTER_BYTES = _COUNTER.size
_LOW_HALF = 2**64 - 1
# A cell is one counter: a category in a numeric format.
CELLS = tuple((c, f) for c in CATEGORIES for f in FORMATS)
_SECTION_BYTES = len(CELLS) * _COUNTER_BYTES
_DONE_AT = 64
_BEGUN_AT = _DONE_AT + _SECTION_BYTES
_CRC = struct.Struct("<I")
_CRC_AT = SLOT_BYTES - _CRC.size
_KNOWN_FLAGS = (2 << len(ERROR_FLAGS)) - 1

_CELL_OF = {name: index for index, name in enumerate(CELLS)}

# category → numeric format → FLOPs
Counters = dict[str, dict[str, int]]


class PageError(Exception):
    """The bytes are no page, or the values do not fit into one."""


class Page(NamedTuple):
    """What one process counted since it started.

    Attributes:
        nonce: 32 lower-case hexadecimal digits, drawn anew by every process.
        generation: Number of the write, from 0.
        done: FLOPs of work that returned, by category and numeric format.
        begun: FLOPs of work that was dispatched; at least `done` in every counter.
        steps: Optimizer steps that returned.
        closed: Whether the process exited cleanly.
        errors: Names of ERROR_FLAGS that are set, in that order.
    """

    nonce: str
    generation: int
    done: Counters
    begun: Counters
    steps: int
    closed: bool
    errors: tuple[str, ...]


def zero_counters() -> Counters:
    """Return counters at zero for every category and format."""
    return {category: dict.fromkeys(FORMATS, 0) for category in CATEGORIES}


def cell(category: str, numeric_format: str) -> int:
    """Return the index in CELLS of one category in one numeric format.

    Raises:
        KeyError: A name is unknown.
    """
    return _CELL_OF[category, numeric_format]


class Slot:
    """The bytes of a page's newest slot, kept from write to write.

    Args:
        nonce: 32 lower-case hexadecimal digits.

    Raises:
        PageError: The nonce is none.
    """

    def __init__(self, nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):  # fromhex alone lets blanks pass
            msg = "a nonce has 32 lower-case hexadecimal digits"
            raise PageError(msg)
        self._bytes = bytearray(SLOT_BYTES)
        self._covered = memoryview(self._bytes)[:_CRC_AT]
        self._nonce = bytes.fromhex(nonce)

    def put_done(self, index: int, flops: int) -> None:
        """Set what is done in one cell.

        Raises:
            struct.error: It does not fit into 128 bits.
        """
        at = _DONE_AT + index * _COUNTER_BYTES
        _COUNTER.pack_into(self._bytes, at, flops & _LOW_HALF, flops >> 64)

    def put_begun(self, index: int, flops: int) -> None:
        """Set what is begun in one cell.

        Raises:
            struct.error: It does not fit into 128 bits.
        """
        at = _BEGUN_AT + index * _COUNTER_BYTES
        _COUNTER.pack_into(self._bytes, at, flops & _LOW_HALF, flops >> 64)

    def seal(self, generation: int, steps: int, flags: int) -> bytearray:
        """Return the slot as it is to be written; it is valid until the next change.

        Raises:
            struct.error: A value does not fit into 64 bits.
        """
        slot = self._bytes
        _HEADER.pack_into(slot, 0, _MAGIC, generation, self._nonce, steps, flags)
        _CRC.pack_into(slot, _CRC_AT, binascii.crc32(self._covered))
        return slot


def flags_of(errors: "Iterable[str]", *, closed: bool) -> int:
    """Return the flags of a page.

    Raises:
        ValueError: A name is not one of ERROR_FLAGS.
    """
    flags = int(closed)
    for name in errors:
        flags |= 2 << ERROR_FLAGS.index(name)
    return flags


def encode_slot(page: Page) -> bytes:
    """Encode a page as the 2,048 bytes of its slot `generation & 1`.

    Counters that are absent from `done` or `begun` are written as zero.

    Raises:
        PageError: A value does not fit, or a name is unknown.
    """
    slot = Slot(page.nonce)
    try:
        for category, numeric_format in _names_in(page.done, page.begun):
            index = cell(category, numeric_format)
            slot.put_done(index, page.done.get(category, {}).get(numeric_format, 0))
            slot.put_begun(index, page.begun.get(category, {}).get(numeric_format, 0))
        flags = flags_of(page.errors, closed=page.closed)
        return bytes(slot.seal(page.generation, page.steps, flags))
    except (KeyError, ValueError, struct.error) as error:
        msg = f"the values do not fit into a page: {error}"
        raise PageError(msg) from error


def _names_in(*sections: Counters) -> "Iterator[tuple[str, str]]":
    for section in sections:
        for category, by_format in section.items():
            for numeric_format in by_format:
                yield category, numeric_format


def read_page(data: bytes) -> Page:
    """Read the newest whole slot of a page.

    Args:
        data: The 4,096 bytes of a page file; may be hostile.

    Raises:
        PageError: Not 4,096 bytes, or neither slot is valid.
    """
    if len(data) != PAGE_BYTES:
        msg = f"a page has {PAGE_BYTES} bytes, these are {len(data)}"
        raise PageError(msg)
    slots = [_decode_slot(data[:SLOT_BYTES], 0), _decode_slot(data[SLOT_BYTES:], 1)]
    valid = [slot for slot in slots if slot is not None]
    if not valid:
        msg = "neither slot of the page is valid"
        raise PageError(msg)
    return max(valid, key=lambda page: page.generation)


def _decode_slot(slot: bytes, index: int) -> "Page | None":
    """Decode one slot; None if it is torn, forged or of another version."""
    magic, generation, nonce, steps, flags = _HEADER.unpack_from(slot)
    (crc,) = _CRC.unpack_from(slot, _CRC_AT)
    if magic != _MAGIC or crc != binascii.crc32(slot[:_CRC_AT]):
        return None
    if generation & 1 != index or flags & ~_KNOWN_FLAGS:
        return None
    done, begun = _get_counters(slot, _DONE_AT), _get_counters(slot, _BEGUN_AT)
    if any(done[c][f] > begun[c][f] for c in CATEGORIES for f in FORMATS):
        return None
    errors = tuple(n for bit, n in enumerate(ERROR_FLAGS) if flags & (2 << bit))
    return Page(nonce.hex(), generation, done, begun, steps, bool(flags & 1), errors)


def _get_counters(slot: bytes, start: int) -> Counters:
    counters = zero_counters()
    at = start
    for category in CATEGORIES:
        for numeric_format in FORMATS:
            field = slot[at : at + _COUNTER_BYTES]
            counters[category][numeric_format] = int.from_bytes(field, "little")
            at += _COUNTER_BYTES
    return counters
