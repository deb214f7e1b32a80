"""What a person sees of the demo: acts, facts, and a bar that fills."""

import sys
import time

WIDTH = 28
_BOLD, _DIM, _RED, _GREEN, _PLAIN = (
    ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m")
    if sys.stdout.isatty()
    else ("", "", "", "", "")
)
_started = time.monotonic()


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def act(title: str) -> None:
    """Open a new act."""
    _write(f"\n{_BOLD}» {title}{_PLAIN}")


def fact(text: str) -> None:
    """Tell one fact, after the seconds since the start."""
    _write(f"{_DIM}{time.monotonic() - _started:7.1f} s{_PLAIN}  {text}")


def quote(text: str) -> None:
    """Show what another program said."""
    for line in text.strip().splitlines():
        _write(f"{_DIM}         │{_PLAIN} {line}")


def verdict(text: str, *, holds: bool) -> None:
    """Tell the outcome of one check."""
    mark = f"{_GREEN}✓{_PLAIN}" if holds else f"{_RED}✗{_PLAIN}"
    _write(f"       {mark}   {text}")


def meter(status: dict[str, str], step: int) -> None:
    """Show how much of the limit is used, at what rate, and when it will be reached."""
    percent = float(status.get("percentDisplay", "0"))
    full = min(WIDTH, int(percent * WIDTH / 100))
    bar = "█" * full + "░" * (WIDTH - full)
    color = _RED if percent >= 100 else ""
    eta = f", limit in {status['eta']}" if status.get("eta") else ""
    rate = float(status.get("flopsPerSecond", "0"))
    fact(
        f"{color}{bar}{_PLAIN} {percent:6.2f} %  "
        f"{status.get('usedDisplay', '0')} of {status.get('limitDisplay', '?')} FLOPs, "
        f"{rate:.1e} FLOP/s{eta}  (step {step})"
    )


def opinions(rows: list[dict[str, str]]) -> None:
    """Show what the hook counted beside what others say of the same work."""
    for row in rows:
        flops = float(row["flops"])
        note = row.get("note", "")
        fact(f"{row['source']:>9} {flops:.4e} = {row['ratioToHook']} x hook  ({note})")
