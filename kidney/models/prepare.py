"""What the network sees of a slice: the body, cut out and brought to one size, inside the graph.

Bodies fill between a third and all of a picture; cut out, a kidney is equally large in all of them
and a stone of a few pixels survives.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor

_GRID = 96  # cells a side, on which the body is looked for
_TISSUE_FROM = 45  # grey; fat is below
_FAT_FROM = 20  # air and couch padding are below
# Of the side with fat: below it a dark window hides all tissue but bone. At 0.65 flanks were lost.
_LEAST_SHARE = 0.8
# Cells: couch, tubes and arms thinner than this are no body. An opening of 5 removed thin abdominal
# walls as well: kidneys were cut off on 25 of 87 slices of four hospitals, with 3 on none.
_OPENING = 3
_MARGIN = 1.5  # cells around the body


def prepare(slices: Tensor, size: int) -> Tensor:
    """Cut the body out of slices (N, 1, H, W), 0..255, as images float32 (N, 1, size, size)."""
    return cut_out(slices, body_region(slices), size)


def body_region(slices: Tensor) -> Tensor:
    """Find the smallest square around the body.

    Args:
        slices: uint8 or float (N, 1, H, W), 0..255.

    Returns:
        float32 (N, 4), top, left, bottom and right in pixels. It may leave the picture; where there
        is no body it is the square around the whole picture.
    """
    height, width = slices.shape[2], slices.shape[3]
    cells = nnf.interpolate(
        slices.float(), size=(_GRID, _GRID), mode="bilinear", align_corners=False, antialias=True
    )
    lean, whole = (_square(cells >= grey, height, width) for grey in (_TISSUE_FROM, _FAT_FROM))
    hidden = lean[:, 2] - lean[:, 0] < _LEAST_SHARE * (whole[:, 2] - whole[:, 0])
    return torch.where(hidden[:, None], whole, lean)


def _square(tissue: Tensor, height: int, width: int) -> Tensor:
    """Return the square around the tissue (N, 1, grid, grid), in pixels of the picture: (N, 4)."""
    pad = _OPENING // 2
    eroded = -nnf.max_pool2d(-tissue.float(), _OPENING, stride=1, padding=pad)
    body = nnf.max_pool2d(eroded, _OPENING, stride=1, padding=pad)
    top, bottom = (edge * height / _GRID for edge in _span(body.amax(dim=(1, 3))))
    left, right = (edge * width / _GRID for edge in _span(body.amax(dim=(1, 2))))
    half = torch.maximum(bottom - top, right - left) / 2
    row, column = (top + bottom) / 2, (left + right) / 2
    return torch.stack([row - half, column - half, row + half, column + half], dim=1)


def _span(filled: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and last edge (N,) of the cells (N, grid) that are 1; all where none is."""
    index = torch.arange(_GRID, dtype=torch.float32, device=filled.device)
    some = filled > 0
    first = torch.where(some, index, float(_GRID)).amin(dim=1) - _MARGIN
    last = torch.where(some, index + 1, 0.0).amax(dim=1) + _MARGIN
    empty = ~some.any(dim=1)
    first = torch.where(empty, 0.0, first.clamp(min=0))
    last = torch.where(empty, float(_GRID), last.clamp(max=_GRID))
    return first, last


def cut_out(slices: Tensor, region: Tensor, size: int) -> Tensor:
    """Resize a region of each slice to (N, 1, size, size) with an antialiasing triangle filter.

    Inside the picture it equals torch's antialiased bilinear resize; without that filter a stone
    of a few pixels can vanish in a 512 to 224 reduction. As two matrix products it takes another
    region for each slice of a batch, in torch and in ONNX alike.

    Args:
        slices: (N, 1, H, W).
        region: (N, 4), top, left, bottom, right in pixels; it may leave the picture, which is black
            there.
        size: side of the result in pixels.
    """
    top, left, bottom, right = region.unbind(dim=1)
    rows = _filter(top, bottom, size, slices.shape[2])
    columns = _filter(left, right, size, slices.shape[3])
    return (rows @ slices[:, 0].float() @ columns.transpose(1, 2))[:, None]


def _filter(low: Tensor, high: Tensor, size: int, length: int) -> Tensor:
    """Return how much each of `length` pixels weighs in each of `size` samples: (N, size, length).

    The samples lie evenly between `low` and `high`.
    """
    step = (high - low) / size
    place = torch.arange(size, dtype=torch.float32, device=low.device) + 0.5
    centre = (low[:, None] + place * step[:, None])[:, :, None]
    pixel = torch.arange(length, dtype=torch.float32, device=low.device) + 0.5
    support = step.clamp(min=1.0)[:, None, None]
    weight = (1 - ((pixel - centre) / support).abs()).clamp(min=0)
    inside = ((centre > 0) & (centre < length)).float()
    return inside * weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-6)
