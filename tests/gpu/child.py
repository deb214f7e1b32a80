"""Run one check's program in this process, under the hook; print what it expects."""

import json
import os
import sys
import traceback
from typing import Any

from gpu import attention, compiling, distributed, foreign, hardware, kernels, training
from gpu.expecting import Check, UnavailableError

CHECKS: tuple[Check, ...] = (
    *training.CHECKS,
    *compiling.CHECKS,
    *attention.CHECKS,
    *kernels.CHECKS,
    *foreign.CHECKS,
    *distributed.CHECKS,
    *hardware.CHECKS,
)


def main() -> None:
    """Print one JSON object: `expected`, `unavailable` or `error`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    name, device = sys.argv[1:]
    (check,) = (check for check in CHECKS if check.name == name)
    answer: dict[str, Any]
    try:
        answer = {"expected": check.program(device)._asdict()}
    except UnavailableError as error:
        answer = {"unavailable": str(error)}
    except Exception as error:  # noqa: BLE001 # whatever it is goes into the table
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.close()


if __name__ == "__main__":
    main()
