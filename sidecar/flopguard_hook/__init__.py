"""The hook: counts FLOPs inside the training process. Standard library only."""
