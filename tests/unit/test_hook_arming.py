"""Arming by two environment variables, on every CPython from 3.9 to 3.13 found here.

In a subprocess each, with the hook copied under another name, as in a pod. Pythons
without torch get a stand-in: `standin_torch`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from flopguard_hook.page import Page, read_page

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).parent / "standin_torch"
MINORS = range(9, 14)

STEPS = 100
PROGRAM = f"""
import torch
from torch import Tensor
module = torch.nn.Module()
for _ in range({STEPS}):
    module(Tensor(3, 4), Tensor(4, 5))
    torch.autograd._engine_run_backward((Tensor(1),), (None,), False, False, ())
print("done")
"""


def interpreter(minor: int) -> str:
    """Return the path of a CPython 3.`minor`, or skip."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(str(path) for path in pyenv.glob(f"3.{minor}.*/bin/python"))
    for path in [*found, shutil.which(f"python3.{minor}")]:
        command = [path or "", "-c", "import sys; print(sys.version_info[1])"]
        if path and subprocess.run(command, capture_output=True, check=False).stdout:
            return path
    pytest.skip(f"no CPython 3.{minor} on this machine")


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    """Return a copy of the hook's folder under another name, as in a pod."""
    copy = tmp_path / "elsewhere" / "hook"
    shutil.copytree(ROOT / "sidecar" / "flopguard_hook", copy)
    return copy


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Return an empty folder of pages."""
    folder = tmp_path / "pages"
    folder.mkdir()
    return folder


def run(
    hook: Path,
    program: str,
    *flags: str,
    python: str = "python3.11",
    path: str = "",
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a program with the hook first on the path, then `path`, then the stand-in."""
    folders = [str(hook / "bootstrap"), path, str(STANDIN)]
    return subprocess.run(
        [python, *flags, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(folder for folder in folders if folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def read_all(pages: Path) -> list[Page]:
    """Return every page in the folder."""
    return [read_page(path.read_bytes()) for path in pages.glob("*.page")]


@pytest.mark.parametrize("minor", MINORS)
def test_two_variables_arm_the_hook(minor: int, hook: Path, pages: Path) -> None:
    """It counts, replays, writes its page, closes it, and says nothing."""
    done = run(hook, PROGRAM, python=interpreter(minor), FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    (page,) = read_all(pages)
    # 2*3*5*4 in the module, 2*1*1*2 in the engine
    assert page.done["forward"]["fp32"] == 120 * STEPS
    assert page.done["backward"]["fp32"] == 4 * STEPS
    assert (page.done, page.closed, page.errors) == (page.begun, True, ())
    (written,) = pages.glob("*.json")
    replay = json.loads(written.read_text())["replay"]
    # Measured twice each; what led to the very first backward is not known.
    assert (replay["state"], replay["measured"]) == ("on", 4)
    assert replay["replayed"] == 2 * STEPS - 5


@pytest.mark.parametrize("minor", MINORS)
def test_the_sitecustomize_that_ours_hides_runs_too(
    minor: int, hook: Path, pages: Path, tmp_path: Path
) -> None:
    """As it would have without us, under its own name."""
    (tmp_path / "sitecustomize.py").write_text("print('theirs', __name__)")
    python = interpreter(minor)
    path = str(tmp_path)
    done = run(hook, PROGRAM, python=python, path=path, FLOPGUARD_DIR=str(pages))

    assert done.stdout == "theirs sitecustomize\ndone\n"
    assert len(read_all(pages)) == 1


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        pytest.param([], {}, id="no folder is named"),
        pytest.param([], {"FLOPGUARD_DIR": ""}, id="the folder's name is empty"),
        pytest.param(
            [], {"FLOPGUARD_DIR": "PAGES", "FLOPGUARD_DISABLE": "1"}, id="switched off"
        ),
        pytest.param(["-I"], {"FLOPGUARD_DIR": "PAGES"}, id="python -I"),
        pytest.param(["-E"], {"FLOPGUARD_DIR": "PAGES"}, id="python -E"),
        pytest.param(["-S"], {"FLOPGUARD_DIR": "PAGES"}, id="python -S"),
    ],
)
def test_otherwise_it_is_silently_unarmed(
    flags: list[str], environment: dict[str, str], hook: Path, pages: Path
) -> None:
    """Nothing is written and nothing is said."""
    named = {k: v.replace("PAGES", str(pages)) for k, v in environment.items()}
    program = f"import sys; sys.path.append({str(STANDIN)!r})\n" + PROGRAM

    done = run(hook, program, *flags, **named)

    assert (done.stdout, done.stderr) == ("done\n", "")
    assert list(pages.iterdir()) == []


def test_arming_does_not_import_torch(hook: Path, pages: Path) -> None:
    """Nor does it put what lies beside the hook on the path."""
    (hook.parent / "stranger.py").touch()
    program = (
        "import sys, importlib.util as u\n"
        "print('torch' in sys.modules, u.find_spec('stranger'))"
    )

    done = run(hook, program, FLOPGUARD_DIR=str(pages))

    assert done.stdout == "False None\n"


def test_torch_keeps_its_own_loader(hook: Path, pages: Path) -> None:
    """Tools that look for its source find it; ours is one finder, for all modules."""
    program = (
        "import sys, torch\n"
        "print(type(torch.__loader__).__name__, vars(torch.__loader__).keys())\n"
        "print(sum('flopguard' in type(f).__module__ for f in sys.meta_path))"
    )

    done = run(hook, program, FLOPGUARD_DIR=str(pages))

    assert done.stdout == "SourceFileLoader dict_keys(['name', 'path'])\n1\n"


def test_a_torch_that_fails_to_import_fails_as_ever(hook: Path, pages: Path) -> None:
    """And when it imports at last, it is counted."""
    program = (
        "import os\n"
        "try:\n    import torch\nexcept ImportError as error:\n    print(error)\n"
        "del os.environ['STANDIN_TORCH_BROKEN']\n" + PROGRAM
    )

    done = run(hook, program, FLOPGUARD_DIR=str(pages), STANDIN_TORCH_BROKEN="1")

    assert done.stdout == "the stand-in was told to fail\ndone\n"
    assert len(read_all(pages)) == 1


def test_a_torch_that_is_reloaded_is_attached_to_once(hook: Path, pages: Path) -> None:
    """Otherwise all would be counted twice."""
    program = (
        "import importlib, torch, flopguard_hook.attaching as attaching\n"
        "attaching.attach = lambda _: print('attached again')\n"
        "importlib.reload(torch)\n" + PROGRAM
    )

    done = run(hook, program, FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.stderr) == ("done\n", "")


def test_what_a_signal_handler_raises_meanwhile_is_the_programs(
    hook: Path, pages: Path
) -> None:
    """It comes out of the import of torch; a timeout must not be lost."""
    with (hook / "roots.py").open("a") as source:
        source.write("\nimport os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\n")
    program = (
        "import signal\n"
        "told = []\n"
        "def handler(*_):\n"
        "    told.append(True)\n"
        "    if len(told) == 1:\n        raise TimeoutError('theirs')\n"
        "signal.signal(signal.SIGUSR1, handler)\n"
        "try:\n    import torch\nexcept TimeoutError as error:\n    print(error)\n"
    ) + PROGRAM

    done = run(hook, program, FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.stderr) == ("theirs\ndone\n", "")


@pytest.mark.parametrize("module", ["arming", "attaching", "dispatch", "page"])
def test_a_broken_hook_says_one_line_and_the_program_runs(
    module: str, hook: Path, pages: Path
) -> None:
    """Whatever part of it is broken."""
    (hook / f"{module}.py").write_text("raise RuntimeError('planted')")

    done = run(hook, PROGRAM, FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.returncode) == ("done\n", 0)
    assert done.stderr == (
        "flopguard: this process is not counted: RuntimeError('planted')\n"
    )


BROKEN = "= lambda *_, **__: 1 // 0"


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        pytest.param("signature", f"ambient {BROKEN}", id="a window opens"),
        pytest.param("windows", f"Windows.category {BROKEN}", id="an operator runs"),
        pytest.param("replay", f"Replay.learn {BROKEN}", id="a window closes"),
    ],
)
def test_a_failure_while_counting_leaves_the_program_alone(
    module: str, planted: str, hook: Path, pages: Path
) -> None:
    """The page says that the hook failed, and so does one line."""
    with (hook / f"{module}.py").open("a") as source:
        source.write(f"\n{planted}\n")

    done = run(hook, PROGRAM, FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.returncode) == ("done\n", 0)
    assert done.stderr.startswith("flopguard: the hook failed and counts no more: Zero")
    assert done.stderr.count("\n") == 1
    assert [page.errors for page in read_all(pages)] == [("hook_failed",)]


