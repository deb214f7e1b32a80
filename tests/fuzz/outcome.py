"""What a program did, as far as its user can see, and how two such outcomes differ.

Core: texts and numbers in, texts out.
"""

import re
from typing import NamedTuple

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]*)", line ')
_LOG = re.compile(r"^([WEI])\d{4} [\d:.]+ \d+ ")
_ELAPSED = re.compile(r"^\d+\.\d+s - ")  # debugpy's
_OURS = re.compile(r"flopguard[_-]hook")
_LIBRARY = re.compile(
    r"/torch/|<frozen|/site-packages/|<string>|/fuzz/(cases|serving|forking)\.py"
)
_WARNING = re.compile(r"\S+:\d+: (\w*Warning: .*)")
# Logs of C++ libraries with the time in them, and bars of progress.
_NOISE = re.compile(r"(USDT|ERROR|WARNING|INFO):\d{4}-|.*(it/s\]|s/it\])|flopguard")


class Outcome(NamedTuple):
    """One run of a program.

    Attributes:
        code: Exit code; negative: the signal that ended it; None: it never ended.
        stdout: What it printed.
        stderr: What it complained of, without what the hook said.
        files: Digest of the content of every file it left, by path.
        said: What the hook said on stderr.
    """

    code: int | None
    stdout: str
    stderr: str
    files: dict[str, str]
    said: tuple[str, ...]


def outcome(
    code: int | None, stdout: str, stderr: str, files: dict[str, str]
) -> Outcome:
    """Return an outcome in which only what matters can differ."""
    lines = stderr.splitlines()
    said = tuple(line for line in lines if line.startswith("flopguard"))
    rest = [line for line in lines if not _NOISE.match(line)]
    return Outcome(code, plainly(stdout), plainly("\n".join(users(rest))), files, said)


def plainly(text: str) -> str:
    """Return a text without addresses, times and process numbers."""
    lines = (_LOG.sub(r"\1 ", _ELAPSED.sub("", s)) for s in text.splitlines())
    return "\n".join(_ADDRESS.sub("0x", line) for line in lines)


def users(lines: list[str]) -> list[str]:
    """Leave out frames of torch and of the hook, and where a warning came from."""
    kept, skipping = [], False
    for line in lines:
        warning = _WARNING.match(line)
        if warning:  # its location is the frame above torch's, which may be the hook's
            skipping = True
            kept.append(warning[1])
            continue
        frame = _FRAME.match(line)
        if frame:
            skipping = bool(
                _OURS.search(frame["file"]) or _LIBRARY.search(frame["file"])
            )
        elif not line.startswith("  "):
            skipping = False
        if not skipping:
            kept.append(line)
    return kept


def differences(plain: Outcome, hooked: Outcome) -> list[str]:
    """Return a sentence for everything in which a hooked run differs."""
    found = []
    if plain.code != hooked.code:
        found.append(f"exit code {plain.code} became {hooked.code}")
    for name in ("stdout", "stderr"):
        before, after = getattr(plain, name), getattr(hooked, name)
        if before != after:
            found.append(f"{name}: {first_difference(before, after)}")
    for path in sorted(plain.files.keys() | hooked.files.keys()):
        before, after = plain.files.get(path), hooked.files.get(path)
        if before != after:
            found.append(f"file {path}: {before} became {after}")
    return found


def first_difference(before: str, after: str) -> str:
    """Return the first line in which two texts differ."""
    old, new = before.splitlines(), after.splitlines()
    for number in range(max(len(old), len(new))):
        was = old[number] if number < len(old) else "(nothing)"
        now = new[number] if number < len(new) else "(nothing)"
        if was != now:
            return (
                f"line {number + 1}: {_around(was, now)!r} became {_around(now, was)!r}"
            )
    return "line endings"


def _around(text: str, other: str) -> str:
    same = 0
    while same < min(len(text), len(other)) and text[same] == other[same]:
        same += 1
    start = max(0, same - 60)
    return text[start : start + 300]
