"""List what computes on a cluster's accelerators, and what flopguard knows of it."""
