"""An explicit-state model checker: breadth first, so the first trace is the shortest.

A model says which states follow a state and by which step, and what is wrong with a
step. All states within its bounds are visited: what is not found does not happen
within them (Clarke, Grumberg, Peled: Model Checking, chapter 2).
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Model(Generic[S]):
    """States and what may happen in them.

    Attributes:
        name: For people.
        first: The first state.
        steps: Yields (what happened, the state after it).
        wrong: Returns the invariant that a step from one state to another breaks, ""
            for none.
    """

    name: str
    first: S
    steps: Callable[[S], Iterator[tuple[str, S]]]
    wrong: Callable[[S, S], str]


@dataclass(frozen=True)
class Explored:
    """What a search found.

    Attributes:
        states: Distinct states that were visited.
        transitions: Steps between them that were taken.
        broken: The invariant that does not hold, "" if all do.
        trace: The shortest way to where it does not.
    """

    states: int
    transitions: int
    broken: str = ""
    trace: tuple[str, ...] = ()


class UnboundedError(Exception):
    """A model has more states than its bounds promise."""


def explore(model: Model[S], most_states: int = 20_000_000) -> Explored:
    """Visit every state of a model, or stop at the first broken invariant.

    Raises:
        UnboundedError: There are more than `most_states`.
    """
    came_from: dict[S, tuple[S, str] | None] = {model.first: None}
    waiting = deque([model.first])
    transitions = 0
    while waiting:
        state = waiting.popleft()
        for what, after in model.steps(state):
            transitions += 1
            broken = model.wrong(state, after)
            if broken:
                trace = (*_way_to(state, came_from), what)
                return Explored(len(came_from), transitions, broken, trace)
            if after not in came_from:
                came_from[after] = state, what
                waiting.append(after)
        if len(came_from) > most_states:
            message = f"the model {model.name} has more than {most_states} states"
            raise UnboundedError(message)
    return Explored(len(came_from), transitions)


def _way_to(state: S, came_from: dict[S, tuple[S, str] | None]) -> tuple[str, ...]:
    steps = []
    before = came_from[state]
    while before is not None:
        state, what = before
        steps.append(what)
        before = came_from[state]
    return tuple(reversed(steps))
