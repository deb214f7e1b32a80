"""An OCI image layout: which images it holds, and streams of the blobs of some.

Format: github.com/opencontainers/image-spec, image-layout.md.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

REFERENCE = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"

Descriptor = dict[str, Any]


def references(layout: Path) -> dict[str, Descriptor]:
    """The manifests that the layout's index names, by reference."""
    index = layout / "index.json"
    if not index.exists():
        return {}
    manifests = json.loads(index.read_text(encoding="utf-8"))["manifests"]
    return {m["annotations"][REFERENCE]: m for m in manifests if "annotations" in m}


def blobs(layout: Path, manifest: Descriptor) -> set[str]:
    """The digests of everything that an image is made of, its manifest included."""
    content = json.loads(_blob(layout, manifest["digest"]).read_text(encoding="utf-8"))
    parts = [content["config"], *content["layers"]]
    return {manifest["digest"], *(part["digest"] for part in parts)}


def write_archive(
    layout: Path,
    images: Mapping[str, Descriptor],
    present: Iterable[str],
    target: IO[bytes],
) -> None:
    """Write a tar that `ctr images import` reads.

    Args:
        layout: the folder of the layout.
        images: manifests by the name that pods will use.
        present: digests that the reader has already; they are left out.
        target: where the tar goes; need not seek.
    """
    digests = set().union(*(blobs(layout, m) for m in images.values()))
    manifests = [{**m, "annotations": {IMAGE_NAME: name}} for name, m in images.items()]
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    with tarfile.open(fileobj=target, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", index)
        for digest in sorted(digests - set(present)):
            path = _blob(layout, digest)
            archive.add(path, str(path.relative_to(layout)))


def prune(layout: Path, keep: Iterable[str]) -> None:
    """Remove all references but these, and the blobs that only they had."""
    kept = set(keep)
    named = {r: m for r, m in references(layout).items() if r in kept}
    index = {"schemaVersion": 2, "manifests": list(named.values())}
    new = layout / "index.json.new"
    new.write_text(json.dumps(index), encoding="utf-8")
    new.replace(layout / "index.json")
    needed = set().union(*(blobs(layout, m) for m in named.values()))
    for path in (layout / "blobs" / "sha256").iterdir():
        if f"sha256:{path.name}" not in needed:
            path.unlink()


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
