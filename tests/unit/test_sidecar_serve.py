"""The sidecar as a process: its signals, its termination log, its two addresses."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flopguard_sidecar.final import RECORD_BYTES
from flopguard_sidecar.folder import Folder
from standins.pages import file_bytes, forward, nonce, put
from standins.sidecars import COMMAND, LIMIT_SECONDS, Running, sidecar, wait_for


def test_marks_say_whose_they_are(tmp_path: Path) -> None:
    """An address is used again by another pod; the operator checks whom it reached."""
    with sidecar(tmp_path) as running:
        address = f"http://127.0.0.1:{running.port}/marks"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers["X-Flopguard-Pod-Uid"] == "uid-1"


def test_marks_are_what_the_command_reads_and_what_the_record_digests(
    tmp_path: Path,
) -> None:
    """One document, three ways to it."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(10**20, nonce=nonce(2)), facts='{"rank": 1}')
        put(running.pages, forward(7, nonce=nonce(1), steps=3))
        wait_for("both pages", lambda: running.get("/marks").count(b'"nonce"') == 2)
        wait_for("the facts", lambda: b'"rank"' in running.get("/marks"))
        marks = running.get("/marks")

        read = subprocess.run(
            [*COMMAND, "read", str(running.pages)],
            capture_output=True,
            check=True,
            timeout=60,
        )
        digest = hashlib.sha256(marks).hexdigest()
        wait_for("the record", lambda: running.record().digest == digest)
        record = running.record()

    assert read.stdout == marks
    assert json.loads(marks)["done"]["forward"] == str(10**20 + 7)
    assert record.done["forward"] == record.begun == 10**20 + 7
    assert (record.pages, record.steps, record.final) == (2, 3, False)


def test_metrics_are_served_with_the_pod_uid(tmp_path: Path) -> None:
    """The operator counts a series only if it belongs to that pod."""
    with sidecar(tmp_path) as running:
        page = running.get("/metrics").decode()
        health = running.get("/healthz")

    families = {f.name: f for f in text_string_to_metric_families(page)}
    assert families["flopguard_pod_pages"].samples[0].labels == {"pod_uid": "uid-1"}
    assert not [name for name in families if not name.startswith("flopguard_")]
    assert health == b"ok\n"


@pytest.mark.parametrize(("told", "looks"), [("Auto", True), ("Off", False)])
def test_devices_are_looked_at_unless_it_is_off(
    tmp_path: Path, told: str, *, looks: bool
) -> None:
    """The log says which source was found; where none is asked for it says nothing."""
    with sidecar(tmp_path, FLOPGUARD_GPU=told) as running:
        put(running.pages, forward(7))
        wait_for("the page", lambda: b'"nonce"' in running.get("/marks"))
        if looks:
            wait_for("the source", lambda: "gpu source" in running.errors.read_text())
    assert ("gpu source" in running.errors.read_text()) == looks


def test_sigterm_is_followed_by_one_last_scan_and_final(tmp_path: Path) -> None:
    """The interval is a minute: only the last scan can have seen the page."""
    with sidecar(tmp_path) as running:
        running.process.send_signal(signal.SIGSTOP)
        put(running.pages, forward(41, generation=0))
        put(running.pages, forward(42, generation=1, closed=True))
        running.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        running.process.send_signal(signal.SIGCONT)

        assert running.process.wait(timeout=LIMIT_SECONDS) == 0
        seconds = time.monotonic() - started

    record = running.record()
    assert record.final
    assert record.begun == 42
    assert seconds < 2  # what the kubelet leaves when the grace period is used up


def test_the_last_scan_is_in_a_later_second_than_the_signal(tmp_path: Path) -> None:
    """A pod's status has whole seconds: so the order of the ends can be read off it."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(41))
        asked = int(time.time())
        running.process.send_signal(signal.SIGTERM)
        wait_for("the record at once", lambda: running.record().begun == 41)
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert running.record().final
    assert running.termination_log.stat().st_mtime >= asked + 1


def test_sigterm_is_outlived_while_a_process_may_still_count(tmp_path: Path) -> None:
    """An evicted pod is told to stop as a whole, and the trainer may go last."""
    with sidecar(tmp_path) as running:
        path = put(running.pages, forward(41, generation=0))
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            wait_for("the mark", lambda: running.record().begun == 41)
            running.process.send_signal(signal.SIGTERM)
            put(running.pages, forward(42, generation=1))
            wait_for("a later mark", lambda: running.record().begun == 42)
            during = running.record()
            put(running.pages, forward(43, generation=2))
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert not during.final
    assert (running.record().begun, running.record().final) == (43, True)


def test_the_page_of_a_process_that_lives_is_never_final(tmp_path: Path) -> None:
    """Nor that of one whose last figures nobody has seen."""
    path = put(tmp_path, forward(41))
    folder = Folder(tmp_path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert folder.is_written()
    assert not folder.is_written()


def test_a_page_that_was_closed_is_written_no_more(tmp_path: Path) -> None:
    """A child that its process left behind may hold the lock for ever."""
    path = put(tmp_path, forward(41, closed=True))
    folder = Folder(tmp_path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before, _ = folder.is_written(), folder.scan()
        assert (before, folder.is_written()) == (True, False)


def test_a_killed_sidecar_leaves_a_whole_record_that_is_not_final(
    tmp_path: Path,
) -> None:
    """Only SIGTERM and a last scan close a stream."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        running.process.kill()
        running.process.wait(timeout=LIMIT_SECONDS)

    record = running.record()
    assert not record.final
    assert record.done["forward"] == 42


