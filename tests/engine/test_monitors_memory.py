"""States of the memory monitor, what follows from them for new requests, and what it reads on a CPU."""

import math

import psutil
import pytest

from inference.engine.monitors.memory import (
    PATIENCE,
    SMALLEST_SHARE,
    TREND_READINGS,
    MemoryMonitor,
    MemoryReading,
    container_limit,
    host_reading,
)
from inference.engine.options import make


class Bench:
    """A monitor whose memory and clock the test sets. Thresholds are 70 and 85 %, left at 66.5 and 80.75 %."""

    def __init__(self, action="warn", **options):
        self.now = 0.0
        self.percent = 0.0
        self.reads = 0
        self.monitor = MemoryMonitor(make({"memory_action": action, **options}), self.read, lambda: self.now)

    def read(self):
        self.reads += 1
        return MemoryReading(int(self.percent * 100), 10_000)

    def at(self, percent):
        """The change that the next reading makes, five seconds on."""
        self.percent = percent
        self.now += 5
        return self.monitor.check()


def test_it_goes_up_at_a_threshold_and_down_below_it():
    bench = Bench()
    seen = [(percent, bench.at(percent)) for percent in (10, 69, 70, 68, 67, 66, 70, 85, 84, 81, 80, 85, 60)]
    assert seen == [
        (10, "ok"), (69, None), (70, "warn"), (68, None), (67, None), (66, "ok"), (70, "warn"),
        (85, "limit"), (84, None), (81, None), (80, "warn"), (85, "limit"), (60, "ok"),
    ]  # fmt: skip


def test_around_a_threshold_it_says_it_once(caplog):
    bench = Bench()
    for _ in range(50):
        bench.at(86)
        bench.at(82)
    assert bench.monitor.report().limited == 1
    assert caplog.text.count("--memory-limit-threshold 85") == 1


def test_it_reads_once_an_interval():
    bench = Bench(memory_monitor_interval=2)
    for tenth in range(100):
        bench.now = tenth / 10
        bench.monitor.check()
    assert bench.reads == 5


def test_thresholds_are_the_operators():
    bench = Bench(memory_warn_threshold=10, memory_limit_threshold=20)
    assert [bench.at(percent) for percent in (9, 10, 20, 19.5, 18)] == ["ok", "warn", "limit", None, "warn"]


@pytest.mark.parametrize("action", ["warn", "reject-new"])
def test_other_actions_leave_the_context_alone(action):
    bench = Bench(action)
    bench.at(99)
    assert bench.monitor.context_limit(4096) == 4096


def test_reduce_context_halves_it_for_new_requests_until_all_is_well():
    bench = Bench("reduce-context")
    bench.at(80)
    assert bench.monitor.context_limit(4096) == 4096, "a warning takes nothing"
    bench.at(90)
    assert bench.monitor.context_limit(4096) == 2048
    bench.at(75)
    assert bench.monitor.context_limit(4096) == 2048, "to lengthen it now would be to come back"
    bench.at(90)
    assert bench.monitor.context_limit(4096) == 1024, "back at the limit with half the context: half is too much"
    bench.at(50)
    assert bench.monitor.context_limit(4096) == 4096


def test_reduce_context_goes_on_while_it_does_not_help_and_leaves_something():
    bench = Bench("reduce-context")
    shares = []
    for _ in range(PATIENCE * 10):
        bench.at(95)
        shares.append(bench.monitor.context_share)
    assert shares[0] == shares[PATIENCE - 1] == 1 / 2 and shares[PATIENCE] == 1 / 4
    assert shares[-1] == SMALLEST_SHARE
    assert bench.monitor.context_limit(4) == 1


def test_reject_new_refuses_at_the_limit_and_names_the_flags():
    bench = Bench("reject-new")
    bench.at(80)
    assert bench.monitor.refusal() is None
    bench.at(91)
    refusal = bench.monitor.refusal()
    assert "91 %" in refusal and "81 %" in refusal
    assert "--memory-limit-threshold 85" in refusal and "--memory-action reject-new" in refusal
    bench.at(82)
    assert bench.monitor.refusal(), "not before it has really fallen"
    bench.at(80)
    assert bench.monitor.refusal() is None


@pytest.mark.parametrize("action", ["warn", "reduce-context"])
def test_other_actions_refuse_nobody(action):
    bench = Bench(action)
    bench.at(100)
    assert bench.monitor.refusal() is None


def test_what_is_not_known_is_no_alarm():
    monitor = MemoryMonitor(make({"memory_action": "reject-new"}), lambda: MemoryReading(5, 0), lambda: 0.0)
    assert monitor.check() is None
    report = monitor.report()
    assert (report.state, report.percent, report.refusing) == ("unknown", 0.0, False)
    assert math.isnan(MemoryReading(5, 0).percent)


def test_the_report():
    bench = Bench("reject-new")
    for percent in (50, 75, 90):
        bench.at(percent)
    report = bench.monitor.report()
    assert (report.state, report.percent, report.used_bytes, report.limit_bytes) == ("limit", 90.0, 9000, 10_000)
    assert (report.warned, report.limited, report.refusing, report.action) == (1, 1, True, "reject-new")
    assert (report.trend, report.context_share) == ("unknown", 1.0)


@pytest.mark.parametrize(("step", "trend"), [(1.0, "growing"), (0.05, "stable"), (-1.0, "declining")])
def test_the_trend_needs_some_readings(step, trend):
    bench = Bench()
    for reading in range(TREND_READINGS):
        assert bench.monitor.report().trend == "unknown"
        bench.at(40 + step * reading)
    assert bench.monitor.report().trend == trend


def test_a_container_may_allow_less_than_the_machine_has(tmp_path):
    limit = tmp_path / "memory.max"
    for text, bytes_ in (("500", 500), ("max\n", 1000), ("9223372036854771712\n", 1000), ("", 1000)):
        limit.write_text(text)
        assert container_limit(1000, (str(tmp_path / "none"), str(limit))) == bytes_


def test_on_a_cpu_the_fuller_one_counts(tmp_path):
    limit = tmp_path / "memory.max"
    resident = psutil.Process().memory_info().rss
    limit.write_text(str(resident))
    tight = host_reading((str(limit),))
    assert tight.limit_bytes == resident and tight.percent > 50
    loose = host_reading((str(tmp_path / "none"),))
    assert loose.limit_bytes == psutil.virtual_memory().total and 0 < loose.percent <= 100
