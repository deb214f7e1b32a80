"""Debian packages that the node and the image builds need."""

import os
import subprocess
from pathlib import Path

from cluster.progress import step
from cluster.state import ClusterError

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


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"apt-get {' '.join(arguments)} failed: {done.stderr[-2000:]}"
        raise ClusterError(message)
