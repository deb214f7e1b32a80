"""The termination log: the file that the kubelet copies into the pod's status.

Shell. One `pwrite` of one record of fixed length at offset 0, never truncated: a kill
at any moment leaves a whole record. The line of energy after it never gets shorter.
"""

import os
from pathlib import Path

DEFAULT_PATH = Path("/dev/termination-log")


class TerminationLog:
    """The open termination log; the kubelet has made the file.

    Raises:
        OSError: There is no such file, or it may not be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write(self, record: bytes) -> None:
        """Replace the record.

        Raises:
            OSError: Not all of it was written.
        """
        written = os.pwrite(self._file, record, 0)
        if written != len(record):
            msg = f"{written} of {len(record)} bytes were written"
            raise OSError(msg)

    def close(self) -> None:
        """Close the file; the record stays."""
        os.close(self._file)
