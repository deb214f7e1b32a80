"""Forecast FLOPs: before a run from its plan, during it from its history. Pure."""
