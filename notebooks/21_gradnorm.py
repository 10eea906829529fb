# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # GradNorm: balancing several losses
#
# The losses of a network with several outputs need weights. In [20_msds_unet](20_msds_unet.ipynb) the weights α of the
# four side outputs ("sides") are set by hand: 0.2, 0.2, 0.2, 0.4. GradNorm adjusts them during training. You will
#
# - build it by hand, in ten lines, for two toy tasks, one with a loss about a hundred times larger;
# - slide the weights and the asymmetry, and see which way GradNorm would move them;
# - see where it helps, and where it does not;
# - start it at zero, as in the published algorithm, and see why that cannot work;
# - watch α, the gradient norm of each side (its *pull*) and its rate of learning while MSDS-UNet-GM trains;
# - vary the parameter that the paper leaves open, the *asymmetry*.
#
# Papers: Chen, Badrinarayanan, Lee, Rabinovich 2018, *GradNorm*, <https://arxiv.org/abs/1711.02257>; Yang et al. 2021,
# *MSDS-UNet*, <https://doi.org/10.1016/j.compmedimag.2021.101957>, Algorithm 1. Needs a CPU and about five minutes;
# with `smoke=True` well under one. The time of every section is for reading and running together. Sections 6 and 7 run
# on phantoms, or on your own volumes: `data="…"` names a folder in the Decathlon's layout. Words such as *side output*
# are in the [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
toy_steps: int = 800  # training steps of the toy tasks
steps: int = 180  # training steps of MSDS-UNet-GM in section 6
seeds: int = 2  # trainings per way of weighting, each from other initial weights
data: str = ""  # a dataset folder of volumes to use in sections 6 and 7 instead of the phantoms; its labels become one
smoke: bool = False  # a minute at most: everything short, one seed

# %%
from dataclasses import replace
from itertools import product

import numpy as np
import torch

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.crops import read_crops
from dsnotes.data.lungs import uncropped_label, within_lungs
from dsnotes.data.preprocess import hu_window
from dsnotes.metrics import paired_t_test, smallest_difference
from dsnotes.papers import msds_unet
from dsnotes.supervision.gradnorm import GradNorm
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.viewers import Guess, Table, curves, explore, progress, side_by_side, style

if smoke:
    toy_steps, steps, seeds = 60, 6, 1

# %% [markdown]
# ## 1. Two tasks, one with a much larger loss
#
# *Five minutes.*
#
# The tasks are two functions of the same sixteen inputs. The second is ten times larger, so that the same relative
# error costs a hundred times more; we call it *loud* and the first *quiet*. Each depends on four directions of the
# input that the other does not need. The network has one shared layer of four units and one head per task, so its
# capacity suffices for one of the two tasks, or for half of each. **Before running:** with equal weights, which task
# gets the capacity?

# %%
takes = Guess("Which task gets the capacity?", ["the quiet one", "the loud one", "each a half"])

# %%
g = torch.Generator().manual_seed(7)
x = torch.randn(512, 16, generator=g)
shapes = [torch.tanh(x @ torch.randn(16, 4, generator=g) / 2).sum(1) / 2 for _ in range(2)]
quiet_and_loud = (1.0, 10.0)


# %%
def fresh(seed):
    """A shared layer, and a head for each of the two tasks."""
    g = torch.Generator().manual_seed(seed)
    shared, *heads = (torch.randn(n, *m, generator=g) / n**0.5 for n, m in ((16, (4,)), (4, ()), (4, ())))
    return shared.requires_grad_(), [head.requires_grad_() for head in heads]


def both_losses(shared, heads, scales):
    maps = torch.tanh(x @ shared)
    pairs = zip(heads, shapes, scales, strict=True)
    return torch.stack([((maps @ head - scale * y) ** 2).mean() for head, y, scale in pairs])


