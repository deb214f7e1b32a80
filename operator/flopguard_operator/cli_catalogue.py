"""Open the catalogue of base models for the command line, with private entries."""

from pathlib import Path

import click

from flopguard_operator.cli_files import MismatchError, told
from flopguard_operator.models import shipped
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.report.escaping import as_line

private_option = click.option(
    "--private",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML with private entries, as in the operator's ConfigMap. May be repeated.",
)


def catalogue(files: tuple[Path, ...]) -> Catalogue:
    """Return the shipped catalogue with the private entries of some files."""
    if not files:
        return shipped.catalogue()
    # An auditor's laptop, which has no pydantic, gives no private entries.
    from flopguard_operator.models.shelf import with_files  # noqa: PLC0415 - see above

    with told():
        try:
            return with_files(files)
        except ValueError as error:  # SpecError or CatalogueError
            raise MismatchError(as_line(str(error))) from error