def test_a_formula_that_raises_costs_its_operator_not_the_process(
    hook: Path, pages: Path
) -> None:
    """The page says so; what has a figure is counted on."""
    with (hook / "matrices.py").open("a") as source:
        source.write(
            "\n\n@formula('aten::mm')\ndef broken(args, _):\n"
            "    return matrix_product(args, _) // (args[0].shape[0] != 3)\n"
        )

    done = run(hook, PROGRAM, FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    (page,) = read_all(pages)
    assert page.errors == ("formula_failed",)
    assert page.done["forward"]["fp32"] == 0
    assert page.done["backward"]["fp32"] == 4 * STEPS


def test_a_torch_unlike_all_known_ones_is_flagged(hook: Path, pages: Path) -> None:
    """The program runs; the page says that nothing was counted."""
    program = "import sys, torch\n" + PROGRAM
    rename = "import torch.optim.optimizer as o; del o.register_optimizer_step_pre_hook"
    standin = (STANDIN / "torch" / "__init__.py").read_text()
    other = pages.parent / "other"
    (other / "torch").mkdir(parents=True)
    (other / "torch" / "__init__.py").write_text(f"{standin}\n{rename}\n")

    done = run(hook, program, path=str(other), FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.returncode) == ("done\n", 0)
    (page,) = read_all(pages)
    assert page.errors == ("hook_failed",)
    assert page.begun["forward"]["fp32"] == 0


def test_a_torch_that_lacks_a_name_is_measured_at_every_step(
    hook: Path, pages: Path
) -> None:
    """Counted all the same; the facts say why nothing is replayed."""
    standin = (STANDIN / "torch" / "__init__.py").read_text()
    other = pages.parent / "other"
    (other / "torch").mkdir(parents=True)
    forget = "del sys.modules['torch._C']._functorch.peek_interpreter_stack"
    (other / "torch" / "__init__.py").write_text(f"{standin}\n{forget}\n")

    done = run(hook, PROGRAM, path=str(other), FLOPGUARD_DIR=str(pages))

    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    (page,) = read_all(pages)
    assert page.errors == ()
    assert page.done["forward"]["fp32"] == 120 * STEPS
    (facts,) = [json.loads(path.read_text()) for path in pages.glob("*.json")]
    replay = facts["replay"]
    assert (replay["state"], replay["replayed"]) == ("off", 0)
    assert (
        replay["why"] == "this torch has no torch._C._functorch.peek_interpreter_stack"
    )


def test_a_hidden_sitecustomize_that_raises_is_reported_by_python(
    hook: Path, pages: Path, tmp_path: Path
) -> None:
    """With the message that it always gave, and the hook stays armed."""
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('theirs')")

    done = run(hook, PROGRAM, path=str(tmp_path), FLOPGUARD_DIR=str(pages))

    assert done.stdout == "done\n"
    assert "Error in sitecustomize" in done.stderr
    assert "ValueError: theirs" in done.stderr
    assert len(read_all(pages)) == 1
