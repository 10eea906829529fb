# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 6: How sure is the network?
#
# A network says that a voxel is nodule with probability 0.9. Of all voxels of which it says so, are nine in ten nodule?
# If they are, it is *calibrated*. Networks for segmentation are usually too sure. In this lab you measure that, mend
# what one number can mend, and give a volume with an interval, which is what a radiologist needs to decide whether a
# nodule has grown.
#
# $$\mathrm{ECE} = \sum_k \frac{n_k}{n}\,\big|\bar t_k - \bar p_k\big|, \qquad
#   p_T = \mathrm{sigmoid}(z / T)$$
#
# Read first: [62_how_sure](../62_how_sure.ipynb). About 90 minutes; 20 points, three of them graded by hand. Run the
# test cell below each of yours: a failing test says what to check; some have hidden parts with other inputs, so results
# must be *computed*, by functions that do not change their arguments. Do not use `dsnotes`: you are writing a part of
# it, and it is not installed when your notebook is graded. `dsnotes labs check lab6_calibration.ipynb` runs the whole
# notebook in a fresh kernel.

# %% [markdown]
# The network is simulated, so that you know what is wrong with it. It sees the distance of every voxel from the edge of
# a nodule, with two errors: one is the same for the whole nodule (the network draws all of it too large or too small),
# one differs from place to place. Its logits are the seen distance times a factor that is far too large.

# %%
import cv2
import numpy as np

VOXEL = 2.0 * 0.7 * 0.7  # mm³


def scan(seed):
    """Logits of the simulated network and the true mask, both (12, 32, 32)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:12, :32, :32] - np.array([5.5, 15.5, 15.5])[:, None, None, None]
    distance = rng.uniform(5, 11) - np.sqrt((2.0 / 0.7 * z) ** 2 + y**2 + x**2)
    local = np.stack([cv2.GaussianBlur(level, (0, 0), 2) for level in rng.standard_normal((12, 32, 32))])
    seen = distance + rng.normal(0, 0.8) + 0.8 * local / local.std()
    return 4.0 * seen, (distance > 0).astype(float)


def scans(first, n):
    """Logits and masks of `n` nodules: both (n, 12, 32, 32)."""
    logits, masks = zip(*(scan(seed) for seed in range(first, first + n)), strict=True)
    return np.stack(logits), np.stack(masks)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


validation, test = scans(0, 40), scans(1000, 40)

# %% [markdown]
# ## 1. Bins
#
# Sort the voxels into `bins` bins of equal width by their probability: bin k holds k/bins < p ≤ (k + 1)/bins, and p = 0
# belongs to bin 0. Arrays may have any shape, and all voxels count alike. An empty bin has the means 0 and 0.


# %% nbgrader={"grade_id": "bins", "solution": true}
def binned(p, t, bins=10):
    """Three arrays of length `bins`: number of voxels, mean probability, mean target."""
    ### BEGIN SOLUTION
    p, t = p.ravel(), t.ravel()
    at = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    means = [np.bincount(at, each, bins) / np.maximum(count, 1) for each in (p, t)]
    return count, *means
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-bins", "points": 3}
import numpy as np

p, t = np.array([0.0, 0.1, 0.3, 0.4, 0.4, 1.0]), np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
count, confidence, frequency = binned(p, t, bins=4)
assert len(count) == 4 and sum(count) == 6, f"four bins that hold all six voxels, not {list(count)}"
assert list(count) == [2, 3, 0, 1], f"p = 0 is in the first bin, p = 1 in the last; yours hold {list(count)}"
assert np.allclose(confidence, [0.05, 1.1 / 3, 0, 1]), "the mean of the bin's own p, not its middle; 0 if it is empty"
assert np.allclose(frequency, [0.5, 1 / 3, 0, 1]), "the mean of t in every bin, 0 if it is empty"
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(SEED)
p, t = rng.random((3, 5, 7)), rng.random((3, 5, 7))
count, confidence, frequency = binned(p, t, bins=7)
for k in range(7):
    own = (p > k / 7) & (p <= (k + 1) / 7)
    assert count[k] == own.sum(), "equal widths, and any shape of array"
    assert abs(confidence[k] - p[own].mean()) < 1e-9, "the mean probability of each bin"
    assert abs(frequency[k] - t[own].mean()) < 1e-9, "the mean target of each bin; t may be soft"
edge = binned(np.array([0.5, 0.5, 0.75]), np.ones(3), bins=4)[0]
assert list(edge) == [0, 2, 1, 0], "the upper edge belongs to the bin: k/bins < p ≤ (k + 1)/bins"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. The expected calibration error
#
# The mean over all *voxels* of the distance between their bin's two means: a bin with many voxels counts more.


# %% nbgrader={"grade_id": "ece", "solution": true}
def ece(p, t, bins=10):
    """One number from 0 (calibrated) to 1."""
    ### BEGIN SOLUTION
    count, confidence, frequency = binned(p, t, bins)
    return float((count * abs(frequency - confidence)).sum() / count.sum())
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-ece", "points": 2}
import numpy as np

calibrated = np.repeat([0.2, 0.8], 10), np.array([1.0] * 2 + [0.0] * 8 + [1.0] * 8 + [0.0] * 2)
assert abs(ece(*calibrated)) < 1e-9, "two of ten at 0.2, eight of ten at 0.8: that is calibrated, so 0"
assert abs(ece(np.full(4, 0.9), np.array([1.0, 0.0, 1.0, 0.0])) - 0.4) < 1e-9, "0.9 said, one half true: 0.4"
### BEGIN HIDDEN TESTS
from dsnotes.metrics.calibration import expected_calibration_error

rng = np.random.default_rng(SEED)
p = rng.random((4, 9, 9)) ** 3
t = (rng.random(p.shape) < np.sqrt(p)).astype(float)
for bins in (5, 15):
    got, want = ece(p, t, bins), expected_calibration_error(p, t, bins=bins)
    assert abs(got - want) < 1e-6, f"{got} instead of {want}: weigh each bin by its voxels, and use `bins`"
one = ece(np.array([0.05] * 9 + [0.95]), np.zeros(10))
assert abs(one - (0.9 * 0.05 + 0.1 * 0.95)) < 1e-9, "nine voxels count nine times as much as one"
### END HIDDEN TESTS

# %%
for name, (z, t) in {"validation": validation, "test": test}.items():
    near = abs(z) < 20  # the background is easy: it would decide the mean
    print(f"{name}: ECE {ece(sigmoid(z), t):.3f}, near the edge {ece(sigmoid(z[near]), t[near]):.3f}")

# %% [markdown]
# ## 3. How small can it get?
#
# Even a perfectly calibrated network does not reach 0 with a finite number of voxels: in each bin the frequency differs
# from the probability by chance, and an absolute value does not average out. Draw targets that make `p` perfectly
# calibrated (each is 1 with its own probability p) and return the mean ECE over `draws` such drawings.


# %% nbgrader={"grade_id": "floor", "solution": true}
def floor_of(p, bins=10, draws=400, seed=0):
    """The mean ECE of a network that is calibrated."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    return float(np.mean([ece(p, (rng.random(p.shape) < p).astype(float), bins) for _ in range(draws)]))
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-floor", "points": 2}
import numpy as np

