"""Keep the catalogue of the base models: the shipped ones, and private ones in files.

The operator's private entries come from a ConfigMap that is mounted as a folder; the
kubelet renews its files, and a change takes hold in the next cycle. A file that cannot
be read never takes away what is known: its last good entries stay, and a sentence says
what is the matter.
"""

from pathlib import Path

from flopguard_operator import mounted
from flopguard_operator.api.catalogue import MOST_BYTES, read_entries
from flopguard_operator.api.fields import SpecError
from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import Catalogue, CatalogueError, build
from flopguard_operator.models.entries import Entry

_MOST_FILES = 100


class Shelf:
    """The catalogue as of now."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._seen: tuple[dict[str, str], tuple[str, ...]] = ({}, ())
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._catalogue = shipped.catalogue()

    def catalogue(self) -> Catalogue:
        """Return the catalogue, read anew if a file of the folder has changed."""
        texts, problems = _texts(self._folder)
        seen = (self._seen[0] if problems else texts), problems
        if seen != self._seen:
            self._seen = seen
            self._renew(*seen)
        return self._catalogue

    def _renew(self, texts: dict[str, str], problems: tuple[str, ...]) -> None:
        found: dict[str, tuple[Entry, ...]] = {}
        for name, text in texts.items():
            try:
                found[name] = read_entries(text, name)
            except SpecError as error:
                problems = (*problems, f"Private entries: {error}.")
                found[name] = self._entries.get(name, ())
        try:
            self._catalogue = build(_all(found), problems)
            self._entries = found
        except CatalogueError as error:
            problems = (*problems, f"Private entries: {error}.")
            self._catalogue = build(_all(self._entries), problems)


def with_files(paths: tuple[Path, ...]) -> Catalogue:
    """Return the catalogue with the private entries of some files.

    Raises:
        SpecError: a file does not follow the schema.
        CatalogueError: two models have the same name.
        OSError: a file cannot be read.
    """
    found = {
        str(path): read_entries(mounted.read_text(path, MOST_BYTES + 1), path.name)
        for path in paths
    }
    return build(_all(found)) if found else shipped.catalogue()


def _all(found: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    return sum((entries for _, entries in sorted(found.items())), shipped.entries())


def _texts(folder: Path | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the YAML files of a folder, bounded, and what could not be read."""
    try:
        return mounted.texts(folder, _MOST_FILES, MOST_BYTES + 1), ()
    except OSError as error:
        name = folder.name if folder is not None else ""
        return {}, (f"Private entries: cannot read {name}: {error.strerror}.",)
