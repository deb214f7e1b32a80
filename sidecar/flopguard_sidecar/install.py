"""Copy the hook into the pod's shared volume, so that a stranger's image can load it.

Shell. Standard library only: the init container that runs it starts at once.
"""

import compileall
import py_compile
import shutil
from pathlib import Path

import flopguard_hook

_FOLDER_MODE = 0o755
_FILE_MODE = 0o644
# Trainers run as any user; the sticky bit keeps them from removing each other's pages.
_PAGES_MODE = 0o1777


def install(destination: Path, pages: Path | None = None) -> None:
    """Make `destination` a copy of the hook, readable by every user; idempotent.

    With byte code beside it, for trainers of this very Python version: no trainer may
    write here, so each of its processes would compile the hook again (PEP 552).

    Args:
        destination: Becomes the folder `<install>`; made with its parents if absent.
        pages: The folder of pages, made writable for every user, if given.

    Raises:
        OSError: The volume is not writable or full.
    """
    source = Path(flopguard_hook.__file__).parent
    destination.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    shutil.copytree(
        source,
        destination,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    compileall.compile_dir(
        destination,
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for path in (destination, *destination.rglob("*")):
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)
    if pages is not None:
        pages.mkdir(parents=True, exist_ok=True)
        pages.chmod(_PAGES_MODE)
