"""Write to standard error what a start of a command has to say.

On a terminal the progress is one line that is written anew; elsewhere a line now and
then. With `--json` each is an object. Nobody has to read it: what cannot be written is
not said.
"""

import contextlib
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from flopguard_operator.local.telling import Progress
from flopguard_operator.report.escaping import as_line

LINE_SECONDS = 30.0
_CLEAR = "\r\x1b[K"


@dataclass
class Sayer:
    """Says things for one start."""

    program: str
    is_quiet: bool = False  # no progress
    is_json: bool = False
    _on_line: bool = False
    _said_at: float = -LINE_SECONDS

    def progress(self, now: Progress) -> None:
        """Show how far the program is, if it is time to."""
        if self.is_quiet:
            return
        seconds = time.monotonic()
        live = _is_terminal() and not self.is_json
        if not live and seconds - self._said_at < LINE_SECONDS:
            return
        self._said_at = seconds
        if self.is_json:
            self._write(_document("progress", now.document))
        elif live:
            self._write(f"{_CLEAR}flopguard: {self.program}: {now.line}", end="")
            self._on_line = True
        else:
            self._write(f"flopguard: {self.program}: {now.line}")

    def say(self, kind: str, sentence: str, **more: Any) -> None:
        """Say a sentence on a line of its own.

        Args:
            kind: in one word, for programs.
            sentence: for people.
            more: for programs only.
        """
        if self.is_json:
            about = {"program": self.program, "message": sentence, **more}
            self._write(_document(kind, about))
            return
        before = "\n" if self._on_line else ""
        self._on_line = False
        self._write(f"{before}flopguard: {self.program}: {as_line(sentence)}")

    def _write(self, text: str, end: str = "\n") -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text + end)
            sys.stderr.flush()


def _document(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"event": kind, **fields})


def _is_terminal() -> bool:
    with contextlib.suppress(OSError, ValueError):
        return sys.stderr.isatty()
    return False
