"""What the operator takes from Prometheus, sidecars and pod statuses, and what not."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import finalrecord, gathering, prometheus, sidecars
from flopguard_operator.ledger.encoding import decode_mark, encode_mark
from flopguard_operator.marks import Mark, merge
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import Pod, pod
from standins import objects

FLOPS = st.integers(0, 2**128)


def series(category: str, value: str, **labels: str) -> dict[str, Any]:
    """Return one series as Prometheus' HTTP API does, of pod-1 where not said."""
    own = {"pod_uid": "pod-1", "namespace": "ml", "pod": "train-pod-1"}
    return {
        "metric": {**own, **labels, "category": category},
        "value": [1763769600.0, value],
    }


def pods() -> dict[str, Pod]:
    """Return the one known pod, by UID."""
    return {"pod-1": pod(objects.pod("pod-1"))}


def test_samples_are_summed_as_integers() -> None:
    """A float64 is taken for the integer that it is, exactly."""
    found = prometheus.marks(
        [
            series("forward", "1e+22"),
            series("backward", "9007199254740993"),
            series("begun", "2.1e22"),
        ],
        pods(),
    )

    assert found["pod-1"].done["forward"] == int(1e22)
    assert found["pod-1"].done["backward"] == 2**53
    assert found["pod-1"].begun == int(2.1e22)


@pytest.mark.parametrize(
    "labels",
    [
        {"pod": "somebody-else"},
        {"namespace": "elsewhere"},
        {"pod_uid": "unknown"},
    ],
    ids=["from another pod", "from another namespace", "of an unknown pod"],
)
def test_a_forged_series_does_not_count(labels: dict[str, str]) -> None:
    """A tenant may expose any pod_uid; the target's own labels give it away."""
    found = prometheus.marks([series("forward", "1e24", **labels)], pods())

    assert found == {}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "x", "", "1e44", "1e300"])
def test_a_pod_with_a_figure_that_is_no_count_has_no_mark(value: str) -> None:
    """Prometheus can hold any float; FLOPs are finite, not negative and bounded."""
    figures = [series("forward", value), series("backward", "5")]

    assert prometheus.marks(figures, pods()) == {}


def test_the_largest_sample_that_is_read_fits_into_the_ledger() -> None:
    """What the edge lets through, the encoder writes: else no run is written at all."""
    largest = [series(c, "9.99e43") for c in (*CATEGORIES, "begun")]

    (found,) = prometheus.marks(largest, pods()).values()

    assert decode_mark(encode_mark(found)).measured == 5 * int(9.99e43)


def test_doubled_series_count_once() -> None:
    """Two scrape jobs, or an HA pair, see the same counter."""
    doubled = [series("forward", "5", job="a"), series("forward", "7", job="b")]

    assert prometheus.marks(doubled, pods())["pod-1"].done["forward"] == 7


def test_the_final_record_is_read_exactly() -> None:
    """128 bits of FLOPs come through the pod status without a digit lost."""
    raw = objects.pod(words=objects.final_record(2**128 - 1), ended=True)

    found = finalrecord.mark(pod(raw))

    assert found is not None
    assert found.measured == 2**128 - 1
    assert found.final


def test_a_final_record_closes_nothing_while_the_trainer_lives() -> None:
    """A sidecar that was told to stop first cannot know the end."""
    raw = objects.pod(words=objects.final_record(5))

    found = finalrecord.mark(pod(raw))

    assert found is not None
    assert not found.final


@pytest.mark.parametrize(
    ("sidecar_ended", "is_final"),
    [
        pytest.param("2026-11-22T00:00:06Z", True, id="after the trainer"),
        pytest.param("2026-11-22T00:00:05Z", False, id="in the same second"),
        pytest.param("2026-11-22T00:00:04Z", False, id="before the trainer"),
        pytest.param("", False, id="nobody knows when"),
    ],
)
def test_a_final_record_from_before_the_end_closes_nothing(
    sidecar_ended: str, *, is_final: bool
) -> None:
    """Found by the model: a sidecar stopped early, and never started again in time."""
    raw = objects.pod(words=objects.final_record(5), ended=True)
    status = raw["status"]["initContainerStatuses"][0]
    ended = {**status["state"]["terminated"], "finishedAt": sidecar_ended}
    status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    status["lastState"] = {"terminated": ended}

    found = finalrecord.mark(pod(raw))

    assert found is not None
    assert found.final is is_final


