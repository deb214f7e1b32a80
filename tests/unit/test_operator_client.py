"""The Kubernetes client in front of answers that it was not made for.

The API server here is a stand-in: the real one gives such answers only in versions that
do not exist yet, or with something else at its address.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flopguard_operator.cluster import Cluster, ClusterError


@contextmanager
def api_server(tmp_path: Path, *answers: bytes, status: int = 200) -> Iterator[Cluster]:
    """Give a client of a server that says these things, one after the other."""
    said = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next(said)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Cluster(kubeconfig(tmp_path, server.server_port))
        finally:
            server.shutdown()
            thread.join(timeout=10)


def kubeconfig(tmp_path: Path, port: int) -> str:
    """Write a kubeconfig for plain HTTP at a port of this machine."""
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {
        "current-context": "x",
        "contexts": [context],
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "x", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def pod(uid: str, phase: Any = "Running") -> dict[str, Any]:
    """Return a pod with a port of a kind that the client's models refuse."""
    ports = [{"containerPort": "named-by-a-later-version"}]
    return {
        "metadata": {"uid": uid},
        "spec": {"containers": [{"name": "main", "ports": ports}]},
        "status": {"phase": phase},
    }


def page(*pods: dict[str, Any], after: str = "") -> bytes:
    """Return one page of a list of pods."""
    return json.dumps({"items": pods, "metadata": {"continue": after}}).encode()


def test_pods_of_a_later_version_are_listed(tmp_path: Path) -> None:
    """One field that the client knows otherwise must not hide all pods."""
    pages = (page(pod("a"), after="next"), page(pod("b")))
    with api_server(tmp_path, *pages) as cluster:
        assert cluster.injected_pods() == {"a", "b"}


def test_pods_of_a_later_version_are_counted(tmp_path: Path) -> None:
    """Else a hold could not be proven for as long as the operator is older."""
    pages = (
        page(pod("a"), pod("b", "Succeeded"), after="next"),
        page(pod("c", "Failed"), pod("d", None)),
    )
    with api_server(tmp_path, *pages) as cluster:
        assert cluster.pods_left("ml", "a=b") == 2


def test_a_job_of_a_later_version_is_patched(tmp_path: Path) -> None:
    """What the server answers to a suspend is not read as a model either."""
    job = {"spec": {"parallelism": "named-by-a-later-version"}}
    with api_server(tmp_path, json.dumps(job).encode()) as cluster:
        cluster.patch_job("ml", "train", {"spec": {"suspend": True}})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        (b"", 200),
        (b"[]", 200),
        (b"{}", 200),
        (b'{"items"', 200),
        (b'{"message": "no"}', 403),
        (b"\xff", 500),
    ],
    ids=[
        "a web page",
        "nothing",
        "a list",
        "an object that is no list of pods",
        "JSON that is cut off",
        "a refusal",
        "an error that is no text",
    ],
)
def test_what_is_no_answer_is_one_kind_of_error(
    body: bytes, status: int, tmp_path: Path
) -> None:
    """And never a list without pods: that would prove a hold."""
    with (
        api_server(tmp_path, body, status=status) as cluster,
        pytest.raises(ClusterError) as refusal,
    ):
        cluster.pods_left("ml", "a=b")

    assert refusal.value.status == (0 if status == 200 else status)
