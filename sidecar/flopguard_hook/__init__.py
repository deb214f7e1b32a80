"""The hook: counts FLOPs inside the training process. Standard library only.

Core modules (`page`, `formulas`, `convolution`, `attention`, `numerics`, `windows`,
`optimizers`, `facts`) take values and return values. Shell modules (`arming`,
`attaching`, `describing`, `dispatch`, `compiling`, `session`, `interrupts`, `writer`)
touch torch, files and the interpreter. Nothing here imports torch before the user's
program has.
"""

__version__ = "0.1.0"
