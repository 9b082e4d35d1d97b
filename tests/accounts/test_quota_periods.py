"""Windows of the calendar: wherever one ends the next begins, whatever clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Quota
from accounts.quotas.periods import period

BERLIN, KOLKATA, LORD_HOWE = (ZoneInfo(name) for name in ("Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"))
ZONES = [UTC, BERLIN, KOLKATA, LORD_HOWE, ZoneInfo("America/Sao_Paulo"), ZoneInfo("Pacific/Apia")]
BOUNDED = [window for window in Quota.Window.values if window != "total"]


def at(text: str, zone=UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("window", "now", "zone", "start", "end"),
    [
        ("minute", "2026-11-21T18:24:31.5", UTC, "2026-11-21T18:24:00", "2026-11-21T18:25:00"),
        ("hour", "2026-11-21T18:24:31", UTC, "2026-11-21T18:00:00", "2026-11-21T19:00:00"),
        ("hour", "2026-11-21T18:24:31", KOLKATA, "2026-11-21T17:30:00", "2026-11-21T18:30:00"),
        ("day", "2026-11-21T23:30:00", BERLIN, "2026-11-21T23:00:00", "2026-11-22T23:00:00"),
        ("week", "2026-11-21T12:00:00", UTC, "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("month", "2026-12-31T23:30:00", BERLIN, "2026-12-31T23:00:00", "2027-01-31T23:00:00"),
        ("month", "2028-02-29T12:00:00", UTC, "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
    ],
)
def test_begins_and_ends(window: str, now: str, zone, start: str, end: str):
    found = period(window, at(now), zone)
    assert (found.start, found.end) == (at(start), at(end))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)])
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, hours: int):
    found = period("day", at(f"{day}T12:00:00"), BERLIN)
    assert found.start and found.end and found.end - found.start == timedelta(hours=hours)


def test_an_hour_that_the_clocks_repeat_is_another_one():
    before, after = (period("hour", at(f"2026-10-25T0{hour}:30:00"), BERLIN) for hour in (0, 1))
    assert before.end == after.start and before.name != after.name


def test_there_is_no_end_to_the_total():
    assert period("total", at("2026-11-21T00:00:00"), UTC).name == "ever"


def test_an_unknown_window():
    with pytest.raises(ValueError, match="fortnight"):
        period("fortnight", at("2026-11-21T00:00:00"), UTC)


@given(
    st.sampled_from(BOUNDED),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(ZONES),
)
def test_every_moment_is_in_one_period(window: str, now: datetime, zone):
    found = period(window, now, zone)
    assert found.start and found.end
    assert found.start <= now < found.end
    assert period(window, found.start, zone) == found
    assert period(window, found.end - timedelta(microseconds=1), zone) == found
    following = period(window, found.end, zone)
    assert following.start == found.end and following.name != found.name
