"""Cases in interpreters of their own: how Python is started, which torch, where."""

import functools
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzz.forking import Place, digests
from fuzz.outcome import Outcome, outcome

SECONDS = 120.0
_PROGRAMS = Path(__file__).parent / "starting"
_SCRIPT = _PROGRAMS / "__main__.py"
_STANDIN = Path(__file__).parents[1] / "unit" / "standin_torch"
_BASE_PYTHON = "/usr/bin/python3.11"

# Way to start Python → what stands before the script; "" is the script itself.
STARTS: dict[str, list[str]] = {
    "python FILE": [],
    "python -I": ["-I"],
    "python -E": ["-E"],
    "python -S": ["-S"],
    "python -P": ["-P"],
    "python -s -B": ["-s", "-B"],
    "python -O": ["-O"],
    "python -OO": ["-OO"],
    "python -X dev": ["-X", "dev"],
    "python -W error": ["-W", "error"],
    "python -bb -u": ["-bb", "-u"],
    "python -X utf8": ["-X", "utf8"],
    "python -X frozen_modules=off": ["-X", "frozen_modules=off"],
    "python -m": ["-m", "runpy"],
    "python -c": ["-c"],
    "python -m coverage": ["-m", "coverage", "run", "--data-file=/dev/null"],
    "python -": ["-"],
}

# Kind of torch → the text of its `__init__.py`; None: another way to provide it.
_BROKEN = {
    "raises half-way": "__version__ = '1'\nraise ImportError('half-way')\n",
    "raises once": (
        "import sys\nif not hasattr(sys, 'torch_again'):\n"
        "    sys.torch_again = True\n    raise ImportError('only once')\n"
        "exec(open({standin!r}).read())\n"
    ),
    "raises ValueError": "raise ValueError('broken')\n",
    "exits": "import sys\nsys.exit(11)\n",
    "is interrupted": "raise KeyboardInterrupt\n",
    "is bare": "__version__ = '0.4'\n",
    "is old": (
        "exec(open({standin!r}).read())\n"
        "del sys.modules['torch._guards']\ndel _guards\n"
    ),
    "replaces itself": (
        "exec(open({standin!r}).read())\nimport types\n"
        "_other = types.ModuleType('torch')\nvars(_other).update(globals())\n"
        "sys.modules['torch'] = _other\n"
    ),
    "has a __getattr__": (
        "exec(open({standin!r}).read())\n"
        "def __getattr__(name):\n    raise AttributeError('nothing called ' + name)\n"
    ),
    "imports itself": "import torch\nexec(open({standin!r}).read())\n",
    "is a namespace": None,
    "is zipped": None,
}
# These torches are unlike any that the hook knows, so it may say that it gave up.
_UNLIKE = {
    "is bare",
    "is old",
    "raises half-way",
    "raises ValueError",
    "is a namespace",
}
_UNLIKE |= {"replaces itself"}

SITES = {
    "prints": "print('site customized')\n",
    "raises": "raise RuntimeError('site customized')\n",
    "imports torch": "import torch\nprint('torch came early')\n",
    "exits": "import sys\nsys.exit(12)\n",
    "sets hooks": "import sys\nsys.excepthook = lambda *a: print('excepted', a[0])\n",
    "has a finder": "import sys\nsys.meta_path.insert(0, type('F', (), {'find_spec': "
    "staticmethod(lambda *a: None)}))\n",
}

# What the folder of pages is.
FOLDERS = ("there", "missing", "a file", "read-only", "full", "too small", "relative")


class Fresh(NamedTuple):
    """A case in an interpreter of its own.

    Attributes:
        program: Name of the program.
        start: How Python is started.
        torch: "real", "stand-in", "missing" or what is wrong with it.
        site: What another sitecustomize does, if there is one.
        site_first: Whether that one comes before the hook's.
        folder: What the folder of pages is.
        closed: Standard descriptors that are closed.
        extra: Environment variables.
    """

    program: str
    start: str
    torch: str
    site: str
    site_first: bool
    folder: str
    closed: tuple[int, ...]
    extra: tuple[tuple[str, str], ...]

    @property
    def words(self) -> str:
        """Say what the case is."""
        site = f"; sitecustomize {self.site}" if self.site else ""
        place = " before" if self.site and self.site_first else ""
        closed = f"; closed {self.closed}" if self.closed else ""
        extra = "".join(f"; {name}={value}" for name, value in self.extra)
        return (
            f"{self.start} {self.program}; torch {self.torch}{site}{place}; "
            f"folder {self.folder}{closed}{extra}"
        )

    @property
    def breaks_pages(self) -> bool:
        """Say whether the hook may complain, and pages may be damaged or absent."""
        breaking = {
            "truncates_pages",
            "removes_folder",
            "swaps_pages",
            "few_descriptors",
            "no_file_space",
            "private_files",
        }
        return (
            self.folder not in {"there", "relative"}
            or self.program in breaking
            or self.torch in _UNLIKE
        )


