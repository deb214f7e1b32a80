"""Being told of an import: everything about the import itself stays as it was."""

import importlib
import importlib.util
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from flopguard_hook.imports import Finder, when_imported


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder on the path with a package `lib_x`; forget everything after."""
    package = tmp_path / "lib_x"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("def save():\n    return 'saved'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    sys.meta_path[:] = [f for f in before if type(f) is not Finder]
    yield tmp_path
    sys.meta_path[:] = before
    for name in [n for n in sys.modules if n.split(".")[0] in {"lib_x", "lib_zip"}]:
        del sys.modules[name]


@pytest.mark.usefixtures("library")
def test_callback_gets_the_module_before_names_are_taken_from_it() -> None:
    """`from lib_x.part import save` takes what the callback put there."""

    def replace(module: ModuleType) -> None:
        module.save = lambda: "replaced"  # type: ignore[attr-defined] # a module's own

    when_imported("lib_x.part", replace)
    from lib_x.part import save  # type: ignore[import-not-found] # made by the fixture

    assert save() == "replaced"


@pytest.mark.usefixtures("library")
def test_nothing_is_imported_by_asking() -> None:
    """Watching a module does not load it, nor does looking for it."""
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)
    assert importlib.util.find_spec("lib_x.part") is not None

    assert "lib_x.part" not in sys.modules
    assert not seen


@pytest.mark.usefixtures("library")
def test_loader_and_spec_stay_what_they_were() -> None:
    """After the import the loader has no trace of us."""
    when_imported("lib_x.part", lambda _: None)
    module = importlib.import_module("lib_x.part")

    assert module.__spec__ is not None
    loader = module.__spec__.loader
    assert type(loader).__name__ == "SourceFileLoader"
    assert "exec_module" not in vars(loader)
    assert module.__loader__ is loader


@pytest.mark.usefixtures("library")
def test_reloaded_module_is_given_again() -> None:
    """A reload runs the module's code anew, which takes every replacement away."""
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)
    module = importlib.import_module("lib_x.part")
    importlib.reload(module)
    importlib.reload(module)

    assert seen == [module, module, module]


@pytest.mark.usefixtures("library")
def test_loaded_module_is_given_at_once() -> None:
    """What the program imported before is not missed."""
    module = importlib.import_module("lib_x.part")
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)

    assert seen == [module]


def test_half_loaded_module_is_given_once_it_is_whole(library: Path) -> None:
    """A module that asks for itself while it is loading is given when it is done."""
    (library / "lib_x" / "part.py").write_text(
        "from flopguard_hook.imports import when_imported\n"
        "seen = []\n"
        "when_imported('lib_x.part', lambda m: seen.append(hasattr(m, 'save')))\n"
        "def save(): pass\n"
    )
    module = importlib.import_module("lib_x.part")
    (library / "lib_x" / "other.py").write_text("")
    importlib.import_module("lib_x.other")

    assert module.seen == [True]


def test_module_that_fails_raises_its_own_error_and_is_watched_again(
    library: Path,
) -> None:
    """The program's except clause sees what it would have seen."""
    part = library / "lib_x" / "part.py"
    part.write_text("raise RuntimeError('not today')\n")
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)
    with pytest.raises(RuntimeError, match="not today"):
        importlib.import_module("lib_x.part")
    assert not seen
    part.write_text("fine = True\n")
    importlib.invalidate_caches()
    module = importlib.import_module("lib_x.part")

    assert seen == [module]


@pytest.mark.usefixtures("library")
def test_callback_that_raises_breaks_no_import(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said, and the module is there."""

    def broken(_: ModuleType) -> None:
        msg = "a bug of ours"
        raise ValueError(msg)

    when_imported("lib_x.part", broken)
    module = importlib.import_module("lib_x.part")

    assert module.save() == "saved"
    assert "a bug of ours" in capsys.readouterr().err


class Asking:
    """A finder that asks all the others, as post-import hooks of other tools do."""

    def __init__(self) -> None:
        self.busy = False

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Ask `sys.meta_path`, itself left out."""
        assert path is not self, target
        if self.busy or not name.startswith("lib_x."):
            return None
        self.busy = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self.busy = False


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.usefixtures("library")
def test_another_tools_finder_keeps_working(*, first: bool) -> None:
    """Two finders that ask each other end, and both see the module."""
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)
    sys.meta_path.insert(0 if first else 1, Asking())
    module = importlib.import_module("lib_x.part")

    assert seen[0] is module


class Counting:
    """A finder that notes what it is asked for, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        """Note it."""
        self.asked.append(name)


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
@pytest.mark.usefixtures("library")
def test_another_tools_finder_is_asked_once(*, first: bool) -> None:
    """As without ours, wherever it stands."""
    seen: list[ModuleType] = []
    when_imported("lib_x.part", seen.append)
    counting = Counting()
    sys.meta_path.insert(0 if first else 1, counting)
    module = importlib.import_module("lib_x.part")

    assert counting.asked.count("lib_x.part") == 1
    assert seen == [module]


def test_modules_of_an_archive_are_told_apart(library: Path) -> None:
    """All modules of a zip file share one loader."""
    archive = library / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("lib_zip/__init__.py", "")
        file.writestr("lib_zip/a.py", "import lib_zip.b\n")
        file.writestr("lib_zip/b.py", "")
    sys.path.insert(0, str(archive))
    seen: list[str] = []
    when_imported("lib_zip.a", lambda module: seen.append(module.__name__))
    when_imported("lib_zip.b", lambda module: seen.append(module.__name__))
    try:
        importlib.import_module("lib_zip.a")
    finally:
        sys.path.remove(str(archive))

    assert seen == ["lib_zip.b", "lib_zip.a"]


@pytest.mark.usefixtures("library")
def test_one_finder_serves_all() -> None:
    """However much is watched, an import meets one finder more."""
    for name in ("lib_x.part", "lib_x.more", "lib_x"):
        when_imported(name, lambda _: None)

    assert sum(type(finder) is Finder for finder in sys.meta_path) == 1


def test_threads_import_at_the_same_time(library: Path) -> None:
    """Each watched module is given once, whoever imports it."""
    names = [f"lib_x.m{i}" for i in range(20)]
    for name in names:
        (library / "lib_x" / (name.split(".")[1] + ".py")).write_text("")
    seen: list[str] = []
    for name in names:
        when_imported(name, lambda module: seen.append(module.__name__))
    threads = [
        threading.Thread(target=lambda: [importlib.import_module(n) for n in names])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(seen) == sorted(names)
