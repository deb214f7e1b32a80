"""Define the operator's settings, from flags of the command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What an administrator chooses; every default is safe for production."""

    ledger: Path = Path("/var/lib/flopguard/ledger.db")
    models: Path | None = None
    policies: Path | None = None
    prometheus_url: str = ""
    cycle_seconds: float = 15.0
    settle_seconds: float = 300.0
    rate_seconds: float = 600.0
    grace_seconds: float = 120.0
    retention_years: int = 10
    namespace: str = "flopguard"
    key_secret: str = "flopguard-ledger-key"  # noqa: S105 - the name of a Secret
    lease: str = "flopguard-operator"
    lease_seconds: float = 15.0
    port: int = 8080
    reports: bool = False
    kubeconfig: str | None = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting, with help that says what it does."""
    d = Settings()
    add = parser.add_argument
    add(
        "--ledger", type=Path, default=d.ledger, help="file of the ledger (%(default)s)"
    )
    add(
        "--models",
        type=Path,
        help="folder with private entries of base models, *.yaml; read in each cycle",
    )
    add(
        "--policies",
        type=Path,
        help="folder with rule sets of one's own, *.yaml; read in each cycle",
    )
    add(
        "--prometheus-url",
        default=d.prometheus_url,
        help="base address of the Prometheus that scrapes the sidecars; "
        "empty: read the sidecars directly",
    )
    add(
        "--cycle-seconds",
        type=float,
        default=d.cycle_seconds,
        help="seconds between two looks at all runs (%(default)s)",
    )
    add(
        "--settle-seconds",
        type=float,
        default=d.settle_seconds,
        help="seconds between two ledger entries of a run without events (%(default)s)",
    )
    add(
        "--rate-seconds",
        type=float,
        default=d.rate_seconds,
        help="window of the rate and the forecast (%(default)s)",
    )
    add(
        "--grace-seconds",
        type=float,
        default=d.grace_seconds,
        help="seconds that a started pod has until it must be metered (%(default)s)",
    )
    add(
        "--retention-years",
        type=int,
        choices=range(1, 101),
        metavar="YEARS",
        default=d.retention_years,
        help="for how long the ledger is kept, unless a program asks for longer, or a "
        "person decided otherwise (%(default)s)",
    )
    add("--namespace", default=d.namespace, help="the operator's own (%(default)s)")
    add(
        "--key-secret",
        default=d.key_secret,
        help="Secret with the ledger's key, made if absent (%(default)s)",
    )
    add("--lease", default=d.lease, help="Lease of the one that acts (%(default)s)")
    add(
        "--lease-seconds",
        type=float,
        default=d.lease_seconds,
        help="how long a silent leader is waited for; 0: without a Lease (%(default)s)",
    )
    add("--port", type=int, default=d.port, help="metrics and health (%(default)s)")
    add(
        "--reports",
        action="store_true",
        help="serve reports at /reports/, without a log-in, beside the metrics",
    )
    add("--kubeconfig", help="kubeconfig file; default: the pod's service account")


def from_flags(flags: argparse.Namespace) -> Settings:
    """Return the settings that parsed flags stand for."""
    names = Settings.__dataclass_fields__
    return Settings(**{name: getattr(flags, name) for name in names})
