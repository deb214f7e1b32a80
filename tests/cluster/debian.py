"""Debian packages that the node and its images need."""

import os
import shutil
import subprocess
from pathlib import Path

from cluster.progress import step
from cluster.state import ClusterError, cache_folder

# None of them has a service that would start.
PACKAGES = {
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "/usr/sbin/iptables",
    "iproute2": "/usr/sbin/ip",
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
}


def install() -> None:
    """Install the packages that are not there yet.

    Raises:
        ClusterError: if apt-get fails, with its last words.
    """
    missing = [name for name, file in PACKAGES.items() if not Path(file).exists()]
    if not missing:
        return
    with step(f"apt-get install {' '.join(missing)}"):
        _apt("update", "-qq")
        _apt("install", "-qq", "--yes", "--no-install-recommends", *missing)


def unpacked(package: str) -> Path:
    """A package's files in the cache, without installing it: its service never starts.

    Raises:
        ClusterError: if it cannot be downloaded.
    """
    folder = cache_folder() / "debian" / package
    if folder.exists():
        return folder
    part = folder.with_name(f".{package}.{os.getpid()}")
    part.mkdir(parents=True)
    # apt downloads as a user of its own, who may not write into a private folder.
    with step(f"apt-get download {package}"):
        _apt("update", "-qq")
        _apt("download", "-qq", "-o", "APT::Sandbox::User=root", package, folder=part)
        archive = next(part.glob("*.deb"))
        subprocess.run(["dpkg-deb", "--extract", archive, part], check=True)
        archive.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def _apt(*arguments: str, folder: Path | None = None) -> None:
    done = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        cwd=folder,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"apt-get {' '.join(arguments)} failed: {done.stderr[-2000:]}"
        raise ClusterError(message)
