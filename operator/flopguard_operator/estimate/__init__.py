"""Estimate FLOPs in closed form, from what is known of a model and of its training."""
