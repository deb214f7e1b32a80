"""Adapters: how each kind of workload is held, released and recognised. Pure."""
