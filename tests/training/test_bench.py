"""The benchmark of the hook runs and tells what it should, whatever the figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

from training.deployment import ROOT


def test_the_quick_benchmark_writes_both_files(tmp_path: Path) -> None:
    """Both arms ran, the hooked one was counted, and the page shows it."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}/sidecar"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "hook.json").read_text())
    program, piece = results["programs"]["micro"], results["pieces"]["root-12"]
    # 50 products of 2 x 2 by 2 x 2, and as many of the weight's gradient
    assert program["counted"]["hook"]["flops"] == str(50 * 2 * 16)
    assert piece["counted"]["hook"]["flops"] == "16"
    assert program["errors"] == piece["errors"] == []
    for timed in (program, piece):
        percent = timed["arms"]["hook"]["percent"]
        assert percent["low"] <= percent["value"] <= percent["high"]
        assert timed["bare_us"] > 0
    page = (tmp_path / "hook.md").read_text()
    assert program["title"] in page
    assert piece["title"] in page
