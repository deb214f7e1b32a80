"""What attaching loads of the hook, and what is hidden from torch.compile later."""

import ast
from collections.abc import Iterator
from pathlib import Path

HOOK = Path(__file__).resolve().parents[2] / "sidecar" / "flopguard_hook"


def modules() -> set[str]:
    """Return the names of the hook's modules."""
    return {path.stem for path in HOOK.glob("*.py")} - {"__init__"}


def tree(name: str) -> ast.Module:
    """Return a module's syntax."""
    return ast.parse((HOOK / f"{name}.py").read_text())


def imported_at_once(name: str) -> Iterator[str]:
    """Return the modules of the hook that a module imports as its code runs."""
    for node in tree(name).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "flopguard_hook":
                named = {alias.name for alias in node.names} & modules()
                yield from {module} if module else named


def loaded_at_start() -> set[str]:
    """Return the modules that are loaded once the hook has attached."""
    found: set[str] = set()
    left = {"arming", "attaching"}
    while left:
        found |= left
        left = {name for one in left for name in imported_at_once(one)} - found
    return found


def later() -> set[str]:
    """Return the modules that are marked as they are loaded."""
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree("compiling").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LATER"
    ]
    return set(names)


def test_each_module_is_marked_at_the_start_or_as_it_is_loaded() -> None:
    """torch.compile compiles no function of the hook, whenever it is loaded."""
    assert later() == modules() - loaded_at_start()


def test_nothing_is_loaded_in_mid_run() -> None:
    """Python swallows some of what a signal handler raises while it imports."""
    only_then = {"profiling", "subclassing"}  # by a variable, on an older torch

    assert modules() - loaded_at_start() == only_then
