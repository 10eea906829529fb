# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What each depth sees
#
# A side output at stride 8 sees a wide part of the image and predicts in blocks of eight pixels. Both matter for a
# tumour of 5 mm, and both can be measured. You will
#
# - compute the *receptive field* of every depth by a simple rule, and check it with gradients;
# - see how much of that field a network really uses, before and after training;
# - find the best that a side output of stride 8 could do for a small tumour, whatever the training, and slide through
#   strides and ways of downsampling;
# - train the side outputs with three ways of downsampling the mask, and compare them with that best.
#
# Papers: Luo, Li, Urtasun, Zemel 2016, *Understanding the Effective Receptive Field*,
# <https://arxiv.org/abs/1701.04128>; the question comes from Yang et al. 2021, *MSDS-UNet*,
# <https://doi.org/10.1016/j.compmedimag.2021.101957>, who supervise at strides 8, 4, 2 and 1 because "small tumors may
# have lost their response when the feature map has reached a certain depth". Needs a CPU and about three minutes; with
# `smoke=True` about half a minute. The time of every section is for reading and running together. Read
# [10_one_idea](10_one_idea.ipynb) first; words such as *receptive field* are in the
# [glossary](../site/pages/glossary.md).

# %% tags=["parameters"]
steps: int = 300  # training steps of each of the three networks
nodules: int = 240  # phantom nodules, a quarter of them held out
smoke: bool = False  # a minute at most: few nodules, few steps

# %%
import copy

import torch
from torch import nn
from torch.nn import functional

from dsnotes.data import phantoms
from dsnotes.data.patches import draw_batch
from dsnotes.data.preprocess import hu_window
from dsnotes.networks.unet import UNet
from dsnotes.supervision import MultiScale, downsample_target, loss_terms, supervise
from dsnotes.viewers import Guess, Table, curves, explore, maps, progress
from dsnotes.viewers.maps import draw

if smoke:
    steps, nodules = 8, 40
strides = (1, 2, 4, 8)
ways = ("nearest", "area", "max")

# %% [markdown]
# ## 1. How far a pixel of each depth can see
#
# *Ten minutes.*
#
# A 3×3 convolution lets a pixel see one neighbour on each side, on its own grid. So each convolution widens the
# receptive field by 2 × (the stride so far), and each pooling by two widens it by one such stride and then doubles the
# stride. **Before running:** how wide is the field of a pixel at the bottom of a U-Net of five levels, with two
# convolutions each: 32, 80 or 140 pixels?

# %%
how_wide = Guess("How wide is the field at the bottom?", ["32", "80", "140"])

# %%
levels = ["encoder.stride1", "encoder.stride2", "encoder.stride4", "encoder.stride8", "bottleneck"]
by_rule, field, stride = {}, 1, 1
for level in levels:
    if stride > 1:
        field += stride // 2  # the pooling
    field += 2 * (2 * stride)  # two convolutions
    by_rule[level], stride = field, 2 * stride
print(by_rule)
how_wide.compare(str(by_rule["bottleneck"]), "Each of the deeper convolutions adds twice its stride on either side.")

# %% [markdown]
# On the way up the rule has exceptions: a transposed convolution with stride 2 sees a single coarse pixel, and a
# shortcut brings in a map with a smaller field. So we measure instead: we take the gradient of one pixel in the middle
# of a map with respect to every pixel of the image. To find the *possible* field, no path may be blocked: all weights
# are set equal and positive, and max pooling is replaced by mean pooling.


