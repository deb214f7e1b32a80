"""A thin kubectl for tests: every call runs the real binary."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cluster import tools
from cluster.state import ClusterError

COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.2

T = TypeVar("T")
Manifest = Mapping[str, Any]


class KubectlError(ClusterError):
    """kubectl failed; `stderr` is what the user would have read."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(command)}: {stderr}")
        self.stderr = stderr


class Kubectl:
    """kubectl with one cluster's kubeconfig and, when given, one namespace.

    `user` makes every call as that user (impersonation), for tests of who may do what.
    """

    def __init__(
        self, kubeconfig: Path, namespace: str | None = None, user: str | None = None
    ) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.user = user

    def within(self, namespace: str) -> "Kubectl":
        """The same in another namespace."""
        return Kubectl(self.kubeconfig, namespace, self.user)

    def acting_as(self, user: str) -> "Kubectl":
        """The same as another user."""
        return Kubectl(self.kubeconfig, self.namespace, user)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl to its end and return its standard output.

        Raises:
            KubectlError: if it fails or takes longer than a minute.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(arguments, f"not within {COMMAND_SECONDS} s") from None
        if done.returncode != 0:
            raise KubectlError(arguments, done.stderr.strip())
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        """The full command line, for a caller that starts it in its own way."""
        options = [f"--kubeconfig={self.kubeconfig}"]
        if self.namespace:
            options.append(f"--namespace={self.namespace}")
        if self.user:
            options.append(f"--as={self.user}")
        return [str(tools.path_of("kubectl")), *options, *arguments]

    def apply(self, *manifests: Manifest | str, server_side: bool = False) -> str:
        """Apply objects (mappings) or texts of YAML; returns what kubectl says."""
        texts = [m if isinstance(m, str) else json.dumps(m) for m in manifests]
        options = ["--server-side"] if server_side else []
        return self.run("apply", *options, "-f", "-", stdin="\n---\n".join(texts))

    def get_json(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`, decoded.

        Raises:
            KubectlError: if there is no such object.
        """
        decoded: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json"))
        return decoded

    def exists(self, *arguments: str) -> bool:
        """Whether `kubectl get …` finds anything."""
        return bool(self.run("get", *arguments, "--ignore-not-found", "-o", "name"))

    def wait_for(
        self,
        found: Callable[[], T | None],
        seconds: float,
        what: str,
        poll_seconds: float = POLL_SECONDS,
    ) -> T:
        """Poll until `found` returns something true, and return that.

        An error of kubectl counts as not found yet.

        Raises:
            AssertionError: after `seconds`; says what was awaited and what came last.
        """
        deadline = time.monotonic() + seconds
        while True:
            last: object
            try:
                last = value = found()
                if value:
                    return value
            except KubectlError as error:
                last = error
            if time.monotonic() > deadline:
                message = f"not within {seconds:.0f} s: {what} (last seen: {last})"
                raise AssertionError(message)
            time.sleep(poll_seconds)
