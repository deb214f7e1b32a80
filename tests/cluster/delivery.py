"""Bring the images into the node's containerd; only what it does not have yet."""

import json
import subprocess
from pathlib import Path

from cluster import images, layout, node, tools
from cluster.progress import step
from cluster.state import ClusterError, State


def deliver(state: State) -> None:
    """Build the images that changed and import those that the node does not have.

    Pods that are created from then on use them, with `imagePullPolicy: Never`.

    Raises:
        ClusterError: if a build or the import fails, with what it said.
    """
    built = images.build()
    record = _Record(state.folder / "images.json")
    wanted = {n: m for n, m in built.items() if record.images.get(n) != m["digest"]}
    if wanted:
        with step(f"importing {len(wanted)} images"):
            _import(state, wanted, record)


class _Record:
    """Which images and blobs the node has; kept in a file of the cluster's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.images: dict[str, str] = {}
        self.blobs: set[str] = set()
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            self.images, self.blobs = content["images"], set(content["blobs"])

    def save(self) -> None:
        content = {"images": self.images, "blobs": sorted(self.blobs)}
        self._path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _import(
    state: State, wanted: dict[str, layout.Descriptor], record: _Record
) -> None:
    folder = images.layout_folder()
    ctr = [str(tools.path_of("ctr")), "--namespace=k8s.io", "images", "import", "-"]
    with subprocess.Popen(
        node.inside(state, ctr),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as importing:
        if importing.stdin is None or importing.stdout is None:
            message = "no pipe to ctr"
            raise ClusterError(message)
        broken = False
        try:
            layout.write_archive(folder, wanted, record.blobs, importing.stdin)
            importing.stdin.close()
        except BrokenPipeError:  # it says why on its output
            broken = True
        output = importing.stdout.read().decode(errors="replace")
    if broken or importing.returncode != 0:
        message = f"importing {', '.join(wanted)} failed: {output[-2000:]}"
        raise ClusterError(message)
    for name, manifest in wanted.items():
        record.images[name] = manifest["digest"]
        record.blobs |= layout.blobs(folder, manifest)
    record.save()