# %%
def input_gradient(backbone, image, level):
    """|d middle pixel of the level / d image|, summed over its channels: (height, width)."""
    image = image.clone().requires_grad_()
    features = backbone(image)[level]
    features[..., features.shape[-2] // 2, features.shape[-1] // 2].sum().backward()
    return image.grad.abs().sum((0, 1))


def width_of(touched):
    """How many pixels wide a region is."""
    columns = touched.any(0).nonzero()
    return int(columns[-1] - columns[0] + 1)


# %%
torch.manual_seed(0)
objective = MultiScale(weights=(1, 1 / 2, 1 / 4, 1 / 8), reduction="area")
network = supervise(UNet(width=8), objective)
unblocked = copy.deepcopy(network.backbone).double().eval()
unblocked.pool = nn.AvgPool2d(2)
for parameter in unblocked.parameters():
    nn.init.constant_(parameter, 1 / parameter[0].numel() if parameter.ndim > 1 else 1)

levels += [f"decoder.stride{s}" for s in (8, 4, 2, 1)]
ones = torch.ones(1, 1, 320, 320, dtype=torch.float64)
possible = {level: width_of(input_gradient(unblocked, ones, level) > 0) for level in levels}
Table([{"level": name, "by the rule": by_rule.get(name), "by gradient": width} for name, width in possible.items()])

# %%
assert all(possible[level] == width for level, width in by_rule.items())
assert possible["decoder.stride1"] > possible["decoder.stride8"] > possible["bottleneck"]

# %% [markdown]
# No map has a wider field than the *output*, because it depends on the bottleneck too. So "deep layers see the context,
# fine layers the detail" is true of the encoder only. In the decoder all depths see the context; what differs is the
# resolution of their prediction.
#
# ## 2. How much of the field is used
#
# *Fifteen minutes, of which two run.*
#
# From a pixel at the edge of the field, one path leads to the middle; from a pixel close by, thousands do. **Before
# running:** how wide is the square that holds nine tenths of the gradient: the whole field, half of it, a fifth?

# %%
cases = [hu_window(-1000, 400)(case) for case in phantoms.nodules(nodules, seed=0, spacing=1.0)]
test, train = cases[: nodules // 4], cases[nodules // 4 :]
wide = [hu_window(-1000, 400)(case) for case in phantoms.nodules(4, seed=1, size=256, spacing=1.0)]
images = torch.stack([torch.from_numpy(case.image)[None] for case in wide])


def half_widths(gradient):
    """The Chebyshev distance of every pixel from the middle."""
    rows, columns = (torch.arange(n) - n // 2 for n in gradient.shape)
    return torch.maximum(rows.abs()[:, None], columns.abs()[None])


def effective(backbone, level, share=0.9):
    """Width of the square around the middle that holds `share` of the gradient."""
    gradient = input_gradient(copy.deepcopy(backbone).eval(), images, level)
    held = torch.bincount(half_widths(gradient).ravel(), weights=gradient.ravel()).cumsum(0)
    return 2 * int((held < share * held[-1]).sum()) + 1


# %% [markdown]
# Three networks are trained on phantom nodules with a diameter of 5 to 24 mm and pixels of 1 mm, the paper's grid. They
# differ only in how the mask is downsampled for the coarse side outputs.


# %%
def trained(how):
    torch.manual_seed(0)
    goal = MultiScale(weights=(1, 1 / 2, 1 / 4, 1 / 8), reduction=how)
    net, g = supervise(UNet(width=8), goal), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in progress(range(steps), of=f"steps with {how!r} targets"):
        batch = draw_batch(train, patch=(64, 64), batch=16, foreground=1.0, generator=g)
        optimiser.zero_grad()
        sum(loss_terms(goal, net, batch).values()).backward()
        optimiser.step()
    return net.eval()


networks = {how: trained(how) for how in ways}

# %%
sides = [f"decoder.stride{s}" for s in strides]
rows = [
    {
        "side": side.removeprefix("decoder."),
        "possible": possible[side],
        "untrained": effective(network.backbone, side),
        "trained": effective(networks["area"].backbone, side),
    }
    for side in sides
]
Table(rows, caption="Width of the field in pixels of 1 mm; the last two hold nine tenths of the gradient.")

# %%
seen = {
    name: {
        side.removeprefix("decoder."): input_gradient(copy.deepcopy(net).eval(), images, side)[64:192, 64:192]
        for side in sides
    }
    for name, net in {"untrained": network.backbone, "trained": networks["area"].backbone}.items()
}
maps(
    {name: {side: (g / g.max()).clamp(min=1e-4).log10() for side, g in of.items()} for name, of in seen.items()},
    colours="heat",
    title="Gradient of the middle pixel in the 128 mm around it (log10)",
)

# %%
assert all(row["untrained"] < 0.5 * row["possible"] for row in rows)
assert smoke or rows[0]["trained"] > 5 * rows[0]["untrained"]

# %% [markdown]
# Yellow is the strongest response in each panel, the darkest blue a ten-thousandth of it or less. Before training the
# finest output depends on little more than its shortcut, and each depth has a different field: this is the usual
# picture of a U-Net. Training changes it. All side outputs now use about the same hundred millimetres: the fine ones
# have learned to use the deep features.

# %% [markdown]
# ## 3. The best a side output of stride 8 could do
#
# *Fifteen minutes.*
#
# Leave training aside. Downsample the true mask to stride $s$, upsample it again, and choose the best threshold for
# every nodule: a side output that equals its target can do no better. Because a side output need not equal its target,
# we also let an optimiser find the coarse map that, upsampled linearly, fits the truth best, and keep the best of all
# four. Stride $s$ can express at least that much. **Before running:** what Dice can a nodule of 5 mm reach at stride 8:
# zero, one half, or nine tenths?

# %%
reach_at_8 = Guess("The best Dice of a nodule of 5 to 7 mm at stride 8?")

# %%
truth = torch.stack([torch.from_numpy(case.label).long() for case in test])
mm = 2 * (truth.sum((1, 2)) / torch.pi).sqrt()
bins = {"5–7 mm": (0, 7), "7–10 mm": (7, 10), "10–14 mm": (10, 14), "14 mm and more": (14, 99)}
print({name: int(((mm >= low) & (mm < high)).sum()) for name, (low, high) in bins.items()})


def dice_each(p, threshold=0.5, of=truth):
    """The Dice of every image."""
    marked, t = p[:, 0] > threshold, of > 0
    return 2 * (marked & t).sum((1, 2)) / (marked.sum((1, 2)) + t.sum((1, 2))).clamp(min=1)


def to_full_size(coarse):
    return functional.interpolate(coarse, truth.shape[1:], mode="bilinear")


def by_size(dice):
    return {name: dice[(mm >= low) & (mm < high)].mean().item() for name, (low, high) in bins.items()}


# %%
def best_coarse_map(stride):
    """Dice of the coarse map found by gradient descent on the soft Dice of its upsampling."""
    logits = (8 * downsample_target(truth, (64 // stride,) * 2, channels=1, how="area") - 4).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200 if not smoke else 20):
        p, t = to_full_size(logits).sigmoid(), truth[:, None].float()
        optimiser.zero_grad()
        (1 - 2 * (p * t).sum((1, 2, 3)) / (p + t).sum((1, 2, 3))).sum().backward()
        optimiser.step()
    return dice_each(to_full_size(logits.detach()).sigmoid())


# %%
thresholds = torch.linspace(0.02, 0.98, 49)
reachable = {}
for stride in progress(strides, of="strides"):
    size = tuple(n // stride for n in truth.shape[1:])
    for how in ways:
        back = to_full_size(downsample_target(truth, size, channels=1, how=how))
        reachable[how, stride] = torch.stack([dice_each(back, t) for t in thresholds]).amax(0)
    every = [best_coarse_map(stride), *(reachable[how, stride] for how in ways)]
    reachable["the best found", stride] = torch.stack(every).amax(0)
Table(
    [
        {"stride": stride, "downsampled by": how} | by_size(dice)
        for (how, stride), dice in reachable.items()
        if stride > 1
    ],
    caption="Best possible Dice, mean over nodules of each size.",
)

# %%
smallest = next(iter(bins))
reach_at_8.compare(by_size(reachable["the best found", 8])[smallest], "With the best map that the optimiser found.")

# %% [markdown]
# One nodule in detail: its target at a stride of your choice, by each way of downsampling, and what comes back when it
# is upsampled and cut at its best threshold.


# %%
def there_and_back(stride, how, nodule):
    """Mask, target, the target upsampled, and its best binary map."""
    which = truth[[int(mm.argsort()[{"small": 0, "medium": len(mm) // 2, "large": -1}[nodule]])]]
    target = downsample_target(which, (64 // stride,) * 2, channels=1, how=how)
    back = to_full_size(target)
    dices = torch.stack([dice_each(back, t, of=which) for t in thresholds])[:, 0]
    cut = thresholds[dices.argmax()].item()
    panels = {"mask": which[0], "target": target[0, 0], "upsampled": back[0, 0], f"cut at {cut:.2f}": back[0, 0] > cut}
    return draw(panels, window=(0, 1), title=f"stride {stride}, {how}: best Dice {dices.max():.2f}")


explore(
    there_and_back,
    {"stride": (2, 4, 8, 16), "how": ("nearest", "area", "max", "corner"), "nodule": ("small", "medium", "large")},
    stills=[{"stride": 8, "how": how} for how in ("nearest", "area", "max", "corner")],
    alt="A nodule, its target, and the target upsampled:",
)

# %%
curves.lines(
    {f"stride {s}": by_size(reachable["the best found", s]) for s in strides},
    x="diameter of the nodule",
    y="best Dice found for a map of that stride",
)

# %%
small, *_, large = bins
assert by_size(reachable["nearest", 8])[small] < by_size(reachable["area", 8])[small]
assert by_size(reachable["the best found", 8])[small] < by_size(reachable["the best found", 8])[large]
assert smoke or by_size(reachable["the best found", 1])[small] == 1

# %% [markdown]
# A common fourth way takes the *first* pixel of each cell, as PyTorch's `interpolate(mode="nearest")` does; the library
# calls it `corner`. It makes two errors: it keeps one pixel per cell, and it shifts the mask by half a cell. Compare it
# with the pixel in the middle (`nearest`: one pixel per cell, no shift) and with the share (`area`). **Before
# running:** for a nodule of 14 mm and more at stride 8, which costs more, the shift or the size of the cells?

# %%
shifted = []
for stride in (2, 4, 8, 16):
    size = tuple(n // stride for n in truth.shape[1:])
    reach = {}
    for how in ("corner", "nearest", "area"):
        back = to_full_size(downsample_target(truth, size, channels=1, how=how))
        reach[how] = by_size(torch.stack([dice_each(back, t) for t in thresholds]).amax(0))[large]
    lost = {"shift": reach["nearest"] - reach["corner"], "one pixel per cell": reach["area"] - reach["nearest"]}
    lost["size"] = 1 - reach["area"]
    shifted.append({"stride": stride} | reach | {f"lost by the {why}": dice for why, dice in lost.items()})
Table(shifted, caption=f"Best Dice that a target allows for nodules of {large}, and what each error costs.")

# %%
assert all(row["corner"] < row["nearest"] < row["area"] for row in shifted[1:3])
assert shifted[2]["lost by the shift"] > shifted[2]["lost by the size"]

# %% [markdown]
# ## 4. What the trained side outputs predict
#
# *Ten minutes.*
#
# Now we take the trained side outputs, upsampled linearly, on held-out nodules, first with the usual threshold of one
# half. **Before running:** a side output was trained on the *share* of nodule in a cell of 8 × 8 mm and predicts it
# correctly. What happens to a nodule that fills a fifth of the cell?


# %%
def sides_of(net, some):
    """The upsampled probabilities of every side output, and the truth."""
    with torch.no_grad():
        sides = net(torch.stack([torch.from_numpy(case.image)[None] for case in some])).side_outputs
    labels = torch.stack([torch.from_numpy(case.label) for case in some])
    return {stride: to_full_size(sides[f"stride{stride}"]).sigmoid() for stride in strides}, labels


predicted = {how: sides_of(net, test)[0] for how, net in networks.items()}
at_half = {(how, stride): dice_each(predicted[how][stride]) for stride in strides for how in ways}
Table(
    [
        {"stride": stride, "trained on": how} | by_size(dice) | {"5–7 mm not found": (dice[mm < 7] == 0).float().mean()}
        for (how, stride), dice in at_half.items()
    ],
    caption="Dice of the side outputs at a threshold of one half, mean over held-out nodules of each size.",
)

# %% [markdown]
# A fifth is below one half: even a correct prediction marks nothing. So each side output now gets the threshold that is
# best on the *training* nodules.

# %%
found, rows = {}, []
for how in ways:
    known, labels = sides_of(networks[how], train)
    for stride in strides:
        means = torch.stack([dice_each(known[stride], t, of=labels).mean() for t in thresholds])
        chosen = thresholds[means.argmax()].item()
        found[how, stride] = dice_each(predicted[how][stride], chosen)
        rows.append({"stride": stride, "trained on": how, "threshold": chosen} | by_size(found[how, stride]))
assert smoke or by_size(at_half["area", 8])[small] < 0.1 < by_size(found["area", 8])[small]
assert smoke or by_size(found["nearest", 8])[small] < by_size(found["area", 8])[small]
Table(sorted(rows, key=lambda row: row["stride"]), caption="The same with a separate threshold for each side output.")

# %%
curves.lines(
    {"best found, stride 8": by_size(reachable["the best found", 8])}
    | {f"trained on {how}, stride 8": by_size(found[how, 8]) for how in ways}
    | {"trained on area, stride 1": by_size(found["area", 1])},
    x="diameter of the nodule",
    y="Dice",
)

# %%
tiny = int(mm.argmin())
maps(
    {
        how: {
            "truth": truth[tiny],
            "target": downsample_target(truth[[tiny]], (8, 8), channels=1, how=how),
            "stride 8, upsampled": predicted[how][8][tiny],
            "stride 1": predicted[how][1][tiny],
        }
        for how in ways
    },
    window=(0, 1),
    title=f"A nodule of {mm[tiny]:.1f} mm: targets by three reductions, and predictions",
)

# %% [markdown]
# ## What we saw, and what we did not
#
# - **Shown:** the rule for receptive fields holds to the pixel. The output's possible field is as wide as any; before
#   training nine tenths of its gradient lie within a twentieth of it, and after training within a field as wide as that
#   of the coarsest side output.
# - **Shown:** stride 8 can represent a nodule of 5 mm. A map found by gradient descent reaches a Dice of 0.74 on those
#   of 5 to 7 mm, because linear interpolation can place a small peak between the cells. The `nearest` target itself
#   cannot do better than 0.13 on those, whatever the threshold.
# - **Shown:** where a program takes the first pixel of a cell (`corner`), much of the loss in Dice comes from the shift
#   and not from the size of the cells. For nodules of 14 mm and more at stride 8 the best Dice is 0.58 by `corner`,
#   0.81 by `nearest` and 0.90 by `area`: the shift costs 0.24, one pixel per cell 0.09, the size of the cells 0.10.
# - **Measured, with one seed:** at a threshold of one half, a side output of stride 8 trained on shares marks no pixel
#   of any nodule below 7 mm. With its own threshold, 0.14, it reaches 0.48 on them, and trained on `max` 0.43; trained
#   on `nearest` it does worst. All stay well below the 0.74 that the stride allows, and below the 0.8 of the output.
# - **Not what the paper says:** it writes that small tumours "may have lost their response" at depth. Here that depends
#   less on the receptive field, or on what the stride can express, than on the target and the threshold. The paper does
#   not say how it downsampled the mask.
# - **Open:** whether another downsampling of the mask improves the *output*. Its three rows differ by a few hundredths,
#   with one seed per row; [20_msds_unet](20_msds_unet.ipynb) shows how to test that.
#
# > **Use it / do not / unknown.** *Use* `reduction="area"` for coarse side outputs, with a threshold of their own if
# > they are read at all. *Do not* use the first pixel of a cell (`corner`). *Unknown:* whether the output gains.
#
# ## Read next
#
# - Araujo, Norris, Sim 2019, *Computing Receptive Fields of Convolutional Neural Networks*,
#   <https://distill.pub/2019/computing-receptive-fields/>: the rule of section 1 for any network, with pictures.
# - Luo et al. 2016 (above): why the effective field is a small bell before training.
# - Lin et al. 2017, *Feature Pyramid Networks for Object Detection*, <https://arxiv.org/abs/1612.03144>: assigns
#   objects to depths by their size, which is the question of this notebook for detectors.
#
# ## Exercises
#
# 1. Add a side output of stride 16 (the bottleneck) to section 3. From which diameter on is it useful?
#
# <details><summary>A hint</summary>
#
# `best_coarse_map` takes any stride that divides 64.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# at_16 = by_size(best_coarse_map(16))
# print({name: round(dice, 2) for name, dice in at_16.items()})
# assert at_16[large] > at_16[small]
# ```
#
# What counts as useful is your choice; at a Dice of one half it is the first group above it.
#
# </details>
#
# 2. A learned upsampling (MSDS-UNet's global side outputs) can do better than linear interpolation. In
#    `best_coarse_map`, replace `to_full_size` by a transposed convolution with a learned kernel. How much does a nodule
#    of 5 to 7 mm gain?
#
# <details><summary>A hint</summary>
#
# One kernel of 16 × 16 with stride 8 and padding 4, shared by all nodules, is optimised together with the maps.
#
# </details>
#
# <details><summary>A solution</summary>
#
# ```python
# from dsnotes.networks.blocks import linear_up_sampling
#
# up = linear_up_sampling(1, (8, 8))  # begins as linear interpolation
# coarse = (8 * downsample_target(truth, (8, 8), channels=1, how="area") - 4).requires_grad_()
# optimiser = torch.optim.Adam([coarse, *up.parameters()], lr=0.1)
# for _ in progress(range(200 if not smoke else 20), of="steps"):
#     p, t = up(coarse).sigmoid(), truth[:, None].float()
#     optimiser.zero_grad()
#     (1 - 2 * (p * t).sum((1, 2, 3)) / (p + t).sum((1, 2, 3))).sum().backward()
#     optimiser.step()
# learned = by_size(dice_each(up(coarse.detach()).detach().sigmoid()))
# print(f"linear {by_size(best_coarse_map(8))[small]:.2f}, learned {learned[small]:.2f}")
# ```
#
# From .74 to .95 in our run: a learned kernel can be a narrow peak with dark surroundings, and the coarse values place
# it. That the kernel was learned on the nodules it is scored on makes this an upper bound.
#
# </details>
