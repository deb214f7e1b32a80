"""Write times as people read them, in UTC."""

from datetime import UTC, datetime, timedelta

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def when(at: str) -> str:
    """Return an entry's time to the second: "2026-11-22 00:20:00"."""
    return f"{at[:10]} {at[11:19]}" if at[10:11] == "T" and at.endswith("Z") else at


def moment(at: int) -> str:
    """Return milliseconds since 1970 to the minute: "2026-11-22 00:20"."""
    try:
        return f"{_BEGINNING + timedelta(milliseconds=at):%Y-%m-%d %H:%M}"
    except OverflowError:
        return "a day beyond the calendar"
