"""The ways to import torch, and what it looks like then."""

import sys
from typing import Any

from fuzz.starting.basics import program, say, work


@program
def imports_in_threads() -> None:
    """Import torch in several threads at once."""
    import threading

    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(work(1))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(len(results))  # who comes first sees half a torch, if it is broken


@program
def imports_again() -> None:
    """Import torch, forget it, import it again; reload it."""
    import importlib

    say(work())
    torch = sys.modules.get("torch")
    if torch is not None and not hasattr(torch, "manual_seed"):
        del sys.modules["torch"]
        say(work())
        importlib.invalidate_caches()
        try:
            importlib.reload(sys.modules["torch"])
            say(work())
        except (ImportError, KeyError) as error:
            say(type(error).__name__)


@program
def looks_for_torch() -> None:
    """Look torch up without importing it, then look at what was found."""
    import importlib.util

    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError) as error:
        say("not found", error)
        return
    say(spec is not None and type(spec.loader).__name__)
    say("torch" in sys.modules)
    if spec is not None and spec.loader is not None:
        say(spec.submodule_search_locations is not None, spec.name, spec.has_location)
    say(work())
    if "torch" in sys.modules:
        module = sys.modules["torch"]
        loader = getattr(module, "__loader__", None)
        say(type(loader).__name__, "exec_module" in vars(loader) if loader else "-")
        say(module.__spec__ is not None and module.__spec__.loader is loader)


@program
def loads_lazily() -> None:
    """Import torch by a lazy loader."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    if spec is None or spec.loader is None:
        say("none")
        return
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["torch"] = module
    try:
        loader.exec_module(module)
        say(work())
    except ImportError as error:
        say(error)


@program
def finds_first() -> None:
    """Put a finder of its own before all others, and after."""

    class Finder:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def find_spec(
            self, name: str, _path: object = None, _target: Any = None
        ) -> None:
            if name.partition(".")[0] == "torch" and name.count(".") < 2:
                self.seen.append(name)

    finder = Finder()
    sys.meta_path.insert(0, finder)
    say(work())
    say(*[name for name in finder.seen if name == "torch"])


@program
def cleans_finders() -> None:
    """Leave only Python's own finders."""
    sys.meta_path[:] = [f for f in sys.meta_path if isinstance(f, type)]
    say(work())


@program
def imports_part() -> None:
    """Import a part of torch first."""
    try:
        import torch.nn
        from torch.autograd import graph
    except ImportError as error:
        say(error)
        return
    say(torch.nn.__name__, graph.__name__)
    say(work())


@program
def pickles_functions() -> None:
    """Pickle what torch's module hands out, if it is the real one."""
    import pickle

    say(work())
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "manual_seed"):
        return
    import inspect

    say(inspect.signature(torch.nn.Module.__call__))
    say(inspect.signature(torch.optim.SGD.step))
    model = torch.nn.Linear(2, 2)
    say(len(pickle.dumps(model)), torch.nn.Module.__call__.__name__)
    say(torch.autograd.graph._engine_run_backward.__name__)


@program
def compiles() -> None:
    """Compile a model by the eager backend, if torch is the real one."""
    say(work())
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "manual_seed"):
        return
    model = torch.nn.Linear(2, 2)
    fast = torch.compile(model, backend="eager", fullgraph=True)
    for _ in range(3):
        loss = fast(torch.ones(1, 2)).sum()
        loss.backward()
        say(float(loss).hex())
