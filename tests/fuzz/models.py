"""Small models of many kinds, drawn by a seed."""

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fuzz.stage import Model

Make = Callable[[Random], Model]
FAMILIES: dict[str, Make] = {}


def family(make: Make) -> Make:
    """Register a kind of model under its function's name."""
    FAMILIES[make.__name__] = make
    return make


def rows(width: int, *shape: int, dtype: torch.dtype | None = None) -> Any:
    """Return what draws a batch of (rows, *shape, width)."""

    def batch(dice: Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
        size = dice.choice([1, 2, 2, 2, 3, 4])
        return (torch.randn(size, *shape, width, dtype=dtype),), {}

    return batch


def mean_square(out: Any) -> torch.Tensor:
    """Return a scalar of whatever a model returned."""
    if isinstance(out, torch.Tensor):
        return out.float().square().mean() if not out.is_complex() else out.abs().mean()
    values = out.values() if isinstance(out, dict) else out
    tensors = [mean_square(value) for value in values if value is not None]
    return torch.stack(tensors).sum()


_ACTIVATIONS = (
    *(nn.ReLU, nn.GELU, nn.Tanh, nn.Identity, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.LeakyReLU, nn.Hardswish, nn.PReLU, nn.ELU, nn.CELU, nn.LogSigmoid, nn.RReLU),
)


def _widths(dice: Random, count: int) -> list[int]:
    return [dice.choice([2, 3, 4, 6, 8, 12]) for _ in range(count)]


@family
def mlp(dice: Random) -> Model:
    """Return linear layers with activations, norms and dropout between."""
    widths = _widths(dice, dice.randint(2, 5))
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=dice.random() < 0.7)]
        layers += [dice.choice(_ACTIVATIONS)()]
        if dice.random() < 0.3:
            layers += [dice.choice([nn.LayerNorm(after), nn.Dropout(0.2)])]
    return Model(nn.Sequential(*layers), rows(widths[0]), mean_square)


@family
def wide_formats(dice: Random) -> Model:
    """Return linear layers in another numeric format."""
    dtype = dice.choice([torch.bfloat16, torch.float64, torch.complex64])
    width = dice.choice([2, 4, 8])
    layers = nn.Sequential(nn.Linear(width, width), nn.Linear(width, 3))
    return Model(layers.to(dtype), rows(width, dtype=dtype), mean_square)


@family
def convolutions(dice: Random) -> Model:
    """Return convolutions, plain, grouped and transposed."""
    groups = dice.choice([1, 1, 2])
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=dice.choice([0, 1]), groups=groups),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, stride=dice.choice([1, 2])),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )
    return Model(layers, rows(6, 2, 6), mean_square)


@family
def conv1d(dice: Random) -> Model:
    """Return dilated convolutions over a sequence."""
    layers = nn.Sequential(
        nn.Conv1d(3, 6, 3, dilation=dice.choice([1, 2])), nn.GELU(), nn.Conv1d(6, 2, 1)
    )
    return Model(layers, rows(9, 3), mean_square)


@family
def encoder(dice: Random) -> Model:
    """Return torch's own transformer layers; in eval mode they are fused."""
    layer = nn.TransformerEncoderLayer(
        8, 2, 12, dropout=dice.choice([0.0, 0.1]), batch_first=True
    )
    module = nn.TransformerEncoder(
        layer, dice.choice([1, 2]), enable_nested_tensor=False
    )
    return Model(module, rows(8, dice.choice([2, 5])), mean_square)


