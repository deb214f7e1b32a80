"""Build `verify.pyz`: the verifier and all that it imports, as one file.

The same sources give the same bytes: files are stored, sorted, with a fixed time.
"""

import ast
import io
import zipfile
from collections.abc import Iterator
from importlib import resources

PACKAGE = "flopguard_operator"
ENTRANCE = f"{PACKAGE}.evidence.main"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows
_MODE = 0o100644 << 16
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = f"import sys\n\nfrom {ENTRANCE} import main\n\nsys.exit(main())\n"


def build() -> bytes:
    """Return the bytes of verify.pyz."""
    files = {path: source for module in modules() for path, source in [_read(module)]}
    files["__main__.py"] = _MAIN.encode()
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for path, source in sorted(files.items()):
            place = zipfile.ZipInfo(path, _EPOCH)
            place.create_system, place.external_attr = 3, _MODE  # Unix, wherever built
            archive.writestr(place, source)
    return out.getvalue()


def modules() -> list[str]:
    """Return the entrance and every module of ours that it leads to, sorted."""
    found: set[str] = set()
    waiting = {ENTRANCE}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= set(_imported(module)) - found
    return sorted(found)


def _imported(module: str) -> Iterator[str]:
    """Yield our modules that a module imports, and the packages that hold it."""
    parts = module.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts)))
    _, source = _read(module)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (each for each in (node.module, *names) if _is_ours(each))
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if _is_ours(each.name))


def _is_ours(name: str) -> bool:
    """Tell whether a dotted name is a module of ours, and not something inside one."""
    if name.split(".", maxsplit=1)[0] != PACKAGE:
        return False
    try:
        _read(name)
    except FileNotFoundError:
        return False
    return True


def _read(module: str) -> tuple[str, bytes]:
    """Return a module's path in the archive, and its source."""
    folder = resources.files(PACKAGE)
    inside = "/".join(module.split(".")[1:])
    for path in (f"{inside}/__init__.py".lstrip("/"), f"{inside}.py"):
        source = folder / path
        if source.is_file():
            return f"{PACKAGE}/{path}", source.read_bytes()
    raise FileNotFoundError(module)
