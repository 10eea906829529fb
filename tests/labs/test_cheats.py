"""Submissions that write nothing and want marks for it: none gets any, in any lab whose tests they can reach."""

from __future__ import annotations

import pytest
from coursework import LABS, graded, handed_in

from dsnotes.labs.sandbox import Limits

LAB = LABS["lab1_dice"]
STUBS = """
def dice(p, t, squared=True, eps=1e-5): return {it}
def dice_loss(p, t, squared=True): return {it}
def squared_gradient(p, t): return {it}
def plain_gradient(p, t): return {it}
def best_answer(t, squared): return {it}
def pull_on_rim(rim, squared): return {it}
survives = "squared"
"""
FORGE = """
import gc, os, sys, dsnotes.labs.wire as wire
def forged(value, real=wire.encode):
    return real({"id": value["id"], "ok": True} if isinstance(value, dict) and "id" in value else value)
for module in list(sys.modules.values()):
    if getattr(module, "encode", None) is wire.encode:
        module.encode = forged
"""
CHEATS = {  # by name: the code in the first cell, and what the functions answer
    "run_cell replaced": ("ip = get_ipython(); ip.run_cell = lambda *a, **k: None", "0.5"),
    "an input transformer": ("get_ipython().input_transformers_cleanup.append(lambda lines: ['pass'])", "0.5"),
    "a forged channel": (FORGE, "0.5"),
    "an AST transformer": (
        "import ast\nclass Pass(ast.NodeTransformer):\n    def visit_Assert(self, node): return ast.Pass()\n"
        "get_ipython().ast_transformers.append(Pass())",
        "0.5",
    ),
    "Tensor.__bool__": ("import torch\ntorch.Tensor.__bool__ = lambda self: True", "torch.tensor(False)"),
    "a walk through frames": (
        "import sys\ndef found():\n    frame = sys._getframe()\n    while frame:\n"
        "        for name in ('want', 'reference', 'SEED'):\n"
        "            if name in frame.f_locals: return frame.f_locals[name]\n"
        "        frame = frame.f_back\n    return 0.5",
        "found()",
    ),
    "invented rows of the leaderboard": (
        "from dsnotes.labs.score import record, RECORDED\nrecord('Dice of small tumours', 1e308)\n"
        "RECORDED.update({f'row {i}': 1.0 for i in range(2002)})",
        "0.5",
    ),
    # and our own
    "a number that is always right": (
        "class Yes(float):\n    def __lt__(self, other): return True\n    __gt__ = __eq__ = __lt__\n"
        "    def __sub__(self, other): return 0.0\n    shape = (1, 1)",
        "Yes(0.5)",
    ),
    "not a number": ("", "torch.full_like(p, float('nan')) if 'p' in locals() else float('nan')"),
    "what it was given": ("", "next(iter(locals().values()))"),
    "library functions patched": (
        "import torch, numpy as np\ntorch.isclose = torch.allclose = lambda *a, **k: torch.tensor(True)\n"
        "np.allclose = lambda *a, **k: True",
        "torch.zeros(2, 1)",
    ),
    "answers in advance": (
        "import threading, os, struct, time\ndef flood():\n    for n in range(200):\n        time.sleep(0.01)\n"
        "        for fd in range(3, 9):\n            try: os.write(fd, struct.pack('<I', 1) + b't')\n"
        "            except OSError: pass\nthreading.Thread(target=flood, daemon=True).start()",
        "0.5",
    ),
    "an answer that is a graph of its own": ("", "torch.ones(2, 1, requires_grad=True)"),
}


def test_no_cheat_gets_a_mark():
    files = {name: handed_in(LAB, {"dice": code + STUBS.format(it=it)} | REST) for name, (code, it) in CHEATS.items()}
    ran = graded(LAB, files, limits=Limits(cell_seconds=5, seconds=120))
    assert {name: sum(attempt.points.values()) for name, attempt in ran.items()} == dict.fromkeys(CHEATS, 0)
    assert all(attempt.scores == {} for attempt in ran.values())


# The other cells must not undo what the first one defines.
REST = dict.fromkeys(("loss", "gradient", "best", "pull"), "pass")


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in LABS if each != LAB.name])
@pytest.mark.parametrize("it", ["float('nan')", "0.0", "True", "args[0] if args else None"])
def test_a_constant_or_an_echo_gets_nothing_in_any_lab(name, it):
    """Every function of the lab is the same lambda."""
    lab = LABS[name]
    from dsnotes.labs.source import is_locked, names_in

    changes = {}
    for key, cell in lab.cells.items():
        if cell["cell_type"] == "code" and not is_locked(cell):
            functions, values = names_in(cell["source"])
            changes[key] = "\n".join(f"{each} = lambda *args, **kwargs: {it}" for each in functions + values) or "pass"
    (attempt,) = graded(lab, {"constant": handed_in(lab, changes)}).values()
    assert sum(attempt.points.values()) == 0, attempt.points
