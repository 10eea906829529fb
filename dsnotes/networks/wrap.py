"""Any `nn.Module` as a backbone: from MONAI, torchvision, segmentation_models_pytorch, timm, or your own.

Forward hooks collect the outputs of the named modules, which heads then read; channels and strides are found by one
forward pass.
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
    """The levels of a wrapped network; the error for a missing one lists the modules that can be named."""

    def __init__(self, levels: Mapping[str, Level], listing: str) -> None:
        super().__init__(levels)
        self.listing = listing

    def __missing__(self, name: str) -> Level:
        raise ValueError(f"this supervision reads the level {name!r}, which the wrapped network lacks. {self.listing}")


class Wrapped(Backbone):
    """What `wrap` returns. `module` is the given network itself, not a copy: training changes its weights."""

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
        named = {"decoder.stride1": Level(n_logits(classes), (1,) * len(stride))}  # the output, unless one is named
        named |= {name: level for name, (_, level) in levels.items()}
        order = ("encoder", "bottleneck", "decoder")
        finest_first = sorted(named.items(), key=lambda at: (order.index(at[0].partition(".")[0]), max(at[1].stride)))
        self.levels = Levels(dict(finest_first), listing)

    def sides(self) -> dict[str, Level]:
        sides = super().sides()
        if list(sides) == ["stride1"]:
            raise ValueError(
                f"this supervision reads decoder levels, but none below the output is named. {self.listing}"
            )
        return sides

    def forward(self, image: Image) -> Features:
        maps: dict[str, Tensor] = {}
        # Hooks for this pass only, so that the module can be copied, saved or wrapped again.
        hooks = [
            self.module.get_submodule(path).register_forward_hook(partial(_store_output, maps, name))
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


def _store_output(maps: dict[str, Tensor], name: str, module: nn.Module, given: tuple, output: Tensor) -> None:
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
    """Make a backbone of any network, for `dsnotes.system` and every supervision whose levels are named.

    `levels` maps level names to module paths, `{"stride2": "up.2", "stride4": "up.1", "bottleneck": "down.3"}`: the
    outputs of these modules are the decoder's maps at these strides ("encoder.stride2" is an encoder map). "stride1" is
    the network's output unless it is named. `candidates(module)` lists the modules that can be named. The network must
    return logits of the image's size, one channel for `classes=2`, else `classes`; if it returns several values,
    `output` selects one (a key, an index or an attribute). `in_channels` and `dims` are read off the first convolution
    unless given. Pass an example `image` if the network does not take 64 voxels per axis.
    """
    if isinstance(module, Backbone):
        raise TypeError(f"{type(module).__name__} is a backbone already. Pass it to dsnotes.system as it is.")
    n_logits(classes)  # raises if classes < 2
    image = example_for(module, in_channels, dims) if image is None else image
    answer, found, every = dry_run(module, image)
    output = _choose_output(answer, output, image, classes)
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
    """The level at `path`; an error if the path or the name is wrong."""
    named = NAME.fullmatch(name)
    if named is None:
        raise ValueError(
            f"levels has the unknown name {name!r}. Name a level by its stride: 'stride2', 'stride4' … in the decoder, "
            f"'encoder.stride2' … in the encoder, or 'bottleneck'."
        )
    paths = [known for known, _ in module.named_modules() if known]
    if path not in paths:
        last = [known for known in paths if known.rpartition(".")[2] == path.rpartition(".")[2]]
        near = dict.fromkeys([*nearest(path, paths, cutoff=0.5), *last, *paths])
        raise ValueError(
            f"levels[{name!r}]={path!r}: {type(module).__name__} has no module there. The nearest are "
            f"{', '.join(map(repr, [*near][:3]))}; dsnotes.networks.wrap.candidates(module) lists those you can use."
        )
    if path not in every:
        raise ValueError(
            f"levels[{name!r}]={path!r}: in one forward pass this {type(module.get_submodule(path)).__name__} did not "
            f"return exactly one feature map (it did not run, ran several times, or returned something else). Use one "
            f"of, by stride: {found.by_stride()}."
        )
    right = f"{named[1] or ''}stride{every[path].coarseness}"
    if name not in (right, "bottleneck"):
        raise ValueError(
            f"levels[{name!r}]={path!r} has stride {every[path].stride}. Call it {right!r}, or use another module: "
            f"by stride, {found.by_stride()}."
        )
    return Level(every[path].channels, every[path].stride)


def _listing(module: nn.Module, classes: int, found: Candidates) -> str:
    maps = Candidates(c for c in found if c.channels != n_logits(classes))
    if all(c.coarseness == 1 for c in maps):
        return f"{type(module).__name__} has no map coarser than the image: use Plain(), which reads only the output."
    line = f"dsnotes.wrap(module, classes={classes}, levels={maps.suggested()})"
    return f"Name levels, for instance {line}. {type(module).__name__} has, by stride: {maps.by_stride()}."


def _choose_output(answer: object, output: str | int | None, image: Tensor, classes: int) -> str | int | None:
    """Which part of the network's output is the logits; an error if several could be."""
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
            f"the network returns a {type(answer).__name__}. Name the attribute that holds the logits, for instance "
            f"output='logits'."
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
        f"the network returns {len(offered)} values, {shapes}; {len(fitting) or 'none'} of them could be the "
        f"logits {('B', *wanted)}. Select one, for instance output={example!r}."
    )


def _output(answer: Any, output: str | int | None, image: Tensor, classes: int) -> Tensor:
    """The logits in the network's output; an error if they do not match the image and `classes`."""
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
            f"for an image {tuple(image.shape)} the network returns {came}, but logits {('B', channels, *space)} are "
            f"needed. Turn off what makes it return more (deep_supervision=False), or pass output=."
        )
    if answer.shape[1] != channels:
        remedy = f"Build it with {channels} output channel{'s' * (channels > 1)}"
        if answer.shape[1] > 1:
            remedy += f", or pass classes={answer.shape[1]}" if answer.shape[1] > 2 else ""
        conv = CONV[len(space)].__name__
        raise ValueError(
            f"the network returns {answer.shape[1]} channels, but classes={classes} needs {channels}"
            f"{' (one sigmoid for two classes)' * (classes == 2)}. {remedy}, or append a convolution: "
            f"wrap(nn.Sequential(module, nn.{conv}({answer.shape[1]}, {channels}, 1)), …); its modules' paths then "
            f"begin with '0.'."
        )
    if tuple(answer.shape[2:]) != space:
        factor = max(round(i / o) for i, o in zip(space, answer.shape[2:], strict=True))
        raise ValueError(
            f"the network returns logits of size {tuple(answer.shape[2:])} for an image of {space}. Pad its "
            f"convolutions, or append an upsampling: wrap(nn.Sequential(module, nn.Upsample(scale_factor="
            f"{factor}, mode={LINEAR[len(space)]!r})), …); its modules' paths then begin with '0.'."
        )
    return answer