def test_a_sidecar_killed_at_random_moments_always_leaves_a_whole_record(
    tmp_path: Path,
) -> None:
    """The page changes before every scan, so it is killed while it writes."""
    for attempt in range(5):
        with sidecar(tmp_path) as running:
            end = time.monotonic() + 0.05 * (attempt + 1)
            generation = 0
            while time.monotonic() < end:
                put(running.pages, forward(generation, generation=generation))
                generation += 1
            running.process.kill()
            running.process.wait(timeout=LIMIT_SECONDS)
        assert not running.record().final


def test_a_restarted_sidecar_finds_the_same_mark(tmp_path: Path) -> None:
    """It has no state of its own: the pages are the state."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        before = running.get("/marks")
    with sidecar(tmp_path) as running:
        assert running.get("/marks") == before


def test_the_record_is_written_when_the_mark_changed_and_only_then(
    tmp_path: Path,
) -> None:
    """The sequence counts the writes; the file never has another length."""
    with sidecar(tmp_path) as running:
        for generation in range(5):
            put(running.pages, forward(generation + 1, generation=generation))
            wait_for("a record", lambda: running.record().begun == generation + 1)  # noqa: B023 - called at once
            assert running.termination_log.stat().st_size == RECORD_BYTES
        sequence = running.record().sequence
        age = age_of_mark(running)
        wait_for("a later scan", lambda: age_of_mark(running) <= age)

        assert running.record().sequence == sequence == 6  # the first one was empty


def age_of_mark(running: Running) -> float:
    """Return the age that the sidecar states."""
    page = running.get("/metrics").decode()
    families = {f.name: f for f in text_string_to_metric_families(page)}
    return float(families["flopguard_mark_age_seconds"].samples[0].value)


def test_errors_are_counted_once_and_logged(tmp_path: Path) -> None:
    """An error that stays is not a new one at every scan."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(1, errors=("hook_failed", "unknown_operator")))
        wait_for("the errors", lambda: running.get("/metrics").count(b"errors_total{"))
        wait_for(
            "two errors",
            lambda: b'errors_total{pod_uid="uid-1"} 2.0' in running.get("/metrics"),
        )
        put(running.pages, forward(2, generation=1, errors=("hook_failed",)))
        wait_for("the mark", lambda: running.record().begun == 2)
        assert running.record().errors == 2
        problems = [e["problem"] for e in running.events() if "problem" in e]

    assert sorted(map(str, problems)) == ["hook_failed", "unknown_operator"]


def test_a_folder_that_cannot_be_read_leaves_the_mark_and_is_never_final(
    tmp_path: Path,
) -> None:
    """The last scan is what `final` vouches for; without it there is none."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        running.pages.rename(tmp_path / "elsewhere")
        running.pages.symlink_to(tmp_path / "elsewhere")
        wait_for("the log", lambda: "cannot be read" in running.errors.read_text())

        assert json.loads(running.get("/marks"))["done"]["forward"] == "42"
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert not running.record().final
    assert running.record().begun == 42


def test_a_page_that_cannot_be_read_lets_the_mark_grow_old(tmp_path: Path) -> None:
    """What its process does since is not in the mark, so `final` is not vouched for."""
    with sidecar(tmp_path) as running:
        path = put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        os.truncate(path, 0)
        wait_for("an age", lambda: age_of_mark(running) > 1)
        marks = json.loads(running.get("/marks"))
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert marks["pages"][0]["errors"] == ["unreadable"]
    assert (running.record().begun, running.record().final) == (42, False)


def test_a_page_that_heals_makes_the_mark_young_again(tmp_path: Path) -> None:
    """Counters are cumulative: what was missing is in it."""
    with sidecar(tmp_path) as running:
        path = put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        os.truncate(path, 0)
        wait_for("an age", lambda: age_of_mark(running) > 1)
        path.write_bytes(file_bytes(forward(43)))
        wait_for("the mark", lambda: running.record().begun == 43)
        wait_for("no age", lambda: age_of_mark(running) < 1)
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert running.record().final


def test_a_damaged_page_of_a_process_that_has_exited_hides_nothing(
    tmp_path: Path,
) -> None:
    """Its last figures are all that there is to know."""
    with sidecar(tmp_path) as running:
        path = put(running.pages, forward(42, closed=True))
        wait_for("the mark", lambda: running.record().begun == 42)
        os.truncate(path, 0)
        wait_for("the damage", lambda: b"unreadable" in running.get("/marks"))
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert (running.record().begun, running.record().final) == (42, True)


def test_a_sidecar_that_starts_on_a_damaged_page_tells_no_mark(tmp_path: Path) -> None:
    """What an earlier life of it had read may have been more."""
    (tmp_path / "pages").mkdir()
    put(tmp_path / "pages", forward(7, nonce=nonce(1)))
    (tmp_path / "pages" / f"{nonce(2)}.page").touch()
    with sidecar(tmp_path) as running:
        wait_for("the record", lambda: running.record().begun == 7)
        page = running.get("/metrics").decode()
        with pytest.raises(urllib.error.HTTPError, match="503"):
            running.get("/marks")
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert 'flopguard_pod_pages{pod_uid="uid-1"} 0.0' in page
    assert (running.record().begun, running.record().final) == (7, False)
