"""Fewer channels for a trained ``base``, chosen by what real pictures make of them.

Structured pruning by least squares: of what a layer reads, the channels it can best do without
are left out one at a time, while the weights of the others make up for them ("Optimal Brain
Surgeon", Hassibi and Stork 1993, on whole channels, as "Channel Pruning", He et al. 2017, has it).
The heads' 3x3 convolutions become a shared one of low rank (Zhang et al. 2016). What is lost comes
back with a training of some hundred steps, best with the network that was slimmed as its teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import InputError
from data.types import F64, U8
from perception.models.deploy import RGB_FROM_BGR, normalise
from perception.models.multitask import MultiTaskNet, Widths, widths_of

_RIDGE = 1e-4  # of the mean variance: what keeps the solutions from leaning on noise
_PLACES = 4096  # that are looked at in each picture and layer
_MULTIPLE = 16  # channels that fill vector units


def fewer_columns(weight: F64, covariance: F64, most_lost: float) -> tuple[list[int], F64]:
    """The fewest inputs of a linear map, by sixteens, that do, and its weights for them alone.

    Args:
        weight: (out, in); covariance: (in, in), of the inputs.
        most_lost: share of the output's variance that may be lost; its mean is another's work.

    Returns:
        The inputs kept, ascending, and (out, kept) weights.
    """
    left = np.arange(weight.shape[1])
    allowed = most_lost * np.trace(weight @ covariance @ weight.T)
    inverse = np.linalg.inv(_steadied(covariance))
    best, weight, gone = (left, weight), weight.copy(), np.zeros(len(left), bool)
    while gone.sum() < len(gone) - 1:
        cost = (weight**2).sum(0) / np.where(gone, 1.0, np.diag(inverse))
        k = int(np.argmin(np.where(gone, np.inf, cost)))
        allowed -= cost[k]
        if allowed < 0:
            break
        row = inverse[k] / inverse[k, k]
        weight -= np.outer(weight[:, k], row)
        inverse -= np.outer(inverse[:, k], row)
        gone[k] = True
        if (len(gone) - gone.sum()) % _MULTIPLE == 0:
            stay = ~gone
            left, weight, inverse = left[stay], weight[:, stay], inverse[np.ix_(stay, stay)]
            best, gone = (left, weight.copy()), gone[stay]
    return best[0].tolist(), best[1]


def low_rank(weight: F64, patches: F64, fine: int, rank: int) -> tuple[F64, F64, F64]:
    """A 3x3 convolution as a 1x1 one, a 3x3 one and a 1x1 one, through few channels.

    Args:
        weight: (out, in, 3, 3); patches: (in * 9, in * 9), the covariance of what it reads.

    Returns:
        ``narrow`` (fine, in), ``trunk`` (rank, fine, 3, 3) and ``stems`` (out, rank).
    """
    c_out, c_in = weight.shape[:2]
    root, back = _root(patches.reshape(c_in, 9, c_in, 9)[:, 4, :, 4])
    asked = np.einsum("oikl,ojkl->ij", weight, weight)
    _, axes = np.linalg.eigh(root @ asked @ root)
    narrow = axes[:, ::-1][:, :fine].T @ back  # of unit variance each
    reach = np.kron(narrow, np.eye(9))
    seen = _steadied(reach @ patches @ reach.T)
    best = np.linalg.solve(seen, reach @ patches @ weight.reshape(c_out, -1).T).T
    root, back = _root(seen)
    left, size, right = np.linalg.svd(best @ root, full_matrices=False)
    trunk = (right[:rank] @ back).reshape(rank, fine, 3, 3)
    return narrow, trunk, left[:, :rank] * size[:rank]


def slim(
    net: MultiTaskNet,
    canvases: Sequence[U8],
    most_lost: float,
    report: Callable[[int], None] = lambda _: None,
) -> MultiTaskNet:
    """A network of fewer channels that answers alike, as far as that goes without training.

    Args:
        net: in evaluation mode; canvases: letterboxed pictures (h, w, 3) BGR, some dozens.
        most_lost: share of the variance of what a layer gives that may be lost, from 0 to 1.
        report: called with the number of pictures looked at, then that and of blocks done.

    Raises:
        InputError: ``net`` was slimmed before.
    """
    if widths_of(net.state_dict()).trunk:
        raise InputError("the network was slimmed before: its heads share one convolution already")
    blocks: list[Any] = list(net.backbone._blocks)
    stems: list[Any] = [net.det_stem, net.mask_stem]
    *spreads, patches = _spreads(
        net, [*(b._project_conv for b in blocks), stems[0][0]], canvases, report
    )
    kept = []
    for i, (b, (_, covariance)) in enumerate(zip(blocks, spreads, strict=True), 1):
        weight = _numbers(b._project_conv.weight)[:, :, 0, 0]
        kept.append(fewer_columns(weight, covariance, most_lost))
        report(len(canvases) + i)
    wide = np.concatenate([_numbers(s[0].weight) * _gain(s[1])[:, None, None, None] for s in stems])
    heads = _cheapest(wide, patches[1], most_lost)
    mid = tuple(len(k) for k, _ in kept)
    usual = widths_of(net.state_dict())
    new = MultiTaskNet(Widths(mid, usual.pyramid, len(heads[0]), len(heads[1])))
    wanted = new.state_dict()
    alike = {
        k: v for k, v in net.state_dict().items() if k in wanted and wanted[k].shape == v.shape
    }
    new.load_state_dict(alike, strict=False)
    with torch.no_grad():
        _take_blocks(net, new, kept, [mean for mean, _ in spreads])
        _take_heads(net, new, heads, patches[0])
    return new.eval()


def _steadied(covariance: F64) -> F64:
    size = len(covariance)
    return covariance + _RIDGE * np.trace(covariance) / size * np.eye(size)


def _root(covariance: F64) -> tuple[F64, F64]:
    """Square root of a covariance, and its inverse."""
    size, axes = np.linalg.eigh(covariance)
    size = np.sqrt(np.maximum(size, _RIDGE * size.max()))
    return (axes * size) @ axes.T, (axes / size) @ axes.T


def _numbers(values: Tensor) -> F64:
    found: F64 = values.detach().double().numpy()
    return found


def _gain(norm: Any) -> F64:
    """What a norm multiplies each channel by."""
    return _numbers(norm.weight / (norm.running_var + norm.eps).sqrt())


def _spreads(
    net: nn.Module,
    layers: Iterable[nn.Conv2d],
    canvases: Sequence[U8],
    report: Callable[[int], None],
) -> list[tuple[F64, F64]]:
    """Mean (c * k * k,) and covariance of the patches that each convolution reads."""
    rng, sums = np.random.default_rng(0), {layer: np.zeros(0) for layer in layers}

    def look(layer: Any, given: tuple[Tensor], _: Tensor) -> None:
        size = layer.kernel_size[0]
        x = F.unfold(given[0], size, padding=size // 2)[0]
        seen = _numbers(x[:, torch.from_numpy(rng.integers(0, x.shape[1], _PLACES))])
        seen = np.concatenate([seen, np.ones((1, _PLACES))])  # its products are the mean
        before = sums[layer]
        sums[layer] = seen @ seen.T + (before if before.size else 0.0)

    hooks = [layer.register_forward_hook(look) for layer in sums]
    try:
        with torch.inference_mode():
            for done, canvas in enumerate(canvases, 1):
                picture = torch.from_numpy(canvas)[None]
                net(normalise(picture, torch.tensor(RGB_FROM_BGR)))
                report(done)
    finally:
        for hook in hooks:
            hook.remove()
    means = [s / s[-1, -1] for s in sums.values()]
    return [(m[:-1, -1], m[:-1, :-1] - np.outer(m[:-1, -1], m[-1, :-1])) for m in means]


def _cheapest(wide: F64, patches: F64, most_lost: float) -> tuple[F64, F64, F64]:
    """The factors of the fewest products, widths going by sixteens, that lose no more."""
    c_out, c_in = wide.shape[:2]
    sizes, flat = range(_MULTIPLE, c_in + 1, _MULTIPLE), wide.reshape(c_out, -1)
    allowed = most_lost * np.trace(flat @ patches @ flat.T)
    pairs = [(9 * fine * rank + rank * c_out, fine, rank) for fine in sizes for rank in sizes]
    found = low_rank(wide, patches, c_in, c_in)
    for _, fine, rank in sorted(pairs):
        tried = low_rank(wide, patches, fine, rank)
        gap = flat - _product(*tried)
        if np.trace(gap @ patches @ gap.T) <= allowed:
            return tried
    return found


def _product(narrow: F64, trunk: F64, stems: F64) -> F64:
    """The one 3x3 convolution (out, in * 9) that three are together."""
    found: F64 = np.einsum("or,rfkl,fi->oikl", stems, trunk, narrow).reshape(len(stems), -1)
    return found


def _take_blocks(
    old: MultiTaskNet, new: MultiTaskNet, kept: Sequence[tuple[list[int], F64]], means: list[F64]
) -> None:
    """Give each block's middle the channels kept of it: to what expands (the first block's is the
    stem), to the depthwise stage and to what projects, whose norm makes up for the mean lost."""
    olds: list[Any] = list(old.backbone._blocks)
    news: list[Any] = list(new.backbone._blocks)
    for (channels, weight), mean, a, b in zip(kept, means, olds, news, strict=True):
        pairs: list[tuple[Any, Any]] = [(a._depthwise_conv, b._depthwise_conv), (a._bn1, b._bn1)]
        if a.expands:
            pairs += [(a._expand_conv, b._expand_conv), (a._bn0, b._bn0)]
        else:
            x, y = old.backbone, new.backbone
            pairs += [(x._conv_stem, y._conv_stem), (x._bn0, y._bn0)]
        index = torch.tensor(channels)
        for source, sink in pairs:
            own = sink.state_dict()
            for key, value in source.state_dict().items():
                own[key].copy_(value[index] if value.ndim else value)
        gap = _numbers(a._project_conv.weight)[:, :, 0, 0] @ mean - weight @ mean[channels]
        b._project_conv.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
        b._bn2.running_mean.copy_(a._bn2.running_mean - torch.from_numpy(gap))


def _take_heads(
    old: MultiTaskNet, new: MultiTaskNet, heads: tuple[F64, F64, F64], mean: F64
) -> None:
    """Give the pyramid's last level and the heads' stems their factors (see ``low_rank``)."""
    narrow, trunk, stems = heads
    to = torch.from_numpy(narrow)
    lateral: Any = old.pyramid.lateral[0]
    fresh: Any = new.pyramid.lateral[0]
    last: Any = new.pyramid.narrow
    shared: Any = new.trunk
    fresh.weight.copy_((to @ lateral.weight[:, :, 0, 0].double())[:, :, None, None])
    fresh.bias.copy_(to @ lateral.bias.double())
    last.weight.copy_(to[:, :, None, None])
    last.bias.zero_()
    shared.weight.copy_(torch.from_numpy(trunk))
    at = 0
    pairs: list[tuple[Any, Any]] = [(old.det_stem, new.det_stem), (old.mask_stem, new.mask_stem)]
    for a, b in pairs:
        weight = _numbers(a[0].weight).reshape(a[0].out_channels, -1)
        rows = stems[at : at + len(weight)] / _gain(a[1])[:, None]
        at += len(weight)
        gap = (weight - _product(narrow, trunk, rows)) @ mean
        b[0].weight.copy_(torch.from_numpy(rows)[:, :, None, None])
        b[1].load_state_dict(a[1].state_dict())
        b[1].running_mean.copy_(a[1].running_mean - torch.from_numpy(gap))
