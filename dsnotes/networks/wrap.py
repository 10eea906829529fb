"""Any `nn.Module` as a backbone: MONAI, torchvision, segmentation_models_pytorch, timm, or somebody's own.

Heads read the maps that some of its modules make. Forward hooks catch them, since nothing else works on a network
whose code is not ours; channels and strides are found by one pass over an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, LINEAR
from dsnotes.networks.module_maps import Candidate, Candidates, candidates, dry_run, example_for
from dsnotes.safety.nearest import nearest
from dsnotes.shapes import Image, n_logits

__all__ = ["Wrapped", "candidates", "wrap"]

NAME = re.compile(r"(encoder\.)?stride([1-9]\d*)|bottleneck")


class Levels(dict[str, Level]):
    """The levels of a wrapped network; where a head needs one that was not named, the answer says which to name."""

    def __init__(self, levels: Mapping[str, Level], listing: str) -> None:
        super().__init__(levels)
        self.listing = listing

    def __missing__(self, name: str) -> Level:
        raise ValueError(f"this supervision reads the level {name!r}, which the wrapped network lacks. {self.listing}")


class Wrapped(Backbone):
    """What `wrap` returns. `module` is the network that was given, itself and not a copy: training trains it."""

    def __init__(
        self,
        module: nn.Module,
        *,
        classes: int,
        in_channels: int,
        levels: Mapping[str, tuple[str, Level]],
        stride: tuple[int, ...],
        listing: str,
        output: str | int | None,
    ) -> None:
        super().__init__()
        self.module, self.classes, self.in_channels, self.output = module, classes, in_channels, output
        self.stride, self.listing = stride, listing
        self.paths = {name: path for name, (path, _) in levels.items()}
        named = {"decoder.stride1": Level(n_logits(classes), (1,) * len(stride))}  # the output, where none is named
        named |= {name: level for name, (_, level) in levels.items()}
        order = ("encoder", "bottleneck", "decoder")
        finest_first = sorted(named.items(), key=lambda at: (order.index(at[0].partition(".")[0]), max(at[1].stride)))
        self.levels = Levels(dict(finest_first), listing)

    def sides(self) -> dict[str, Level]:
        sides = super().sides()
        if list(sides) == ["stride1"]:
            raise ValueError(
                f"this supervision reads decoder levels, and none below the output is named. {self.listing}"
            )
        return sides

    def forward(self, image: Image) -> Features:
        maps: dict[str, Tensor] = {}
        # Hooks for this pass alone: whoever copies, saves or wraps the module again finds it as it was.
        hooks = [
            self.module.get_submodule(path).register_forward_hook(partial(_keep, maps, name))
            for name, path in self.paths.items()
        ]
        try:
            logits = _output(self.module(image), self.output, image, self.classes)
        finally:
            for hook in hooks:
                hook.remove()
        parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
        for name in self.levels:
            part, _, level = name.partition(".")
            if part in parts:
                parts[part][level] = maps.get(name, logits)
        return Features(parts["encoder"], maps.get("bottleneck"), parts["decoder"], logits)


def _keep(maps: dict[str, Tensor], name: str, module: nn.Module, given: tuple, output: Tensor) -> None:
    maps[name] = output


def wrap(
    module: nn.Module,
    *,
    classes: int = 2,
    levels: Mapping[str, str] | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    image: Tensor | None = None,
    output: str | int | None = None,
) -> Wrapped:
    """A backbone made of any network, for `dsnotes.system` and every supervision that finds the levels it needs.

    `levels` names modules by their paths, `{"stride2": "up.2", "stride4": "up.1", "bottleneck": "down.3"}`; their
    outputs are the decoder's maps at these strides ("encoder.stride2" is one of the way down). Without "stride1" the
    output itself stands for it. `candidates(module)` lists what can be named. The network gives logits of the image's
    size, one channel for `classes=2`, else `classes`; where it returns several things, `output` says which (a key, a
    place or an attribute). What its first convolution does not tell, `in_channels` and `dims` do; `image` is an example
    for a network that does not take one of 64 pixels an axis.
    """
    if isinstance(module, Backbone):
        raise TypeError(f"{type(module).__name__} is a backbone already. Pass it to dsnotes.system as it is.")
    n_logits(classes)  # refuses a number of classes that cannot be
    image = example_for(module, in_channels, dims) if image is None else image
    answer, found, every = dry_run(module, image)
    output = _choice(answer, output, image, classes)
    _output(answer, output, image, classes)
    read = {}
    for name, path in (levels or {}).items():
        key = name if name == "bottleneck" or "." in name else f"decoder.{name}"
        read[key] = path, _level(name, path, module, every, found)
    return Wrapped(
        module,
        classes=classes,
        in_channels=image.shape[1],
        levels=read,
        stride=tuple(max((c.stride[axis] for c in found), default=1) for axis in range(image.ndim - 2)),
        listing=_listing(module, classes, found),
        output=output,
    )


def _level(name: str, path: str, module: nn.Module, every: Mapping[str, Candidate], found: Candidates) -> Level:
    """The map at `path`, refused where the path or the name is wrong."""
    named = NAME.fullmatch(name)
    if named is None:
        raise ValueError(
            f"levels has the name {name!r}. A level is called by its stride: 'stride2', 'stride4' … of the way up, "
            f"'encoder.stride2' … of the way down, 'bottleneck'."
        )
    paths = [known for known, _ in module.named_modules() if known]
    if path not in paths:
        last = [known for known in paths if known.rpartition(".")[2] == path.rpartition(".")[2]]
        near = dict.fromkeys([*nearest(path, paths, cutoff=0.5), *last, *paths])
        raise ValueError(
            f"levels[{name!r}]={path!r}: {type(module).__name__} has no module there. The nearest are "
            f"{', '.join(map(repr, [*near][:3]))}; dsnotes.networks.wrap.candidates(module) lists those that can be "
            f"named."
        )
    if path not in every:
        raise ValueError(
            f"levels[{name!r}]={path!r}: in one pass over an image this {type(module.get_submodule(path)).__name__} "
            f"does not return one map of it: it did not run, ran several times, or returned something else. There are, "
            f"by stride: {found.by_stride()}."
        )
    right = f"{named[1] or ''}stride{every[path].coarseness}"
    if name not in (right, "bottleneck"):
        raise ValueError(
            f"levels[{name!r}]={path!r} has stride {every[path].stride}. Call it {right!r}, or name another module. "
            f"There are, by stride: {found.by_stride()}."
        )
    return Level(every[path].channels, every[path].stride)


def _listing(module: nn.Module, classes: int, found: Candidates) -> str:
    maps = Candidates(c for c in found if c.channels != n_logits(classes))
    if all(c.coarseness == 1 for c in maps):
        return (
            f"{type(module).__name__} makes no map coarser than the image: use Plain(), which reads the output alone."
        )
    line = f"dsnotes.wrap(module, classes={classes}, levels={maps.suggested()})"
    return f"Name levels, for instance {line}. {type(module).__name__} offers, by stride: {maps.by_stride()}."


def _choice(answer: object, output: str | int | None, image: Tensor, classes: int) -> str | int | None:
    """Which part of the answer is the logits, where it can be only one."""
    if output is not None or isinstance(answer, Tensor):
        return output
    if isinstance(answer, Mapping):
        offered: dict[str | int, object] = dict(answer)
        if "out" in offered:
            return "out"
    elif isinstance(answer, tuple | list):
        offered = dict(enumerate(answer))
    else:
        raise ValueError(
            f"the network returns a {type(answer).__name__}. Say which attribute is the logits: output='logits'."
        )
    wanted = (n_logits(classes), *image.shape[2:])
    fitting = [key for key, value in offered.items() if isinstance(value, Tensor) and value.shape[1:] == wanted]
    if len(fitting) == 1:
        return fitting[0]
    if len(offered) == 1:
        return next(iter(offered))
    shapes = {key: tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for key, v in offered.items()}
    example = (fitting or [*offered])[0]
    raise ValueError(
        f"the network returns {len(offered)} things, {shapes}, and {len(fitting) or 'none'} of them could be the "
        f"logits {('B', *wanted)}. Say which is: output={example!r}."
    )


def _output(answer: Any, output: str | int | None, image: Tensor, classes: int) -> Tensor:
    """The logits of an answer, refused where they are not the image's."""
    if output is not None:
        try:
            answer = answer[output] if isinstance(answer, Mapping | tuple | list) else getattr(answer, str(output))
        except (KeyError, IndexError, AttributeError) as error:
            offered = list(answer) if isinstance(answer, Mapping) else f"a {type(answer).__name__}"
            raise ValueError(f"output={output!r} is not in what the network returns: {offered}.") from error
    channels, space = n_logits(classes), tuple(image.shape[2:])
    if not isinstance(answer, Tensor) or answer.ndim != image.ndim:
        came = f"a tensor {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise ValueError(
            f"the network answers an image {tuple(image.shape)} with {came}; needed are logits "
            f"{('B', channels, *space)}. Turn off what makes it return more (deep_supervision=False), or pass output=."
        )
    if answer.shape[1] != channels:
        remedy = f"Build it with {channels} output channel{'s' * (channels > 1)}"
        if answer.shape[1] > 1:
            remedy += f", or pass classes={answer.shape[1]}" if answer.shape[1] > 2 else ""
        conv = CONV[len(space)].__name__
        raise ValueError(
            f"the network gives {answer.shape[1]} channels, and classes={classes} needs {channels}"
            f"{' (one sigmoid for two classes)' * (classes == 2)}. {remedy}, or put a convolution behind it: "
            f"wrap(nn.Sequential(module, nn.{conv}({answer.shape[1]}, {channels}, 1)), …); its modules' paths then "
            f"begin with '0.'."
        )
    if tuple(answer.shape[2:]) != space:
        factor = max(round(i / o) for i, o in zip(space, answer.shape[2:], strict=True))
        raise ValueError(
            f"the network gives logits of size {tuple(answer.shape[2:])} for an image of {space}. Pad its "
            f"convolutions, or put an up-sampling behind it: wrap(nn.Sequential(module, nn.Upsample(scale_factor="
            f"{factor}, mode={LINEAR[len(space)]!r})), …); its modules' paths then begin with '0.'."
        )
    return answer
