"""An interactive figure, drawn again when a slider or a menu changes, with stills in the saved notebook.

explore(lambda stride, how: maps.draw({…}), {"stride": (1, 2, 4, 8), "how": ("nearest", "area", "max")})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from dsnotes.viewers import notebook_display

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def explore(
    draw: Callable[..., Figure],
    choices: Mapping[str, Sequence],
    *,
    stills: Sequence[Mapping[str, Any]] = (),
    alt: str = "",
) -> Stills:
    """`draw(**chosen)` returns a figure. In a browser each entry of `choices` gets a slider (of numbers) or a menu.

    `stills` are saved in the notebook, in a browser or not. Each is {name: value}; a name that is left out takes the
    first value of its choices. By default there is one still, with the first value of every choice.
    """
    start = {name: values[0] for name, values in choices.items() if len(values)}
    if len(start) < len(choices) or not choices:
        raise ValueError(f"choices={dict(choices)}: pass {{name: values}} with at least one value for each name.")
    wanted = [start | still for still in stills] or [start]
    for still in wanted:
        if wrong := {name: value for name, value in still.items() if value not in choices.get(name, ())}:
            raise ValueError(f"the still {wrong} is none of the choices {dict(choices)}. Choose from those.")
    if notebook_display.here() == "browser":
        notebook_display.DisplayArea().put(_sliders(draw, choices, wanted[0]))
        notebook_display.DisplayArea().put(
            notebook_display.Paragraph("<small>Stills, which stay in the saved notebook:</small>")
        )
    return Stills(notebook_display.Picture(draw(**still), alt=f"{alt} {_in_words(still)}".strip()) for still in wanted)


class Stills(list):
    """Pictures that the cell already shows."""

    def _ipython_display_(self) -> None:
        """Do not show them a second time."""


def _in_words(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in chosen.items())


def _sliders(draw: Callable[..., Figure], choices: Mapping[str, Sequence], start: Mapping[str, Any]) -> Any:
    import ipywidgets

    picture = ipywidgets.Image(format="png", layout={"max_width": "100%"})
    drawn: dict[tuple, tuple[bytes, str]] = {}  # a slider that goes back need not draw again
    controls = {}
    for name, values in choices.items():
        numeric = all(isinstance(value, Real) for value in values)
        kind = ipywidgets.SelectionSlider if numeric else ipywidgets.Dropdown
        order = sorted(values) if numeric else values
        options = [(f"{value:g}" if isinstance(value, float) else str(value), value) for value in order]
        controls[name] = kind(options=options, value=start[name], description=name)
        if numeric:
            controls[name].continuous_update = False  # drawing takes a moment

    def redraw(_: Any = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        key = tuple(chosen.values())
        if key not in drawn:
            drawn[key] = notebook_display.png_and_width(draw(**chosen))
        picture.value, picture.layout.width = drawn[key]

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([*controls.values(), picture])
