"""`flopguard inventory`: what computes on a cluster's accelerators."""

import json
import os
import sys
from pathlib import Path

import click

from flopguard_operator.cli_catalogue import catalogue, private_option
from flopguard_operator.cli_files import (
    MismatchError,
    UnusableError,
    json_option,
    told,
)
from flopguard_operator.cli_help import epilog
from flopguard_operator.inventory.objects import (
    MOST_BYTES,
    WANTED,
    InventoryError,
    Objects,
    read,
    sorted_by_kind,
)
from flopguard_operator.inventory.told import as_json, lines
from flopguard_operator.inventory.workloads import workloads
from flopguard_operator.report.escaping import as_line

_NEEDS = (
    "list on pods, jobs.batch, finetuneruns.flopguard.dev and "
    "finetuneprograms.flopguard.dev, in all namespaces"
)


@click.command(
    epilog=epilog(
        "flopguard inventory",
        "flopguard inventory --kubeconfig audit.kubeconfig --json",
        f"kubectl get {WANTED} -A -o json \\",
        "  | flopguard inventory --from -",
    )
)
@click.option(
    "--kubeconfig",
    metavar="FILE",
    envvar="KUBECONFIG",
    show_envvar=True,
    help="Of the cluster; ~/.kube/config without it, the pod's own account in a pod.",
)
@click.option(
    "--from",
    "file",
    metavar="FILE",
    help="Read what kubectl printed instead of a cluster; - for standard input.",
)
@private_option
@json_option
def inventory(
    kubeconfig: str | None, file: str | None, files: tuple[Path, ...], *, machine: bool
) -> None:
    """List every accelerator workload of a cluster, and what is known of each.

    Workload, pods, accelerators, FineTuneRun, base model; whether its figure is given,
    disclosed, estimated by others or unknown; whether the pods are metered. It only
    reads: it needs list on pods, jobs, finetuneruns and finetuneprograms.
    """
    shelf = catalogue(files)
    objects = _of_cluster(kubeconfig) if file is None else _of_file(file)
    found = workloads(objects, shelf)
    if machine:
        click.echo(json.dumps(as_json(found), indent=2))
        return
    for line in lines(found):
        click.echo(as_line(line))


def _of_file(file: str) -> Objects:
    with told():
        if file == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
    try:
        return read(data)
    except InventoryError as error:
        raise MismatchError(as_line(str(error))) from error


def _of_cluster(kubeconfig: str | None) -> Objects:
    # Here: the client takes a second to import, and is not on an auditor's laptop.
    try:
        from flopguard_operator.cluster import (  # noqa: PLC0415 - see above
            ClusterError,
            connected,
        )
    except ImportError as error:
        advice = "install the package kubernetes, or give --from"
        message = f"the Kubernetes client is not there: {advice}"
        raise UnusableError(message) from error
    path = kubeconfig or _default()
    try:
        return sorted_by_kind(connected(path).workloads())
    except ClusterError as error:
        advice = f"; it needs {_NEEDS}" if error.status in (401, 403) else ""
        message = f"the cluster cannot be read: {error}{advice}"
        raise UnusableError(as_line(message)) from error


def _default() -> str | None:
    """Return the user's kubeconfig; None in a pod that has none."""
    path = Path.home() / ".kube" / "config"
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and not path.exists()
    return None if in_pod else str(path)
