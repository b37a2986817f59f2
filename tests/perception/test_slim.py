"""Fewer channels for a trained network, and ``roadstack slim``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from data.errors import InputError  # noqa: E402
from data.synthetic.drive import random_sample  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.models.deploy import RGB_FROM_BGR, normalise  # noqa: E402
from perception.models.multitask import MID, MultiTaskNet, Widths, widths_of  # noqa: E402
from perception.preprocess import letterbox  # noqa: E402
from perception.training.checkpoints import load_weights, save_weights  # noqa: E402
from perception.training.slim import fewer_columns, low_rank, slim  # noqa: E402
from tools.cli import main  # noqa: E402

SMALL = Widths((32, *[48] * (len(MID) - 1)), 32, 32)
CANVASES = [letterbox(random_sample(seed, 480, 270).image, (160, 96))[0] for seed in range(6)]


def small_net(seed: int = 0) -> MultiTaskNet:
    """A narrow network whose norms are those of a trained one: neither 0 nor 1."""
    torch.manual_seed(seed)
    net = MultiTaskNet(SMALL).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            for values, low, high in (
                (m.weight, 0.5, 1.5), (m.bias, -0.1, 0.5), (m.running_mean, -0.2, 0.2),
                (m.running_var, 0.3, 1.2),
            ):  # fmt: skip
                nn.init.uniform_(values, low, high)
    return net


def answers(net: MultiTaskNet) -> list[Tensor]:
    pictures = torch.from_numpy(np.stack(CANVASES))
    with torch.inference_mode():
        return list(net(normalise(pictures, torch.tensor(RGB_FROM_BGR))))


def test_inputs_that_others_tell_are_left_out_and_nothing_is_lost():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(16, 500))
    seen = np.concatenate([few, rng.normal(size=(32, 16)) @ few])[rng.permutation(48)]
    weight = rng.normal(size=(8, 48))
    kept, fewer = fewer_columns(weight, np.cov(seen), 1e-3)
    assert len(kept) == 16 and kept == sorted(kept)
    np.testing.assert_allclose(fewer @ seen[kept], weight @ seen, atol=0.05 * np.std(weight @ seen))


def test_inputs_that_nothing_else_tells_stay():
    weight = np.random.default_rng(1).normal(size=(8, 48))
    kept, fewer = fewer_columns(weight, np.eye(48), 0.01)
    assert kept == list(range(48))
    np.testing.assert_array_equal(fewer, weight)


@pytest.mark.parametrize("most_lost", [0.02, 0.1, 0.3])
def test_no_more_is_lost_than_allowed_and_the_least_telling_go_first(most_lost):
    rng = np.random.default_rng(2)
    spread = np.geomspace(1, 1e-3, 64)
    weight = rng.normal(size=(8, 64))
    kept, _ = fewer_columns(weight, np.diag(spread), most_lost)
    gone = np.setdiff1d(np.arange(64), kept)
    lost = (weight[:, gone] ** 2 @ spread[gone]).sum() / (weight**2 @ spread).sum()
    assert len(kept) % 16 == 0 and 0 < lost <= most_lost
    assert np.median(kept) < np.median(gone)


def test_factors_of_full_rank_are_the_convolution():
    rng = np.random.default_rng(3)
    weight, mix = rng.normal(size=(12, 8, 3, 3)), rng.normal(size=(72, 72))
    narrow, trunk, stems = low_rank(weight, mix @ mix.T, 8, 12)
    gap = (np.einsum("or,rfkl,fi->oikl", stems, trunk, narrow) - weight).reshape(12, -1)
    given = weight.reshape(12, -1)
    assert np.trace(gap @ mix @ mix.T @ gap.T) < 1e-4 * np.trace(given @ mix @ mix.T @ given.T)


def test_factors_of_low_rank_find_a_convolution_that_is_of_low_rank():
    rng = np.random.default_rng(4)
    narrow, trunk, stems = (rng.normal(size=s) for s in ((4, 16), (5, 4, 3, 3), (24, 5)))
    weight = np.einsum("or,rfkl,fi->oikl", stems, trunk, narrow)
    found = low_rank(weight, np.eye(144), 4, 5)
    assert [f.shape for f in found] == [(4, 16), (5, 4, 3, 3), (24, 5)]
    product = np.einsum("or,rfkl,fi->oikl", *found[::-1])
    np.testing.assert_allclose(product, weight, atol=0.02 * np.abs(weight).max())


def test_dead_channels_go_and_the_answers_stay():
    net = small_net()
    for block in net.backbone._blocks:
        with torch.no_grad():
            block._bn1.weight[::3] = 0  # what these give is the same everywhere, and not 0
            block._bn1.bias[::3] = 0.3
    new = slim(net, CANVASES, 1e-4)
    assert max(widths_of(new.state_dict()).mid) <= 32
    for before, after in zip(answers(net), answers(new), strict=True):
        assert float((before - after).square().mean()) < 1e-3 * float(before.var())


def test_channels_that_nothing_reads_go_the_stem_s_too():
    net = small_net()
    for i, block in enumerate(net.backbone._blocks):
        with torch.no_grad():
            block._project_conv.weight[:, :: 3 if i else 2] = 0
    new = slim(net, CANVASES, 1e-9)
    assert widths_of(new.state_dict()).mid == (16, *[32] * (len(MID) - 1))
    for before, after in zip(answers(net), answers(new), strict=True):
        assert float((before - after).square().mean()) < 1e-4 * float(before.var())


def test_what_the_heads_look_at_is_a_mixture_of_what_it_was():
    net = small_net()
    new = slim(net, CANVASES, 1e-4)
    pictures = normalise(torch.from_numpy(np.stack(CANVASES)), torch.tensor(RGB_FROM_BGR))
    with torch.inference_mode():
        mixed = nn.functional.conv2d(net.features(pictures), new.pyramid.narrow.weight)  # type: ignore[arg-type]
        given = new.pyramid(net.backbone(pictures))
    assert float((mixed - given).abs().max()) < 1e-4 * float(given.std())


def test_more_may_be_lost_for_fewer_channels():
    net = small_net()
    noise = list(np.random.default_rng(5).integers(0, 256, (6, 96, 160, 3), np.uint8))
    few, fewer = (
        sum(p.numel() for p in slim(net, noise, share).parameters()) for share in (1e-4, 0.4)
    )
    assert sum(p.numel() for p in net.parameters()) > few > fewer


def test_a_slimmed_checkpoint_is_loaded_as_it_is(tmp_path: Path):
    steps: list[int] = []
    new = slim(small_net(), CANVASES, 0.2, steps.append)
    assert steps == list(range(1, len(CANVASES) + len(MID) + 1))
    save_weights(tmp_path / "a.safetensors", new.state_dict(), {"arch": "base"})
    net, _ = load_weights(tmp_path / "a.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(answers(new), answers(net), strict=True))  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, canvas in enumerate(CANVASES):
        cv2.imwrite(str(folder / f"{i}.png"), canvas)
    return folder


def test_the_command_writes_a_checkpoint_and_does_not_slim_twice(tmp_path, pictures, capsys):
    first, out = tmp_path / "a.safetensors", tmp_path / "new" / "b.safetensors"
    save_weights(first, small_net().state_dict(), {"arch": "base"})
    options = ["--data", str(pictures), "--size", "160x96", "--most-lost", "0.2"]
    assert main(["slim", str(first), *options, "--out", str(out)]) == 0
    net, meta = load_weights(out)
    assert meta == {"arch": "base", "slimmed": "a.safetensors"}
    assert sum(widths_of(net.state_dict()).mid) < sum(SMALL.mid)
    assert main(["slim", str(out), *options, "--out", str(tmp_path / "c.safetensors")]) == 2
    assert "slimmed before" in capsys.readouterr().err
    assert main(["average", str(first), str(out), "--out", str(tmp_path / "d.safetensors")]) == 2
    assert "has other channels" in capsys.readouterr().err
    assert not list(tmp_path.glob("[cd].*"))


@pytest.mark.parametrize(
    ("arch", "more", "says"),
    [
        ("nano", [], "only 'base' can be slimmed"),
        ("base", ["--most-lost", "1.5"], "expected a share between 0 and 1, given 1.5"),
        ("base", ["--frames", "0"], "expected one or more, given 0"),
        ("base", ["--size", "100x96"], "size 100x96: width and height must be multiples of 32"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, pictures, capsys, arch, more, says):
    net = build("nano") if arch == "nano" else small_net()
    save_weights(tmp_path / "a.safetensors", net.state_dict(), {"arch": arch})
    out = ["--out", str(tmp_path / "b.safetensors")]
    assert (
        main(["slim", str(tmp_path / "a.safetensors"), "--data", str(pictures), *out, *more]) == 2
    )
    assert says in capsys.readouterr().err and not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("shape", [(2_000_000_000, 0), (4096, 1), (0, 4)])
def test_a_checkpoint_cannot_ask_for_a_network_wider_than_the_usual(tmp_path, shape):
    path = tmp_path / "a.safetensors"
    names = ("backbone._blocks.3._depthwise_conv", "pyramid.lateral.1", "trunk")
    state = {f"{name}.weight": torch.zeros(shape) for name in names}
    save_weights(path, state, {"arch": "base"})
    with pytest.raises(InputError, match="do not fit the network 'base'"):
        load_weights(path)
    assert widths_of(state) == Widths(trunk=64)


def test_a_number_in_the_place_of_weights_is_no_width():
    assert widths_of({"trunk.weight": torch.tensor(1.0)}) == Widths(trunk=64)
