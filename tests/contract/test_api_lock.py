"""The API server keeps a hold: no un-suspending and no pods, for nobody, and no more.

Every test runs with failurePolicy Ignore (as shipped) and with Fail: with Ignore alone
an expression that ends in an error would look like one that says yes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.kubectl import Kubectl, KubectlError
from contract.lock import (
    FAILURE_POLICIES,
    LAG_SECONDS,
    MESSAGE,
    PLURAL,
    Lock,
    copied_crds,
    job,
    locked_namespace,
    pod,
)

pytestmark = pytest.mark.apiserver

AS_SHIPPED = pytest.mark.parametrize("lock", ["Ignore"], indirect=True)
JOB_NAME = "batch.kubernetes.io/job-name"
SENTENCE = f"FineTuneRun sft holds this workload: {MESSAGE}"


@pytest.fixture(scope="module")
def crds(control_plane: Kubectl) -> Iterator[Kubectl]:
    """Both copies of the CRD."""
    with copied_crds(control_plane):
        yield control_plane


@pytest.fixture(scope="module", params=FAILURE_POLICIES)
def lock(crds: Kubectl, request: pytest.FixtureRequest) -> Iterator[Lock]:
    """A held run, one that holds nothing, one without status, and their Jobs.

    Run `sft` holds Job `train` and, by its label, Job `onward`; run `free` has Job
    `spare`; run `new` has no status and Job `first`.
    """
    with locked_namespace(crds, request.param) as lock:
        lock.make_run("sft", "train")
        lock.make_run("free", "spare")
        lock.make_run("new", "first")
        # With labels of its own; else the API server copies those of the template.
        onward = job("onward", labels={"a": "b"}, pod_labels={lock.label: "sft"})
        tagged = job("tagged", labels={lock.label: "sft"})
        lock.kubectl.apply(*map(job, ("train", "spare", "first", "other")))
        lock.kubectl.apply(onward, tagged)
        lock.set_holds("sft", "train")
        lock.set_holds("free")
        lock.wait_until_held("sft", "train")
        yield lock


@pytest.mark.parametrize("name", ["train", "onward", "tagged"])
@pytest.mark.parametrize("suspend", [False, None], ids=["false", "left out"])
def test_nobody_un_suspends_a_held_job(
    lock: Lock, name: str, *, suspend: bool | None
) -> None:
    """The refusal says who holds it, why, and what to do."""
    with pytest.raises(KubectlError) as refusal:
        lock.change(name, {"spec": {"suspend": suspend}})

    assert SENTENCE in refusal.value.stderr
    assert "describe ftr sft says more" in refusal.value.stderr


def test_no_pod_of_a_held_job_starts(lock: Lock) -> None:
    """By the label that the Job controller puts on its pods."""
    with pytest.raises(KubectlError) as refusal:
        lock.create(pod({JOB_NAME: "train"}))

    assert SENTENCE in refusal.value.stderr


def test_no_pod_with_the_label_of_a_held_run_starts(lock: Lock) -> None:
    """Whatever made it: the label binds it to the run."""
    with pytest.raises(KubectlError) as refusal:
        lock.create(pod({lock.label: "sft", JOB_NAME: "yet-another"}))

    assert SENTENCE in refusal.value.stderr


def test_a_new_job_does_not_get_around_the_hold(lock: Lock) -> None:
    """Continuing the run under another name takes its label, and so its hold."""
    for labels in (
        {"labels": {lock.label: "sft"}},
        {"pod_labels": {lock.label: "sft"}},
    ):
        with pytest.raises(KubectlError) as refusal:
            lock.create(job("again", suspend=None, **labels))

        assert SENTENCE in refusal.value.stderr


def test_a_held_job_that_is_replaced_stays_held(lock: Lock) -> None:
    """Deleted and applied anew: suspended it may wait, running it is refused."""
    lock.kubectl.run("delete", "job", "train", "--cascade=foreground", "--wait")
    try:
        with pytest.raises(KubectlError) as refusal:
            lock.create(job("train", suspend=False))
    finally:
        lock.kubectl.apply(job("train"))

    assert SENTENCE in refusal.value.stderr


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("tagged", lambda labels: {"metadata": labels}),
        ("onward", lambda labels: {"spec": {"template": {"metadata": labels}}}),
    ],
    ids=["on the Job", "on its pod template"],
)
@pytest.mark.parametrize("value", [None, "free"], ids=["taken off", "changed"])
def test_the_label_stays_while_held(
    lock: Lock, name: str, patch: Callable[[Any], Any], value: str | None
) -> None:
    """Else one edit would take the label off and the next one un-suspend."""
    with pytest.raises(KubectlError) as refusal:
        lock.change(name, patch({"labels": {lock.label: value}}))

    assert f"the label {lock.label} stays while the run is held" in refusal.value.stderr


def test_label_and_suspend_cannot_be_changed_at_once(lock: Lock) -> None:
    """The Job before the update counts as well."""
    patch = {"metadata": {"labels": None}, "spec": {"suspend": False}}

    with pytest.raises(KubectlError) as refusal:
        lock.change("tagged", patch)

    assert SENTENCE in refusal.value.stderr


@pytest.fixture(scope="module")
def counted(lock: Lock) -> Lock:
    """Pod `metered` of run `free`, and pod `stranger` without that label."""
    for name, labels in (("metered", {lock.label: "free"}), ("stranger", {"a": "b"})):
        one = pod(labels)
        one["metadata"]["name"] = name
        lock.kubectl.apply(one)

    def refused() -> bool:
        try:
            lock.label_pod("metered", None)
        except KubectlError:
            return True
        return False

    lock.kubectl.wait_for(refused, LAG_SECONDS, "the policy on the pods' labels")
    return lock


@pytest.mark.parametrize("value", [None, "", "sft"], ids=["off", "emptied", "changed"])
@pytest.mark.parametrize("options", [(), ("--subresource=status",)], ids=["", "status"])
def test_a_counted_pod_keeps_its_label(
    counted: Lock, value: str | None, options: tuple[str, ...]
) -> None:
    """Held or not: without the label a running pod would drop out of the count."""
    with pytest.raises(KubectlError) as refusal:
        counted.label_pod("metered", value, *options)

    assert f"the label {counted.label} stays on a pod" in refusal.value.stderr
    assert "FineTuneRun free" in refusal.value.stderr


def test_a_counted_pod_can_be_written_to_otherwise(counted: Lock) -> None:
    """Controllers and kubelets do; the same label again is no change."""
    assert "patched" in counted.label_pod("metered", "free")
    run = counted.kubectl.run
    assert "labeled" in run("label", "pod", "metered", "a=b", "--dry-run=server")
    patch = '{"status": {"reason": "Tested"}}'
    assert run("patch", "pod", "metered", "--subresource=status", "-p", patch)


def test_a_pod_may_get_the_label_and_be_deleted(counted: Lock) -> None:
    """Joining late is counted from then on; a stranger's labels are its own."""
    assert "patched" in counted.label_pod("stranger", "free")
    run = counted.kubectl.run
    assert "labeled" in run("label", "pod", "stranger", "a-", "--dry-run=server")
    assert "deleted" in run("delete", "pod", "metered", "--dry-run=server")


