"""The wheels of an image's pins, for a build that needs no network."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from cluster.progress import step
from cluster.state import ClusterError, cache_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3.11"


def ensure(image: str) -> None:
    """Fill `out/wheels/<image>/` with the wheels of `requirements/<image>.txt`.

    Raises:
        ClusterError: if a wheel cannot be had, or its hash is another.
    """
    requirements = REPOSITORY / "requirements" / f"{image}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cached = cache_folder() / "wheels" / f"{image}-{digest}"
    if not cached.exists():
        _download(requirements, cached)
    target = REPOSITORY / "out" / "wheels" / image
    wanted = {wheel.name for wheel in cached.iterdir()}
    if target.exists() and {wheel.name for wheel in target.iterdir()} == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    # copy2 keeps the times: the layer that they go into stays the same.
    shutil.copytree(cached, target)


def _download(requirements: Path, target: Path) -> None:
    pip = cache_folder() / "tools" / "bin" / "pip"
    if not pip.exists():
        _run([PYTHON, "-m", "venv", str(pip.parent.parent)])
    part = target.with_name(f".{target.name}.{os.getpid()}")
    command = [str(pip), "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    with step(f"wheels of requirements/{requirements.name}"):
        _run([*command, f"--requirement={requirements}", f"--dest={part}"])
    part.rename(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)} failed: {done.stderr[-2000:]}"
        raise ClusterError(message)
