"""Each paper's systems, settings and published tables; the only package that joins networks, supervision and steps.

Every module here is searched for `SYSTEMS`, so another paper is one more file; there is no list to update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from numbers import Integral
from pkgutil import iter_modules

from dsnotes.papers.recipe import Recipe
from dsnotes.safety.markup import escape
from dsnotes.safety.nearest import nearest, suggest
from dsnotes.supervision import supervise
from dsnotes.supervision.regions import RegionProbabilities, Regions
from dsnotes.training.step import PlainStep
from dsnotes.training.system import System


@cache
def recipes() -> dict[str, Recipe]:
    """Every system by name, sorted; two modules must not use one name for different systems."""
    found: dict[str, Recipe] = {}
    for module in iter_modules(__path__):
        for name, recipe in getattr(import_module(f"{__name__}.{module.name}"), "SYSTEMS", {}).items():
            assert found.setdefault(name, recipe) is recipe, f"two recipes are called {name}"
    return dict(sorted(found.items()))


class Systems(dict):
    """System names with their papers and the tables they are rows of; a notebook shows it as a table."""

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        broad = max((len(", ".join(row["papers"])) for row in self.values()), default=0)
        return "\n".join(
            f"{name:{wide}}  {', '.join(row['papers']):{broad}}  {', '.join(row['tables'])}".rstrip()
            for name, row in self.items()
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{row['dims']}-D</td><td>{row['width']}</td>"
            f"<td>{escape(', '.join(row['papers']))}</td><td>{escape(', '.join(row['tables']))}</td></tr>"
            for name, row in self.items()
        )
        head = "".join(f"<th>{title}</th>" for title in ("system", "", "width", "papers", "tables"))
        return f"<table><tr>{head}</tr>{rows}</table>"


def systems(table: str | None = None) -> Systems:
    """Every name that `build` knows, with its papers (modules here) and tables; `table="mss-2"` keeps its rows."""
    known = {at for recipe in recipes().values() for at in recipe.tables}
    if table is not None and table not in known:
        raise ValueError(f"no system is a row of table {table!r}; {suggest(table, sorted(known))}.")
    return Systems(
        (name, {key: getattr(recipe, key) for key in ("papers", "tables", "dims", "width", "options")})
        for name, recipe in recipes().items()
        if table is None or table in recipe.tables
    )


def build(
    name: str,
    *,
    in_channels: int = 1,
    classes: int = 2,
    width: int | None = None,
    dims: int | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    **options,
) -> System:
    """Build a system by its name in `systems()`; `width` (channels of the finest level) and `dims` default to its own.

    `regions`, name -> label values, may overlap, such as `dataset.regions`: each gets a sigmoid channel (`Regions`),
    and `classes` follows from them.
    """
    if not isinstance(name, str) or name not in recipes():
        raise ValueError(unknown_name(name))
    recipe = recipes()[name]
    if unknown := sorted(set(options) - set(recipe.options)):
        offered = ", ".join(f"{key} ({what})" for key, what in recipe.options.items()) or "none"
        raise TypeError(f"{name} has no option {', '.join(unknown)}. Its options: {offered}.")
    sizes = {"in_channels": in_channels, "classes": classes, "width": width, "dims": dims}
    for key, value in sizes.items():
        if not (isinstance(value, Integral) or (value is None and key in ("width", "dims"))):
            raise TypeError(f"{key}={value!r} is not an integer. Pass one, for instance {key}={EXAMPLES[key]}.")
    for key, value, least in (("in_channels", in_channels, 1), ("width", width, 1)):
        if value is not None and value < least:
            raise ValueError(f"{key}={value}, but it must be at least {least}. Try {key}={max(least, 8)}.")
    if dims not in (None, 2, 3):
        raise ValueError(f"dims={dims}, but images are 2-D or 3-D. Pass dims=2 or dims=3.")
    sizes |= {"width": recipe.width if width is None else width, "dims": recipe.dims if dims is None else dims}
    if regions:
        return _of_regions(recipe, name, sizes, options, {key: tuple(values) for key, values in regions.items()})
    return replace(recipe.make(name, **sizes, **options), arguments={"name": name, **sizes, **options})


def _of_regions(recipe: Recipe, name: str, sizes: dict, options: dict, regions: dict) -> System:
    """The network with one channel per region, each supervised as the system supervises a single foreground class."""
    binary = recipe.make(name, **sizes | {"classes": 2}, **options)
    if not getattr(binary.objective, "voxelwise", False) or binary.make_step is not PlainStep or not binary.deploy:
        raise ValueError(
            f"{name} cannot be trained on regions: its supervision does more than compare voxel with voxel. Choose a "
            f"system with Plain, MultiScale or TwoPathway, such as 'unet-3d', or leave out regions=."
        )
    made = recipe.make(name, **sizes | {"classes": 1 + len(regions)}, **options)
    objective = Regions(binary.objective, regions)
    return replace(
        made,
        network=supervise(made.network.backbone, objective),
        objective=objective,
        deploy=RegionProbabilities(binary.deploy, len(regions)),
        arguments={"name": name, **sizes, **options, "regions": regions},
    )


EXAMPLES = {"in_channels": 1, "classes": 2, "width": 8, "dims": 2}


def unknown_name(name: object) -> str:
    """The message for an unknown system, with the three nearest names; capitals, µ and spaces do not matter."""
    meant = str(name).lower().replace("µ", "mu").replace("μ", "mu").replace("_", "-").replace(" ", "-")
    begins = [known for known in recipes() if meant and known.startswith(meant)]
    near = dict.fromkeys([*nearest(meant, begins, cutoff=0.0), *nearest(meant, recipes(), cutoff=0.0)])
    return f"no system is called {name!r}. The nearest are {', '.join([*near][:3])}. dsnotes.systems() lists all names."
