"""Windows around pixels, by index into the padded reduced cube.

The array of all windows is never made: a batch of windows is gathered when it is needed, so
memory grows with the batch and not with the number of pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hyperpeft.models.patch_geometry import check_patch_size, mirrored, resize_matrix

IMAGE_SIZE = 32  # what the encoder sees, whatever the window
SYMMETRIES = 8  # of the square


class Windows:
    """Windows of p x p pixels around any pixel of a cube, mirrored at its edges.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
        Reduced and normalised.
    patch_size : int
        Odd, 1 to 63 pixels. Larger than the scene is allowed: the mirror image repeats.
    device : torch.device, optional
        Where the padded cube is kept and the windows are gathered.

    Examples
    --------
    >>> windows = Windows(np.arange(12.0, dtype=np.float32).reshape(1, 3, 4), 3)
    >>> windows.at(torch.tensor([[0, 0]]))[0, 0].tolist()
    [[5.0, 4.0, 5.0], [1.0, 0.0, 1.0], [5.0, 4.0, 5.0]]
    """

    def __init__(
        self, cube: np.ndarray, patch_size: int, device: torch.device | None = None
    ) -> None:
        half = check_patch_size(patch_size) // 2
        rows, columns = (mirrored(-half, size + half, size) for size in cube.shape[1:])
        self._hold(cube[:, rows][:, :, columns], patch_size, device)

    @classmethod
    def over_halo(
        cls, padded: np.ndarray, patch_size: int, device: torch.device | None = None
    ) -> Windows:
        """Windows over a piece of a cube (C, h + 2 half, w + 2 half) that brings its own halo.

        Position (0, 0) is the first pixel inside the halo.
        """
        windows = cls.__new__(cls)
        windows._hold(padded, patch_size, device)
        return windows

    def _hold(self, padded: np.ndarray, patch_size: int, device: torch.device | None) -> None:
        self.patch_size = patch_size
        self._padded = torch.from_numpy(np.ascontiguousarray(padded)).to(device)  # (C, H+2h, W+2h)
        # A view (C, H, W, p, p) that costs no memory.
        self._view = self._padded.unfold(1, patch_size, 1).unfold(2, patch_size, 1)

    def at(self, positions: Tensor) -> Tensor:
        """Windows centred at row and column `positions` (N, 2): (N, C, p, p)."""
        positions = positions.to(self._padded.device)
        picked = self._view[:, positions[:, 0], positions[:, 1]]  # (C, N, p, p), a copy
        return picked.transpose(0, 1)

    def centres(self, positions: Tensor) -> Tensor:
        """The pixels at `positions` (N, 2) themselves: (N, C)."""
        rows, columns = (positions.to(self._padded.device) + self.patch_size // 2).T
        return self._padded[:, rows, columns].T


def centres_of(windows: Tensor) -> Tensor:
    """The pixel that each window (N, C, p, p) is centred at: (N, C)."""
    middle = windows.shape[-1] // 2
    return windows[:, :, middle, middle]


def resize(windows: Tensor, size: int = IMAGE_SIZE) -> Tensor:
    """Bicubic resize of windows (N, C, p, p) to (N, C, size, size).

    Two products with the matrix of the resize: on a processor five to eight times as fast as
    `F.interpolate`, and equal to it to 1e-6 of the values' range.
    """
    if windows.shape[-1] == size:
        return windows.contiguous()
    # Kept as an array and not as a tensor: one that is made while a model is traced or compiled is
    # the tracer's, and would fail every later call.
    matrix = torch.tensor(resize_matrix(windows.shape[-1], size)).to(windows)  # (size, p)
    with torch.autocast(windows.device.type, enabled=False):
        return matrix @ windows @ matrix.T


def draw_symmetries(n: int, generator: torch.Generator) -> Tensor:
    """A symmetry of the square, 0 (none) to 7, for each of n windows."""
    return torch.randint(SYMMETRIES, (n,), generator=generator)


def apply_symmetry(windows: Tensor, symmetries: Tensor) -> Tensor:
    """Each window (N, C, p, p) in its symmetry (N,): i % 4 quarter turns, mirrored from 4 on."""
    symmetries = symmetries.to(windows.device)
    out = windows.clone()
    for symmetry in range(1, SYMMETRIES):
        members = (symmetries == symmetry).nonzero().flatten()
        if len(members):
            turned = torch.rot90(windows[members], symmetry % 4, (2, 3))
            out[members] = turned.flip(3) if symmetry >= 4 else turned
    return out
