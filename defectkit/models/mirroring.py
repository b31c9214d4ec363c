"""Images reflected beyond their borders, by indices that also an exported graph computes."""

import torch


def mirrored_index(length: int, before: int, after: int) -> torch.Tensor:
    """Return the index, (before + length + after,) int64, of the pixels of a reflected side.

    It is that of ``np.pad(..., mode="symmetric")``: the outermost pixel comes twice, and a side
    that is shorter than its padding is reflected again and again.
    """
    # Both as tensors: in an exported graph lengths are symbols, and ONNX has no remainder by one.
    side = torch.scalar_tensor(length, dtype=torch.int64)
    place = torch.arange(-before, length + after).remainder(2 * side)
    return torch.minimum(place, 2 * side - 1 - place)


def mirrored_beyond(length: int, *, margin: int, divisor: int) -> torch.Tensor:
    """Return the index of a side that is reflected by ``margin`` at both ends.

    What comes out is reflected once more at its end, until ``divisor`` divides its length.
    """
    wide = length + 2 * margin
    return mirrored_index(length, margin, margin)[mirrored_index(wide, 0, -wide % divisor)]
