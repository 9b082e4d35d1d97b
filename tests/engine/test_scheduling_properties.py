"""Whatever happens, in whatever order: nothing is lost, nothing exceeds its bound, everything finishes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference.engine.scheduling.job import CLASSES
from inference.engine.scheduling.memory import Memory
from inference.engine.scheduling.rate import GRID
from inference.engine.scheduling.scheduler import QueueFull
from tests.benchmarks.machine import BLOCK, Machine, Request, weighted

BUDGET = 1200
MAX_ROWS = 3
MAX_WAITING = 12
BATCH = 2


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, are computed, cancelled and sent back, on a machine with little of everything."""

    def __init__(self):
        super().__init__()
        self.charged = {}
        self.machine = Machine(
            memory=Memory(BUDGET, lambda tokens: max(32, 1 << (tokens - 1).bit_length()) if tokens else 0, growth=16),
            on_service=self.on_service,
            max_rows=MAX_ROWS,
            max_waiting=MAX_WAITING,
            prefill_batch_size=BATCH,
            chunk=2 * GRID,
        )
        self.scheduler = self.machine.scheduler
        self.live = {}
        self.made = 0

    def on_service(self, request, tokens):
        lane = (request.user, request.priority)
        self.charged[lane] = self.charged.get(lane, 0.0) + tokens / request.weight

    @rule(
        user=st.sampled_from("abcd"),
        priority=st.sampled_from(CLASSES),
        prompt=st.integers(1, 700),
        output=st.integers(1, 400),
        prefix=st.sampled_from([None, None, 1, 2]),
        patience=st.sampled_from([None, 0.0, 30.0]),
    )
    def add(self, user, priority, prompt, output, prefix, patience):
        self.made += 1
        now = self.machine.now
        request = Request(str(self.made), user, prompt, output, received=now, priority=priority)
        request.weight = 1.0 + "abcd".index(user)
        request.deadline = None if patience is None else now + patience
        if prefix is not None and prompt > 100:
            request.prefix, request.shared = prefix, 96
        try:
            self.machine.add(request)
        except QueueFull:
            assert len(self.scheduler.waiting) >= MAX_WAITING
        else:
            self.live[request.id] = request

    @precondition(lambda self: self.live)
    @rule(count=st.integers(1, 30))
    def step(self, count):
        for _ in range(count):
            self.one_step()

    def one_step(self):
        before = {id: (r.launched, r.prefilled, r.preemptions, r.context) for id, r in self.live.items()}
        running, prefilling = set(self.scheduler.running), set(self.scheduler.prefilling)
        step = self.machine.step()
        plan = step.plan
        assert set(plan.preempt) <= running | prefilling
        assert not set(plan.admit) & (running | prefilling)
        assert len(plan.prefill) == len({job.id for job, _ in plan.prefill})
        assert not {job.id for job, _ in plan.prefill} & {job.id for job in plan.preempt}
        assert sum(tokens for _, tokens in plan.prefill) <= 2 * GRID
        for request in plan.preempt:
            launched, prefilled, _, context = before[request.id]
            held = context + launched if request in running else prefilled
            assert request.launched == launched, "what it said is kept"
            if request in prefilling:
                assert request.prefilled > held - BLOCK, "and what was computed, in whole blocks"
        for request in step.ended:
            del self.live[request.id]

    @precondition(lambda self: self.live)
    @rule(data=st.data(), unplanned=st.booleans())
    def cancel_or_send_back(self, data, unplanned):
        request = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        if unplanned and request in self.scheduler.running:
            request.resumed = request.launched
            request.prefilled = 0
            self.scheduler.preempted([request])
        else:
            self.scheduler.remove([request])
            del self.live[request.id]

    @rule(seconds=st.sampled_from([1.0, 40.0, 100.0]))
    def time_passes(self, seconds):
        self.machine.now += seconds

    @rule()
    def expire(self):
        late = self.scheduler.expired(self.machine.now)
        now = self.machine.now
        assert set(late) == {r for r in self.live.values() if r.deadline is not None and r.deadline <= now}
        self.scheduler.remove(late)
        for request in late:
            del self.live[request.id]

    @precondition(lambda self: self.live)
    @rule()
    def everything_finishes(self):
        work = sum(-(-r.to_prefill // GRID) + r.output + 2 for r in self.live.values())
        steps = 0
        while self.live:
            self.one_step()
            steps += 1
            # Sent back, a request computes again what was not in whole blocks; twice the work leaves room for that.
            assert steps <= 2 * work + 50, f"{len(self.live)} requests starve"

    @invariant()
    def each_is_in_one_place(self):
        s = self.scheduler
        places = [job.id for job in (*s.waiting, *s.prefilling, *s.running, *s.leaving)]
        assert sorted(places) == sorted(self.live)
        assert len(s) == len(self.live)
        assert not s.leaving

    @invariant()
    def bounds_hold(self):
        s = self.scheduler
        assert len(s.running) + len(s.prefilling) <= MAX_ROWS
        assert len(s.prefilling) <= BATCH
        rows = [*s.running, *s.prefilling]
        assert s.memory.used == sum(s.memory._held[job.id][1] for job in rows)
        assert len(s.memory._held) == len(rows)
        assert s.memory.used <= BUDGET
        for job in s.running:
            assert job.prompt - 1 + job.launched <= s.memory.tokens(job.id)

    @invariant()
    def counters_add_up(self):
        """A counter is what was charged, and what a lift gave, so never less than what was charged."""
        lanes = self.scheduler.lanes
        if not self.live:
            self.charged.clear()
        for (user, priority), charged in self.charged.items():
            lane = lanes.of(Request("", user, 1, 1, weight=1.0 + "abcd".index(user), priority=priority))
            assert lane.counter >= charged - 1e-6
            assert lane.pending == 0.0
            assert lane.count == sum(job.user == user and job.priority == priority for job in self.scheduler.waiting)
            in_rows = (*self.scheduler.running, *self.scheduler.prefilling)
            assert set(lane.rows) == {job.id for job in in_rows if (job.user, job.priority) == (user, priority)}


SchedulerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestScheduler = SchedulerMachine.TestCase


def test_a_counter_is_what_was_charged():
    """One user alone is never lifted, so their counter is the sum to the token."""
    served = []
    machine = Machine(on_service=lambda request, tokens: served.append(tokens), max_rows=2)
    for n in range(6):
        machine.add(Request(str(n), "ann", prompt=40 + n, output=5))
    last = Request("last", "ann", prompt=10, output=3)
    machine.add(last)
    while len(machine.scheduler) > 1:
        machine.step()
    lane = machine.scheduler.lanes.of(last)
    assert abs(lane.counter - sum(served)) < 1e-6
    assert sum(served) > sum(weighted(39 + n, 0, 5) for n in range(6))