def draw(seed: int) -> Fresh:
    """Return the fresh case of a seed."""
    dice = Random(seed)  # noqa: S311 # dice, not secrets
    torch = dice.choices(
        ["real", "stand-in", "missing", dice.choice(sorted(_BROKEN))],
        [13, 55, 8, 24],
    )[0]
    starts = sorted(STARTS)
    start = dice.choice(starts) if dice.random() < 0.5 else "python FILE"
    if torch == "real" and start == "python -S":
        start = "python FILE"
    site = dice.choice(sorted(SITES)) if dice.random() < 0.25 else ""
    folder = dice.choice(FOLDERS) if dice.random() < 0.3 else "there"
    closed = dice.choice([(0,), (2,), (0, 2)]) if dice.random() < 0.08 else ()
    extra = {
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "error",
        "PYTHONMALLOC": "debug",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONSAFEPATH": "1",
        "TORCH_LOGS": "",
        "FLOPGUARD_DISABLE": "1",
    }
    chosen = dice.sample(sorted(extra.items()), 1) if dice.random() < 0.2 else []
    return Fresh(
        dice.choice(programs()),
        start,
        torch,
        site,
        dice.random() < 0.3,
        folder if can_mount() or folder not in {"read-only", "full"} else "missing",
        closed,
        tuple(chosen),
    )


@functools.cache
def programs() -> list[str]:
    """Return the names of all programs, without importing them."""
    texts = [path.read_text() for path in _PROGRAMS.glob("*.py")]
    return sorted(re.findall(r"@program\ndef (\w+)", "".join(texts)))


@functools.cache
def can_mount() -> bool:
    """Say whether this process may mount, in a namespace of its own."""
    command = ["unshare", "-m", "true"]
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def run(case: Fresh, where: Place, hook: Path | None, more: dict[str, str]) -> Outcome:
    """Run a case with or without the hook.

    Args:
        case: The case.
        where: The run's folders.
        hook: The hook's folder, or None.
        more: Environment variables beside the case's.
    """
    path = _python_path(case, where)
    if hook is not None:
        path.insert(1 if case.site and case.site_first else 0, str(hook / "bootstrap"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(where.root),
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict(case.extra),
        **more,
    }
    if hook is not None:
        environment["FLOPGUARD_DIR"] = _pages(case, where)
        environment["FUZZ_PAGES"] = str(where.pages)
    stdin = _SCRIPT.read_text() if case.start == "python -" else ""
    with (
        (where.root / "stdout").open("wb") as stdout,
        (where.root / "stderr").open("wb") as stderr,
    ):
        process = subprocess.Popen(
            [*_mounting(case, where), *_command(case)],
            env=environment,
            cwd=where.work,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_closing(case.closed),  # noqa: PLW1509 # few threads here
        )
    try:
        process.communicate(stdin.encode(), timeout=SECONDS)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code = None
    _end_group(process)
    texts = [(where.root / name).read_text(errors="replace") for name in _STREAMS]
    plain = [text.replace(str(where.root), "ROOT") for text in texts]
    return outcome(code, plain[0], plain[1], digests(where.work))


_STREAMS = ("stdout", "stderr")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what the program left running, and collect it."""
    import contextlib
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _closing(descriptors: tuple[int, ...]) -> Callable[[], None]:
    def close() -> None:
        for number in descriptors:
            os.close(number)

    return close


def _command(case: Fresh) -> list[str]:
    python = sys.executable if case.torch == "real" else _plain_python()
    flags, script = STARTS[case.start], [str(_SCRIPT), case.program]
    if case.start == "python -m":
        return [python, "-m", "fuzz.starting", case.program]
    if case.start == "python -c":
        text = "import sys; from fuzz.starting.__main__ import PROGRAMS as p\n"
        text += "p[sys.argv[1]]()"
        return [python, "-c", text, case.program]
    if case.start == "python -":
        return [python, "-", case.program]
    return [python, *flags, *script]


def _plain_python() -> str:
    """Return a Python without torch, as near to the running one as there is."""
    return _BASE_PYTHON if Path(_BASE_PYTHON).exists() else sys.executable


def _python_path(case: Fresh, where: Place) -> list[str]:
    """Make and return the folders that the program imports from."""
    folders = [where.root / "site"]
    folders[0].mkdir()
    if case.site:
        (folders[0] / "sitecustomize.py").write_text(SITES[case.site])
    if case.torch == "stand-in":
        folders.append(_STANDIN)
    elif case.torch in _BROKEN:
        folders.append(_broken(case.torch, where.root / "broken"))
    folders.append(_PROGRAMS.parents[1])
    tools = os.environ.get("FLOPGUARD_FUZZ_TOOLS", "")
    return [*map(str, folders), *([tools] if Path(tools).is_dir() else [])]


def _broken(kind: str, folder: Path) -> Path:
    package = folder / "torch"
    package.mkdir(parents=True)
    text = _BROKEN[kind]
    if kind == "is zipped":
        with zipfile.ZipFile(folder / "torch.zip", "w") as archive:
            archive.write(_STANDIN / "torch" / "__init__.py", "torch/__init__.py")
        shutil.rmtree(package)
        return folder / "torch.zip"
    if text is not None:
        standin = str(_STANDIN / "torch" / "__init__.py")
        (package / "__init__.py").write_text(text.format(standin=standin))
    return folder


def _pages(case: Fresh, where: Place) -> str:
    """Prepare the folder of pages and return how it is named."""
    if case.folder == "missing":
        where.pages.rmdir()
    elif case.folder == "a file":
        where.pages.rmdir()
        where.pages.write_text("a file")
    elif case.folder == "relative":
        return f"../{where.pages.name}"
    return str(where.pages)


def _mounting(case: Fresh, where: Place) -> list[str]:
    """Return what is put before the command to make the folder full or read-only."""
    options = {"read-only": "ro", "full": "size=4k", "too small": "size=8k"}
    if case.folder not in options or not can_mount():
        return []
    fill = f"; echo full > {where.pages}/a; echo full > {where.pages}/b"
    script = (
        f"mount -t tmpfs -o {options[case.folder]} none {where.pages}"
        + (fill if case.folder == "full" else "")
        + ' 2>/dev/null; exec "$@"'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh"]
