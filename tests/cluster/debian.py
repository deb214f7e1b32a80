"""Debian packages that the node and the image builds need."""

import os
import subprocess
import sysconfig
from collections.abc import Mapping
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


# A library that lies to a process about the time: for pods, which run this Debian too.
FAKETIME = (
    Path("/usr/lib")
    / str(sysconfig.get_config_var("MULTIARCH"))
    / "faketime/libfaketimeMT.so.1"
)


def install(packages: Mapping[str, str] = PACKAGES) -> None:
    """Install the packages that are not there yet.

    Args:
        packages: by name, with a file that each brings.

    Raises:
        ClusterError: if apt-get fails, with its last words.
    """
    missing = [name for name, file in packages.items() if not Path(file).exists()]
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
