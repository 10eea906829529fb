"""What each of two processes does in test_devices.py: torchrun two_processes.py FOLDER."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from conftest import make_discs, make_tiny

from dsnotes.supervision import loss_terms
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.training import devices
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.batches import Draw, for_validation
from dsnotes.training.fit import fit
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.step import PlainStep
from dsnotes.training.validate import validate

CPU = torch.device("cpu")


class TwoPasses(Plain):
    """Means over samples; calls the network twice, as pseudo-labels do, and never reaches one of its heads."""

    def run(self, network, batch):
        on_mask = network(batch["label"].unsqueeze(1).float()).logits
        return replace(network(batch["image"]), side_outputs={"mask": on_mask})

    def terms(self, outputs, batch):
        t, bce = batch["label"].unsqueeze(1).float(), nn.functional.binary_cross_entropy_with_logits
        return {"image": bce(outputs.logits, t), "mask": 0.3 * bce(outputs.side_outputs["mask"], t)}


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


class WithoutNorm(SoftAdversarial):
    """Batch norm, whose statistics are each process's own, is taken out of the critic."""

    def critic(self, backbone):
        torch.manual_seed(7)
        return nn.Sequential(*(m for m in super().critic(backbone) if not isinstance(m, nn.BatchNorm2d)))


def game():
    """A network against a critic."""
    made = make_tiny(WithoutNorm(critic_width=4), norm="instance", optimiser="sgd", lr=0.1, momentum=0, clip=None)
    return replace(made, make_step=AdversarialStep)


def balanced():
    return replace(system(), make_step=partial(GradNormStep, asymmetry=1.5))


def gradients_equal_those_of_one_process(rank: int) -> None:
    """Two processes with half the samples each, in one go and in micro-batches, against one with all of them."""
    for accumulate in (1, 2):
        alone, together = system(), system()
        settings = replace(alone.settings, patch=(16, 16), batch=8)
        joint = joint_batch(settings)
        step = PlainStep(together, replace(settings, accumulate=accumulate))
        for _ in range(2):
            step(part(joint, rank))
        assert isinstance(step.parallel, nn.parallel.DistributedDataParallel)
        optimiser = torch.optim.SGD(alone.network.parameters(), lr=0.5)
        for _ in range(2):
            optimiser.zero_grad()
            sum(loss_terms(alone.objective, alone.network.train(), joint).values()).backward()
            optimiser.step()
        assert_same_networks(together.network, alone.network)


def other_steps_equal_those_of_one_process(rank: int) -> None:
    """A balancing act and a game: their gradients, and all that their steps keep and report."""
    for make in (balanced, game):
        for how in ({"accumulate": 1}, {"accumulate": 2}, {"accumulate": 1, "checkpointing": True}):
            accumulate, how = how["accumulate"], {k: v for k, v in how.items() if k != "accumulate"}
            alone, together = make(), make()
            settings = replace(alone.settings, patch=(16, 16), batch=8)
            joint = joint_batch(settings)
            both = together.make_step(together, replace(settings, accumulate=accumulate), **how)
            reports = [both(part(joint, rank)) for _ in range(3)]
            assert isinstance(both.parallel, nn.parallel.DistributedDataParallel)
            with devices.single_process():
                one = alone.make_step(alone, settings)
                expected = [one(joint) for _ in range(3)]
            assert_same_networks(together.network, alone.network)
            torch.testing.assert_close(both.state_dict().get("critic"), one.state_dict().get("critic"))
            shared = [name for name in expected[-1] if name.startswith(("alpha", "pull", "rate"))]
            for ours, theirs in zip(reports, expected, strict=True):
                torch.testing.assert_close({n: ours[n] for n in shared}, {n: theirs[n] for n in shared})
            assert (make is balanced) == (len(shared) == 6)


def joint_batch(settings):
    drawn = Draw(make_discs(8), settings, 2, None, 0, 0, CPU)(1, 0)[0]
    return drawn | {"soft": 0.9 * drawn["label"].unsqueeze(1).float() + 0.05}


def part(joint, rank: int):
    return {name: value[4 * rank : 4 * rank + 4] for name, value in joint.items()}


def assert_same_networks(ours: nn.Module, theirs: nn.Module) -> None:
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    moved = 0
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        if their.grad is not None:
            torch.testing.assert_close(our.grad, their.grad)
            moved += bool(their.grad.any())
    assert moved > 10


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
    assert devices.average({"loss": 1.0 + rank}, CPU) == {"loss": 1.5}
    records = [None, None]
    dist.all_gather_object(records, [{k: v for k, v in r.items() if "second" not in k} for r in history])
    assert records[0] == records[1]

    dist.barrier()
    if rank == 0:
        settings = replace(resumed.settings, patch=(16, 16))
        evaluate = PlainStep(resumed, settings).evaluate
        with devices.single_process():
            found = validate(evaluate, resumed.deploy, for_validation(val, settings, seed=0), classes=2, device=CPU)
        torch.testing.assert_close(history[-1]["val_score"], found["val_score"])
        torch.testing.assert_close(history[-1]["val_loss_cross-entropy"], found["val_loss_cross-entropy"])


def fewer_cases_than_processes_are_validated(rank: int) -> None:
    """The second process has no case to look at, and the first's figures."""
    how = {"device": "cpu", "batch": 2, "epochs": 1, "progress": False}
    history = fit(make_tiny(norm="instance"), make_discs(4), make_discs(1, seed=1), **how)
    figures = [None, None]
    dist.all_gather_object(figures, {k: v for k, v in history[-1].items() if k.startswith("val_")})
    assert figures[0] == figures[1]
    assert figures[0]["val_loss"] > 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    gradients_equal_those_of_one_process(rank)
    other_steps_equal_those_of_one_process(rank)
    fewer_cases_than_processes_are_validated(rank)
    fit_runs_as_one(rank, Path(sys.argv[1]) / "run")
    (Path(sys.argv[1]) / f"done-{rank}").write_text("")
    dist.destroy_process_group()
