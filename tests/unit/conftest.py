"""Unit tests say nothing of time: a machine may be busy (see the benchmarks)."""

import structlog
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# As JSON, as the operator logs: a traceback in colours, with all that it saw, takes
# seconds to draw, and nobody looks at it.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)
