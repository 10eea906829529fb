"""What each of two processes does in test_distributed.py: torchrun two_processes.py FOLDER."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from conftest import make_discs, make_tiny

from dsnotes.supervision.plain import Plain
from dsnotes.training import distributed
from dsnotes.training.batches import Draw, for_validation
from dsnotes.training.fit import fit
from dsnotes.training.precision import Terms
from dsnotes.training.step import PlainStep
from dsnotes.training.validate import validate

CPU = torch.device("cpu")


class TwoPasses(Plain):
    """Means over samples; calls the network twice, as pseudo-labels do, and never reaches one of its heads."""

    def __call__(self, network, batch):
        t = batch["label"].unsqueeze(1).float()
        first, second = network(batch["image"]).logits, network(t).logits
        bce = nn.functional.binary_cross_entropy_with_logits
        return {"image": bce(first, t), "mask": 0.3 * bce(second, t)}


class Unreached(nn.Module):
    deployed = False

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, features, image):
        return {"restored": self.scale * image}


def system():
    made = make_tiny(TwoPasses(), norm="instance", optimiser="sgd", lr=0.5, momentum=0, clip=None)
    made.network.heads["unreached"] = Unreached()
    return made


def gradients_equal_those_of_one_process(rank: int) -> None:
    """Two processes with half the samples each, in one go and in micro-batches, against one with all of them."""
    for accumulate in (1, 2):
        alone, together = system(), system()
        settings = replace(alone.settings, patch=(16, 16), batch=8)
        joint = Draw(make_discs(8), settings, 2, None, 0, 0, CPU)(1, 0)[0]
        step = PlainStep(together, replace(settings, accumulate=accumulate))
        for _ in range(2):
            step({name: value[4 * rank : 4 * rank + 4] for name, value in joint.items()})
        assert isinstance(step.parallel, nn.parallel.DistributedDataParallel)
        optimiser = torch.optim.SGD(alone.network.parameters(), lr=0.5)
        for _ in range(2):
            optimiser.zero_grad()
            sum(alone.objective(alone.network.train(), joint).values()).backward()
            optimiser.step()
        torch.testing.assert_close(together.network.state_dict(), alone.network.state_dict())
        for ours, theirs in zip(together.network.parameters(), alone.network.parameters(), strict=True):
            if theirs.grad is not None:
                torch.testing.assert_close(ours.grad, theirs.grad)


def fit_runs_as_one(rank: int, folder: Path) -> None:
    """Other weights to begin with, other batches; the same history and the same weights at the end."""
    made = make_tiny(norm="instance", seed=rank)
    train, val = make_discs(8), make_discs(5, seed=1)
    how = {"device": "cpu", "amp": "auto", "batch": 2, "progress": True, "out": folder}
    fit(made, train, val, epochs=1, **how)
    resumed = make_tiny(norm="instance", seed=10 + rank)
    history = fit(resumed, train, val, epochs=2, **how)
    straight = make_tiny(norm="instance", seed=rank)
    fit(straight, train, val, epochs=2, **{**how, "out": None, "progress": False})
    torch.testing.assert_close(resumed.network.state_dict(), straight.network.state_dict(), rtol=0, atol=0)

    weights = nn.utils.parameters_to_vector(resumed.network.parameters()).detach()
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    assert torch.equal(*both)
    assert distributed.average({"loss": 1.0 + rank}, CPU) == {"loss": 1.5}
    records = [None, None]
    dist.all_gather_object(records, [{k: v for k, v in r.items() if "second" not in k} for r in history])
    assert records[0] == records[1]

    dist.barrier()
    if rank == 0:
        settings = replace(resumed.settings, patch=(16, 16))
        terms = Terms(resumed.network, resumed.objective)
        several, distributed.several = distributed.several, lambda: False
        found = validate(terms, resumed.deploy, for_validation(val, settings, seed=0), classes=2, device=CPU)
        distributed.several = several
        torch.testing.assert_close(history[-1]["val_score"], found["val_score"])
        torch.testing.assert_close(history[-1]["val_loss_cross-entropy"], found["val_loss_cross-entropy"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    gradients_equal_those_of_one_process(rank)
    fit_runs_as_one(rank, Path(sys.argv[1]) / "run")
    (Path(sys.argv[1]) / f"done-{rank}").write_text("")
    dist.destroy_process_group()
