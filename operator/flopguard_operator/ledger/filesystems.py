"""Tell network file systems from disks: on those SQLite's WAL loses or forks a ledger.

WAL needs memory that all of a file's users share, so one machine, and locks that hold
(https://sqlite.org/wal.html, "does not work over a network filesystem").
"""

import os
from pathlib import Path

from flopguard_operator.ledger.errors import LedgerError

MOUNTS = Path("/proc/self/mountinfo")

# Names as the kernel gives them in /proc/filesystems; EFS, FSx and Azure Files are NFS
# or SMB underneath, and Cloud Storage and S3 come by FUSE.
NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
    }
)
_LOCAL_FUSE = frozenset({"fuse.ext4", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuseblk"})


def is_network(kind: str) -> bool:
    """Tell whether a type of file system is one that a ledger must not be on.

    Of FUSE only what is known to be a local disk passes: the others are drivers of
    somebody's own, most of them of a network (sshfs, s3fs, gcsfuse, glusterfs).
    """
    is_fuse = kind == "fuse" or kind.startswith("fuse.")
    return kind in NETWORK or (is_fuse and kind not in _LOCAL_FUSE)


def kind_of(path: Path, mountinfo: str) -> str:
    """Return the type of the file system that a path is on, "" if unknown.

    Args:
        path: absolute, with no symbolic links in it; it need not exist.
        mountinfo: the text of proc(5) /proc/pid/mountinfo.
    """
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if len(fields) < 5 or not kinds[0]:  # noqa: PLR2004 - the mount point is 5th
            continue
        mount = Path(_unescaped(fields[4]))
        depth = len(mount.parts)
        # Of two mounts on one point the later one is on top.
        if depth >= best and path.is_relative_to(mount):
            best, found = depth, kinds[0]
    return found


def refuse_network(path: Path) -> None:
    """Refuse a path on a network file system.

    Raises:
        LedgerError: it is on one; the sentence says which, and what to do.
    """
    try:
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # not Linux: nothing is known
    kind = kind_of(Path(os.path.realpath(path)), mountinfo)
    if is_network(kind):
        message = (
            f"{path} is on a network file system ({kind}), where a power cut or a"
            " second machine can break a ledger: give it a volume of block storage"
        )
        raise LedgerError(message)


def _unescaped(field: str) -> str:
    """Return a field of mountinfo with its octal escapes (space, tab, …) resolved."""
    for code, sign in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        field = field.replace(f"\\{code}", sign)
    return field
