"""The images: built from the project's own Dockerfiles, without a registry.

A build is named by the digest of all that goes into it, so nothing is built twice; the
results share one OCI layout in the cache.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import layout, tools, wheels
from cluster.nodeconfig import PAUSE_IMAGE
from cluster.processes import run
from cluster.progress import say, step
from cluster.state import cache_folder
from cluster.wheels import REPOSITORY

PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
BUILDS_KEPT = 3
_OWN = Path("tests/cluster/images")
_DEBOOTSTRAP = (
    "--variant=essential",
    "--include=python3,python3-pip,ca-certificates,libstdc++6,libgomp1",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    # A virtual environment under /root may be mounted into a pod of another user.
    '--customize-hook=chmod 755 "$1/root"',
    "bookworm",
)


@dataclass(frozen=True)
class Image:
    """An image: its short name, the name pods use, and what it is made from.

    `sources` are paths in the repository; the first is the Dockerfile.
    """

    short: str
    name: str
    sources: tuple[str, ...]
    on_python: bool = True


BASE = Image("python", PYTHON_IMAGE, (f"{_OWN}/base/Dockerfile",), on_python=False)
IMAGES = (
    BASE,
    Image("pause", PAUSE_IMAGE, (f"{_OWN}/pause/Dockerfile",), on_python=False),
    Image(
        "prometheus",
        "localhost/flopguard-prometheus:dev",
        (f"{_OWN}/prometheus/Dockerfile",),
    ),
    Image(
        "operator",
        "localhost/flopguard-operator:dev",
        (
            "operator/Dockerfile",
            ".dockerignore",
            "requirements/operator.txt",
            "operator",
        ),
    ),
    Image(
        "sidecar",
        "localhost/flopguard-sidecar:dev",
        ("sidecar/Dockerfile", ".dockerignore", "requirements/sidecar.txt", "sidecar"),
    ),
)


def layout_folder() -> Path:
    """The OCI layout that all builds share."""
    return cache_folder() / "images" / "layout"


def build() -> dict[str, layout.Descriptor]:
    """Build what is not built yet; the manifests, by the name that pods use.

    Raises:
        ClusterError: if a build fails, with what it said.
    """
    built = {}
    with _lock():
        for image in IMAGES:
            if not (REPOSITORY / image.sources[0]).exists():
                say(f"no {image.sources[0]}: image {image.name} is left out")
                continue
            reference = f"{image.short}-{_digest(image)}"
            if reference not in layout.references(layout_folder()):
                with step(f"image {image.name}"):
                    _build(image, reference)
                _prune(image, reference)
            built[image.name] = layout.references(layout_folder())[reference]
    return built


def _build(image: Image, reference: str) -> None:
    context = _context(image)
    dockerfile = str(REPOSITORY / image.sources[0])
    options = ["--layers", "--pull-never", "--quiet", f"--tag={image.name}"]
    _buildah("build", *options, f"--file={dockerfile}", str(context))
    target = layout_folder()
    target.mkdir(parents=True, exist_ok=True)
    _buildah("push", "--quiet", image.name, f"oci:{target}:{reference}")


def _context(image: Image) -> Path:
    """The folder that the Dockerfile's COPY lines are about."""
    if image is BASE:
        return _root_file_system()
    if image.short in tools.TOOLS:
        tools.ensure([image.short])
        return tools.path_of(image.short).parent
    wheels.ensure(image.short)
    return REPOSITORY


def _root_file_system() -> Path:
    """A folder with `base.tar`, made by mmdebstrap once."""
    digest = hashlib.sha256("\n".join(_DEBOOTSTRAP).encode()).hexdigest()[:12]
    folder = cache_folder() / "images" / f"base-{digest}"
    if not (folder / "base.tar").exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "part.tar"
        with step("Debian with Python 3.11 (mmdebstrap)"):
            _privately("mmdebstrap", "--quiet", *_DEBOOTSTRAP, str(part))
        part.rename(folder / "base.tar")
    return folder


def _digest(image: Image) -> str:
    digest = hashlib.sha256()
    for path in _files(image):
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    if image.on_python:
        digest.update(_digest(BASE).encode())
    if image is BASE:
        digest.update("\n".join(_DEBOOTSTRAP).encode())
    if image.short in tools.TOOLS:
        digest.update(tools.path_of(image.short).parent.name.encode())
    return digest.hexdigest()[:12]


def _files(image: Image) -> list[Path]:
    found: list[Path] = []
    for source in image.sources:
        path = REPOSITORY / source
        inside = path.rglob("*") if path.is_dir() else [path]
        found += (p for p in inside if p.is_file() and p.suffix != ".pyc")
    return sorted(set(found))


def _prune(image: Image, newest: str) -> None:
    """Forget all but the last few builds of an image."""
    folder = layout_folder()
    names = list(layout.references(folder))  # in the order in which they were built
    own = [name for name in names if name.startswith(f"{image.short}-")]
    dropped = {name for name in own[:-BUILDS_KEPT] if name != newest}
    if dropped:
        layout.prune(folder, [name for name in names if name not in dropped])


def _buildah(*arguments: str) -> None:
    storage = cache_folder() / "buildah"
    # It counts mounts, and a build that was killed leaves that wrong.
    shutil.rmtree(storage / "run", ignore_errors=True)
    options = [f"--root={storage / 'root'}", f"--runroot={storage / 'run'}"]
    _privately("buildah", *options, "--storage-driver=overlay", *arguments)


def _privately(*command: str) -> None:
    """Run in a mount namespace that takes with it what is left mounted."""
    private = ["unshare", "--mount", "--propagation=private"]
    run([*private, "env", "BUILDAH_ISOLATION=chroot", *command])


@contextmanager
def _lock() -> Iterator[None]:
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
