"""Draw numbers that look random and are not: the same history, the same forecast.

SplitMix64 (Steele, Lea and Flood, 2014), seeded by a digest of the data; the Box-Muller
transform; Marsaglia and Tsang's method (2000) for the gamma distribution.
"""

import hashlib
import math
from dataclasses import dataclass, field

_MASK = 2**64 - 1


@dataclass
class Chance:
    """A stream of numbers that depends on its seed alone."""

    seed: str
    _state: int = field(init=False)

    def __post_init__(self) -> None:
        """Start from a digest of the seed."""
        digest = hashlib.sha256(self.seed.encode()).digest()
        self._state = int.from_bytes(digest[:8], "big")

    def uniform(self) -> float:
        """Return a number from [0, 1)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) >> 11) / 2**53

    def below(self, count: int) -> int:
        """Return a whole number from 0 to below `count`."""
        return int(self.uniform() * count)

    def normal(self) -> float:
        """Return a number from the standard normal distribution."""
        radius = math.sqrt(-2 * math.log(1 - self.uniform()))
        return radius * math.cos(2 * math.pi * self.uniform())

    def gamma(self, shape: float) -> float:
        """Return a number from the gamma distribution of scale 1."""
        if shape < 1:
            return self.gamma(shape + 1) * math.pow(1 - self.uniform(), 1 / shape)
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            x = self.normal()
            v = (1 + c * x) ** 3
            u = 1 - self.uniform()
            if v > 0 and math.log(u) < x * x / 2 + d - d * v + d * math.log(v):
                return d * v

    def student(self, freedom: int) -> float:
        """Return a number from Student's t distribution."""
        return self.normal() / math.sqrt(2 * self.gamma(freedom / 2) / freedom)

    def exponential(self) -> float:
        """Return a number from the exponential distribution of mean 1."""
        return -math.log(1 - self.uniform())
