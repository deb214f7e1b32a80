"""Calls back when the program has imported a module, without importing it. Shell.

Loaded into every armed Python process: imports nothing that Python itself has not.
"""

import sys
from _thread import get_ident

TYPE_CHECKING = False  # typing itself would cost every Python process milliseconds
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable

    Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: "Callback") -> None:
    """Call back with a module each time that its code has run: also when reloaded.

    A module that is loaded already is given at once; one that is being loaded, at
    the next import of anything after it is done. What the callback raises ends here;
    what the module's own code raises is the program's, and a later import is watched
    again.

    Args:
        name: The module's full name, such as `safetensors.torch`.
        callback: Called in the importing thread, before the import returns.
    """
    finder = _installed()
    finder.watched.setdefault(name, []).append(callback)
    module = sys.modules.get(name)
    if module is None:
        return
    if _is_loading(module):
        finder.loading.append((module, callback))
    else:
        _call(callback, module)


def while_imported(name: str, enter: "Callback", leave: "Callback") -> None:
    """Call back with a module before its code runs, and after: also if that raised.

    Nothing happens for a module that is loaded already. What the callbacks raise ends
    here.

    Args:
        name: The module's full name.
        enter: Called before.
        leave: Called after.
    """
    finder = _installed()
    finder.watched.setdefault(name, [])
    finder.around[name] = (enter, leave)


class Finder:
    """Finds watched modules as everybody else does, and says when they are loaded.

    It stays first in `sys.meta_path`; for other modules it costs one look-up.

    Attributes:
        watched: The callbacks by the name of the module.
        around: What is called before and after its code, likewise.
        loading: What was half loaded when it was asked for.
    """

    def __init__(self) -> None:
        self.watched: "dict[str, list[Callback]]" = {}
        self.around: "dict[str, tuple[Callback, Callback]]" = {}
        self.loading: "list[tuple[ModuleType, Callback]]" = []
        self._searching: "set[tuple[int, str]]" = set()

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Find a watched module with the finders after it; leave the rest to them."""
        if self.loading:
            self._call_loaded()
        search = (get_ident(), name)
        # Another finder may ask the whole of `sys.meta_path` as well.
        if name not in self.watched or search in self._searching:
            return None
        self._searching.add(search)
        try:
            spec = self._found(name, path, target)
        finally:
            self._searching.discard(search)
        if spec is not None:
            self._watch(spec.loader, name)
        return spec

    def _found(self, name: str, path: "Any", target: "Any") -> "Any":
        finders = list(sys.meta_path)
        for index, finder in enumerate(finders):
            if finder is self:  # those before it were asked, and each is asked once
                finders = finders[index + 1 :]
                break
        for finder in finders:
            find = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _watch(self, loader: "Any", name: str) -> None:
        """Call back after the loader ran; the loader stays what it was."""
        try:
            run = getattr(loader, "exec_module", None)
            # One loader for many modules, one of the old kind, one found twice.
            if (
                run is None
                or isinstance(loader, type)
                or getattr(run, "watches", "") == name
            ):
                return

            def exec_module(module: "ModuleType") -> None:
                if loader.__dict__.get("exec_module") is exec_module:
                    del loader.exec_module
                self._run(run, module, name)
                if module.__name__ == name:  # a loader of an archive serves many
                    self._loaded(name, module)

            exec_module.watches = name  # type: ignore[attr-defined] # a mark of ours
            loader.exec_module = exec_module
        except Exception as error:
            _report(error)

    def _run(self, run: "Any", module: "ModuleType", name: str) -> None:
        if name not in self.around:
            run(module)
            return
        enter, leave = self.around[name]
        _call(enter, module)
        try:
            run(module)
        finally:
            _call(leave, module)

    def _loaded(self, name: str, module: "ModuleType") -> None:
        for callback in list(self.watched.get(name, ())):
            _call(callback, module)

    def _call_loaded(self) -> None:
        """Call back for what was half loaded when it was asked for, and no more is."""
        done = [entry for entry in self.loading if not _is_loading(entry[0])]
        self.loading = [entry for entry in self.loading if _is_loading(entry[0])]
        for module, callback in done:
            _call(callback, module)


def _installed() -> Finder:
    """Return the finder of this process, first in `sys.meta_path`."""
    for finder in sys.meta_path:
        if type(finder) is Finder:
            return finder
    finder = Finder()
    sys.meta_path.insert(0, finder)
    return finder


def _is_loading(module: "ModuleType") -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _call(callback: "Callback", module: "ModuleType") -> None:
    try:
        callback(module)
    except Exception as error:
        _report(error)


def _report(error: Exception) -> None:
    """Report an error of the hook's own; what a signal handler raised is raised."""
    from flopguard_hook.interrupts import raise_users

    raise_users(error)
    say(f"not everything is noted: {error!r}")


def say(sentence: str) -> None:
    """Tell people, if there is a stderr and it takes what is written."""
    try:
        sys.stderr.write(f"flopguard: {sentence}\n")
    except Exception:
        return
