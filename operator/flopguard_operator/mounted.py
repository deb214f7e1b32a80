"""Read the YAML files of a mounted ConfigMap: bounded, in the order of their names."""

from pathlib import Path


def texts(folder: Path | None, most_files: int, most_bytes: int) -> dict[str, str]:
    """Return the text of each file by its name; none where there is no folder.

    Args:
        folder: that the kubelet renews.
        most_files: the first so many are read.
        most_bytes: of each file.

    Raises:
        OSError: one cannot be read.
    """
    files = [] if folder is None else sorted(folder.glob("*.y*ml"))[:most_files]
    return {path.name: read_text(path, most_bytes) for path in files}


def read_text(path: Path, most_bytes: int) -> str:
    """Return the beginning of a file, whatever bytes are in it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(most_bytes).decode(errors="replace")
