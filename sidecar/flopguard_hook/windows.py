"""Which category an operator belongs to: the counting windows of one thread. Core.

A window opens at the call of a root module and closes when the autograd engine returns:
what lies between, the loss included, has the category of the root call. A root call
with gradients off closes its window on return. Where no window is open, the operator's
own grad mode decides. Inside the engine an operator is `backward`, unless it belongs to
a forward that is run again (activation checkpointing): then it is `recompute`.
"""

_THREAD, _ENGINE, _STEP = "thread", "engine", "step"


class _Scope:
    """A stretch of execution: the thread itself, a run of the engine, a step."""

    __slots__ = ("awaits_engine", "category", "create_graph", "in_root_call", "kind")

    def __init__(self, kind: str, *, create_graph: bool = False) -> None:
        self.kind = kind
        self.create_graph = create_graph
        self.in_root_call = False
        self.category = "forward"
        self.awaits_engine = False


class Windows:
    """The open windows of one thread, innermost last."""

    def __init__(self) -> None:
        self._scopes = [_Scope(_THREAD)]

    def category(self, *, grad: bool) -> str:
        """Return the category of an operator that runs now.

        Args:
            grad: Whether gradients are recorded at the operator.
        """
        scope = self._scopes[-1]
        if scope.kind == _ENGINE:
            # Gradients of gradients are recorded too, hence create_graph.
            again = scope.in_root_call or (grad and not scope.create_graph)
            return "recompute" if again else "backward"
        if scope.in_root_call:
            return scope.category
        if scope.awaits_engine:
            return "forward"
        if scope.kind == _STEP:
            return "optimizer"
        return _by_grad_mode(grad=grad)

    def call_entered(self, *, grad: bool) -> bool:
        """Note that a module is called; return whether it is a root.

        Args:
            grad: Whether gradients are recorded at the call.
        """
        scope = self._scopes[-1]
        if scope.in_root_call:
            return False
        scope.in_root_call = True
        scope.category = _by_grad_mode(grad=grad)
        return True

    def call_left(self) -> None:
        """Note that a root's call returned or raised."""
        # A step within the call that raised is still noted.
        while len(self._scopes) > 1 and not self._scopes[-1].in_root_call:
            self._scopes.pop()
        scope = self._scopes[-1]
        scope.in_root_call = False
        scope.awaits_engine |= scope.category == "forward"

    @property
    def in_engine(self) -> bool:
        """Whether the engine runs and nothing has been opened within it."""
        return self._scopes[-1].kind == _ENGINE

    def engine_is_idle(self) -> None:
        """Note that no engine runs: those noted were interrupted before they left."""
        kinds = [scope.kind for scope in self._scopes]
        if _ENGINE in kinds:
            self.engine_left(kinds.index(_ENGINE))

    def engine_entered(self, *, create_graph: bool) -> int:
        """Note that the autograd engine starts; return a token for `engine_left`."""
        self._scopes.append(_Scope(_ENGINE, create_graph=create_graph))
        return len(self._scopes) - 1

    def engine_left(self, token: int) -> None:
        """Note that it returned or raised."""
        del self._scopes[token:]
        self._scopes[-1].awaits_engine = False

    def step_entered(self, *, nested: bool) -> None:
        """Note that an optimizer steps.

        Args:
            nested: Whether it was called by the step of another optimizer. If not, any
                step still noted has raised.
        """
        if not nested:
            while len(self._scopes) > 1 and self._scopes[-1].kind == _STEP:
                self._scopes.pop()
        self._scopes.append(_Scope(_STEP))

    def step_left(self) -> bool:
        """Note that it returned; return whether it was the outermost one."""
        if self._scopes[-1].kind == _STEP:
            self._scopes.pop()
        return _STEP not in [scope.kind for scope in self._scopes]


def _by_grad_mode(*, grad: bool) -> str:
    return "forward" if grad else "no_grad"
