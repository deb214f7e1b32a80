"""Start the operator or the webhook: `python -m flopguard_operator PART`."""

import argparse
import asyncio
import contextlib
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from flopguard_operator import logs, settings


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the part it names; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flopguard_operator",
        description="Start a part of the control plane. For people: `flopguard`.",
    )
    parts = parser.add_subparsers(dest="part", required=True)
    text = "settle marks in the ledger, warn and hold"
    settings.add_flags(parts.add_parser("operator", help=text, description=text))
    text = "inject the meter into pods at admission"
    _webhook_flags(parts.add_parser("webhook", help=text, description=text))
    flags = parser.parse_args(arguments)
    logs.configure()
    if flags.part == "operator":
        # kopf and the web server are imported only by the part that needs them.
        from flopguard_operator.operating import operate  # noqa: PLC0415 - see above

        asyncio.run(operate(settings.from_flags(flags)))
    else:
        asyncio.run(_webhook(flags))
    return 0


def _webhook_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--namespace", default="flopguard", help="the webhook's own (%(default)s)")
    add("--service", default="flopguard-webhook", help="its Service (%(default)s)")
    add("--secret", default="flopguard-webhook", help="its certificate (%(default)s)")
    add(
        "--configuration",
        default="flopguard",
        help="the MutatingWebhookConfiguration that gets the CA (%(default)s)",
    )
    add("--sidecar-image", required=True, help="image of the sidecar that is injected")
    add("--sidecar-pull-policy", default="IfNotPresent", help="(%(default)s)")
    add(
        "--dcgm-url",
        default="",
        help="the node's dcgm-exporter, such as http://$(HOST_IP):9400/metrics",
    )
    add("--port", type=int, default=8443, help="HTTPS (%(default)s)")
    add("--kubeconfig", help="kubeconfig file; default: the pod's service account")


async def _webhook(flags: argparse.Namespace) -> None:
    from flopguard_operator import (  # noqa: PLC0415 - see main
        certificates,
        webhook,
        webhook_secret,
    )
    from flopguard_operator.cluster import Cluster  # noqa: PLC0415 - see main
    from flopguard_operator.injected import Images  # noqa: PLC0415 - see main

    cluster = await asyncio.to_thread(Cluster, flags.kubeconfig)
    certificate = await asyncio.to_thread(
        webhook_secret.ensure_certificate,
        cluster,
        flags.namespace,
        flags.secret,
        flags.service,
        datetime.now(UTC),
    )
    context = certificates.server_context(certificate)
    await asyncio.to_thread(
        webhook_secret.publish, cluster, flags.configuration, certificate
    )

    async def list_runs(namespace: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(cluster.list_runs, namespace)

    images = Images(flags.sidecar_image, flags.sidecar_pull_policy, flags.dcgm_url)
    serving = asyncio.create_task(webhook.serve(list_runs, images, context, flags.port))
    # To process 1 of a container, a signal that nobody handles is no signal.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    sys.exit(main())