def test_a_final_mark_is_not_raised_by_a_rounded_one() -> None:
    """Prometheus rounds `begun` up: the exact end replaces what it said before."""
    last = finalrecord.decode(objects.final_record(2**60 + 1), "pod-1")
    known = Mark("pod-1", {"forward": 2**60}, begun=2**60 + 2**8)
    assert last is not None

    assert finalrecord.merged(known, last) == last


def test_more_than_the_final_mark_says_stays_counted() -> None:
    """Pages removed before the end would lower the last word, not the count."""
    last = finalrecord.decode(objects.final_record(5), "pod-1")
    known = Mark("pod-1", {"forward": 1000}, begun=1000)
    assert last is not None

    found = finalrecord.merged(known, last)

    assert (found.measured, found.final) == (1000, True)


def seen(ago: float, **labels: str) -> dict[str, Any]:
    """Return when Prometheus last scraped a pod, by its own clock."""
    return series("seen", str(1763769600.0 - ago), **labels)


@pytest.mark.parametrize(
    ("sample", "is_fresh"),
    [
        (seen(0), True),
        (seen(59.9), True),
        (seen(62), False),
        (seen(290), False),
        (seen(0, pod="somebody-else"), False),
        (series("forward", "1763769600"), False),
        (series("seen", "NaN"), False),
        (series("seen", "1e300"), False),
        (series("seen", "1763769600") | {"value": None}, False),
        (series("seen", "1763769600") | {"value": ["x", "1763769600"]}, False),
    ],
    ids=[
        "scraped now",
        "scraped within the minute",
        "scraped a minute ago",
        "scraped almost five minutes ago",
        "scraped from another pod",
        "a count is no time",
        "no number",
        "a time out of bounds",
        "no sample",
        "a sample without a time",
    ],
)
def test_a_pod_is_heard_while_it_is_scraped(
    sample: dict[str, Any], *, is_fresh: bool
) -> None:
    """Counters are shown for 15 minutes after the last scrape; that is no hearing."""
    assert prometheus.fresh([sample], pods()) == ({"pod-1"} if is_fresh else set())