sure = np.array([0.0, 1.0, 1.0, 0.0])
assert abs(floor_of(sure)) < 1e-9, "p of 0 and 1 leave nothing to chance, so 0"
assert abs(floor_of(np.full(1, 0.5)) - 0.5) < 1e-9, "one voxel of 0.5 is either 0 or 1: the distance is always one half"
### BEGIN HIDDEN TESTS
# with one bin the difference is nearly normal with variance Σp(1 − p)/n², and E|N(0, s²)| = s √(2/π)
for n in (100, 400):
    p = np.random.default_rng(SEED + n).uniform(0.2, 0.8, n)
    want = np.sqrt((p * (1 - p)).sum()) / n * np.sqrt(2 / np.pi)
    got = floor_of(p, bins=1, draws=2000)
    assert abs(got / want - 1) < 0.12, f"{got} instead of about {want}: draw each target with its own p"
p = np.random.default_rng(SEED).random(300)
want = reference.floor_of(p, 15, 1000, 1)
assert abs(floor_of(p, bins=15, draws=1000) / want - 1) < 0.1, "use `bins`: more bins, fewer voxels in each, more noise"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. The log score
#
# The loss by which we judge and mend probabilities: minus the mean of t log p + (1 − t) log (1 − p), with p = sigmoid(z
# / T). For a large |z| the probability rounds to 0 or 1 and its logarithm is infinite. Use the logits instead: the
# loss of a voxel is log(1 + exp(z/T)) − t · z/T, and `np.logaddexp(0, x)` is log(1 + exp(x)) without overflow.


