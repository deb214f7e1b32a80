"""Meter a command on this machine, without a cluster: `flopguard run`."""
