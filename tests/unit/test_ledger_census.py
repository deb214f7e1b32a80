"""The census: how many entries each run has, so that none can be left out."""

from collections.abc import Sequence
from dataclasses import replace

from flopguard_operator.ledger import census
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.contradiction import COUNTS
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.entries import Entry, RunsCounted
from flopguard_operator.ledger.replay import Replay
from vectors.ledger_story import A, B, entries, renumbered, settled, story

STORY = entries(story())


def counted(written: Sequence[Entry]) -> Entry:
    """Return the entry that counts those before it."""
    event = census.entry(census.of(fold(written)), 0)
    return Entry(len(written), "2026-11-22T00:01:00.000Z", event)


def recounted(written: Sequence[Entry]) -> list[str]:
    """Return what a replay says of the newest count."""
    replay = Replay()
    for entry in written:
        list(replay.step(entry))
    return [found.message for found in replay.recount() if found.check == COUNTS]


def test_each_run_is_counted_without_its_name() -> None:
    """The text holds digests and numbers, sorted, and two runs."""
    text = census.text(census.of(fold(STORY))).decode()
    of_b = sum(entry.event.run == B for entry in STORY)

    assert A.uid not in text
    names = (B.uid, "ml/other", "support-bot")
    assert f"{' '.join(map(census.hidden, names))} {of_b}\n" in text
    assert text.splitlines() == sorted(text.splitlines())


def test_a_count_is_an_entry_like_any_other() -> None:
    """It is encoded in one way and read back."""
    entry = counted(STORY)

    assert decode(encode(entry)) == entry


def test_a_right_count_is_silent_and_a_wrong_one_is_told() -> None:
    """Whoever leaves an entry out, or lies in the count, is found."""
    whole = [*STORY, counted(STORY)]
    lying = replace(whole[-1], event=RunsCounted(2, 0, "0" * 64))

    assert recounted(whole) == []
    assert len(recounted(renumbered([*STORY[:3], *STORY[4:], whole[-1]]))) == 1
    assert len(recounted([*STORY, lying])) == 1


def test_only_the_newest_count_is_judged() -> None:
    """After a count the runs go on; the next one counts them anew."""
    more = [*STORY, counted(STORY)]
    more.append(Entry(len(more), more[-1].at, settled(B, "pod-b", 12, 12)))

    assert recounted(more) == []
    assert recounted([*more, counted(more)]) == []
