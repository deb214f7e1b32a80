"""Estimate past jobs that were not metered, so that a program can count them. Pure."""
