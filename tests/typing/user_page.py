"""A page of a user's code, as mypy reads it: `test_typing.py` checks it, and nothing runs it."""

from pathlib import Path

import numpy as np
from torch import Tensor, nn

import dsnotes
from dsnotes.supervision import MultiScale

net: nn.Module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1))
backbone = dsnotes.wrap(net, classes=2, levels={"stride2": "0"})
system: dsnotes.System = dsnotes.system("mine", backbone, MultiScale(), lr=1e-3, patch=(64, 64))
case: dsnotes.Case = dsnotes.Case.from_arrays(np.zeros((64, 64)), np.zeros((64, 64), np.uint8), spacing=(1.0, 1.0))
history = dsnotes.fit(system, [case], [case], epochs=1, out="runs/first")
best: float = history[-1]["loss"]
loaded: dsnotes.System = dsnotes.load(Path("runs/first"), network=backbone)
probabilities: np.ndarray = dsnotes.predict(loaded, case)
assert case.label is not None
table: dict[str, float] = dsnotes.score(dsnotes.to_label(probabilities), case.label, spacing=case.spacing)
settings: dsnotes.Settings = system.settings
maps: Tensor = system.network(Tensor(1, 1, 64, 64)).logits
names: list[str] = [*dsnotes.systems()]