@family
def multihead(dice: Random) -> Model:
    """Return attention called with keywords."""

    def batch(dice: Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
        words = torch.randn(dice.choice([1, 2]), dice.choice([3, 4]), 8)
        return (words,), {"key": words, "value": words, "need_weights": False}

    return Model(
        nn.MultiheadAttention(8, dice.choice([1, 2, 4]), batch_first=True),
        batch,
        lambda out: mean_square(out[0]),
    )


class GroupedAttention(nn.Module):
    """Causal attention whose keys and values are shared by heads."""

    def __init__(self, heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.shared = heads, shared
        self.query = nn.Linear(8, heads * 4)
        self.keys = nn.Linear(8, shared * 4)
        self.out = nn.Linear(heads * 4, 8)

    def forward(self, words: torch.Tensor, *, causal: bool = True) -> torch.Tensor:
        """Attend."""
        batch, length, _ = words.shape
        query = self.query(words).view(batch, length, self.heads, 4).transpose(1, 2)
        keys = self.keys(words).view(batch, length, self.shared, 4).transpose(1, 2)
        keys = keys.repeat_interleave(self.heads // self.shared, 1)
        mixed = functional.scaled_dot_product_attention(
            query, keys, keys, is_causal=causal
        )
        flat = mixed.transpose(1, 2).reshape(batch, length, -1)
        out: torch.Tensor = self.out(flat)
        return out


@family
def grouped_attention(dice: Random) -> Model:
    """Return attention with grouped keys, causal by keyword or not."""

    def batch(dice: Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
        words = torch.randn(dice.choice([1, 2]), dice.choice([3, 5]), 8)
        return (words,), {"causal": dice.random() < 0.7}

    return Model(GroupedAttention(4, dice.choice([1, 2, 4])), batch, mean_square)


@family
def recurrent(dice: Random) -> Model:
    """Return a recurrent network; it returns more than a tensor."""
    kind = dice.choice([nn.RNN, nn.LSTM, nn.GRU])
    module = kind(4, 5, num_layers=dice.choice([1, 2]), batch_first=True)
    return Model(module, rows(4, dice.choice([2, 4])), lambda out: mean_square(out[0]))


class Speaker(nn.Module):
    """An embedding and a head, perhaps tied, that return a dictionary."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.body = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, *, ids: torch.Tensor, labels: Any = None) -> dict[str, Any]:
        """Predict words; called with keywords only."""
        hidden = self.words(ids)
        for layer in self.body:
            hidden = hidden + layer(hidden).relu()
        logits = self.head(hidden)
        if labels is None:
            return {"logits": logits, "loss": None}
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss}


@family
def speaker(dice: Random) -> Model:
    """Return a small language model called with keywords."""

    def batch(dice: Random) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ids = torch.randint(11, (dice.choice([1, 2]), dice.choice([3, 4])))
        return (), {"ids": ids, "labels": ids if dice.random() < 0.8 else None}

    return Model(Speaker(tied=dice.random() < 0.5), batch, mean_square)


class Experts(nn.Module):
    """Experts that each take the rows whose number is theirs: shapes decide."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(count))
        self.mixing = nn.Parameter(torch.eye(4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Route."""
        count = len(self.experts)
        parts = [layer(rows[i::count]) for i, layer in enumerate(self.experts)]
        return torch.einsum("ij,jk->ik", torch.cat(parts), self.mixing)


@family
def experts(dice: Random) -> Model:
    """Return a mixture of experts whose routing depends on shapes alone."""
    return Model(Experts(dice.choice([2, 3])), rows(4), mean_square)


class Bilinear(nn.Module):
    """Operators that are written out: bmm, baddbmm, addmm, einsum, outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Bilinear(4, 4, 4)
        self.weight = nn.ParameterList([torch.randn(4, 4) for _ in range(2)])

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Multiply."""
        first = self.pairs(rows, rows) @ self.weight[0]
        stack = first.unsqueeze(1)
        second = torch.baddbmm(stack, stack, self.weight[1].expand(len(rows), 4, 4))
        third = torch.addmm(rows, rows, self.weight[1]).mv(rows[0])
        return second, third


@family
def bilinear(_dice: Random) -> Model:
    """Return products written out."""
    return Model(Bilinear(), rows(4), mean_square)
