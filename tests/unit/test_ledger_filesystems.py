"""Is a ledger refused where a power cut or a second machine can break it?"""

from pathlib import Path

import pytest

from flopguard_operator.ledger import filesystems
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.store import SqliteStore
from vectors.ledger_story import KEY

# As proc(5) has them: id, parent, device, root, mount point, options - type, source.
MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /srv rw shared:9 - nfs4 10.0.0.1:/export rw,vers=4.2
31 30 254:1 / /srv/local rw - xfs /dev/vdb rw
32 22 0:27 / /data\040of\040us rw - cifs //server/share rw
33 22 0:28 / /over rw - ext4 /dev/vdc rw
34 33 0:29 / /over rw - fuse.glusterfs server:/volume rw
35 22 0:30 / /empty rw -  none rw
36 22 0:31 / /short
37 22 0:32 / /mem rw master:2 propagate_from:3 - tmpfs tmpfs rw
"""

PLACES = {
    "/var/lib/flopguard/ledger.db": "ext4",
    "/srv/ledger.db": "nfs4",
    "/srv/local/ledger.db": "xfs",
    "/srvelse/ledger.db": "ext4",
    "/data of us/ledger.db": "cifs",
    "/over/ledger.db": "fuse.glusterfs",
    "/mem/ledger.db": "tmpfs",
    "/short/ledger.db": "ext4",
}


@pytest.mark.parametrize(("path", "kind"), PLACES.items(), ids=PLACES.keys())
def test_the_mount_of_a_path_is_found(path: str, kind: str) -> None:
    """The deepest one, and of several on one point the last."""
    assert filesystems.kind_of(Path(path), MOUNTS) == kind


def test_nothing_is_known_of_no_mounts() -> None:
    """Nor of what cannot be read."""
    assert filesystems.kind_of(Path("/x"), "") == ""
    assert filesystems.kind_of(Path("/x"), "a b - \n\n-\n") == ""


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "glusterfs", "fuse"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "fuse.gcsfuse", "fuse.s3fs"),
    ],
)
def test_a_network_is_told_from(kind: str) -> None:
    """Whatever the driver is called."""
    assert filesystems.is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"])
def test_a_disk(kind: str) -> None:
    """What block storage is formatted with."""
    assert not filesystems.is_network(kind)


def test_a_ledger_on_a_network_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it found, and what to do; nothing is made there."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {tmp_path} rw - nfs x rw")
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)
    with pytest.raises(LedgerError, match=r"\(nfs\).*volume of block storage"):
        SqliteStore(tmp_path / "ledger.db", KEY)

    assert not (tmp_path / "ledger.db").exists()


def test_where_mounts_are_not_told_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop without /proc can have a ledger too."""
    monkeypatch.setattr(filesystems, "MOUNTS", tmp_path / "absent")
    SqliteStore(tmp_path / "ledger.db", KEY).close()