@pytest.mark.parametrize("name", ["spare", "first", "other"])
def test_other_jobs_start(lock: Lock, name: str) -> None:
    """Of a run that holds nothing, of one without a status, of no run at all."""
    assert "patched" in lock.change(name, {"spec": {"suspend": False}})


@pytest.mark.parametrize("name", ["spare", "first", "other", "new-one"])
def test_other_pods_start(lock: Lock, name: str) -> None:
    """The lock names one workload; its neighbours do not notice it."""
    assert "created" in lock.create(pod({JOB_NAME: name}))


def test_pods_without_labels_start(lock: Lock) -> None:
    """With Fail, an expression that trips over absent labels would refuse them."""
    bare = pod({})
    del bare["metadata"]["labels"]

    assert "created" in lock.create(bare)


def test_another_namespace_is_not_concerned(lock: Lock, namespace: Kubectl) -> None:
    """A run holds workloads of its own namespace only."""
    elsewhere = Lock(namespace, lock.group)

    assert "created" in elsewhere.create(pod({JOB_NAME: "train"}))


def test_a_held_job_can_be_written_to_otherwise(lock: Lock) -> None:
    """The operator annotates it, the Job controller finishes its work."""
    patch = {"metadata": {"annotations": {"note": "held"}}, "spec": {"suspend": True}}

    assert "patched" in lock.change("train", patch)