# %% [markdown]
# The influence of a task's loss on the shared layer is the norm of its weighted gradient there. We call it the task's
# *pull*, $G_i = \lVert\nabla_W\, \alpha_i L_i\rVert$, where $\alpha_i$ is the task's weight and $W$ are the weights of
# the shared layer.


# %%
def pulls_of(losses, shared):
    """‖∇L_i‖ at the shared layer, without α; keeps the graph for the training step."""
    return torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses])


shared, heads = fresh(0)
losses = both_losses(shared, heads, quiet_and_loud)
pulls = pulls_of(losses, shared)
print(f"losses {losses.tolist()}, pulls {pulls.tolist()}")
print(f"the loud task's loss is {losses[1] / losses[0]:.0f} times larger, its pull {pulls[1] / pulls[0]:.1f} times")

# %% [markdown]
# ## 2. GradNorm by hand
#
# *Ten minutes.*
#
# GradNorm drives every task's pull towards the average $\bar G$, and above it if the task has learned less than the
# others. A task's remaining work is measured by its loss divided by its first loss; $r_i$ is that ratio relative to the
# mean over the tasks, and the exponent $a$ is the asymmetry:
#
# $$L_\mathrm{grad} = \sum_i \left|\, G_i - \bar G\, r_i^{\,a} \right|,
# \qquad r_i = \frac{L_i / L_i(0)}{\mathrm{mean}_j\, L_j / L_j(0)}$$
#
# The target $\bar G\, r_i^{\,a}$ is treated as a constant. The weights take a step down the gradient of
# $L_\mathrm{grad}$, are kept above zero, and are divided by their sum.


# %%
def balance_by_hand(alpha, optimiser, losses, first, pulls, asymmetry=1.5):
    """One step of the weights. `optimiser` optimises `alpha` only."""
    G = alpha * pulls
    r = losses / first
    target = (G.mean() * (r / r.mean()) ** asymmetry).detach()
    (alpha.grad,) = torch.autograd.grad((G - target).abs().sum(), alpha)
    optimiser.step()
    with torch.no_grad():
        alpha.clamp_(min=1e-3).div_(alpha.sum())


# %% [markdown]
# The library's `GradNorm` computes the derivative in closed form, so that it cannot leak into the network's gradient.
# Here are both on the same numbers:

# %%
alpha = torch.tensor([0.5, 0.5], requires_grad=True)
by_hand, library = torch.optim.Adam([alpha], lr=0.025), GradNorm(("quiet", "loud"), asymmetry=1.5, lr=0.025)
for i in range(50):
    seen, norms = losses.detach() * torch.tensor([0.99, 0.97]) ** i, pulls * torch.tensor([0.98, 0.95]) ** i
    balance_by_hand(alpha, by_hand, seen, losses.detach(), norms)
    library.update(seen, norms)
print(f"by hand {alpha.tolist()}, the library {library.weights.tolist()}")
assert torch.allclose(alpha, library.weights, atol=1e-5)

# %% [markdown]
# The slider sets the weight of the loud task, how much of its first loss the quiet task has left (the loud one has 0.5
# left), and the asymmetry. Arrows show where the next step moves each weight. **Before sliding:** at equal progress and
# asymmetry 0, which weights bring the two pulls together?


# %%
def balance(loud, left, asymmetry):
    """Pull and target of both tasks, and the direction in which GradNorm moves their weights."""
    weight = torch.tensor([1 - loud, loud])
    G, r = (weight * pulls).detach(), torch.tensor([left, 0.5])
    target = G.mean() * (r / r.mean()) ** asymmetry
    with style.look():
        figure = style.sheet(6.4, 2.4)
        axes = figure.subplots()
        for row in (0, 1):
            axes.barh(row, G[row], color=style.ON_BACKGROUND[row], height=0.5)
            axes.plot([target[row]] * 2, [row - 0.4, row + 0.4], color=style.FOREGROUND, linewidth=2)
            moves = "→ weight rises" if G[row] < target[row] else "← weight falls"
            axes.text(max(G[row], target[row]) * 1.02 + 0.02, row, moves, va="center", fontsize=8.5)
        axes.set_yticks([0, 1], [f"quiet, α {1 - loud:.2f}", f"loud, α {loud:.2f}"])
        axes.set(xlabel="pull G (bar) and its target (line)", xlim=(0, 1.35 * max(G.max(), target.max()).item()))
    return figure


