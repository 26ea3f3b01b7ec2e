"""Windows that cover a cube as its file stores it."""

from __future__ import annotations

from collections.abc import Iterator


def thinned(span: slice, step: int) -> slice:
    """The middle of each whole stretch of `step` rows or columns of a span.

    Examples
    --------
    >>> thinned(slice(10, 20), 3), thinned(slice(10, 20), 1)
    (slice(11, 19, 3), slice(10, 20, 1))
    """
    count = (span.stop - span.start) // step
    return slice(span.start + step // 2, span.start + count * step, step)


def cover(
    shape: tuple[int, int, int],
    block: tuple[int, int],
    max_values: int,
    max_block: int = 2**26,
) -> Iterator[tuple[slice, slice]]:
    """Windows (rows, columns) that cover a cube (B, H, W) once, wide before they are high.

    Each is a multiple of the (rows, columns) that the file stores together, and holds at most
    `max_values` values, or one such block where that is more; blocks of more than `max_block`
    values, such as a file in one piece, are cut.

    Examples
    --------
    >>> [(r.start, c.start, c.stop) for r, c in cover((2, 4, 6), (2, 4), 30)]
    [(0, 0, 4), (0, 4, 6), (2, 0, 4), (2, 4, 6)]
    """
    bands, height, width = shape
    limit = max(1, max_values // bands)  # pixels
    rows, columns = min(block[0], height), min(block[1], width)
    while rows * columns > max(limit, max_block // bands):
        rows, columns = (-(-rows // 2), columns) if rows > 1 else (rows, -(-columns // 2))
    step_x = min(width, max(1, limit // (rows * columns)) * columns)
    step_y = min(height, max(1, limit // (rows * step_x)) * rows)
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            yield slice(top, min(top + step_y, height)), slice(left, min(left + step_x, width))
