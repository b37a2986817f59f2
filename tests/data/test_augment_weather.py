"""Weather and darkness do to a picture what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from data.weather import EFFECTS, fog, local_contrast, night, noise, rain, shadow

HORIZON_PX = 80.0


def road(shade=140):
    """A chequered picture whose contrast can be measured, (192, 320, 3)."""
    y, x = np.mgrid[:192, :320]
    image = np.where((x // 8 + y // 8) % 2, shade + 40, shade - 40)
    return np.dstack([image] * 3).astype(np.uint8)


def rows(image, start, stop):
    return image[start:stop].astype(float)


@pytest.mark.parametrize("effect", [*EFFECTS, noise, local_contrast])
@pytest.mark.parametrize("horizon", [-500.0, 80.0, 700.0])
def test_effects_keep_shape_repeat_and_leave_their_input(effect, horizon):
    image = road()
    before = image.copy()
    first, again = (effect(image, np.random.default_rng(3), horizon) for _ in range(2))
    assert first.shape == image.shape and first.dtype == np.uint8
    assert (first == again).all() and (image == before).all()
    assert not np.array_equal(first, image) or effect is shadow


@pytest.mark.parametrize("effect", [*EFFECTS, noise, local_contrast])
def test_effects_take_odd_sizes(effect):
    image = road()[:97, :101].copy()
    assert effect(image, np.random.default_rng(0), 40.0).shape == image.shape


def test_night_is_dark_with_a_lit_road_and_a_dark_sky():
    for seed in range(10):
        out = night(road(), np.random.default_rng(seed), HORIZON_PX)
        assert out.mean() < 0.7 * road().mean()
        ahead = out[110:150, 120:200].mean()
        assert ahead > 1.3 * out[:30].mean()


def test_a_red_lamp_shines_by_night():
    image = road()
    image[20:28, 100:108] = (30, 30, 240)
    for seed in range(5):
        out = night(image, np.random.default_rng(seed), HORIZON_PX)
        assert out[22:26, 102:106, 2].mean() > 3 * out[20:28, 130:138, 2].mean()


def test_a_night_picture_is_not_made_black():
    dark = road(50)
    out = night(dark, np.random.default_rng(0), HORIZON_PX)
    assert out.mean() == pytest.approx(dark.mean(), abs=4)


def test_fog_hides_the_distance_more_than_the_foreground():
    for seed in range(10):
        out = fog(road(), np.random.default_rng(seed), HORIZON_PX)
        assert rows(out, 78, 90).std() < 0.75 * rows(out, 170, 190).std()
        assert rows(out, 0, 192).std() > 5  # labelled things can still be seen


def test_fog_by_night_is_dark():
    out = fog(road(40) // 2, np.random.default_rng(0), HORIZON_PX)
    assert out.mean() < 110


def test_shadows_fall_on_the_ground():
    for seed in range(10):
        out = shadow(road(), np.random.default_rng(seed), HORIZON_PX)
        assert (out[:70] == road()[:70]).all()
        assert out[100:].mean() <= road()[100:].mean()
        assert out.min() >= 0.3 * 100  # never black


def test_rain_mirrors_the_sky_in_the_road():
    image = road(60)
    image[:60] = 220
    wet = [rain(image, np.random.default_rng(k), HORIZON_PX) for k in range(8)]
    ratio = [w[120:150].mean() / w[160:190].mean() for w in wet]
    assert np.median(ratio) > 1.05


def test_noise_keeps_the_mean_and_has_its_strength():
    flat = np.full((192, 320, 3), 128, np.uint8)
    for seed in range(6):
        out = noise(flat, np.random.default_rng(seed), 0.0).astype(float)
        assert out.mean() == pytest.approx(128, abs=1)
        assert 3 < out.std() < 25
