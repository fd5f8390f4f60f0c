"""Which inputs each place of a convolution or a pool sees."""

from __future__ import annotations

import numpy as np


def windows(shape: tuple[int, int, int], size: int, stride: int = 1, padding: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """
    Find the pixels under a square window at all its places.

    Parameters
    ----------
    shape : channels, height and width of the images. Pixels are numbered channel by channel and row by row.
    size : side length of the window
    stride : pixels from one place to the next
    padding : pixels by which windows may reach over each edge

    Returns
    -------
    places : (channels * size^2, height' * width') array, which `factorgraph.Variables.gather` takes
        Number of the pixel under each entry of the window at each place, or -1 beyond the edge.
    image : height' and width'

    Raises
    ------
    ValueError
        The window is larger than the image.

    Examples
    --------
    >>> windows((1, 3, 3), 2)[0]
    array([[0, 1, 3, 4],
           [1, 2, 4, 5],
           [3, 4, 6, 7],
           [4, 5, 7, 8]])
    """
    channels, height, width = shape
    if min(shape) < 1 or size < 1 or stride < 1 or padding < 0:
        raise ValueError(
            f"there are no windows of size {size}, stride {stride} and padding {padding} on images of shape {shape}"
        )
    if size > height + 2 * padding or size > width + 2 * padding:
        raise ValueError(f"windows of size {size} do not fit into images of {height} x {width} pixels with padding {padding}")
    numbers = np.full((channels, height + 2 * padding, width + 2 * padding), -1)
    numbers[:, padding : padding + height, padding : padding + width] = np.arange(channels * height * width).reshape(shape)
    found = np.lib.stride_tricks.sliding_window_view(numbers, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    image = (found.shape[1], found.shape[2])
    return found.transpose(0, 3, 4, 1, 2).reshape(channels * size * size, image[0] * image[1]), image
