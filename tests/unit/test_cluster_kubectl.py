"""Waiting on a cluster: it ends, and says what it waited for."""

from pathlib import Path

import pytest

from cluster.kubectl import Kubectl, KubectlError


def test_waiting_returns_what_was_found() -> None:
    """An error of kubectl on the way is not the end."""
    answers = iter(["error", "", "found"])

    def found() -> str:
        answer = next(answers)
        if answer == "error":
            raise KubectlError(["get"], "not yet")
        return answer

    assert Kubectl(Path("none")).wait_for(found, 10, "an answer") == "found"


def test_waiting_in_vain_says_for_what() -> None:
    """A test that times out must tell what it missed and what it saw last."""

    def found() -> str:
        raise KubectlError(["get", "pod"], "no such pod")

    with pytest.raises(AssertionError, match=r"a pod .*no such pod"):
        Kubectl(Path("none")).wait_for(found, 0, "a pod")
