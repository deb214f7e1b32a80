"""Reports over HTTP: of a real ledger, by a real process, harmless to a browser."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from flopguard_operator import serving
from flopguard_operator.ledger.keys import generate
from flopguard_operator.report.style import POLICY
from flopguard_operator.serving import Reports
from unit.story import RUN, write_ledger

NAME = f"{RUN.namespace}/{RUN.name}"
Client = TestClient[web.Request, web.Application]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a ledger with the story's run."""
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    write_ledger(file, generate("flopguard.dev/c/serving"))
    return file


def asked(reports: Reports, act: Callable[[Client], Awaitable[None]]) -> None:
    """Run a server with the reports, and let a client act on it."""

    async def run() -> None:
        app = web.Application()
        app.add_routes(reports.routes())
        async with TestClient(TestServer(app)) as client:
            await act(client)

    asyncio.run(run())


def of(ledger: Path, names: tuple[str, ...] = (NAME,)) -> Reports:
    """Return the reports of a ledger that does not grow."""
    return Reports(ledger, lambda: names, lambda: 17)


def test_report_is_served_with_headers_that_let_it_do_nothing(ledger: Path) -> None:
    """The page is that of the command line, under its own policy and no other."""

    async def act(client: Client) -> None:
        answer = await client.get(f"/reports/{NAME}")
        text = await answer.text()

        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "Indicative criterion: not met" in text
        assert "The ledger verifies." in text
        policy = answer.headers["Content-Security-Policy"]
        assert policy == f"{POLICY}; frame-ancestors 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"

    asked(of(ledger), act)


def test_served_report_has_the_rule_sets_of_ones_own(
    ledger: Path, tmp_path: Path
) -> None:
    """From the folder that the operator reads; a broken file takes no page away."""
    text = Path("examples/manifests/policies.yaml").read_text()
    (manifest,) = (raw for raw in yaml.safe_load_all(text))
    for name, rules in manifest["data"].items():
        (tmp_path / name).write_text(rules)
    (tmp_path / "broken.yaml").write_text("name: broken\n")

    async def act(client: Client) -> None:
        text = await (await client.get(f"/reports/{NAME}")).text()
        assert all(
            yaml.safe_load(rules)["name"] in text for rules in manifest["data"].values()
        )

    asked(Reports(ledger, lambda: (NAME,), lambda: 17, tmp_path), act)


def test_index_lists_names_and_nothing_in_them_is_markup(ledger: Path) -> None:
    """Even a name that no API server would take arrives as the text that it is."""
    hostile = '"><script>alert(1)</script>'

    async def act(client: Client) -> None:
        text = await (await client.get("/reports/")).text()

        assert f'<a href="/reports/{NAME}">{NAME}</a>' in text
        assert "<script" not in text

    asked(of(ledger, (NAME, hostile)), act)


@pytest.mark.parametrize(
    "path",
    [
        "/reports/ml/no-such-run",
        "/reports/no-such-program",
        "/reports/..%2F..%2Fetc%2Fpasswd",
        "/reports/--help",
        "/reports/ml/support-sft%00",
        f"/reports/{'a' * 4000}",
    ],
)
def test_what_the_ledger_does_not_know_is_not_found(path: str, ledger: Path) -> None:
    """No process is started for it."""

    async def act(client: Client) -> None:
        assert (await client.get(path)).status == 404

    asked(Reports(ledger / "nowhere", lambda: (NAME,), lambda: 17), act)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(method: str, ledger: Path) -> None:
    """Reports are read-only."""

    async def act(client: Client) -> None:
        assert (await client.request(method, f"/reports/{NAME}")).status == 405

    asked(of(ledger), act)


def test_page_is_kept_until_the_ledger_has_grown(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who reloads starts nothing; what is new is shown after a while."""
    made: list[str] = []

    async def count(_: Path, name: str, _policies: Path | None) -> bytes:
        made.append(name)
        return b"page"

    monkeypatch.setattr(serving, "rendered", count)
    size = 17
    reports = Reports(ledger, lambda: (NAME,), lambda: size)

    async def act(client: Client) -> None:
        nonlocal size
        for _ in range(3):
            await client.get(f"/reports/{NAME}")
        assert made == [NAME]
        size = 18
        await client.get(f"/reports/{NAME}")
        assert made == [NAME]  # it is younger than half a minute
        monkeypatch.setattr(serving, "FRESH_SECONDS", 0.0)
        await client.get(f"/reports/{NAME}")
        assert made == [NAME, NAME]

    asked(reports, act)


def test_many_readers_make_one_page_at_a_time(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes when enough wait is told to come again."""
    names = tuple(f"ml/run-{n}" for n in range(20))
    now = most = 0

    async def slow(_: Path, name: str, _policies: Path | None) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return name.encode()

    monkeypatch.setattr(serving, "rendered", slow)

    async def act(client: Client) -> None:
        answers = await asyncio.gather(*(client.get(f"/reports/{n}") for n in names))
        states = sorted(answer.status for answer in answers)
        assert most == 1
        assert states.count(200) == serving.MOST_WAITING
        assert set(states) == {200, 503}

    asked(of(ledger, names), act)


def test_page_that_cannot_be_made_says_what_to_do(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ledger, too long a page or time: a sentence, and no process is left."""

    async def act(client: Client) -> None:
        answer = await client.get(f"/reports/{NAME}")
        assert answer.status == 503
        assert "flopguard report" in await answer.text()

    asked(Reports(ledger.with_name("none.db"), lambda: (NAME,), lambda: 1), act)
    monkeypatch.setattr(serving, "MOST_BYTES", 1000)
    asked(of(ledger), act)
    monkeypatch.setattr(serving, "TIMEOUT_SECONDS", 0.01)
    since = time.monotonic()
    asked(of(ledger), act)
    assert time.monotonic() - since < 30
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    assert children.split() == []
