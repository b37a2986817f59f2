from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from planning.astar import astar

ROOT = Path(__file__).resolve().parents[2]


def graph_of(cost: np.ndarray, resolution: float) -> coo_matrix:
    """Edges between all neighbours that can be driven, written down independently."""
    rows, cols = cost.shape
    start, end, weight = [], [], []
    for r in range(rows):
        for c in range(cols):
            for dr in (-1, 0, 1):
                for dc in (-1, 0, 1):
                    q, s = r + dr, c + dc
                    if (dr, dc) == (0, 0) or not (0 <= q < rows and 0 <= s < cols):
                        continue
                    mean = (cost[r, c] + cost[q, s]) / 2
                    if np.isfinite(mean):
                        start.append(r * cols + c)
                        end.append(q * cols + s)
                        weight.append(mean * resolution * np.hypot(dr, dc))
    return coo_matrix((weight, (start, end)), shape=(rows * cols, rows * cols)).tocsr()


@pytest.mark.parametrize("seed", range(8))
def test_cost_equals_dijkstra(seed):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(1, 20, (24, 31)).astype(np.float32)
    cost[rng.random(cost.shape) < 0.3] = np.inf
    start, goal = (0, 3), (22, 28)
    cost[start] = cost[goal] = 1
    want = dijkstra(graph_of(cost.astype(float), 0.2), indices=start[0] * 31 + start[1])
    path = astar(cost, start, goal, 0.2)
    expected = want[goal[0] * 31 + goal[1]]
    if path is None:
        assert np.isinf(expected)
        return
    assert path.cost == pytest.approx(expected, rel=1e-9)
    along = cost[path.rows, path.cols].astype(float)
    step = np.hypot(np.diff(path.rows), np.diff(path.cols))
    assert step.max() < 1.5
    assert (step * 0.2 * (along[1:] + along[:-1]) / 2).sum() == pytest.approx(path.cost)
    assert (path.rows[0], path.cols[0]) == start
    assert (path.rows[-1], path.cols[-1]) == goal


def test_heuristic_spares_most_of_an_open_grid():
    path = astar(np.ones((100, 100), np.float32), (0, 50), (99, 50))
    assert path is not None
    assert path.expanded < 1000
    assert path.cost == pytest.approx(99)


def test_unreachable_goal_gives_none():
    cost = np.ones((200, 200), np.float32)
    cost[100] = np.inf
    assert astar(cost, (0, 0), (199, 199)) is None
    cost[:] = np.inf
    assert astar(cost, (0, 0), (199, 199)) is None


def test_search_is_bounded():
    cost = np.ones((100, 100), np.float32)
    assert astar(cost, (0, 0), (99, 60), max_expanded=50) is None
    path = astar(cost, (0, 0), (99, 60))
    assert path is not None
    assert path.expanded <= cost.size


def test_start_is_goal():
    path = astar(np.ones((4, 4), np.float32), (1, 1), (1, 1))
    assert path is not None
    assert path.cost == 0
    assert len(path.rows) == 1


def test_points_outside_and_negative_costs_are_refused():
    with pytest.raises(ValueError, match="goal"):
        astar(np.ones((4, 4), np.float32), (0, 0), (4, 0))
    with pytest.raises(ValueError, match="at least 0"):
        astar(np.full((4, 4), -1, np.float32), (0, 0), (3, 3))


@pytest.mark.parametrize("place", ["/dev/null/nowhere", "gone"])
def test_works_where_no_cache_can_be_written(place, tmp_path):
    # /dev/null/... can be written by nobody, not even by root. For 'gone' the place is fine when
    # the kernel is made and fails when it is saved.
    code = (
        "import numba.core.caching as caching, numpy as np, sys\n"
        "from planning.astar import astar\n"
        "if sys.argv[1] == 'gone':\n"
        "    def fail(*a, **k): raise OSError(28, 'No space left on device')\n"
        "    caching.IndexDataCacheFile.save = fail\n"
        "else:\n"
        "    deny = classmethod(lambda *a: None)\n"
        "    for c in caching.CacheImpl._locator_classes: c.from_function = deny\n"
        "assert astar(np.ones((9, 9), np.float32), (0, 0), (8, 8)) is not None\n"
        "assert astar(np.ones((9, 9), np.float32), (0, 0), (0, 8)).cost == 8\n"
    )
    cache = str(tmp_path / "cache") if place == "gone" else place
    env = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", code, place],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
