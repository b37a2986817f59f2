"""Inner loops of the tracker, compiled by numba: on a few dozen objects NumPy spends most of its
time between the operations. Arrays are C-contiguous float64, rows and classes int64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Array = NDArray[Any]
NO_INFORMATION = 1e8  # variance of a measurement that tells nothing


@compiled
def predicted(
    mean: Array, rate: Array, cov: Array, dt_s: float,
    across: float, down: float, log_size: float, max_closing: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """``motion.predict``: mean, rate and cov ``dt_s`` later, by the accelerations' densities."""
    new_mean, new_rate, new_cov = np.empty_like(mean), np.empty_like(rate), np.empty_like(cov)
    for i in range(len(mean)):
        size = math.exp((mean[i, 2] + mean[i, 3]) / 2)
        growth = rate[i, 3]
        larger = 1 / (1 - min(max(growth * dt_s, -1.0), max_closing))
        t, k = dt_s * larger, larger * larger
        for a in range(4):
            acceleration = log_size if a > 1 else size * (across if a == 0 else down)
            density = acceleration * acceleration
            if a > 1:  # of the width beside the height
                new_mean[i, a] = mean[i, a] + dt_s * (rate[i, a] - growth) + math.log(larger)
                new_rate[i, a] = rate[i, a] * larger
            else:
                new_mean[i, a] = mean[i, a] + t * rate[i, a]
                new_rate[i, a] = rate[i, a] * larger * larger
            pp, pr, rr = cov[i, a, 0], cov[i, a, 1], cov[i, a, 2]
            new_cov[i, a, 0] = pp + t * (2 * pr + t * rr) + density * (dt_s**3 / 3)
            new_cov[i, a, 1] = (pr + t * rr) * k + density * (dt_s * dt_s / 2)
            new_cov[i, a, 2] = rr * (k * k) + density * dt_s
    return new_mean, new_rate, new_cov


@compiled
def corrected(
    mean: Array, rate: Array, cov: Array, rows: Array, measured: Array, variance: Array
) -> tuple[Array, Array, Array]:
    """``motion.update``: mean, rate and cov with ``rows`` (k,) corrected."""
    mean, rate, cov = mean.copy(), rate.copy(), cov.copy()
    for j in range(len(rows)):
        i = rows[j]
        for a in range(4):
            pp, pr = cov[i, a, 0], cov[i, a, 1]
            gain_p, gain_r = pp / (pp + variance[j, a]), pr / (pp + variance[j, a])
            innovation = measured[j, a] - mean[i, a]
            mean[i, a] += gain_p * innovation
            rate[i, a] += gain_r * innovation
            cov[i, a, 0] -= gain_p * pp
            cov[i, a, 1] -= gain_p * pr
            cov[i, a, 2] -= gain_r * pr
    return mean, rate, cov


@compiled
def box_variance(mean: Array, centre_sizes: float, log_size: float, edge_px: float) -> Array:
    """``motion.measurement_variance``."""
    out = np.empty_like(mean)
    for i in range(len(mean)):
        centre = centre_sizes * math.exp((mean[i, 2] + mean[i, 3]) / 2)
        out[i, 0] = out[i, 1] = centre * centre + edge_px * edge_px / 2
        for a in range(2, 4):
            out[i, a] = log_size * log_size + 2 * edge_px * edge_px * math.exp(-2 * mean[i, a])
    return out


@compiled
def pairs(a: Array, b: Array, buffer: Array) -> tuple[Array, Array, Array]:
    """``association.touching``; ``buffer`` (n, 2), or (0, 2) for none."""
    rows, cols, overlap = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    for fill in (False, True):  # counted first
        k = 0
        for i in range(len(a)):
            gu, gv = (2 * buffer[i, 0], 2 * buffer[i, 1]) if len(buffer) else (0.0, 0.0)
            left, top, right, bottom = a[i, 0] - gu, a[i, 1] - gv, a[i, 2] + gu, a[i, 3] + gv
            size = (a[i, 2] - a[i, 0] + gu) * (a[i, 3] - a[i, 1] + gv)
            for j in range(len(b)):
                beside = (left >= b[j, 2]) | (right <= b[j, 0])
                if beside | (top >= b[j, 3]) | (bottom <= b[j, 1]):
                    continue
                if fill:
                    u = max(min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0]) + gu, 0.0)
                    v = max(min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1]) + gv, 0.0)
                    both = size + (b[j, 2] - b[j, 0] + gu) * (b[j, 3] - b[j, 1] + gv)
                    rows[k], cols[k], overlap[k] = i, j, u * v / max(both - u * v, 1e-9)
                k += 1
        if not fill:
            rows, cols, overlap = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k)
    return rows, cols, overlap


