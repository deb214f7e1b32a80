"""The devices' counters beside the hook's count: what is shown, and what is not."""

from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator import hardware, opinions, sidecars
from flopguard_operator.hardware import LAG_SECONDS, Told, Watched
from flopguard_operator.listening import Listener
from standins.told import facts, marks_json, page, process

H100 = "NVIDIA H100 80GB HBM3"
PEAK = 989_500 * 10**9  # dense bf16 FLOP/s
HOUR = 3_600_000  # milliseconds


def watched(part: int = 50, source: str = "nvml", stream: str = "pod-1") -> Watched:
    """Return an hour of activity; the hook counted this percentage of its peak."""
    counted = {"bf16": PEAK * 3600 * part // 100, "fp32": 10**18}
    return Watched(stream, Told(source, 1, HOUR), by_format=counted)


def computing(**formats: int) -> Watched:
    """Return an hour of activity beside FLOPs in these formats."""
    return Watched("pod-1", Told("nvml", 1, HOUR), by_format=formats)


def rows(*seen: Watched, gpus: tuple[str, ...] = (H100,)) -> dict[str, dict[str, Any]]:
    """Return the estimates of a run with one process a pod."""
    streams = dict.fromkeys(one.stream for one in seen)
    found = tuple(
        process(told=facts(1, gpus=list(gpus)), stream=uid) for uid in streams
    )
    return {row["source"]: row for row in opinions.rows(found, seen)}


def test_active_seconds_times_the_dense_peak_are_shown() -> None:
    """With the ratio to the hook's work in the formats that tensor cores compute."""
    row = rows(watched(50))["hardware"]

    assert row["flops"] == str(PEAK * 3600)
    assert row["ratioToHook"] == "2.0000"
    assert row["note"] == (
        "nvml: tensor cores active for 3600 s on 1 device(s); "
        f"times the dense peak of {H100} (bf16); "
        "beside 1.781e18 FLOPs of the hook in the formats of tensor cores; "
        "a plausibility check: active cycles are not FLOPs"
    )


def test_the_pods_of_a_run_are_added() -> None:
    """Two workers: twice the figure, the same ratio."""
    row = rows(watched(50), watched(50, stream="pod-2"))["hardware"]

    assert (row["flops"], row["ratioToHook"]) == (str(2 * PEAK * 3600), "2.0000")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (100, ""),
        (110, ""),
        (112, "counted more than the devices can have computed"),
        (11, ""),
        (9, "far busier than the hook counted"),
    ],
)
def test_what_is_far_apart_is_told_in_the_note_alone(part: int, said: str) -> None:
    """No condition: the counter is no count of FLOPs."""
    note = rows(watched(part))["hardware"]["note"]

    assert ("IMPLAUSIBLE" in note) == bool(said)
    assert said in note
    assert len(note) <= 500


def test_a_run_that_has_just_begun_is_not_implausible() -> None:
    """The newest sample is some seconds old."""
    counted = {"bf16": PEAK * LAG_SECONDS}
    young = Watched("pod-1", Told("nvml", 1, 0), by_format=counted)

    assert "IMPLAUSIBLE" not in rows(young)["hardware"]["note"]


NOT_SHOWN: dict[str, tuple[Watched, tuple[str, ...], str]] = {
    "a device that is not in the table": (
        watched(),
        (H100, "Maker 9000"),
        '; no hardware: the peak of "Maker 9000" is not known',
    ),
    "the counters of the whole node": (
        watched(source="dcgm"),
        (H100,),
        "; no hardware: dcgm tells of all devices of the node, not of the pod's",
    ),
    "a process that uses no device": (watched(), (), ""),
    "work that no tensor core does": (computing(fp32=10**20, fp64=7), (H100,), ""),
}


@pytest.mark.parametrize(("seen", "gpus", "said"), NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_without_a_figure_there_is_no_row(
    seen: Watched, gpus: tuple[str, ...], said: str
) -> None:
    """Where a device is in use the hook's row says why."""
    found = rows(seen, gpus=gpus)

    assert list(found) == ["hook", "formula"]
    assert found["hook"]["note"].endswith("as last heard" + said)


@pytest.mark.parametrize(
    ("formats", "name", "gigaflops"),
    [
        ({"fp8": 10, "bf16": 9}, "fp8", 1_979_000),
        ({"tf32": 10, "fp32": 99}, "tf32", 494_500),
        ({"int4": 10}, "bf16", 989_500),
    ],
    ids=["most in fp8", "fp32 is not of tensor cores", "4 bits are unpacked"],
)
def test_the_peak_is_that_of_the_format_with_most_flops(
    formats: dict[str, int], name: str, gigaflops: int
) -> None:
    """The counter does not tell formats apart."""
    row = rows(computing(**formats))["hardware"]

    assert row["flops"] == str(gigaflops * 10**9 * 3600)
    assert f"({name})" in row["note"]


def test_a_restarted_sidecar_goes_on_where_it_was() -> None:
    """Its sum begins at zero again; what the one before had told stays."""
    seen = None
    for milliseconds in (1000, 5000, 200, 700):
        now = Told("nvml", 1, milliseconds)
        seen = hardware.follow(seen, "pod-1", now, {"bf16": PEAK})
    assert seen is not None

    assert (seen.milliseconds, seen.restarts) == (5700, 1)
    assert "a sidecar was restarted" in rows(seen)["hardware"]["note"]


def test_activity_and_count_of_one_answer_belong_together() -> None:
    """An answer that lacks the one leaves both as they were."""
    raw = marks_json(page(1, 10)) | {"by_format": {"bf16": "70", "fp8": "x"}}
    heard = sidecars.parse_whole(raw, "pod-1")
    assert heard is not None
    listener = Listener()

    listener.take({"pod-1": replace(heard, devices=Told("nvml", 1, 9))})
    listener.take({"pod-1": heard})
    (seen,) = listener.watched_of(["pod-1", "pod-2"])
    listener.keep([])

    assert (seen.milliseconds, dict(seen.by_format)) == (9, {"bf16": 70})
    assert listener.watched == {}


def test_hostile_figures_stay_within_the_status() -> None:
    """The largest activity beside the smallest count, with the longest names."""
    many = hardware.told("nvml 999 " + "9" * 12)
    assert many is not None
    seen = Watched("pod-1", many, before=10**15, restarts=9, by_format={"fp8": 1})

    row = rows(seen, gpus=(H100, H100 + "x" * 300))
    assert "is not known" in row["hook"]["note"]
    row = rows(seen)
    assert len(row["hardware"]["ratioToHook"]) <= 64
    assert len(row["hardware"]["flops"]) <= 44
