"""The sidecar's logs: one JSON object a line on stderr. Shell."""

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime


class Logger:
    """Writes lines to stderr; a log that nobody reads must not end metering."""

    def info(self, event: str, **fields: object) -> None:
        """Say what happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what went wrong."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        told = {**fields, "event": event, "level": level, "timestamp": now}
        line = json.dumps(told, default=repr) + "\n"
        with suppress(OSError):
            os.write(sys.stderr.fileno(), line.encode(errors="replace"))