@compiled
def candidates(
    mean: Array, cov: Array, kind: Array, found_xyxy: Array, found: Array, found_kind: Array,
    noise: Array, widening: float, max_widening: float, gate: float, max_change: float,
    gate_weight: float,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """``association.candidates``; ``noise`` (n, 4) of a detection of each prediction."""
    boxes, buffer = np.empty_like(mean), np.empty((len(mean), 2))
    for i in range(len(mean)):
        for a in range(2):
            size = math.exp(mean[i, a + 2])
            boxes[i, a], boxes[i, a + 2] = mean[i, a] - size / 2, mean[i, a] + size / 2
            buffer[i, a] = min(widening * math.sqrt(cov[i, a, 0]), max_widening * size)
    rows, cols, overlap = pairs(boxes, found_xyxy, buffer)
    cost, n = np.empty(len(rows)), 0
    for k in range(len(rows)):
        i, j, far = rows[k], cols[k], 0.0
        for a in range(4):
            far += (found[j, a] - mean[i, a]) ** 2 / (cov[i, a, 0] + noise[i, a])
        high = abs(found[j, 3] - mean[i, 3]) > max_change
        if kind[i] == found_kind[j] and not high and far <= gate * gate:
            rows[n], cols[n], overlap[n] = i, j, overlap[k]
            cost[n] = 1 - overlap[k] + gate_weight * far / (gate * gate)
            n += 1
    return rows[:n], cols[:n], overlap[:n], cost[:n]


@compiled
def sound(xyxy: Array, score: Array, kind: Array, max_coordinate_px: float, classes: int) -> Array:
    """(n,) bool: what has an area, sane coordinates, a score in [0, 1] and a known class."""
    out = np.empty(len(xyxy), np.bool_)
    for i in range(len(xyxy)):
        good = xyxy[i, 2] > xyxy[i, 0] and xyxy[i, 3] > xyxy[i, 1]
        for a in range(4):
            good &= abs(xyxy[i, a]) < max_coordinate_px
        out[i] = good and 0 <= score[i] <= 1 and 0 <= kind[i] < classes
    return out


@compiled
def visible(
    mean: Array, least_px: float, width_px: float, height_px: float, max_log_size: float
) -> Array:
    """(n,) bool: which boxes reach into the picture, which begins at ``least_px``, and are not
    absurdly large."""
    out = np.empty(len(mean), np.bool_)
    for i in range(len(mean)):
        u, v = mean[i, 0], mean[i, 1]
        half_u, half_v = math.exp(mean[i, 2]) / 2, math.exp(mean[i, 3]) / 2
        out[i] = mean[i, 2] < max_log_size and mean[i, 3] < max_log_size
        out[i] &= u + half_u > least_px and v + half_v > least_px
        out[i] &= u - half_u < width_px and v - half_v < height_px
    return out


@compiled
def own_motion(
    mean: Array, rate: Array, cov: Array, log_height: Array, focal_px: float, centre_u: float,
    horizon: float, down_px_ps: float, along: float, across: float, up: float,
    speed_0: float, trust_speed: float, turn_0: float, trust_turn: float, rounds: int,
) -> tuple[float, float, float, float]:  # fmt: skip
    """The fit of ``ego.fitted``: speed, turning, and what remains unsure of both, squared.

    ``log_height`` (n,) of the objects in m; ``down_px_ps``: of rates in v, what nodding is of it.
    """
    n = len(mean)
    slope, turns, seen, variance = np.empty((4, 3 * n))
    for i in range(n):
        near = math.exp(mean[i, 3] - log_height[i]) / focal_px
        off_u, off_v = mean[i, 0] - centre_u, mean[i, 1] - horizon
        slope[i], slope[n + i], slope[2 * n + i] = near, off_u * near, off_v * near
        turns[i], turns[n + i], turns[2 * n + i] = 0.0, focal_px, 0.0
        seen[i], seen[n + i], seen[2 * n + i] = rate[i, 3], rate[i, 0], rate[i, 1] + down_px_ps
        variance[i], variance[n + i] = cov[i, 3, 2], cov[i, 0, 2] + (across * focal_px * near) ** 2
        variance[2 * n + i] = cov[i, 1, 2] + (up * focal_px * near) ** 2
    variance += (along * slope) ** 2
    speed, turn, tt, ss, det = speed_0, turn_0, 0.0, 0.0, 1.0
    for _ in range(rounds):
        ss, st, tt = trust_speed, 0.0, trust_turn
        ys, yt = trust_speed * speed_0, trust_turn * turn_0
        for j in range(3 * n):
            error = seen[j] - slope[j] * speed - turns[j] * turn
            weight = 1 / (variance[j] + error * error / 4)
            ss += weight * slope[j] * slope[j]
            st += weight * slope[j] * turns[j]
            tt += weight * turns[j] * turns[j]
            ys += weight * slope[j] * seen[j]
            yt += weight * turns[j] * seen[j]
        det = ss * tt - st * st
        speed, turn = (ys * tt - yt * st) / det, (yt * ss - ys * st) / det
        if speed < 0:  # nobody drives backwards; a row of parked cars taken one for the next does
            speed, turn = 0.0, yt / tt
    return speed, turn, tt / det, ss / det


@compiled
def shift(
    mean: Array, variance: Array, kind: Array, found: Array, found_kind: Array,
    reach_px: float, max_misfit: float, share: float, doubt: float, doubt_px: float,
) -> float:  # fmt: skip
    """The search of ``ego.common_shift`` among ``mean`` (n, 4) and ``found`` (m, 4)."""
    of, by, misfit = np.empty((3, len(mean) * len(found)))
    k = 0
    for i in range(len(mean)):
        for j in range(len(found)):
            off, sum_ = found[j, 0] - mean[i, 0], 0.0
            for a in range(1, 4):
                sum_ += (found[j, a] - mean[i, a]) ** 2 / variance[i, a]
            if kind[i] == found_kind[j] and abs(off) < reach_px and sum_ < max_misfit:
                of[k], by[k], misfit[k] = i, off, sum_
                k += 1
    most, voters, least = 0.0, 0, np.inf
    for p in range(k):  # had each its best
        least = min(least, misfit[p])
        if p + 1 == k or of[p + 1] != of[p]:
            most += math.exp(-least / 2)
            voters, least = voters + 1, np.inf
    needed = max(1.0, share * voters)
    none, _ = votes(0.0, of[:k], by[:k], misfit[:k], variance)
    if k < 2 or most < none + needed:
        return 0.0
    best, chosen = none, 0.0
    for p in range(k):
        support, middle = votes(by[p], of[:k], by[:k], misfit[:k], variance)
        support -= doubt * math.log1p((by[p] / doubt_px) ** 2)
        if support > best:
            best, chosen = support, middle
    return chosen if best >= none + needed else 0.0


@compiled
def votes(
    tried_px: float, of: Array, by: Array, misfit: Array, variance: Array
) -> tuple[float, float]:
    """How many predictions find a detection when shifted, each by its best, and the mean shift."""
    support, best, weight, moved = 0.0, 0.0, 0.0, 0.0
    for p in range(len(of)):
        off = tried_px - by[p]
        vote = math.exp(-misfit[p] / 2 - off * off / (2 * variance[int(of[p]), 0]))
        if p == 0 or of[p] != of[p - 1]:
            support, best = support + best, 0.0
        best = max(best, vote)
        weight, moved = weight + vote, moved + vote * by[p]
    return support + best, moved / max(weight, 1e-300)


@compiled
def moved(
    mean: Array, cov: Array, dt_s: float, ahead: float, left: float, height: float
) -> tuple[Array, Array]:
    """``ground.predict``: mean (n, 5) and cov (n, 5, 5), by the accelerations' densities."""
    mean, cov = mean.copy(), cov.copy()
    for i in range(len(mean)):
        p = cov[i]
        for a in range(2):
            mean[i, a] += dt_s * mean[i, a + 2]
            for b in range(5):  # rows, then columns: move @ cov @ move.T
                p[a, b] += dt_s * p[a + 2, b]
        for a in range(2):
            for b in range(5):
                p[b, a] += dt_s * p[b, a + 2]
        for a in range(2):
            density = (ahead if a == 0 else left) ** 2
            p[a, a] += density * dt_s**3 / 3
            p[a, a + 2] += density * dt_s * dt_s / 2
            p[a + 2, a] += density * dt_s * dt_s / 2
            p[a + 2, a + 2] += density * dt_s
        p[4, 4] += height * height * dt_s
    return mean, cov


@compiled
def placed(
    mean: Array, cov: Array, axis: Array, foot: Array, foot_cov: Array,
    log_height: Array, height_var: Array, elapsed_s: Array, gate: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Kalman update of mean (k, 5) and cov (k, 5, 5) by feet (k, 2) and log heights (k,).

    ``axis`` (3,): depth along the optical axis is axis[0] x + axis[1] y + axis[2]. A foot that is
    NaN is none. An error of more than ``gate`` deviations counts for accordingly less. Where a
    height changed within ``elapsed_s`` (k,) by more than was to be expected, another part of the
    object may be seen than before: what is beyond the deviation is added to its height's.
    """
    mean, cov = mean.copy(), cov.copy()
    slope, error, noise = np.zeros((5, 3)), np.zeros(3), np.zeros((3, 3))
    cross, spread, solved = np.zeros((5, 3)), np.zeros((3, 3)), np.zeros((3, 3))
    gain = np.zeros((5, 3))
    slope[0, 0] = slope[1, 1] = slope[4, 2] = 1.0
    for i in range(len(mean)):
        depth = max(axis[0] * mean[i, 0] + axis[1] * mean[i, 1] + axis[2], 1.0)
        slope[0, 2], slope[1, 2] = -axis[0] / depth, -axis[1] / depth
        error[2], noise[2, 2] = log_height[i] - (mean[i, 4] - math.log(depth)), height_var[i]
        known = math.isfinite(foot[i, 0])
        for a in range(2):
            error[a] = foot[i, a] - mean[i, a] if known else 0.0
            for b in range(2):
                nothing = NO_INFORMATION if a == b else 0.0
                noise[a, b] = foot_cov[i, a, b] if known else nothing
        product(cov[i], slope, cross)
        product(slope, cross, spread)
        change = error[2] * error[2] - spread[2, 2] - noise[2, 2]
        before = depth - elapsed_s[i] * (axis[0] * mean[i, 2] + axis[1] * mean[i, 3])
        if change > 0 and error[2] * (error[2] + math.log(max(before, 1.0) / depth)) > 0:
            cov[i, 4, 4] += change
            cross[4, 2] += change
            spread[2, 2] += change
        surprise = inverse(spread, noise, 1.0, error, solved) / (gate * gate)
        if surprise > 1:
            inverse(spread, noise, surprise, error, solved)
        product(cross.T.copy(), solved, gain)
        for a in range(5):
            for k in range(3):
                mean[i, a] += gain[a, k] * error[k]
            for b in range(a, 5):
                less = 0.0
                for k in range(3):
                    less += (gain[a, k] * cross[b, k] + gain[b, k] * cross[a, k]) / 2
                cov[i, a, b] = cov[i, b, a] = (cov[i, a, b] + cov[i, b, a]) / 2 - less
    return mean, cov


@compiled
def product(a: Array, b: Array, out: Array) -> None:
    """``a.T @ b`` of small matrices."""
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            out[i, j] = 0.0
            for k in range(a.shape[0]):
                out[i, j] += a[k, i] * b[k, j]


@compiled
def inverse(spread: Array, noise: Array, times: float, error: Array, out: Array) -> float:
    """Of spread + times * noise, symmetric (3, 3), by cofactors; the squared distance of ``error``
    (3,) by it."""
    m = np.empty((3, 3))
    for a in range(3):
        for b in range(3):
            m[a, b] = spread[a, b] + noise[a, b] * times
    for a in range(3):
        for b in range(3):
            p, q, r, s = (a + 1) % 3, (a + 2) % 3, (b + 1) % 3, (b + 2) % 3
            out[b, a] = m[p, r] * m[q, s] - m[p, s] * m[q, r]
    det = m[0, 0] * out[0, 0] + m[0, 1] * out[1, 0] + m[0, 2] * out[2, 0]
    squared = 0.0
    for a in range(3):
        for b in range(3):
            out[a, b] /= det
            squared += error[a] * out[a, b] * error[b]
    return squared
