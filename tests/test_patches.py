"""Windows by index, resizing, the eight symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hyperpeft.errors import ConfigError
from hyperpeft.patches import Windows, apply_symmetry, check_patch_size, draw_symmetries, resize


def random_cube(height, width, bands=12):
    return np.random.default_rng(0).standard_normal((bands, height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [1, 9, 63])
@pytest.mark.parametrize("shape", [(70, 66), (11, 7), (2, 40), (1, 1)])
def test_windows_are_slices_of_the_mirrored_cube(size, shape):
    cube, half = random_cube(*shape), size // 2
    padded = np.pad(cube, ((0, 0), (half, half), (half, half)), mode="reflect")
    rows, columns = np.indices(shape).reshape(2, -1)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), 40)).astype(int)  # the corners included
    positions = np.stack([rows[chosen], columns[chosen]], axis=1)
    expected = np.stack([padded[:, r : r + size, c : c + size] for r, c in positions])
    windows = Windows(cube, size).at(torch.from_numpy(positions))
    assert windows.shape == (len(positions), 12, size, size)
    np.testing.assert_array_equal(windows.numpy(), expected)
    np.testing.assert_array_equal(windows[:, :, half, half], cube[:, *positions.T].T)


def test_memory_does_not_grow_with_the_windows():
    """All windows would be 12 x 60 x 50 x 63 x 63 numbers; the view has the padded cube's only."""
    windows = Windows(random_cube(60, 50), 63)
    assert windows._view.shape == (12, 60, 50, 63, 63)
    view, padded = (x.untyped_storage() for x in (windows._view, windows._padded))
    shared, held = view.data_ptr() == padded.data_ptr(), view.nbytes()
    assert shared
    assert held == 4 * 12 * (60 + 62) * (50 + 62)
    batch = windows.at(torch.tensor([[0, 0], [59, 49]]))
    assert batch.untyped_storage().nbytes() == 4 * 2 * 12 * 63 * 63


@pytest.mark.parametrize("size", [0, 2, 8, 64, 65, -1])
def test_sizes_refused(size):
    with pytest.raises(ConfigError, match=f"an odd number from 1 to 63, got {size}"):
        check_patch_size(size)
    with pytest.raises(ConfigError):
        Windows(random_cube(5, 5), size)


def test_sizes_accepted():
    assert [check_patch_size(size) for size in range(1, 64, 2)] == list(range(1, 64, 2))


@pytest.mark.parametrize("size", [1, 9, 32, 63])
def test_resize_is_bicubic(size):
    windows = torch.from_numpy(random_cube(size, size))[None]
    expected = F.interpolate(windows, size=(32, 32), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resize(windows), expected, rtol=0, atol=1e-6)
    assert resize(windows, 64).shape == (1, 12, 64, 64)


def test_resize_after_an_export():
    """What is kept between calls must not be a tensor of the tracer's."""

    class Resized(torch.nn.Module):
        def forward(self, x):
            return resize(x)

    windows = torch.from_numpy(random_cube(11, 11))[None]  # a size of no other test
    exported = torch.export.export(Resized(), (windows,)).module()
    expected = F.interpolate(windows, size=(32, 32), mode="bicubic", align_corners=False)
    for call in (exported, Resized()):
        torch.testing.assert_close(call(windows), expected, rtol=0, atol=1e-6)


def symmetries(window):
    """The eight, by hand: four quarter turns, of the window and of its mirror image."""
    mirrored = window[:, :, ::-1]
    return [np.rot90(w, k, (1, 2)) for w in (window, mirrored) for k in range(4)]


def test_augment_draws_the_eight_symmetries_and_no_other():
    window = random_cube(5, 5)
    batch = torch.from_numpy(window)[None].repeat(400, 1, 1, 1)
    turned = apply_symmetry(
        batch, draw_symmetries(len(batch), torch.Generator().manual_seed(0))
    ).numpy()
    known = [np.ascontiguousarray(s).tobytes() for s in symmetries(window)]
    drawn = [known.index(np.ascontiguousarray(w).tobytes()) for w in turned]  # none is unknown
    counts = np.bincount(drawn, minlength=8)
    assert len(set(known)) == 8
    # 400 draws of eight: 50 each, deviation 6.6; 5 deviations.
    assert counts.min() > 17
    assert counts.max() < 83


def test_augment_is_seeded_and_leaves_its_input_alone():
    batch = torch.from_numpy(np.stack([random_cube(3, 3)] * 32))
    before = batch.clone()
    first, again, other = (
        apply_symmetry(batch, draw_symmetries(len(batch), torch.Generator().manual_seed(s)))
        for s in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    torch.testing.assert_close(batch, before, rtol=0, atol=0)