@pytest.mark.parametrize("labels", [{JOB_NAME: "waiting"}, {"run": "planned"}])
def test_no_pod_starts_that_was_to_be_forecast_first(
    lock: Lock, labels: dict[str, str]
) -> None:
    """With onForecastBreach Hold, while there is no status.forecast; it says so."""
    plan = {"trainingTokens": "1e9", "onForecastBreach": "Hold"}
    probe = pod({lock.label if k == "run" else k: v for k, v in labels.items()})
    lock.make_run("planned", "waiting", plan)
    lock.set_forecast("planned", None)

    refusal = lock.wait_until_refused(probe, "no forecast")

    assert "FineTuneRun planned has no forecast yet" in refusal
    assert "onForecastBreach is Hold" in refusal

    lock.set_forecast("planned", "1000")
    assert lock.kubectl.wait_for(
        lambda: lock.create(probe), LAG_SECONDS, "a pod of a run that is forecast"
    )


@pytest.mark.parametrize("wish", ["Annotate", "Nothing", None])
def test_who_does_not_ask_for_it_waits_for_no_forecast(
    lock: Lock, wish: str | None
) -> None:
    """The operator may be down, and nobody's pod waits for it."""
    plan = {"trainingTokens": "1e9", **({"onForecastBreach": wish} if wish else {})}
    lock.make_run("easy", "early", plan)

    assert "created" in lock.create(pod({JOB_NAME: "early"}))


def test_a_release_frees(lock: Lock) -> None:
    """Emptying status.holds is enough, within the lag of the API server's cache."""
    lock.make_run("brief", "short")
    lock.kubectl.apply(job("short"))
    lock.set_holds("brief", "short")
    lock.wait_until_held("brief", "short")

    lock.set_holds("brief")

    assert lock.kubectl.wait_for(
        lambda: lock.change("short", {"spec": {"suspend": False}}),
        LAG_SECONDS,
        "Job short to be free again",
    )


@AS_SHIPPED
def test_a_deleted_pod_is_not_made_again(lock: Lock) -> None:
    """A running Job that is held loses its pods, and its events say why."""
    lock.make_run("live", "running")
    lock.kubectl.apply(job("running", suspend=None))
    selector = f"--selector={JOB_NAME}=running"
    lock.kubectl.wait_for(
        lambda: lock.kubectl.exists("pods", selector), 20, "a pod of Job running"
    )
    lock.set_holds("live", "running")
    lock.wait_until_held("live", "running")

    lock.kubectl.run("delete", "pods", selector, "--force", "--grace-period=0")

    event = lock.kubectl.wait_for(
        lambda: lock.kubectl.run(
            *("get", "events", "-o", "jsonpath={.items[*].message}"),
            "--field-selector=reason=FailedCreate,involvedObject.name=running",
        ),
        20,
        "an event FailedCreate on Job running",
    )
    assert f"FineTuneRun live holds this workload: {MESSAGE}" in event
    assert not lock.kubectl.exists("pods", selector)


@AS_SHIPPED
def test_without_the_crd_strangers_pods_start(lock: Lock) -> None:
    """Nothing that befalls flopguard stops a stranger's pod. Last: it ends the lock."""
    lock.kubectl.run("delete", "crd", f"{PLURAL}.{lock.group}")

    assert lock.create(pod({JOB_NAME: "stranger"}))
    assert lock.kubectl.wait_for(
        lambda: lock.create(pod({JOB_NAME: "train"})),
        LAG_SECONDS,
        "a pod of a Job that was held while there was a CRD",
    )
