"""Programs that run in an interpreter of their own: `python FILE NAME`.

What they print is the same every time. They work with the real torch, with the
stand-in, with broken ones and with none.
"""

import os
import sys

if "__file__" in globals():  # not if it is read from stdin
    # Last, and by hand: Python may have been told to leave the script's folder out.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.append(os.path.dirname(os.path.dirname(here)))

from fuzz.starting import (  # needs the path; they fill the table
    endings,  # noqa: F401 # the same
    importing,  # noqa: F401 # the same
    pages,  # noqa: F401 # the same
    processes,  # noqa: F401 # the same
    surroundings,  # noqa: F401 # the same
)
from fuzz.starting.basics import PROGRAMS  # needs the path

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
