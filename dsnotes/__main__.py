"""`python -m dsnotes …` is the command `dsnotes …`; torchrun wants a module:

    torchrun --nproc-per-node=4 -m dsnotes run notebooks/80_experiment.py -p data=data/kits19 -p system=mss-unet

Four processes execute the notebook, each on its own GPU; `fit` averages their gradients, so a step sees four times
`batch` samples. The first alone keeps results; the notebooks of the others lie in ranks/ of the run's folder.
"""

from dsnotes.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
