"""When a probe is due, what it says, and when requests stop running together for it."""

import pytest

from inference.engine.monitors.divergence import MIN_TOKENS, RECOVERY_PROBES, WINDOW_PROBES, DivergenceMonitor

TOKENS = list(range(100))


def differing(count):
    """The tokens, the last `count` of them others."""
    return [token if i < len(TOKENS) - count else -1 for i, token in enumerate(TOKENS)]


class Bench:
    def __init__(self, interval=300.0, threshold=0.95, action="serialize"):
        self.now = 1000.0
        self.monitor = DivergenceMonitor(interval, threshold, action, lambda: self.now)

    def probe(self, differences):
        self.monitor.observe(TOKENS, differing(differences))
        return self.monitor.diverging


def test_a_probe_is_due_an_interval_after_the_last_one():
    bench = Bench()
    assert not bench.monitor.due()
    bench.now += 299
    assert not bench.monitor.due()
    bench.now += 1
    assert bench.monitor.due() and bench.monitor.due(), "until it has been made"
    bench.probe(0)
    assert not bench.monitor.due()
    bench.now += 300
    assert bench.monitor.due()


def test_one_that_could_not_be_made_waits_its_turn():
    bench = Bench()
    bench.now += 300
    bench.monitor.postpone()
    assert not bench.monitor.due() and bench.monitor.report().probes == 0


def test_without_the_monitor_none_is_ever_due():
    bench = Bench(interval=None)
    bench.now += 1e9
    bench.monitor.postpone()
    bench.now += 1e9
    assert not bench.monitor.due() and not bench.monitor.report().enabled


def test_agreement_is_by_position():
    probe = Bench().monitor.observe([1, 2, 3, 4], [1, 2, 9, 4])
    assert (probe.agreed, probe.compared, probe.rate) == (3, 4, 0.75)


def test_what_is_missing_disagrees():
    monitor = Bench().monitor
    assert monitor.observe([1, 2, 3, 4], [1, 2]).rate == monitor.observe([1, 2], [1, 2, 3, 4]).rate == 0.5


def test_nothing_compared_says_nothing():
    bench = Bench()
    assert bench.monitor.observe([], []).rate == 1.0
    assert bench.monitor.agreement is None and not bench.monitor.diverging


def test_at_the_threshold_all_is_well_and_below_it_is_not(caplog):
    bench = Bench()
    assert not bench.probe(5)
    assert bench.probe(6)
    assert "94.5 %" in caplog.text and "--batch-divergence-threshold 0.95" in caplog.text


def test_few_tokens_decide_nothing():
    bench = Bench()
    bench.monitor.observe([1] * (MIN_TOKENS - 1), [2] * (MIN_TOKENS - 1))
    assert not bench.monitor.diverging
    bench.monitor.observe([1], [1])
    assert bench.monitor.diverging


def test_one_close_call_among_many_is_no_alarm():
    bench = Bench()
    for _ in range(WINDOW_PROBES - 1):
        assert not bench.probe(0)
    assert not bench.probe(30)
    assert bench.monitor.agreement == pytest.approx(0.9625)
    assert bench.probe(30)


def test_what_is_long_past_no_longer_counts():
    bench = Bench()
    bench.probe(4)
    for _ in range(WINDOW_PROBES):
        bench.probe(0)
    assert bench.monitor.agreement == 1.0


@pytest.mark.parametrize(("action", "serialized"), [("warn", False), ("serialize", True)])
def test_serialising_is_asked_for(action, serialized):
    bench = Bench(action=action)
    bench.probe(50)
    assert (bench.monitor.diverging, bench.monitor.serialized) == (True, serialized)


def test_an_alarm_lasts_until_some_probes_in_a_row_agree():
    bench = Bench()
    bench.probe(50)
    for _ in range(RECOVERY_PROBES - 1):
        assert bench.probe(0)
    assert bench.probe(6), "below the threshold again: from the beginning"
    for _ in range(RECOVERY_PROBES - 1):
        assert bench.probe(0)
    assert not bench.probe(0)
    assert not bench.monitor.serialized


def test_after_an_alarm_the_probes_before_its_end_are_forgotten():
    bench = Bench()
    for _ in range(WINDOW_PROBES):
        bench.probe(50)
    for _ in range(RECOVERY_PROBES):
        bench.probe(0)
    assert bench.monitor.agreement == 1.0
    assert not bench.probe(10), "within what the window forgives"
    assert bench.probe(60) and bench.monitor.report().alarms == 2


def test_an_empty_probe_ends_no_alarm():
    bench = Bench()
    bench.probe(50)
    for _ in range(10):
        bench.monitor.observe([], [])
    assert bench.monitor.diverging


def test_the_report():
    bench = Bench(action="warn")
    assert bench.monitor.report().agreement is None
    bench.probe(50)
    report = bench.monitor.report()
    assert (report.enabled, report.probes, report.agreement, report.threshold) == (True, 1, 0.5, 0.95)
    assert (report.action, report.diverging, report.serialized, report.alarms) == ("warn", True, False, 1)
