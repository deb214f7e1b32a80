"""Starts the hook, then the `sitecustomize` that this one hides.

Python imports this file at start-up because its folder is first on PYTHONPATH.
"""

# What `importlib.util` takes its functions from, loaded in every Python: that module
# itself imports half of the standard library in some, milliseconds for every process.
import _frozen_importlib
import _frozen_importlib_external
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _start_hook() -> None:
    """Load the package from the folder above, under its own name, and arm it."""
    if not os.environ.get("FLOPGUARD_DIR"):
        return
    folder = os.path.dirname(_HERE)
    # By path: the folder may have any name, and nothing beside it must be importable.
    spec = _frozen_importlib_external.spec_from_file_location(
        "flopguard_hook",
        os.path.join(folder, "__init__.py"),
        submodule_search_locations=[folder],
    )
    if spec is None or spec.loader is None:
        return
    package = _frozen_importlib.module_from_spec(spec)
    sys.modules["flopguard_hook"] = package
    spec.loader.exec_module(package)

    from flopguard_hook.arming import arm

    arm(os.environ)


def _start_hidden() -> None:
    """Run the next `sitecustomize` on the path, as Python would have without us."""
    elsewhere = [p for p in sys.path if os.path.abspath(p or ".") != _HERE]
    finder = _frozen_importlib_external.PathFinder
    spec = finder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    module = _frozen_importlib.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _say(sentence: str) -> None:
    try:  # stderr may be closed, or not be there at all
        sys.stderr.write(f"flopguard: {sentence}\n")
    except Exception:
        return


try:
    _start_hook()
except Exception as error:
    _say(f"this process is not counted: {error!r}")
# Outside the try: what the hidden one raises, Python reports as it always does.
_start_hidden()