explore(
    balance,
    {
        "loud": (0.5, 0.01, 0.02, 0.05, 0.1, 0.2, 0.8),
        "left": (0.5, 0.1, 0.25, 0.75, 1.0),
        "asymmetry": (1.5, 0.0, 0.5, 3.0),
    },
    stills=[{}, {"loud": 0.05}, {"loud": 0.05, "left": 1.0}],
    alt="GradNorm's pulls and targets at",
)

# %% [markdown]
# ## 3. Where it helps
#
# *Ten minutes, of which one runs.*
#
# We weight the two tasks in three ways: equally; by GradNorm; and at 100 : 1, which is right if the scales are known,
# as they rarely are in practice. **Before running:** will GradNorm come close to the weights from the known scales?


# %%
def weighed(how, *, scales=quiet_and_loud, asymmetry=1.5, lr=0.025, slow=1.0, seed=0):
    """Train; return each task's unexplained share, and its loss, weight and pull, per step."""
    (shared, heads), balance = fresh(seed), GradNorm(("quiet", "loud"), asymmetry=asymmetry, lr=lr)
    groups = [{"params": [shared, heads[0]]}, {"params": [heads[1]], "lr": 0.01 / slow}]
    optimiser, past = torch.optim.Adam(groups, lr=0.01), []
    for _ in range(toy_steps):
        past.append(one_step(how, both_losses(shared, heads, scales), shared, optimiser, balance))
    unexplained = torch.tensor([p["losses"] for p in past]) / torch.tensor(scales) ** 2
    return unexplained / torch.stack([y.square().mean() for y in shapes]), past


def one_step(how, losses, shared, optimiser, balance):
    alpha = balance.weights.clone() if how == "GradNorm" else torch.tensor(FIXED[how])
    norms = pulls_of(losses, shared)
    optimiser.zero_grad()
    (alpha * losses).sum().backward()
    optimiser.step()
    if how == "GradNorm":
        balance.update(losses.detach(), norms)
    return {"losses": losses.tolist(), "alpha": alpha.tolist(), "pull": (alpha * norms).tolist()}


FIXED = {"equal": (0.5, 0.5), "100 : 1": (100 / 101, 1 / 101)}

