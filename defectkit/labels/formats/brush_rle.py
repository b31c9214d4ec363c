"""The run-length encoding of Label Studio's brush: a stream of bits of an RGBA image's bytes.

It has the number of bytes (32 bits), the bits of a value less 1 (5), and four sizes less 1 (4 bits
each). Each stretch that follows has a bit that says whether one value is repeated, which of the
sizes its length has (2), its length less 1, and its value, or its values.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from defectkit.arrays import ImageSize, Mask
from defectkit.errors import LabelError
from defectkit.labels.formats.untrusted_files import MAX_MASK_PIXELS

CHANNELS = 4
VALUE_BITS = 8


def decode_brush(encoded: list[Any], size: ImageSize) -> Mask:
    """Return the mask, (H, W) bool, of the pixels that are not transparent.

    Args:
        encoded: the bytes of the stream, 0 to 255.
        size: (height, width) of the image.

    Raises:
        LabelError: it is malformed, is of an image of another size, or has too many pixels.
    """
    if size[0] * size[1] > MAX_MASK_PIXELS:
        raise LabelError(f"its brush mask has {size[1]}x{size[0]} pixels: too many")
    if not all(type(one) is int and 0 <= one <= 255 for one in encoded):
        raise LabelError("its brush mask is not a list of bytes")
    bits = np.unpackbits(np.array(encoded, np.uint8))
    n_bytes, value_bits = _number(bits, 0, 32), _number(bits, 32, 5) + 1
    if n_bytes != size[0] * size[1] * CHANNELS or value_bits != VALUE_BITS:
        raise LabelError(f"its brush mask is not of an image of {size[1]}x{size[0]}")
    lengths = [_number(bits, 37 + 4 * index, 4) + 1 for index in range(4)]
    position, filled = 53, 0
    alpha = np.zeros(size[0] * size[1], np.bool_)
    while filled < n_bytes:
        is_repeated, which = _number(bits, position, 1), _number(bits, position + 1, 2)
        length = _number(bits, position + 3, lengths[which]) + 1
        position += 3 + lengths[which]
        n_values = 1 if is_repeated else length
        own = bits[position : position + n_values * VALUE_BITS]
        if len(own) < n_values * VALUE_BITS or filled + length > n_bytes:
            raise LabelError("its brush mask is cut off")
        values = np.packbits(own)
        # The last byte of each pixel's four.
        alpha[filled // CHANNELS : (filled + length) // CHANNELS] = (
            values if is_repeated else values[CHANNELS - 1 - filled % CHANNELS :: CHANNELS]
        )
        filled += length
        position += n_values * VALUE_BITS
    return alpha.reshape(size)


def _number(bits: npt.NDArray[np.uint8], position: int, length: int) -> int:
    own = bits[position : position + length]
    if len(own) < length:
        raise LabelError("its brush mask is cut off")
    return int("".join(map(str, own.tolist())), 2)
