"""Notes, as facts, what changes too often to be noted when it does. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopguard_hook.keys import About

if TYPE_CHECKING:
    from flopguard_hook.metering import Metering

_MOST_REASONS = 8


def note_facts(metering: Metering) -> None:
    """Note the calls of models, the replay, and what could not be counted."""
    session = metering.session
    metering.roots.describer.flush(
        (family.about.module, figure.about, family.about.grad, figure.calls)
        for family, figure in metering.replay.figures()
        if isinstance(family.about, About) and figure.about is not None
    )
    session.note("replay", _replay(metering))
    if metering.operators.unknown:
        session.note("unknown_operators", metering.operators.described())
    if metering.purposes:
        flops = {name: str(n) for name, n in sorted(metering.purposes.items())}
        session.note("no_grad_purposes", flops)
    if session.masked:
        session.note("causal_adjusted", str(session.trained() - session.masked))


def _replay(metering: Metering) -> dict[str, Any]:
    replay = metering.replay
    owners = metering.roots.owners()
    off = sorted({f"{owner.name}: {owner.off}" for owner in owners if owner.off})
    found: dict[str, Any] = {
        "state": "off" if off or not replay.on else "on",
        "measured": replay.measured,
        "replayed": replay.replayed,
        "unwatched_seconds": round(metering.glue.sites.unwatched, 3),
    }
    if replay.why:
        off.insert(0, replay.why)
    if off:
        found["why"] = "; ".join(off[:_MOST_REASONS])
    if replay.drifts:
        found["drift"] = [
            {
                "window": drift.window,
                "expected": str(drift.expected),
                "measured": str(drift.measured),
                "replayed": drift.replayed,
            }
            for drift in replay.drifts
        ]
    return found