# %% nbgrader={"grade_id": "log-score", "solution": true}
def log_score(z, t, temperature=1.0):
    """The mean over all voxels: one number, lower is better."""
    ### BEGIN SOLUTION
    x = z / temperature
    return float((np.logaddexp(0, x) - t * x).mean())
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-log-score", "points": 2}
import numpy as np

assert abs(log_score(np.zeros(3), np.ones(3)) - np.log(2)) < 1e-9, "p = 1/2: log 2, whatever the target"
assert abs(log_score(np.array([1000.0]), np.zeros(1)) - 1000) < 1e-6, "very sure and wrong: large, but finite"
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(SEED)
z, t = 3 * rng.standard_normal((4, 6)), rng.random((4, 6))
for temperature in (0.5, 1.0, 4.0):
    p = 1 / (1 + np.exp(-z / temperature))
    want = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    got = log_score(z, t, temperature)
    assert abs(got - want) < 1e-9, f"T = {temperature}: {got} instead of {want}; divide z by T, and t may be soft"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Temperature scaling
#
# Find the temperature with the lowest log score, between 0.05 and 20 and to within 1 %. There is one minimum. You may
# try values one after the other (steps of a *ratio*, such as `np.geomspace`, suit a temperature), close in on it by
# golden sections, or use `scipy.optimize`.


