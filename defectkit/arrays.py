"""The kinds of arrays that the code passes around, each named once with its shape and dtype.

Letters in shapes: B images, K defect classes, H and W height and width in pixels, C channels (1
gray, 3 RGB, up to 16), N anything that is counted.
"""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""One image: (H, W) or (H, W, C) uint8, C up to 16; 3 are RGB."""

ImageBatch = npt.NDArray[np.uint8]
"""Images of one size: (B, H, W, C) uint8."""

Mask = npt.NDArray[np.bool_]
"""(H, W) bool, true on defect pixels."""

Masks = npt.NDArray[np.uint8]
"""(K, H, W) uint8 of 0 and 1, one layer per defect class."""

ScoreMap = npt.NDArray[np.float32]
"""(H, W), (K, H, W) or (B, K, H, W) float32 in [0, 1]."""

RegionMap = npt.NDArray[np.int32]
"""(H, W) int32: 0 on the background, i + 1 on the pixels of the i-th connected region."""

Corners = npt.NDArray[np.int64]
"""(N, 2) int64: row and column of upper left pixels; may lie outside of the image."""

BoxXywh = tuple[int, int, int, int]
"""x, y, width, height in pixels, x right and y down, half-open."""

ImageSize = tuple[int, int]
"""(height, width) in pixels."""

Color = tuple[int, int, int]
"""Red, green, blue, each in 0..255."""

# Of any shape; the docstring of whoever takes or gives one says which.
BoolArray = npt.NDArray[np.bool_]
Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.intp]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.object_]
