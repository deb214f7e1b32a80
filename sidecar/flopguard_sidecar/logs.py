"""The sidecar's logs: one JSON object a line on stderr. Shell."""

import os
import sys
from contextlib import suppress

import structlog

Logger = structlog.typing.FilteringBoundLogger


class _Stderr:
    """Writes lines to stderr; a log that nobody reads must not end metering."""

    def msg(self, line: str) -> None:
        with suppress(OSError):
            os.write(sys.stderr.fileno(), line.encode(errors="replace") + b"\n")

    info = warning = error = msg


def configure() -> Logger:
    """Set up structlog for the process and return its logger."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: _Stderr(),
    )
    logger: Logger = structlog.get_logger()
    return logger
