"""The hook: counts FLOPs inside the training process. Standard library only.

Core modules take values and return values and never import torch; shell modules touch
torch, files and the interpreter, and say `Shell` in their first line. ARCHITECTURE.md
lists them. Nothing here imports torch before the user's program has.
"""

__version__ = "0.1.0"
