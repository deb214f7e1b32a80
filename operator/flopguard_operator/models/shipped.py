"""Read what the package holds: the table of base models and the templates."""

from functools import lru_cache
from importlib import resources

from flopguard_operator.models.catalogue import Catalogue, build
from flopguard_operator.models.entries import Entry
from flopguard_operator.models.table import read_table

TABLE = "base_models.csv"
TEMPLATES = ("disclosure-request", "intake-form", "contract-clause")


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Return the base models that flopguard ships."""
    return read_table(_text(TABLE))


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Return the catalogue that flopguard ships, without private entries."""
    return build(entries())


def template(name: str) -> str:
    """Return the Markdown of one of `TEMPLATES`."""
    return _text(f"templates/{name}.md")


def _text(name: str) -> str:
    package = resources.files("flopguard_operator.models")
    return package.joinpath(name).read_text(encoding="utf-8")
