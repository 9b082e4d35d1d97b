"""Windows of the calendar, in the time zone of whoever they are for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from accounts.models import Quota

Window = Quota.Window


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end), both in UTC. None: since ever, for ever."""

    start: datetime | None
    end: datetime | None

    @property
    def name(self) -> str:
        """The same for the same period only."""
        return f"{self.start:%Y%m%dT%H%M%SZ}" if self.start else "ever"


def period(window: str, now: datetime, zone: tzinfo) -> Period:
    """The one that `now` falls into. Days are as long as the zone's clocks make them; weeks begin on Monday.

    Raises ValueError for a window that there is not.
    """
    local = now.astimezone(zone)
    match window:
        case Window.MINUTE:
            start = now - timedelta(seconds=local.second, microseconds=local.microsecond)
            return _period(start, start + timedelta(minutes=1))
        case Window.HOUR:
            # Counted back, not set on the clock: the hour that a change of clocks repeats is another hour.
            start = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            return _period(start, start + timedelta(hours=1))
        case Window.DAY:
            return _days(local, timedelta(0), timedelta(days=1))
        case Window.WEEK:
            return _days(local, timedelta(days=local.weekday()), timedelta(days=7))
        case Window.MONTH:
            first = local.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
            return _days(first, timedelta(0), following.date() - first.date())
        case Window.TOTAL:
            return Period(None, None)
    raise ValueError(f"there is no window {window!r}")


def _days(local: datetime, back: timedelta, length: timedelta) -> Period:
    """From a midnight to a later one."""
    midnight = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo) - back
    # Wall clocks add up days, so both ends are midnights, whatever the clocks do in between.
    return _period(midnight, midnight + length)


def _period(start: datetime, end: datetime) -> Period:
    return Period(start.astimezone(UTC), end.astimezone(UTC))
