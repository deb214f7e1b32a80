"""What a random program plays on: a model, an optimizer, dice, and a voice.

Everything that a program does follows from its seed. What it says goes to stdout with
every bit of every number, so that two runs can be compared as texts.
"""

import hashlib
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

_ADDRESS = re.compile(r"0x[0-9a-f]+")
FUZZ = str(Path(__file__).parent)


class Model(NamedTuple):
    """A model and how it is trained.

    Attributes:
        module: The root module.
        batch: Draws the arguments and keyword arguments of a call.
        loss: Makes a scalar of what the module returns.
    """

    module: torch.nn.Module
    batch: Callable[[random.Random], tuple[tuple[Any, ...], dict[str, Any]]]
    loss: Callable[[Any], torch.Tensor]


class Stage:
    """One program's model, optimizer and dice.

    Attributes:
        dice: Draws what the program does; seeded.
        folder: Where the program saves what it saves.
    """

    def __init__(self, seed: int, model: Model, folder: Path) -> None:
        self.dice = random.Random(seed)  # noqa: S311 # dice, not secrets
        self.folder = folder
        self.model = model
        self.module = model.module
        self.optimizer = self.new_optimizer()

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Draw an optimizer for the parameters that are trained now."""
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        make = self.dice.choice(
            [
                torch.optim.SGD,
                torch.optim.Adam,
                torch.optim.AdamW,
                torch.optim.AdamW,
                torch.optim.RMSprop,
                torch.optim.Adagrad,
                torch.optim.NAdam,
            ]
        )
        return make(parameters, lr=1e-3)

    def loss(self) -> torch.Tensor:
        """Run the model on a batch."""
        args, kwargs = self.model.batch(self.dice)
        return self.model.loss(self.module(*args, **kwargs))

    def step(self) -> torch.Tensor:
        """Train one step and say its loss."""
        loss = self.loss()
        if loss.requires_grad:
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=self.dice.random() < 0.8)
        self.say("loss", loss)
        return loss

    def train(self, *, most: int = 6) -> None:
        """Train a few steps; shapes come again, so that windows are met again."""
        for _ in range(self.dice.randint(1, most)):
            self.step()

    def say(self, *words: object) -> None:
        """Print words; tensors and floats with every bit."""
        sys.stdout.write(" ".join(exactly(word) for word in words) + "\n")

    def state(self) -> None:
        """Say a digest of every parameter, gradient and buffer."""
        digest = hashlib.sha256()
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        for name, tensor in named:
            digest.update(name.encode())
            if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
                continue
            digest.update(content(tensor))
            digest.update(content(tensor.grad) if tensor.grad is not None else b"-")
        self.say("state", digest.hexdigest()[:16])

    @contextmanager
    def caught(self, *kinds: type[BaseException]) -> Iterator[None]:
        """Catch what the block raises, and say it with the user's frames."""
        expected = kinds or (Exception,)
        try:
            yield
        except expected as error:
            self.raised(error)

    def raised(self, error: BaseException) -> None:
        """Say an exception, its causes, and the program's own frames in it."""
        self.say(*describe(error))


def describe(error: BaseException | None) -> list[str]:
    """Return an exception's class, message, user frames, cause and context."""
    words = []
    while error is not None:
        words += [type(error).__name__, repr(str(error)), *user_frames(error)]
        words += ["suppressed" if error.__suppress_context__ else "from"]
        error = error.__cause__ or error.__context__
    return words


def user_frames(error: BaseException) -> list[str]:
    """Return file, line and function of the frames that are the program's own."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(FUZZ)
    ]


def exactly(word: object) -> str:
    """Return a text of a value that differs wherever the value does."""
    if isinstance(word, float):
        return word.hex()
    if isinstance(word, torch.Tensor):
        if word.numel() == 1 and not word.is_complex() and not word.is_meta:
            return float(word.detach().double()).hex()
        return f"{tuple(word.shape)}{hashlib.sha256(content(word)).hexdigest()[:16]}"
    return _ADDRESS.sub("0x", str(word))


def content(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor's elements."""
    if tensor.is_meta:
        return b"meta"
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = plain.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())
