"""Kalman filter of boxes in the picture, for all tracks at once.

A box is (centre u, centre v, log width, log height), each with its rate of change. What moves
steadily is the object in space, not its box: of an object whose height grows by the rate r, all
that the picture shows grows by 1 / (1 - r t) within t, and its centre goes 1 / (1 - r t) times as
far as its rate says. So a passing car is predicted well even when it is seen twice a second.
The four are filtered apart from each other, so a covariance is three numbers and needs no
inversion. Time differences are real ones; noise is continuous white acceleration (Bar-Shalom, Li
and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, ch. 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.compiled import run
from perception.tracking import kernels

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class BoxMotionConfig:
    """Noise of boxes. 'Sizes' are the square root of the box's area, so that near and far
    objects are treated alike.

    Attributes:
        centre_std_sizes: error of a detected centre.
        log_size_std: error of a detected log width and log height.
        pixel_std_px: error of every box edge, added to both.
        centre_acceleration: (u, v) sizes / s^1.5, root spectral density of the centre's
            acceleration; turning of the own car moves all boxes sideways.
        log_size_acceleration: 1 / s^1.5, the same for log width and height.
        first_speed_sizes_ps: (u, v) spread of the unknown speed of a new track.
        first_log_size_ps: spread of its unknown rate of growth.
        correlation_s: successive errors of a detector are alike; a detection that follows
            another after less than this counts for accordingly less, so that smoothing lasts
            equally long at any frame rate.
        max_closing: a prediction takes no object to come nearer by more than this share of its
            distance.
    """

    centre_std_sizes: float = 0.05
    log_size_std: float = 0.05
    pixel_std_px: float = 1.0
    centre_acceleration: tuple[float, float] = (1.2, 0.7)
    log_size_acceleration: float = 0.5
    first_speed_sizes_ps: tuple[float, float] = (2.2, 0.8)
    first_log_size_ps: float = 0.4
    correlation_s: float = 0.1
    max_closing: float = 0.5


@dataclass(frozen=True, eq=False)
class BoxState:
    """Boxes of n tracks.

    Attributes:
        mean: (n, 4) float64: centre u, centre v (px), log width, log height (log px).
        rate: (n, 4) float64, their rates per second.
        cov: (n, 4, 3) float64: variance of the mean, covariance of mean and rate, variance of
            the rate, for each of the four.
    """

    mean: F64
    rate: F64
    cov: F64

    def select(self, keep: Bool | I64) -> BoxState:
        return BoxState(self.mean[keep], self.rate[keep], self.cov[keep])

    def append(self, other: BoxState) -> BoxState:
        join = np.concatenate
        return BoxState(
            join([self.mean, other.mean]),
            join([self.rate, other.rate]),
            join([self.cov, other.cov]),
        )


def state_from_boxes(xyxy: F64) -> F64:
    """(n, 4) xyxy px to (n, 4) centre u, centre v, log width, log height."""
    size = xyxy[:, 2:] - xyxy[:, :2]
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, np.log(size)], axis=1)


def boxes_from_state(mean: F64) -> F64:
    """(n, 4) centre u, centre v, log width, log height to (n, 4) xyxy px."""
    half = np.exp(mean[:, 2:]) / 2
    return np.concatenate([mean[:, :2] - half, mean[:, :2] + half], axis=1)


def _sizes_px(mean: F64) -> F64:
    return np.exp((mean[:, 2] + mean[:, 3]) / 2)


def measurement_variance(mean: F64, config: BoxMotionConfig) -> F64:
    """(n, 4) variance of a detection of boxes ``mean`` (n, 4)."""
    c = config
    out: F64 = run(kernels.box_variance, mean, c.centre_std_sizes, c.log_size_std, c.pixel_std_px)
    return out


def start(mean: F64, rate: F64, config: BoxMotionConfig) -> BoxState:
    """New tracks at the boxes ``mean`` (n, 4), with ``rate`` (n, 4) as a guess of their speeds."""
    cov = np.zeros((len(mean), 4, 3))
    cov[:, :, 0] = measurement_variance(mean, config)
    cov[:, :2, 2] = np.square(_sizes_px(mean)[:, None] * config.first_speed_sizes_ps)
    cov[:, 2:, 2] = config.first_log_size_ps**2
    return BoxState(mean.copy(), rate, cov)


def predict(state: BoxState, dt_s: float, config: BoxMotionConfig) -> BoxState:
    """The boxes ``dt_s`` later, of objects that keep their velocity in space."""
    noise = *config.centre_acceleration, config.log_size_acceleration
    now = state.mean, state.rate, state.cov
    return BoxState(*run(kernels.predicted, *now, dt_s, *noise, config.max_closing))


def update(state: BoxState, rows: I64, measured: F64, variance: F64) -> BoxState:
    """Correct tracks ``rows`` (k,) by boxes ``measured`` (k, 4) of ``variance`` (k, 4)."""
    now = state.mean, state.rate, state.cov
    return BoxState(*run(kernels.corrected, *now, rows, measured, variance))
