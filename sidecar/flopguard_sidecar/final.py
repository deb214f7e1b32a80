"""The final record: the mark as one line of fixed length, for the termination log.

Core. The kubelet copies the line into the pod's status when the sidecar ends, however
it ends, so the last mark arrives even when everything else is down. The format is
specified in docs/formats.md; the operator decodes it with code of its own.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from flopguard_hook.page import CATEGORIES

# 4,000 pages x 5 categories x 8 formats x 2**128 is below 10**44: nothing overflows.
_FLOPS_DIGITS = 44
_STEPS_DIGITS = 24
_SEQUENCE_DIGITS = 20
_PAGES_DIGITS = 4
_ERRORS_DIGITS = 6

_HEAD = '{"flopguard":"final/1"'
_DONE = ",".join(rf'"{name}":"(\d{{{_FLOPS_DIGITS}}})"' for name in CATEGORIES)
_LINE = re.compile(
    re.escape(_HEAD)
    + r',"final":([01])'
    + rf',"sequence":"(\d{{{_SEQUENCE_DIGITS}}})"'
    + rf',"done":\{{{_DONE}\}}'
    + rf',"begun":"(\d{{{_FLOPS_DIGITS}}})"'
    + rf',"steps":"(\d{{{_STEPS_DIGITS}}})"'
    + rf',"pages":"(\d{{{_PAGES_DIGITS}}})"'
    + rf',"errors":"(\d{{{_ERRORS_DIGITS}}})"'
    + r',"digest":"([0-9a-f]{64})"'
    + r',"crc32":"([0-9a-f]{8})"\}',
    re.ASCII,
)
_CRC_TAIL = len(',"crc32":"00000000"}')


class FinalRecordError(Exception):
    """The bytes are no final record, or the values do not fit into one."""


@dataclass(frozen=True, slots=True)
class FinalRecord:
    """What the sidecar last knew of its pod.

    Attributes:
        final: Written after SIGTERM and one last scan of the folder.
        sequence: Number of the write in this life of the sidecar, from 1.
        done: FLOPs of work that returned, by category.
        begun: FLOPs of work that was dispatched, over all categories.
        steps: Optimizer steps.
        pages: Pages the mark was summed from.
        errors: Errors of hook and sidecar seen in this life of the sidecar.
        digest: SHA-256 of the marks JSON of the same scan, 64 hexadecimal digits.
    """

    final: bool
    sequence: int
    done: Mapping[str, int]
    begun: int
    steps: int
    pages: int
    errors: int
    digest: str


def encode(record: FinalRecord) -> bytes:
    """Encode a record as its line of RECORD_BYTES bytes, newline included.

    Raises:
        FinalRecordError: A value does not fit into its field.
    """
    done = ",".join(
        f'"{name}":"{record.done[name]:0{_FLOPS_DIGITS}d}"' for name in CATEGORIES
    )
    body = (
        f'{_HEAD},"final":{int(record.final)}'
        f',"sequence":"{record.sequence:0{_SEQUENCE_DIGITS}d}"'
        f',"done":{{{done}}}'
        f',"begun":"{record.begun:0{_FLOPS_DIGITS}d}"'
        f',"steps":"{record.steps:0{_STEPS_DIGITS}d}"'
        f',"pages":"{record.pages:0{_PAGES_DIGITS}d}"'
        f',"errors":"{record.errors:0{_ERRORS_DIGITS}d}"'
        f',"digest":"{record.digest}"'
    )
    line = f'{body},"crc32":"{zlib.crc32(body.encode()):08x}"}}'
    if not _LINE.fullmatch(line):
        msg = "a value does not fit into the final record"
        raise FinalRecordError(msg)
    return line.encode() + b"\n"


def decode(data: bytes) -> FinalRecord:
    """Decode a line, with or without its newline.

    Args:
        data: What the termination log or the pod's status holds; may be hostile.

    Raises:
        FinalRecordError: Not a whole record, a wrong checksum, or done above begun.
    """
    line = data.removesuffix(b"\n").decode("ascii", errors="replace")
    match = _LINE.fullmatch(line)
    if match is None:
        msg = "not a final record"
        raise FinalRecordError(msg)
    final, sequence, *done, begun, steps, pages, errors, digest, crc = match.groups()
    if int(crc, 16) != zlib.crc32(line[:-_CRC_TAIL].encode()):
        msg = "the checksum of the final record is wrong"
        raise FinalRecordError(msg)
    record = FinalRecord(
        final=final == "1",
        sequence=int(sequence),
        done=dict(zip(CATEGORIES, map(int, done), strict=True)),
        begun=int(begun),
        steps=int(steps),
        pages=int(pages),
        errors=int(errors),
        digest=digest,
    )
    if sum(record.done.values()) > record.begun:
        msg = "the final record has done more than it has begun"
        raise FinalRecordError(msg)
    return record


RECORD_BYTES = len(
    encode(
        FinalRecord(
            final=False,
            sequence=0,
            done=dict.fromkeys(CATEGORIES, 0),
            begun=0,
            steps=0,
            pages=0,
            errors=0,
            digest="0" * 64,
        )
    )
)
