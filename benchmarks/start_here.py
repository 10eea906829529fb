"""How good is the network of notebook 00? Its cells with other seeds, and by how much each of its asserts holds.

python benchmarks/start_here.py [--seeds 10] [--kept rows.json] [--write]

With --kept, seeds that are in the file are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import jupytext
import matplotlib
import numpy as np
from timing import keep, machine, table

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "00_start_here.py"


def run(seed: int) -> dict:
    """The names that the notebook's cells leave behind, with another seed."""
    names: dict = {}
    for cell in jupytext.read(NOTEBOOK).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names["seed"] = seed
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kept", type=Path, help="a JSON file of finished seeds")
    parser.add_argument("--write", action="store_true", help="keep the table in results/start_here.md")
    options = parser.parse_args()
    matplotlib.use("Agg")
    warnings.simplefilter("ignore")
    kept = json.loads(options.kept.read_text()) if options.kept and options.kept.is_file() else {}
    for seed in range(options.seeds):
        if str(seed) in kept:
            continue
        began = time.process_time()
        left = run(seed)
        score, fallen, means = left["scores"]["the U-Net"], left["fallen"], left["means"]
        row = [score["dice"], score["sensitivity"], score["ppv"], left["history"].best["val_dice"]]
        row += [means[scale] for scale in ("large", "medium", "small")]
        row += [fallen["cross-entropy"], fallen["dice"], time.process_time() - began]
        kept[str(seed)] = [float(value) for value in row]
        print(seed, " ".join(f"{value:.3f}" for value in row), flush=True)
        if options.kept:
            options.kept.write_text(json.dumps(kept))
    rows = [kept[str(seed)] for seed in range(options.seeds)]
    columns = ["Dice", "sensitivity", "PPV", "best Dice in validation", "large found", "medium", "small"]
    columns += ["CE, epoch 2 / 1", "Dice term, epoch 2 / 1", "CPU s"]
    written = [[str(seed), *(f"{value:.2f}" for value in row)] for seed, row in enumerate(rows)]
    for name, of in (("lowest", np.min), ("mean", np.mean), ("highest", np.max)):
        written.append([name, *(f"{value:.2f}" for value in of(np.array(rows), axis=0))])
    text = "\n\n".join(
        [
            "## start_here",
            f"`python benchmarks/start_here.py` on a {machine()}: notebook 00 from top to bottom with other seeds of "
            f"weights and batches. The first three columns are of the patient that it shows.",
            table(["seed", *columns], written),
        ]
    )
    print(text)
    if options.write:
        keep("start_here", text)


if __name__ == "__main__":
    main()
