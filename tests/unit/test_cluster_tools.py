"""The cluster's tools: a change of what they are made from makes them anew."""

import shutil
from pathlib import Path

import pytest

from cluster import tools
from cluster.certificates import Authority


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tools' sources that a test may change."""
    copy = tmp_path / "tools"
    shutil.copytree(tools.SOURCES, copy)
    monkeypatch.setattr(tools, "SOURCES", copy)
    return copy


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_another_binary(sources: Path, file: str) -> None:
    """A stale binary would be tested in its place."""
    before = tools.path_of("coredns")
    others = tools.path_of("helm")

    with (sources / "coredns" / file).open("a", encoding="utf-8") as source:
        source.write("\n// changed\n")

    assert tools.path_of("coredns") != before
    assert tools.path_of("helm") == others


def test_kubernetes_knows_its_version() -> None:
    """Without the linker's flags the API server says v0.0.0, and clients believe it."""
    assert "version.gitVersion=v1." in tools.ldflags("kubernetes")
    assert "version.gitMinor=" in tools.ldflags("kubernetes")
    assert "version" not in tools.ldflags("containerd")


def test_every_group_is_pinned_by_checksums() -> None:
    """What is fetched is what was reviewed: groups that need others have sums."""
    for tool in tools.TOOLS.values():
        folder = tools.SOURCES / tool.group
        needs = "require" in (folder / "go.mod").read_text(encoding="utf-8")
        assert (folder / "go.sum").exists() is needs


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    """Whoever reads the admin's key owns the machine: pods may be privileged."""
    Authority(tmp_path, "test").issue("admin", "admin", organization="system:masters")

    assert (tmp_path / "admin.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
