"""Who has to make room for others: users who have had more, and rows that the memory no longer holds."""

from inference.engine.scheduling.memory import Memory
from tests.engine.scheduled import fill, machine, names, request, steps


class TestPreemption:
    def test_a_newcomer_without_a_row_takes_the_heaviest_users_youngest(self):
        m = machine(max_rows=8)
        heavy = fill(m, "heavy", 7)
        fill(m, "small", 1)
        m.add(request("new", "new"))
        step = m.step()
        assert (names(step.plan.preempt), names(step.plan.admit)) == ([heavy[-1].id], ["new"])
        assert heavy[-1].id in names(m.scheduler.waiting)

    def test_users_with_one_row_each_keep_it_until_they_have_had_clearly_more(self):
        m = machine(max_rows=2)
        fill(m, "ann", 1)
        fill(m, "bob", 1)
        m.add(request("new", "new", output=5000))
        taken = steps(m, lambda: "new" in names(m.scheduler.waiting), limit=5000)
        assert 900 < taken < 1100, "2048 weighted tokens are 1024 steps"

    def test_a_single_row_goes_round_without_ping_pong(self):
        m = machine(max_rows=1)
        m.add(request("a", "ann", output=20_000))
        m.step()
        m.add(request("b", "bob", output=20_000))
        preempted = sum(len(m.step().plan.preempt) for _ in range(10_000))
        assert 3 <= preempted <= 12

    def test_equal_users_end_with_equal_rows_and_stay_there(self):
        m = machine(max_rows=8)
        fill(m, "ann", 8, output=100_000)
        for n in range(8):
            m.add(request(f"bob-{n}", "bob", output=100_000))
        for _ in range(3000):
            m.step()
        users = [job.user for job in m.scheduler.running]
        assert (users.count("ann"), users.count("bob")) == (4, 4)
        assert not any(m.step().plan.preempt for _ in range(3000))

    def test_it_goes_on_where_it_was_and_before_its_users_others(self):
        m = machine(max_rows=2, prefill_batch_size=1)
        heavy = fill(m, "heavy", 2, output=400)
        m.add(request("next", "heavy", prompt=5))
        for _ in range(100):
            m.step()
        said = heavy[1].launched
        m.add(request("new", "new", output=3))
        m.step()
        assert heavy[1].preemptions == 1
        assert heavy[1].context == 64 + said
        assert heavy[1].to_prefill < 32, "its blocks are in the prefix cache"
        steps(m, lambda: heavy[1].id not in names(m.scheduler.running))
        assert "next" in names(m.scheduler.waiting)
        assert heavy[1].launched == said

    def test_not_again_before_it_got_something_for_coming_back(self):
        m = machine(max_rows=2)
        fill(m, "heavy", 2)
        for n in range(40):
            m.add(request(n, f"user-{n}", prompt=2, output=2))
            m.step()
        preempted = sum(len(m.step().plan.preempt) for _ in range(200))
        assert preempted <= 4

    def test_a_failed_step_may_send_rows_back_unplanned(self):
        m = machine()
        rows = fill(m, "ann", 3)
        m.scheduler.preempted(rows[:2])
        assert len(m.scheduler.waiting) == 2
        steps(m, lambda: len(m.scheduler.running) < 3)


class TestMemory:
    def test_rows_grow_until_the_youngest_of_the_heaviest_user_has_to_go(self):
        m = machine(memory=Memory(3000, lambda tokens: tokens, growth=64))
        fill(m, "heavy", 3, output=850)
        fill(m, "light", 1, output=850)
        gone = []
        while len(m.scheduler):
            gone += names(m.step().plan.preempt)
            assert m.scheduler.memory.used <= 3000
        assert gone[0] == "heavy-2"
        assert len(gone) <= 4

    def test_a_lone_request_may_use_it_all_and_is_ended_at_the_end_of_it(self):
        m = machine(memory=Memory(1000, lambda tokens: tokens))
        lone = request(1, prompt=900, output=5000)
        m.add(lone)
        ended = []
        while len(m.scheduler):
            ended += names(m.step().plan.full)
        assert ended == ["1"]
        assert lone.prompt - 1 + lone.launched == 1000

    def test_a_large_request_does_not_keep_small_ones_waiting_nor_they_it(self):
        m = machine(memory=Memory(4000, lambda tokens: tokens, growth=64))
        fill(m, "ann", 8, output=300)
        large = request("large", "bob", prompt=3500, output=5)
        m.add(large)
        for n in range(400):
            m.add(request(n, f"user-{n % 5}", prompt=65, output=100, received=m.now))
        first = steps(m, lambda: not any(job.id.isdigit() for job in m.scheduler.running))
        assert first < 50
        steps(m, lambda: large.ended is None, limit=3000)
        assert len(m.scheduler.waiting) > 50, "long before all the small ones"

    def test_no_row_goes_for_a_newcomer_of_the_same_user(self):
        m = machine(memory=Memory(2000, lambda tokens: tokens, growth=64))
        fill(m, "ann", 5, output=200)
        m.add(request("large", "ann", prompt=1500))
        while "large" in names(m.scheduler.waiting):
            assert m.step().plan.preempt == []