# %%
left = {how: weighed(how) for how in progress((*FIXED, "GradNorm"))}
takes.compare("the loud one" if left["equal"][0][-1].argmin() == 1 else "the quiet one", "See the curves.")
every = max(toy_steps // 100, 1)
curves.lines(
    {
        f"{task}, {how}": {i: unexplained[i, at].item() for i in range(0, toy_steps, every)}
        for how, (unexplained, _) in left.items()
        for at, task in enumerate(("quiet", "loud"))
    },
    x="step",
    y="unexplained share",
    log=True,
)

# %%
ends = {how: [] for how in left}
for how, seed in progress(product(left, range(3))):
    ends[how].append(weighed(how, seed=seed)[0][-1])
ends = {how: torch.stack(each) for how, each in ends.items()}


def span(values):
    return f"{values.min():.3f} … {values.max():.3f}"


Table(
    [{"weights": how, "quiet task": span(each[:, 0]), "loud task": span(each[:, 1])} for how, each in ends.items()],
    caption="Unexplained share of each task at the end, lowest and highest of three initialisations.",
)

# %%
if not smoke:
    assert ends["equal"][:, 0].min() > 2 * ends["GradNorm"][:, 0].max()
    assert ends["100 : 1"][:, 0].max() < ends["GradNorm"][:, 0].min()

# %% [markdown]
# With equal weights the loud task takes the capacity, and the quiet one stays mostly unlearned. GradNorm lets the quiet
# task learn most of its function without knowing the scales, but it does not reach the weights from the known scales.
# **Before running:** is that because its weights take steps of 0.025, too coarse where a weight should be about 0.01?

# %%
smaller_step, slowly = weighed("GradNorm", lr=0.005)
by_step = {"step of the weights 0.025": left["GradNorm"][1], "step 0.005": slowly}
curves.lines(
    {name: {i: past[i]["alpha"][1] for i in range(0, toy_steps, every)} for name, past in by_step.items()}
    | {"known scales": dict.fromkeys(range(0, toy_steps, every), 1 / 101)},
    x="step",
    y="weight of the loud task",
    log=True,
)
print(f"unexplained with the smaller step: quiet {smaller_step[-1, 0]:.3f}, loud {smaller_step[-1, 1]:.3f}")

# %% [markdown]
# No: the large step overshoots at first, but both end at the same place. The reason is GradNorm's measure of progress,
# $L / L(0)$: the quiet task's first loss came mostly from the random initial weights of its head.

# %%
remaining = {
    how: [last / first for last, first in zip(past[-1]["losses"], past[0]["losses"], strict=True)]
    for how, (_, past) in left.items()
}
Table(
    [
        {
            "weights": how,
            "quiet task: unexplained": left[how][0][-1, 0].item(),
            "loud task: unexplained": left[how][0][-1, 1].item(),
        }
        | {"quiet task: L / L(0)": quiet, "loud task: L / L(0)": loud}
        for how, (quiet, loud) in remaining.items()
    ]
)

# %%
assert smoke or abs(remaining["GradNorm"][0] / remaining["GradNorm"][1] - 1) < 0.1

# %% [markdown]
# Measured in this way, GradNorm has made both tasks advance almost equally. A task that starts with a bad guess seems
# to have learned a lot, and is held back.

# %% [markdown]
# ## 4. Starting at zero
#
# *Two minutes.*
#
# Algorithm 1 of MSDS-UNet begins by setting every weight α to 0. **Before running:** what is the pull of a task whose
# weight is zero, and what is the sum by which all weights are divided?

# %%
nothing = torch.zeros(2)
pull = nothing * pulls
after = (nothing - 0.1 * (pull - pull.mean()).sign() * pulls).clamp(min=0)
shares = (after / after.sum()).tolist()
print(f"pulls {pull.tolist()}, weights after a step {after.tolist()}, divided by their sum {shares}")
try:
    GradNorm(("side 1", "side 2", "side 3", "side 4"), start=(0.0, 0.0, 0.0, 0.0))
except ValueError as error:
    print(f"\n{error}")
else:
    raise AssertionError("a start at zero was accepted")

# %% [markdown]
# ## 5. What the asymmetry does
#
# *Five minutes.*
#
# Now the two tasks have *equal* scale, but the second task's head learns thirty times more slowly. With asymmetry 0 all
# tasks should have the same pull, however much they have learned. The larger the asymmetry, the larger the target pull
# of the task that lags behind. The GradNorm paper uses 0.12 and 1.5 for other problems; MSDS-UNet gives no value.

# %%
asymmetries = (0.0, 0.5, 1.5, 3.0)
slow = {"scales": (1.0, 1.0), "lr": 0.005, "slow": 30.0}
lagging = {a: weighed("GradNorm", asymmetry=a, **slow) for a in progress(asymmetries)}
curves.lines(
    {
        f"asymmetry {a:g}": {i: past[i]["alpha"][1] for i in range(0, toy_steps, every)}
        for a, (_, past) in lagging.items()
    },
    x="step",
    y="weight of the slow task",
)
Table(
    [
        {"asymmetry": a, "largest weight of the slow task": max(p["alpha"][1] for p in past)}
        | {"unexplained, fast task": left_over[-1, 0].item(), "slow task": left_over[-1, 1].item()}
        for a, (left_over, past) in lagging.items()
    ]
)

# %%
peaks = [max(p["alpha"][1] for p in past) for _, past in lagging.values()]
errors = torch.stack([left_over[-1] for left_over, _ in lagging.values()])
assert smoke or peaks[0] + 0.05 < min(peaks[1:])
assert smoke or (errors.amax(0) - errors.amin(0)).max() < 0.01

# %% [markdown]
# Any asymmetry above zero raises the slow task's weight, and 0.5 nearly as much as 3: a weight's step depends on
# whether its pull lies above or below the target, not on how far. And here the asymmetry changes only the course of
# training: the final errors are the same.

# %% [markdown]
# ## 6. GradNorm in MSDS-UNet-GM
#
# *Five minutes, of which one runs.*
#
# In MSDS-UNet-GM each side is a task: its loss at full size plus its loss at its own size. The soft fusion does not
# belong to a single side and is left out, as in the paper. The pulls are compared at the last convolution that all four
# sides share. **Before running:** side 1 (stride 8) is attached right there, side 4 (stride 1) three blocks further on.
# Which has the larger pull, and whose weight will fall?

# %%
falls = Guess("Whose weight falls first?", ["side 1 (stride 8)", "side 4 (stride 1)"])

# %%
chests = [hu_window(-1000, 400)(within_lungs(case)) for case in phantoms.lung(24 if not smoke else 5, seed=0)]
assert all(uncropped_label(cut).sum() == cut.label.sum() for cut in chests)  # no tumour lies outside a crop
if data:
    chests, _ = read_crops(data, size=(64, 64, 64), spacing=(3.0, 3.0, 3.0), most=24 if not smoke else 5)
held_out = min(8, max(2, len(chests) // 3))
test, train = chests[:held_out], chests[held_out:]
budget = replace(
    msds_unet.SETTINGS,
    patch=(32, 32, 32) if not smoke else (16, 32, 32),
    batch=2 if not smoke else 1,
    epochs=12 if not smoke else 3,
    lr=1e-2,
    schedule="poly",
    foreground=0.8,
)
small = {"width": 8 if not smoke else 4}
torch.manual_seed(0)
system = dsnotes.build("msds-unet-gm", **small)
print("compared at", next(n for n, p in system.network.named_parameters() if p is GradNormStep(system, budget).shared))

# %%
history = dsnotes.fit(
    system,
    train,
    settings=budget,
    iterations=steps // budget.epochs,
    on_epoch=curves.live(title="MSDS-UNet-GM"),
    progress=False,
)

# %%
sides = ("stride1", "stride2", "stride4", "stride8")
alpha = np.array([history[f"alpha {side}"] for side in sides])
pull = np.array([history[f"pull {side}"] for side in sides])
Table(
    [
        {"side": f"{4 - i} ({side})", "α in the first epoch": alpha[i, 0], "in the last": alpha[i, -1]}
        | {"share of the pull, first epoch": pull[i, 0] / pull[:, 0].sum(), "last": pull[i, -1] / pull[:, -1].sum()}
        | {"L / L(0) in the last": history[f"rate {side}"][-1], "the paper's fixed α": (0.4, 0.2, 0.2, 0.2)[i]}
        for i, side in enumerate(sides)
    ]
)

# %%
first = alpha[:, 0]
falls.compare("side 1 (stride 8)" if first[3] < first[0] else "side 4 (stride 1)", "In the first epoch.")
assert np.allclose(alpha.sum(0), 1, atol=1e-4)
assert alpha.min() > 0
assert smoke or data or (alpha[3, 0] < 0.2 < 0.4 < alpha[0].max() and alpha[0, -1] < 0.2 < 0.3 < alpha[3, -1])
assert torch.allclose(system.network.heads["global"].alpha.sum(), torch.tensor(1.0))

# %% [markdown]
# ## 7. Is it better?
#
# *Five minutes, of which three run.*
#
# The paper reports a Dice of 0.675 with GradNorm against 0.664 with fixed weights (Table 1), and 0.691 against 0.683
# (Table 10). Here we compare fixed weights, GradNorm, and GradNorm without asymmetry, with the same number of steps,
# patients and initial weights.
#
# **What can this comparison show?** With eight patients whose differences spread by 0.1, a paired test finds a mean
# difference of the following size in four of five studies; the paper's gain is a tenth of that.

# %%
print(f"{smallest_difference(0.1, 8):.3f} with 8 patients, {smallest_difference(0.1, 220):.3f} with the paper's 220")

# %%
ways = {
    "fixed α": ("msds-unet", {}),
    "GradNorm": ("msds-unet-gm", {}),
    "GradNorm, asymmetry 0": ("msds-unet-gm", {"asymmetry": 0.0}),
}


def trained_dice(name, options, seed):
    torch.manual_seed(seed)
    net = dsnotes.build(name, **small, **options)
    past = dsnotes.fit(net, train, settings=budget, iterations=max(steps // 36, 1), seed=seed, progress=False)
    labels = [dsnotes.to_label(dsnotes.predict(net, case, patch=(64, 64, 64))) for case in test]
    dices = [dsnotes.score(p, c.label, spacing=c.spacing)["dice"] for p, c in zip(labels, test, strict=True)]
    label_maps[name, str(options), seed] = labels
    return dices, past.seconds_per_epoch


results, label_maps = {way: [] for way in ways}, {}
for way, seed in progress(product(ways, range(seeds))):
    results[way].append(trained_dice(*ways[way], seed))
dice = {way: np.array([dices for dices, _ in runs]) for way, runs in results.items()}
paper_rows = {
    "fixed α": msds_unet.TABLES[1].rows["msds-unet"][0],
    "GradNorm": msds_unet.TABLES[1].rows["msds-unet-gm"][0],
}
tests = {way: paired_t_test(d.mean(0), dice["fixed α"].mean(0)) for way, d in dice.items() if way != "fixed α"}
Table(
    [
        {"weights": way, "paper": paper_rows.get(way), "ours": d.mean()}
        | {"per seed": " ".join(f"{one:.3f}" for one in d.mean(1))}
        | {"minus fixed": tests[way].difference if way in tests else None, "p": tests[way].p if way in tests else None}
        | {"seconds per epoch": np.mean([seconds for _, seconds in results[way]])}
        for way, d in dice.items()
    ],
    caption=f"Mean Dice of {len(test)} held-out phantoms; the paper's are of 220 patients.",
)

# %%
for way, d in dice.items():
    if way != "fixed α" and len(test) > 1:
        spread = (d.mean(0) - dice["fixed α"].mean(0)).std(ddof=1)
        print(f"{way} minus fixed: differences spread by {spread:.3f}, so that {len(test)} patients show", end=" ")
        print(f"{smallest_difference(spread, len(test)):.3f} or more")

# %% [markdown]
# The patient on whom fixed weights and GradNorm differ most:

# %%
pair = {way: label_maps[ways[way][0], str(ways[way][1]), 0] for way in ("fixed α", "GradNorm")}
most = int(np.argmax([(a != b).sum() for a, b in zip(*pair.values(), strict=True)]))
side_by_side(test[most], {way: labels[most] for way, labels in pair.items()}, names={1: "tumour"})

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** with equal weights three quarters of the quiet task stay unexplained (three initialisations); GradNorm,
#   without knowing the scales, brings that to between .18 and .29, and the known scales to .13. In MSDS-UNet it first
#   lowers the weight of the coarsest side, which has .8 of all pull at the shared layer, and raises the others, above
#   all the output's (to .7 in epoch 4). When the output begins to learn, its gradient grows, and its weight falls to .1
#   and below, where the paper's is .4; in the last epoch the coarsest side has half of the weight (one seed).
# - **Not what one might think:** it does not look for the weights that are best for all tasks. It makes them advance
#   equally *relative to their first losses*, and a task with a bad initial guess is left behind. And the asymmetry,
#   which the paper leaves open, made no difference to the final errors here.
# - **Not what the paper says:** weights that start at zero, as published, end in zero divided by zero.
# - **Not shown:** that GradNorm is better than fixed weights. After some seventy steps, two seeds of one system differ
#   by more than the three systems do; the paper's gain is 0.011. The training is also too short for the last column to
#   show what GradNorm costs: `benchmarks/results/gradnorm.md` does.
#
# > **Use it / do not / unknown.** *Use* GradNorm where the scales of several losses are unknown and far apart, and
# > compare it with a few fixed weights. *Do not* start it at zero, and do not take its weights for the best ones: it
# > equalises progress. *Unknown:* whether it raises MSDS-UNet's Dice; eight patients cannot show a gain of 0.011. A
# > step costs 1.3 to 1.4 times as much (`benchmarks/results/gradnorm.md`).
#
# ## Read next
#
# - Kendall, Gal, Cipolla 2018, *Multi-Task Learning Using Uncertainty to Weigh Losses*,
#   <https://arxiv.org/abs/1705.07115>: weights that the network learns as if they were noise levels.
# - Sener, Koltun 2018, *Multi-Task Learning as Multi-Objective Optimization*, <https://arxiv.org/abs/1810.04650>: a
#   step that harms no task.
# - Kurin et al. 2022, *In Defense of the Unitary Scalarization for Deep Multi-Task Learning*,
#   <https://arxiv.org/abs/2201.04122>: equal weights, well tuned, are hard to beat.
#
# ## Exercises
#
# 1. Scale the quiet task down to 0.1. Does GradNorm still balance the two, and what limits the weights?
#
# <details><summary>A hint</summary>
#
# `weighed("GradNorm", scales=(0.1, 10.0))`, and look at the weights at the end.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# from dsnotes.supervision.gradnorm import SMALLEST
#
# unexplained, past = weighed("GradNorm", scales=(0.1, 10.0))
# lowest = min(step["alpha"][1] for step in past)
# print(f"unexplained: quiet {unexplained[-1, 0]:.3f}, loud {unexplained[-1, 1]:.3f}")
# print(f"lowest weight of the loud task {lowest:.4f}; the library's bound is {SMALLEST}")
# assert lowest >= 0.9 * SMALLEST
# ```
#
# The losses now differ by 10⁴, so the right weight of the loud task lies near 10⁻⁴, below the bound that keeps every
# task alive.
#
# </details>
#
# 2. Compare the pulls at another place: the first convolution of the bottleneck. Is the order of the four pulls the
#    same?
#
# <details><summary>A hint</summary>
#
# `GradNormStep(system, budget, shared="…")` takes a parameter's name; `system.network.named_parameters()` lists them.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# from dsnotes.data.patches import draw_batch
# from dsnotes.supervision import loss_terms
#
# g = torch.Generator().manual_seed(0)
# some = draw_batch(train, patch=budget.patch, batch=2, foreground=1.0, generator=g)
# parameters = dict(system.network.named_parameters())
# deeper = next(name for name in parameters if name.startswith("backbone.bottleneck") and name.endswith("weight"))
# places = (GradNormStep(system, budget).shared, parameters[deeper])
# terms = loss_terms(system.objective, system.network, some)
# for weight in places:
#     norms = {}
#     for side, names in system.objective.tasks(system.network).items():
#         task = sum(terms[name] for name in names)
#         norms[side] = round(torch.autograd.grad(task, weight, retain_graph=True)[0].norm().item(), 5)
#     print(norms)
# ```
#
# The deeper layer is further from all sides, so its pulls are closer to each other; GradNorm balances what it measures,
# and where it measures is a choice.
#
# </details>
