"""The sidecar's logs: one JSON object a line on stderr. Shell."""

import sys

import structlog

Logger = structlog.typing.FilteringBoundLogger


def configure() -> Logger:
    """Set up structlog for the process and return its logger."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logger: Logger = structlog.get_logger()
    return logger
