import pytest

from bayesian_layers.fitting import budget
from bayesian_layers.fitting.budget import SHARE, Costs, Rows, plan_evaluations
from bayesian_layers.fitting.schedule import choose, choose_particles, choose_rate

SMALL = Costs(row=41, numbers=21, size=41, parameters=82)
WIDE = Costs(row=2_400_000, numbers=4_000, size=2_400_000, parameters=4_800_000)
ATTENTION = Costs(row=50_000_000, numbers=1_000_000, size=800_000, parameters=1_600_000)
PROBLEMS = [
    (SMALL, 200, 200, None), (SMALL, 200, 200, 30), (SMALL, 1_000_000, 100, 800), (SMALL, 10, 10, 1),
    (WIDE, 60_000, 128, 30), (WIDE, 60_000, 128, 3_000), (WIDE, 60_000, 128, None), (WIDE, 500, 500, 100),
    (ATTENTION, 320, 320, 12), (ATTENTION, 320, 32, 400), (ATTENTION, 5_000_000, 32, 100),
]  # fmt: skip


def scheduled(costs, rows, batch, max_steps):
    particles = choose_particles(batch, costs.size, by_rows=False)
    return choose(
        -(-rows // batch), particles=particles, max_steps=max_steps, learning_rate=choose_rate(40, 2)
    )


def planned(costs, rows, batch, max_steps, multiple=1):
    schedule = scheduled(costs, rows, batch, max_steps)
    return schedule, plan_evaluations(costs, schedule, batch, Rows(rows, 1, 10**6), multiple)


def cost(costs, plan, rows):
    calls = plan.sets if plan.rows is not None else 1 + plan.sets * plan.draws * costs.size // budget.BLOCK
    return costs.evaluation(plan.sets, plan.draws, plan.rows or rows, calls=calls)


@pytest.mark.parametrize(("costs", "rows", "batch", "max_steps"), PROBLEMS)
@pytest.mark.parametrize("multiple", [1, 6])
def test_all_evaluations_together_take_a_share_of_the_work(costs, rows, batch, max_steps, multiple):
    """At the end of each stage; or the plan is the smallest there is."""
    schedule, plan = planned(costs, rows, batch, max_steps, multiple)
    assert plan.draws % multiple == 0
    each, step = cost(costs, plan, rows), costs.step(batch, schedule.particles)
    least = (plan.sets, plan.draws, plan.rows) == (4, max(2, multiple), min(16, rows))
    end = number = 0
    while end < schedule.max_steps:
        end, number = schedule.stage(end)[1], number + 1
        if plan.each_stage:
            assert number * each <= SHARE * (budget._FIT + step * end)
    assert plan.each_stage or least or each <= SHARE * (budget._FIT + step * end)


def test_a_small_problem_is_evaluated_on_all_rows_with_many_draws():
    _, plan = planned(SMALL, 200, 200, None)
    assert (plan.sets, plan.rows, plan.each_stage) == (16, None, True)
    assert plan.draws >= 64


def test_fewer_draws_come_before_fewer_rows_and_the_end_before_the_stages():
    """As the fit becomes shorter."""
    plans = [planned(WIDE, 60_000, 128, steps)[1] for steps in (60_000, 3_000, 300, 5)]
    assert [plan.rows is None for plan in plans] == [True, False, False, False]
    assert [plan.each_stage for plan in plans] == [True, True, True, False]
    seen = [plan.sets * (plan.rows or 60_000) for plan in plans]
    assert seen == sorted(seen, reverse=True)
    assert all(plan.sets >= 8 for plan in plans[:3])


def test_the_rows_that_are_kept_fit_into_memory():
    schedule = scheduled(SMALL, 10**7, 1000, 200)
    plan = plan_evaluations(SMALL, schedule, 1000, Rows(10**7, 1, 400), 1)
    assert plan.sets * plan.rows <= 400
