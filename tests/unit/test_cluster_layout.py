"""Image archives: what containerd reads is whole, small and named as pods name it."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from cluster import layout


def add_blob(folder: Path, content: bytes) -> dict[str, object]:
    """Put a blob into the layout; its descriptor."""
    value = hashlib.sha256(content).hexdigest()
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / "sha256" / value).write_bytes(content)
    return {"digest": f"sha256:{value}", "size": len(content)}


def add_image(folder: Path, reference: str, *layers: bytes) -> layout.Descriptor:
    """Put an image into the layout and its index; its manifest's descriptor."""
    content = {
        "config": add_blob(folder, f"config of {reference}".encode()),
        "layers": [add_blob(folder, layer) for layer in layers],
    }
    manifest = add_blob(folder, json.dumps(content).encode())
    manifest["annotations"] = {layout.REFERENCE: reference}
    manifests = [*layout.references(folder).values(), manifest]
    index = json.dumps({"schemaVersion": 2, "manifests": manifests})
    (folder / "index.json").write_text(index, encoding="utf-8")
    return manifest


def archive_of(
    folder: Path, images: dict[str, layout.Descriptor], present: set[str]
) -> dict[str, bytes]:
    """The files of the archive that would be imported."""
    target = io.BytesIO()
    layout.write_archive(folder, images, present, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in files.items() if file}


def test_an_archive_names_the_image_as_pods_do(tmp_path: Path) -> None:
    """The reference in the layout holds a digest; pods know the plain name."""
    manifest = add_image(tmp_path, "operator-123", b"base", b"code")

    files = archive_of(tmp_path, {"localhost/operator:dev": manifest}, set())

    named = json.loads(files["index.json"])["manifests"][0]
    assert named["digest"] == manifest["digest"]
    assert named["annotations"] == {layout.IMAGE_NAME: "localhost/operator:dev"}
    blobs = [content for name, content in files.items() if name.startswith("blobs/")]
    assert len(blobs) == len(layout.blobs(tmp_path, manifest)) == 4


def test_what_the_node_has_is_left_out(tmp_path: Path) -> None:
    """After a change of code only the code's layer travels."""
    old = add_image(tmp_path, "operator-1", b"base", b"code")
    new = add_image(tmp_path, "operator-2", b"base", b"other code")

    present = layout.blobs(tmp_path, old)
    files = archive_of(tmp_path, {"localhost/operator:dev": new}, present)

    assert b"other code" in files.values()
    assert b"base" not in files.values()


def test_pruning_keeps_shared_layers(tmp_path: Path) -> None:
    """Images share their base; forgetting one must not break another."""
    dropped = add_image(tmp_path, "operator-1", b"base", b"code")
    kept = add_image(tmp_path, "operator-2", b"base", b"other code")

    layout.prune(tmp_path, ["operator-2"])

    assert list(layout.references(tmp_path)) == ["operator-2"]
    present = {f"sha256:{p.name}" for p in (tmp_path / "blobs" / "sha256").iterdir()}
    assert present == layout.blobs(tmp_path, kept)
    with pytest.raises(FileNotFoundError):
        layout.blobs(tmp_path, dropped)


def test_a_layout_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """The first build finds no index."""
    assert layout.references(tmp_path / "none") == {}
