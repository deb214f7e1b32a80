r"""Read the usual spelling of a settlement at once; everything else is for `encoding`.

Almost all entries are settlements. This expression matches exactly such bytes as
`encode` writes for one whose texts are plain: sorted keys, no spaces, all categories,
numbers without a leading zero, and no sign in a text that JSON would escape. So what it
matches needs no second encoding to compare with. What it does not match may be right as
well: `encoding.decode` then reads it the long way, with the same result.
"""

import functools
import re

from flopguard_operator.ledger.entries import (
    FORMAT_VERSION,
    MAX_ENTRY_BYTES,
    Entry,
    RunRef,
    Settlement,
)
from flopguard_operator.marks import MAX_DIGITS
from flopguard_operator.naming import CATEGORIES

_WHOLE = rf"(0|[1-9][0-9]{{0,{MAX_DIGITS + 15}}})"
_PLAIN = r'"([ !#-\[\]-~]*)"'  # printable ASCII without quotation mark and backslash
_TIME = (
    r'"([0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])'
    r'T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z)"'
)
_ORDER = sorted(CATEGORIES)
_new = object.__new__
_DONE = ",".join(rf'"{category}":"{_WHOLE}"' for category in _ORDER)
_SETTLEMENT = re.compile(
    rf'{{"at":{_TIME},"begun":"{_WHOLE}","done":{{{_DONE}}},"final":(true|false),'
    rf'"index":{_WHOLE},"pages":{_WHOLE},'
    rf'"run":{{"name":{_PLAIN},"namespace":{_PLAIN},"uid":{_PLAIN}}},'
    rf'"source":{_PLAIN},"steps":{_WHOLE},"stream":{_PLAIN},"type":"Settlement",'
    rf'"v":{FORMAT_VERSION}}}',
    re.ASCII,
)


def read(data: bytes) -> Entry | None:
    """Return the entry in bytes that are a settlement's usual spelling, else None.

    Objects are filled as __init__ does it, which takes four times as long in a frozen
    class.
    """
    if len(data) > MAX_ENTRY_BYTES or not data.isascii():
        return None
    found = _SETTLEMENT.fullmatch(data.decode("ascii"))
    if found is None:
        return None
    at, begun, *done, final, index, pages, name, space, uid, source, steps, stream = (
        found.groups()
    )
    settlement = _new(Settlement)
    settlement.__dict__.update(
        run=_run(uid, space, name),
        stream=stream,
        done=dict(zip(_ORDER, map(int, done), strict=True)),
        begun=int(begun),
        steps=int(steps),
        pages=int(pages),
        source=source,
        final=final == "true",
    )
    entry = _new(Entry)
    entry.__dict__.update(index=int(index), at=at, event=settlement)
    return entry


@functools.lru_cache(maxsize=8192)
def _run(uid: str, namespace: str, name: str) -> RunRef:
    return RunRef(uid, namespace, name)
