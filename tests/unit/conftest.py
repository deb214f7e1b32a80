"""Unit tests say nothing of time: a machine may be busy (see the benchmarks)."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
