"""A loss within a box: its derivatives, and that solvers end at the ends of a range where the loss falls outwards."""

import pytest
import torch

from tests.training.derivatives.agreement import check_close, draw
from tests.training.solvers.problems import Quadratic, make_planted
from training.solvers.auto import Method, run_solver
from training.solvers.box import Boxed
from training.solvers.outcome import Outcome, run_to_end

LIMIT = 2.0


def test_derivatives_are_those_of_the_composed_loss() -> None:
    hessian = draw(1, 4, 4)
    hessian = hessian @ hessian.T
    boxed, t, v = Boxed(Quadratic(hessian), LIMIT), draw(2, 4), draw(3, 4)

    def measure(t: torch.Tensor) -> torch.Tensor:
        x = LIMIT * torch.sin(t / LIMIT)
        return 0.5 * x @ hessian @ x

    expected = torch.func.jacrev(torch.func.grad(measure))(t)
    size = float(hessian.norm())
    assert boxed.measure(t) == pytest.approx(float(measure(t)), rel=1e-12)
    check_close(boxed.differentiate(t), torch.func.grad(measure)(t), size)
    check_close(boxed.make_hessian(t), expected, size)
    check_close(boxed.multiply(t, v), expected @ v, size * float(v.norm()))


def test_points_come_back_and_what_lies_outside_is_moved_within() -> None:
    boxed = Boxed(Quadratic(torch.eye(3, dtype=torch.float64)), LIMIT)
    x = torch.tensor([0.0, -1.5, 7.0], dtype=torch.float64)
    back = boxed.leave(boxed.enter(x))
    assert back[:2].tolist() == pytest.approx([0.0, -1.5], abs=1e-15)
    assert LIMIT - 1e-5 < float(back[2]) < LIMIT


@pytest.mark.parametrize("method", Method)
def test_optimum_outside_is_met_at_the_end_of_the_range(method: Method) -> None:
    """Of 1/2 |x|^2 - 5 x0 + x1, the optimum is (5, -1): here (2, -1). The start is at the wrong end."""

    class Shifted(Quadratic):
        slope = torch.tensor([-5.0, 1.0], dtype=torch.float64)

        def measure(self, x: torch.Tensor) -> float:
            return super().measure(x) + float(self.slope @ x)

        def differentiate(self, x: torch.Tensor) -> torch.Tensor:
            return super().differentiate(x) + self.slope

    boxed = Boxed(Shifted(torch.eye(2, dtype=torch.float64)), LIMIT)
    start = boxed.enter(torch.tensor([-LIMIT, 0.5], dtype=torch.float64))
    last = run_to_end(run_solver(method, boxed, start))
    assert last.outcome is Outcome.CONVERGED
    assert boxed.leave(last.x).tolist() == pytest.approx([2.0, -1.0], abs=1e-9)


def test_collapse_is_what_the_loss_says() -> None:
    problem, _, start = make_planted("exp", 1, 50, 2, 1.0)
    boxed = Boxed(problem, 1e3)
    assert not boxed.has_collapsed(boxed.enter(start), boxed.enter(start))
    assert not Boxed(Quadratic(torch.eye(2, dtype=torch.float64)), 1.0).has_collapsed(start, start)