@pytest.mark.parametrize(
    "sample",
    [seen(290), seen(0, pod="somebody-else")],
    ids=["not scraped any more", "a forged scrape"],
)
def test_a_pod_that_is_not_scraped_is_asked_itself(
    sample: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of both counts: Prometheus' last sample does not hide what follows."""
    asked = stub_sources(monkeypatch, [series("forward", "5"), sample])

    read = asyncio.run(gathering.marks("http://prometheus", pods()))

    assert asked == ["pod-1"]
    assert read.marks["pod-1"].done["forward"] == 10
    assert read.condition.status == "True"


def test_a_pod_that_is_scraped_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of pods cost one query."""
    asked = stub_sources(monkeypatch, [series("forward", "5"), seen(3)])

    read = asyncio.run(gathering.marks("http://prometheus", pods()))

    assert asked == []
    assert read.marks["pod-1"].done["forward"] == 5


def stub_sources(
    monkeypatch: pytest.MonkeyPatch, vector: list[dict[str, Any]]
) -> list[str]:
    """Stand in for Prometheus and sidecars; gives the UIDs of the pods asked later."""
    asked: list[str] = []

    async def query(_: str) -> list[dict[str, Any]]:
        return vector

    async def read(chosen: Iterable[Pod]) -> dict[str, sidecars.Heard]:
        asked.extend(pod.uid for pod in chosen)
        found = {uid: sidecars.parse_mark(marks_json(), uid) for uid in asked}
        return {uid: told for uid, told in found.items() if told is not None}

    monkeypatch.setattr(prometheus, "query", query)
    monkeypatch.setattr(sidecars, "read", read)
    return asked


@pytest.mark.parametrize(
    "words",
    [
        "",
        "panic: out of memory",
        objects.final_record(5).replace('"forward":"0', '"forward":"1'),
        objects.final_record(6, begun=5),
        objects.final_record(5)[:-3],
        objects.final_record(5) * 2,
        objects.final_record(5).replace("0", "\u0660", 1),
    ],
    ids=[
        "nothing",
        "something else",
        "a changed digit",
        "done above begun",
        "cut off",
        "twice",
        "digits of another script",
    ],
)
def test_a_damaged_record_is_no_mark(words: str) -> None:
    """The termination log belongs to the tenant."""
    assert finalrecord.decode(words, "pod-1") is None


@given(st.text(max_size=700))
def test_any_text_is_read_without_an_error(words: str) -> None:
    """Hostile words are no mark, never an exception."""
    finalrecord.decode(words, "pod-1")


def marks_json(**changes: Any) -> dict[str, Any]:
    """Return the answer of a sidecar's /marks."""
    flops = dict.fromkeys(CATEGORIES, "10")
    return {
        "schema": 1,
        "done": flops,
        "begun": flops,
        "steps": 2,
        "pages": [{}],
        **changes,
    }


def test_marks_are_read_from_a_sidecar() -> None:
    """Decimal strings become integers; begun is summed over the categories."""
    found = sidecars.parse(marks_json(), "pod-1")

    assert found is not None
    assert (found.measured, found.begun, found.steps, found.pages) == (50, 50, 2, 1)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"schema": 2},
        marks_json(schema="1"),
        marks_json(schema=True),
        marks_json(begun=dict.fromkeys(CATEGORIES, "9" * 45)),
        marks_json(done={}),
        marks_json(steps=True),
        marks_json(steps=-1),
        marks_json(steps=10**24),
        marks_json(steps=7.0),
        marks_json(steps=None),
    ],
    ids=[
        "null",
        "a list",
        "a later schema",
        "schema as text",
        "schema true",
        "a figure out of bounds",
        "a figure missing",
        "steps true",
        "steps below zero",
        "steps out of bounds",
        "steps as a float",
        "no steps",
    ],
)
def test_another_shape_is_no_mark(raw: Any) -> None:
    """Only the agreed shape is read."""
    assert sidecars.parse(raw, "pod-1") is None


def test_the_largest_answer_fits_into_the_ledger() -> None:
    """One sidecar's figures must never keep another run's from being written."""
    flops = dict.fromkeys(CATEGORIES, "9" * 44)

    found = sidecars.parse(
        marks_json(done=flops, begun=flops, steps=10**24 - 1), "pod-1"
    )

    assert found is not None
    assert decode_mark(encode_mark(found)).steps == 10**24 - 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schema", "done", "begun", "steps", "pages", "forward"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_without_an_error(raw: Any) -> None:
    """A tenant's answer can be anything that JSON can say."""
    sidecars.parse(raw, "pod-1")
    pod(raw if isinstance(raw, dict) else {})
    json.dumps(raw)


MARKS = st.builds(
    lambda f, b, extra, final: Mark(
        "s", {"forward": f, "backward": b}, f + b + extra, final=final
    ),
    FLOPS,
    FLOPS,
    FLOPS,
    st.booleans(),
)


def counted(one: Mark) -> Mark:
    """Return a mark without its source, which only says who counted furthest."""
    return replace(one, source="")


@given(MARKS, MARKS, MARKS)
def test_merging_is_a_grow_only_counter(a: Mark, b: Mark, c: Mark) -> None:
    """Associative, commutative, idempotent, and never below either part."""
    ab = merge(a, b)

    assert counted(merge(ab, c)) == counted(merge(a, merge(b, c)))
    assert counted(merge(b, a)) == counted(ab)
    assert merge(ab, ab) == ab
    assert ab.measured >= max(a.measured, b.measured)
    assert ab.begun >= ab.measured