# %% nbgrader={"grade_id": "temperature", "solution": true}
def best_temperature(z, t):
    """T with the lowest log score: a float."""
    ### BEGIN SOLUTION
    low, high = np.log(0.05), np.log(20)
    shrink = (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        a, b = high - shrink * (high - low), low + shrink * (high - low)
        if log_score(z, t, np.exp(a)) < log_score(z, t, np.exp(b)):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-temperature", "points": 3}
import numpy as np

z = np.linspace(-6, 6, 200)
found = best_temperature(z, 1 / (1 + np.exp(-z / 3)))
assert abs(found / 3 - 1) < 0.015, f"targets that are sigmoid(z / 3): the best T is 3, not {found}"
### BEGIN HIDDEN TESTS
for true in np.random.default_rng(SEED).uniform((0.2, 1.2, 4), (0.8, 3, 9)).tolist():
    found = best_temperature(z, 1 / (1 + np.exp(-z / true)))
    assert abs(found / true - 1) < 0.015, f"the best T is {true:.3f}, not {found:.3f}: search from 0.05 to 20"
z, t = reference.scans(2000 + SEED % 1000, 6)
found = best_temperature(z, t)
assert reference.log_score(z, t, found) <= reference.log_score(z, t) + 1e-9, "it must never be worse than T = 1"
for other in (0.97 * found, 1.03 * found):
    assert reference.log_score(z, t, found) <= reference.log_score(z, t, other) + 1e-9, "a better T is near"
### END HIDDEN TESTS

# %% [markdown]
# Fit it on the *validation* nodules, judge it on the *test* nodules.

# %%
temperature = best_temperature(*validation)
z, t = test
near = abs(z) < 20
for name, by in {"as trained": 1.0, "with temperature": temperature}.items():
    p = sigmoid(z / by)
    print(f"{name:17} T {by:.2f}: log score {log_score(z, t, by):.4f}, ECE near the edge {ece(p[near], t[near]):.3f}")

# %% [markdown]
# ## 6. A volume with an interval
#
# The expected volume is the sum of p times the volume of a voxel. If voxels erred *independently*, its variance would
# be voxel² · Σ p (1 − p), and the interval expected ± 1.96 standard deviations would hold the true volume of 95 of 100
# nodules. (Do not cut it off at 0.)


# %% nbgrader={"grade_id": "independent", "solution": true}
def independent_interval(p, voxel, z=1.96):
    """(low, high) in mm³ of one nodule, as if its voxels erred independently."""
    ### BEGIN SOLUTION
    expected, spread = p.sum() * voxel, np.sqrt((p * (1 - p)).sum()) * voxel
    return float(expected - z * spread), float(expected + z * spread)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-independent", "points": 2}
import numpy as np

low, high = independent_interval(np.full((2, 2), 0.5), 3.0, z=2.0)
assert abs((low + high) / 2 - 6) < 1e-9, "four voxels of 3 mm³, each half nodule: 6 mm³ are expected"
assert abs((high - low) / 2 - 6) < 1e-9, "Σp(1 − p) is 1: two standard deviations of 3 mm³ to each side"
### BEGIN HIDDEN TESTS
p = np.random.default_rng(SEED).random((3, 4, 5))
drawn = (np.random.default_rng(SEED + 1).random((4000, *p.shape)) < p).sum((1, 2, 3)) * 0.7
low, high = independent_interval(p, 0.7)
assert abs((low + high) / 2 - drawn.mean()) < 0.1, "the sum of p times the voxel's volume"
assert abs((high - low) / 2 / (1.96 * drawn.std()) - 1) < 0.08, "1.96 standard deviations, in mm³"
### END HIDDEN TESTS

# %% [markdown]
# Voxels do not err independently: a network that draws generously does so all round. A *conformal* interval makes no
# assumption about that. From n validation nodules take the relative errors |true − expected| / expected, and let q be
# the k-th smallest, k = ⌈(n + 1) · level⌉. Then expected · (1 − q) to expected · (1 + q) holds the true volume of a new
# nodule from the same population with a probability of at least `level`. If k > n, there are too few nodules for this
# level: q is infinite.


# %% nbgrader={"grade_id": "conformal", "solution": true}
def conformal_q(expected, true, level=0.9):
    """q from the volumes of the validation nodules: two arrays of length n."""
    ### BEGIN SOLUTION
    errors = np.sort(abs(true - expected) / expected)
    k = int(np.ceil((len(errors) + 1) * level - 1e-9))
    return float(errors[k - 1]) if k <= len(errors) else float("inf")
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-conformal", "points": 3}
import numpy as np

expected, true = np.full(9, 10.0), 10 + np.array([1.0, -2, 3, -4, 5, -6, 7, -8, 9])
q = conformal_q(expected, true, 0.8)
assert abs(q - 0.8) < 1e-9, f"n = 9: k = 10 · 0.8 = 8, the eighth smallest error is 0.8, not {q}"
assert conformal_q(expected, true, 0.95) == float("inf"), "k = 10 of 9: too few nodules, so infinite"
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(SEED)
expected = rng.uniform(50, 500, 29)
true = expected * np.exp(0.3 * rng.standard_normal(29))
errors = np.sort(np.abs(true - expected) / expected)
for level, k in ((0.5, 15), (0.9, 27), (0.95, 29)):
    got = conformal_q(expected, true, level)
    assert abs(got - errors[k - 1]) < 1e-9, f"level {level}: {got}, not the {k}th smallest; relative to the expected"
held = []
for _ in range(200):
    expected = rng.uniform(50, 500, 20)
    true = expected * np.exp(0.3 * rng.standard_normal(20))
    held.append(abs(true[19] / expected[19] - 1) <= conformal_q(expected[:19], true[:19], 0.8))
assert np.mean(held) > 0.7, f"of 200 new nodules {np.mean(held):.0%} are inside, 80 % were promised"
### END HIDDEN TESTS

# %% [markdown]
# Which of the two keeps its promise? Count on the test nodules.

# %%
p_validation, p_test = (sigmoid(z / temperature) for z, _ in (validation, test))
true_validation, true_test = (t.sum((1, 2, 3)) * VOXEL for _, t in (validation, test))
q = conformal_q(p_validation.sum((1, 2, 3)) * VOXEL, true_validation, 0.9)
expected = p_test.sum((1, 2, 3)) * VOXEL
alone = [independent_interval(p, VOXEL, z=1.645) for p in p_test]
print(f"independent voxels: {np.mean([low <= v <= high for (low, high), v in zip(alone, true_test, strict=True)]):.2f}")
print(f"conformal, ± {q:.0%} of the volume: {np.mean(abs(true_test - expected) <= q * expected):.2f}; promised: 0.90")

# %% [markdown]
# ## 7. In your own words
#
# **In five to ten sentences:** what did the temperature mend here, and what not? Use your numbers. Why does the
# interval of independent voxels fail although the temperature has been fitted, and what does the conformal interval
# rest on instead? When would *its* promise fail in a hospital?

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# The temperature divided all logits by one number, because the network was too sure everywhere: near the edge the ECE
# fell from 0.05 to 0.03 and the log score by a quarter, while the mask at one half stayed the same, since the sign of a
# logit does not change. It did not mend where the network draws the edge: a nodule drawn too large stays too large.
# Calibrated voxels say nothing about whether they err together. Here one error is shared by a whole nodule, so the
# errors add up instead of cancelling, and the interval of independent voxels holds fewer than one in ten of the true
# volumes. The conformal interval only counts how far volumes were off on validation nodules, whatever the reason: it
# holds nine in ten, at the price of ± 47 %. It rests on new nodules being exchangeable with those: another scanner,
# thicker slices, or only large nodules would break that, and it promises coverage on average, not for each size of
# nodule.
