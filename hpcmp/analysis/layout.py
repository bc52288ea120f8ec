"""Places of the vertices of a graph in a picture, by forces, in a time that hardly depends on how many there are.

The forces of ForceAtlas2: vertices repel each other by 1 / distance and their degrees, edges pull by distance, and all
are drawn to the middle. Repulsion is a convolution: the masses are laid on a grid, the field of all of them comes from
one Fourier transform, and is read off at every vertex. So a turn costs n + m and the grid, not n * n.

Jacomy, Venturini, Heymann and Bastian, ForceAtlas2, PLoS ONE 9 (2014); Linderman et al. (2019) for forces by grids.
"""

import numpy as np

TURNS = 200
MOST_CELLS = 128  # of the grid in each direction
REPULSION, GRAVITY = 5e-5, 0.03
LONGEST_STEP = 0.15  # of the first turn, in units of the first picture's radius; it falls to 0
FAR = 0.9  # share of vertices that lie no further out than tanh is about straight
GOLDEN = np.pi * (3 - np.sqrt(5))


def layout(n, a, b, count):
    """Places of vertices in the unit square: float64 (n, 2). Local.

    Begins with a spiral, in the order of the vertices from the middle: the
    first should be those of most edges. The same each time.

    Parameters
    ----------
    n : int
    a, b : int64 (m,)
        Ends of edges.
    count : (m,)
        How often each is there; an edge pulls by log(1 + count).
    """
    k = np.arange(n)
    radius, angle = np.sqrt((k + 0.5) / max(n, 1)), GOLDEN * k
    xy = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    mass = 1.0 + np.bincount(a, minlength=n) + np.bincount(b, minlength=n)
    pull = np.log1p(count)
    cells = 16  # some for each vertex
    while cells < MOST_CELLS and cells < 3 * np.sqrt(n):
        cells *= 2
    kernel = _kernel(cells)
    for turn in range(TURNS if n > 1 else 0):
        force = REPULSION * _field(xy, mass, kernel) - GRAVITY * xy
        tug = (xy[b] - xy[a]) * pull[:, None]
        for axis in (0, 1):
            drawn = np.bincount(a, tug[:, axis], minlength=n) - np.bincount(b, tug[:, axis], minlength=n)
            force[:, axis] += drawn / mass
        length = np.hypot(force[:, 0], force[:, 1]) + 1e-12
        step = np.minimum(length / 2, LONGEST_STEP * (1 - turn / TURNS))
        xy = xy + force * (step / length)[:, None]
    return _into_square(xy) if n else xy


def _into_square(xy):
    """Places scaled to the unit square; the few that lie far out are drawn near, or all others were a dot."""
    xy = xy - np.median(xy, axis=0)
    far = np.hypot(xy[:, 0], xy[:, 1])
    usual = max(float(np.quantile(far, FAR)), 1e-9)
    xy *= (np.tanh(far / usual) / np.maximum(far, 1e-9))[:, None]
    spiral = GOLDEN * np.arange(len(xy))  # what the grid does not tell apart must not lie in rows
    xy += 0.5 / MOST_CELLS * np.stack((np.cos(spiral), np.sin(spiral)), axis=1)
    low, high = xy.min(axis=0), xy.max(axis=0)
    return (xy - low) / np.maximum(high - low, 1e-9)


def _kernel(cells):
    """Transform of (dx, dy) / (dx^2 + dy^2) over offsets in cells, on a grid twice as large so that nothing wraps."""
    offset = np.fft.fftfreq(2 * cells, 1 / (2 * cells))
    dx, dy = np.meshgrid(offset, offset, indexing="ij")
    r2 = dx * dx + dy * dy
    r2[0, 0] = 1
    return np.fft.rfft2(np.stack((dx, dy)) / r2)


def _field(xy, mass, kernel):
    """Sum over all vertices of mass * (x - y) / |x - y|^2 at each vertex x, to the resolution of the grid: (n, 2)."""
    low, cells = xy.min(axis=0), kernel.shape[1] // 2
    width = max(float(np.ptp(xy, axis=0).max()), 1e-9) / (cells - 1)
    place = (xy - low) / width
    cell = np.minimum(place.astype(np.int64), cells - 2)
    part = place - cell
    grid, corners = np.zeros((2 * cells, 2 * cells)), []
    for i in (0, 1):
        for j in (0, 1):
            share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
            corners.append((cell[:, 0] + i, cell[:, 1] + j, share))
            np.add.at(grid, corners[-1][:2], mass * share)
    field = np.fft.irfft2(np.fft.rfft2(grid) * kernel) / width
    return sum((field[:, i, j] * share for i, j, share in corners), np.zeros((2, len(xy)))).T
