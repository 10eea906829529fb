import math

import pytest
import torch

from dsnotes.training.metric_accumulator import MetricAccumulator


def rows(n: int) -> list[dict]:
    return [{"dice": torch.tensor(float(i)), "loss": torch.tensor(2.0 * i)} for i in range(1, n + 1)]


@pytest.mark.parametrize("look_every", [1, 3, 16])
def test_means_are_those_of_all_steps(look_every):
    ledger = MetricAccumulator(1, look_every=look_every)
    for row in rows(10):
        ledger.add(row)
    assert ledger.means() == {"dice": 5.5, "loss": 11.0}


def test_a_term_that_only_some_steps_have_is_averaged_over_those():
    ledger = MetricAccumulator(1, look_every=4)
    for row in [*rows(3), {"critic": torch.tensor(7.0), "loss": torch.tensor(0.0)}]:
        ledger.add(row)
    assert ledger.means() == {"dice": 2.0, "loss": 3.0, "critic": 7.0}


@pytest.mark.parametrize("look_every", [1, 4, 64])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_broken_step_is_named_however_late_one_looks(look_every, value):
    """After a NaN everything is NaN: the epoch, step and term are those where it first appeared."""
    ledger = MetricAccumulator(3, look_every=look_every)

    def train() -> None:
        for step in range(1, 41):
            broken = torch.tensor(value if step >= 7 else 1.0)
            after = torch.tensor(value if step >= 8 else 1.0)
            ledger.add({"loss": broken, "dice": broken, "cross-entropy": after, "grad_norm": broken})
        ledger.means()

    with pytest.raises(
        FloatingPointError, match=rf"epoch 3, step 7: the term 'dice' became {value} \(still finite: cr"
    ):
        train()


def test_a_broken_gradient_under_finite_terms_is_named_as_such():
    ledger = MetricAccumulator(1, look_every=1)
    with pytest.raises(FloatingPointError, match=r"step 1: the norm of the gradient \(grad_norm\) became nan"):
        ledger.add({"loss": torch.tensor(1.0), "dice": torch.tensor(1.0), "grad_norm": torch.tensor(math.nan)})
