"""Learning from a teacher, with labels and without."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.augment import AugmentConfig  # noqa: E402
from data.errors import InputError  # noqa: E402
from data.types import HIDDEN  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.models.multitask import MultiTaskNet, Output, Widths  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.training import loop  # noqa: E402
from perception.training.checkpoints import load_weights, save_weights  # noqa: E402
from perception.training.config import DistillConfig  # noqa: E402
from perception.training.distill import (  # noqa: E402
    Bridged,
    _gaze,
    feature_loss,
    teacher_loss,
    unlabelled,
)
from perception.training.loader import Mixture  # noqa: E402
from perception.training.losses import total_loss  # noqa: E402
from perception.training.teacher import ready_teacher  # noqa: E402
from tools.train import run_train  # noqa: E402

N, H, W = 2, 6, 8
RELEASED = Path(loop.__file__).parents[1] / "weights"


def answer(seed=0):
    """A network's answer that is sure of a few objects."""
    g = torch.Generator().manual_seed(seed)
    heat = torch.full((N, 5, H, W), -4.0)
    heat[:, seed % 5, 2, 3 + seed] = 3.0
    heat[:, seed % 5, 2, 2 + seed] = 0.0
    box = 4 + 20 * torch.rand(N, 4, H, W, generator=g)
    return Output(heat, box, 6 * torch.rand(N, 2, 2 * H, 2 * W, generator=g) - 3)


def labels(labelled):
    """A batch of ``N`` pictures without objects, labelled or not at all."""
    mask = torch.full((N, 2, 2 * H, 2 * W), 0 if labelled else 255, dtype=torch.uint8)
    return {
        "heat": torch.zeros(N, 5, H, W),
        "heat_weight": torch.full((N, 5, H, W), float(labelled)),
        "box": torch.ones(N, 4, H, W),
        "box_weight": torch.zeros(N, H, W),
        "mask": mask,
    }


def cost(out, taught, known=False, **weights):
    return teacher_loss(out, taught, labels(known), DistillConfig(**weights))


def test_the_teachers_own_answer_costs_nothing_and_another_does():
    assert all(abs(float(v)) < 1e-6 for v in cost(answer(), answer()).values())
    other = cost(answer(1), answer())
    assert set(other) == {"teacher.heat", "teacher.box", "teacher.drivable", "teacher.lane"}
    assert all(float(v) > 0.05 for v in other.values())


def test_nothing_draws_away_from_the_teachers_own_answer():
    own = answer()
    out = Output(*(m.clone().requires_grad_() for m in own))
    torch.stack(list(cost(out, own).values())).sum().backward()
    assert all(float(m.grad.abs().max()) < 1e-6 for m in out if m is not out.box)


def test_boxes_are_taught_where_the_teacher_is_sure_alone():
    out = answer(1)
    out.box.requires_grad_()
    cost(out, answer())["teacher.box"].backward()
    taught = out.box.grad.abs().sum((0, 1)) > 0
    assert taught.nonzero().tolist() == [[2, 2], [2, 3]]


def test_what_is_not_labelled_learns_from_the_teacher_alone():
    out = Output(*(m.requires_grad_() for m in answer(1)))
    assert float(total_loss(out, labels(False))["total"].detach()) == 0
    torch.stack(list(cost(out, answer()).values())).sum().backward()
    assert all(float(m.grad.abs().max()) > 0 for m in out)


@pytest.mark.parametrize(("known", "kind"), [(True, "labelled"), (False, "unlabelled")])
def test_weights_of_labelled_and_unlabelled_pixels(known, kind):
    whole = cost(answer(1), answer(), known, **{kind: 1.0})
    none = cost(answer(1), answer(), known, **{kind: 0.0})
    assert all(float(v) == 0 for v in none.values())
    half = cost(answer(1), answer(), known, **{kind: 0.5})
    assert all(float(half[k]) == pytest.approx(0.5 * float(whole[k])) for k in whole)
    twice = cost(answer(1), answer(), known, heat=2, box=2, mask=2, **{kind: 1.0})
    assert all(float(twice[k]) == pytest.approx(2 * float(whole[k])) for k in whole)


@pytest.mark.parametrize("known", [True, False])
def test_the_teachers_objects_count_as_much_as_their_class(known):
    out, taught, batch = answer(1), answer(), labels(known)  # objects of class 1, and of 0
    plain = teacher_loss(out, taught, batch, DistillConfig())
    for weights in ((3.0,) * 5, (1.0, 1.0, 9.0, 9.0, 9.0)):
        told = teacher_loss(out, taught, batch, DistillConfig(), class_weights=weights)
        for name in ("teacher.drivable", "teacher.lane"):
            assert float(told[name]) == float(plain[name])
        assert float(told["teacher.box"]) == pytest.approx(weights[0] * float(plain["teacher.box"]))
    heats = [
        float(teacher_loss(out, taught, batch, DistillConfig(), class_weights=w)["teacher.heat"])
        for w in ((1.0,) * 5, (2.0, 1.0, 1.0, 1.0, 1.0), (2.0,) * 5)
    ]
    assert heats[0] == pytest.approx(float(plain["teacher.heat"]))
    assert heats[0] < heats[1] < heats[2] == pytest.approx(2 * heats[0])


def test_pictures_of_a_folder_and_the_folders_in_it(tmp_path):
    for name in ("b.png", "deep/er/a.JPG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, np.full((20, 30, 3), 9, np.uint8))[1])
    (tmp_path / "notes.txt").write_text("none")
    found = unlabelled(tmp_path)
    assert found.names == ("b.png", "deep/er/a.JPG")
    sample = found.load(1)
    assert sample.image.shape == (20, 30, 3) and not sample.labelled_classes.any()
    assert sample.drivable is None and sample.lane is None and not len(sample.xyxy)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        unlabelled(tmp_path / "none")


def test_a_teacher_says_nothing_where_a_label_is_hidden():
    torch.manual_seed(0)
    out, taught = (
        Output(torch.randn(1, 5, 4, 4), torch.rand(1, 4, 4, 4) + 1, torch.randn(1, 2, 8, 8))
        for _ in range(2)
    )
    batch = {
        "heat_weight": torch.ones(1, 5, 4, 4),
        "mask": torch.full((1, 2, 8, 8), 255, dtype=torch.uint8),
    }
    config = DistillConfig(labelled=0.5, unlabelled=1.0)
    open_, hidden = batch["mask"].clone(), batch["mask"].clone()
    hidden[:, 0] = HIDDEN
    a = teacher_loss(out, taught, {**batch, "mask": open_}, config)
    b = teacher_loss(out, taught, {**batch, "mask": hidden}, config)
    assert a["teacher.drivable"] > 0.1 and b["teacher.drivable"] == 0
    assert torch.equal(a["teacher.lane"], b["teacher.lane"])


@pytest.fixture
def video(tmp_path):
    """2.4 s at 10 Hz, each frame as bright as ten times its number."""
    path = tmp_path / "drive.mp4"
    with av.open(str(path), "w") as f:
        stream = f.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(24):
            image = np.full((48, 64, 3), 10 * k, np.uint8)
            f.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        f.mux(stream.encode())
    return path


def test_frames_of_a_video(video):
    found = unlabelled(video, every_s=0.8)
    assert found.names == ("drive.mp4@0.00s", "drive.mp4@0.80s", "drive.mp4@1.60s")
    assert [round(float(found.load(i).image.mean()) / 10) for i in (2, 0, 1)] == [16, 0, 8]
    assert found.size_px(1) == (64, 48) and not found.tasks
    with pytest.raises(InputError, match="no such file"):
        unlabelled(video.with_name("other.mp4"))


@pytest.mark.parametrize("cache_mb", [0, 10])
def test_training_sees_the_frames_of_a_video(video, cache_mb):
    found = unlabelled(video, every_s=0.8)
    made = Mixture([found], [1.0], (32, 32), 0, AugmentConfig(), 8, cache_mb=cache_mb)
    assert made.preload() == (3 if cache_mb else 0) and not made.problems
    seen = [made.read((0, i)).image for i in range(3)]
    assert [round(float(v.mean()) / 10) for v in seen] == [0, 8, 16]
    assert {v.shape for v in seen} == {(36, 48, 3)}  # no wider than 1.5 times what is trained on


def test_a_set_without_labels_needs_a_teacher(tiny_toml, video, tmp_path):
    tables = f'[[data]]\npath = "{video}"\nlayout = "images"\n'
    with pytest.raises(InputError, match=r"has no labels for detection.*or name a teacher"):
        run_train(tiny_toml(tables=tables), tmp_path / "run", ())
    with pytest.raises(InputError, match="layout 'images' has no labels; leave out tasks"):
        run_train(tiny_toml(tables=tables + 'tasks = ["lane"]'), tmp_path / "run", ())


@pytest.mark.parametrize("features", [0, 2])
def test_a_taught_run_is_repeatable_and_resumes_exactly(
    features, tiny_toml, video, tmp_path, monkeypatch
):
    torch.manual_seed(5)
    save_weights(tmp_path / "t.safetensors", NanoNet().state_dict(), {"arch": "nano"})
    path = tiny_toml(
        f'teacher = "{tmp_path / "t.safetensors"}"',
        f'[[data]]\npath = "{video}"\nlayout = "images"\n[[data]]\npath = "{video.parent / "p"}"\n'
        'layout = "images"\n',
    )
    more = (f"distill.features={features}",)
    (tmp_path / "p").mkdir()
    cv2.imwrite(str(tmp_path / "p/one.png"), np.full((64, 96, 3), 90, np.uint8))
    run_train(path, tmp_path / "whole", more)
    real = loop.Run.train_step

    def dies(self, batch):
        if self.step == 3:
            raise SystemExit
        return real(self, batch)

    monkeypatch.setattr(loop.Run, "train_step", dies)
    with pytest.raises(SystemExit):
        run_train(path, tmp_path / "cut", more)
    monkeypatch.setattr(loop.Run, "train_step", real)
    run_train(path, tmp_path / "cut", more)
    rows = [(tmp_path / n / "metrics.csv").read_text() for n in ("whole", "cut")]
    assert rows[0] == rows[1] and "loss.teacher.lane" in rows[0]
    nets = [load_weights(tmp_path / n / "last.safetensors")[0] for n in ("whole", "cut")]
    pairs = zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert ("loss.teacher.features" in rows[0]) == bool(features)
    states = [torch.load(tmp_path / n / "state.pt") for n in ("whole", "cut")]
    assert ("bridge" in states[0]) == bool(features)
    if features:
        assert torch.equal(*(s["bridge"]["weight"] for s in states))


def test_a_ready_teacher_answers_as_its_network_at_any_size():
    torch.manual_seed(5)
    net = build("base").eval()
    rgb = [torch.rand(2, 3, 64, 96) * 2 - 1, torch.rand(1, 3, 96, 64) * 2 - 1]
    with torch.no_grad():
        expected = [(*net(x), net.features(x)) for x in rgb]
    teacher = ready_teacher(net, torch.device("cpu"))
    for x, wanted in zip(rgb, expected, strict=True):
        found = teacher(x.contiguous(memory_format=torch.channels_last))
        for a, b in zip(found, wanted, strict=True):
            assert not a.requires_grad
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-4)


def test_a_teacher_in_bfloat16_answers_nearly_as_its_network():
    pytest.importorskip("openvino")
    net, _ = load_weights(RELEASED / "base.safetensors")
    teacher = ready_teacher(net, torch.device("cpu"), bf16=True)
    for k, (height, width) in enumerate(((64, 96), (96, 64))):
        small = np.random.default_rng(k).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
        picture = torch.from_numpy(cv2.resize(small, (width, height)))
        rgb = picture.permute(2, 0, 1)[None].expand(2 - k, 3, height, width)
        found = teacher(rgb)
        with torch.no_grad():
            wanted = (*net(rgb), net.features(rgb))
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape and float((a - b).abs().mean() / b.std()) < 0.05


def test_features_cost_nothing_where_they_are_the_teachers_but_for_scale_and_shift():
    g = torch.Generator().manual_seed(1)
    taught = torch.randn(N, 3, H, W, generator=g)
    gaze = torch.full((N, 1, H, W), 1 / (H * W))
    assert abs(float(feature_loss(5 * taught - 2, taught, gaze))) < 1e-5
    assert float(feature_loss(-taught, taught, gaze)) == pytest.approx(2, abs=1e-4)
    other = torch.randn(N, 3, H, W, generator=g)

    def looked_at(x):  # every other cell, like the black fields of a chessboard
        black = np.add.outer(range(H), range(W)) % 2 == 0
        return x.flatten(0, 1).numpy()[:, black]

    pairs = zip(looked_at(other), looked_at(taught), strict=True)
    wanted = [1 - np.corrcoef(a, b)[0, 1] for a, b in pairs]
    assert float(feature_loss(other, taught, gaze)) == pytest.approx(np.mean(wanted), abs=1e-4)


def test_features_count_where_the_weight_lies():
    g = torch.Generator().manual_seed(1)
    taught, own = (torch.randn(N, 3, H, W, generator=g) for _ in range(2))
    gaze = torch.zeros(N, 1, H, W)
    gaze[..., :4] = 1 / (4 * H)
    own[..., :4] = 3 * taught[..., :4] + 1
    assert abs(float(feature_loss(own, taught, gaze))) < 1e-4
    assert float(feature_loss(own, taught, gaze.flip(3))) > 0.2


def test_half_of_the_features_weight_lies_on_objects():
    gaze = _gaze(answer())
    assert gaze.sum((1, 2, 3)) == pytest.approx([1.0, 1.0])
    assert (gaze[:, 0, 2, 3] > 3 * gaze[:, 0, 5, 7]).all()
    calm = _gaze(answer()._replace(heat=torch.full((N, 5, H, W), -40.0)))
    assert calm.sum((1, 2, 3)) == pytest.approx([1.0, 1.0])


def _base(width):
    return MultiTaskNet(Widths(pyramid=width, fine=width))


def _slimmed(width):
    return MultiTaskNet(Widths(pyramid=2 * width, fine=width, trunk=16))


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(NanoNet, _base), (_base, NanoNet), (_slimmed, _base), (_base, _slimmed)],
)
def test_features_are_brought_to_the_teachers(student, teacher):
    rgb = torch.zeros(1, 3, 64, 96)
    told = teacher(48).eval()
    _, own = Bridged(student(16).eval(), told)(rgb)
    assert own.shape == told.features(rgb).shape == (1, 48, 64 // told.finest, 96 // told.finest)


@pytest.mark.parametrize(
    ("own", "given", "rows", "columns"),
    [(8, 4, {10, 11}, {4, 5}), (4, 4, {5}, {2}), (4, 8, {2}, {1})],
)
def test_a_features_place_is_kept_as_it_is_brought_to_the_teachers(own, given, rows, columns):
    class Student(torch.nn.Module):
        width, finest = 3, own

        def features(self, rgb):
            return rgb

        def answer(self, x):
            return None

    student = Bridged(Student(), SimpleNamespace(width=2, finest=given))
    x = torch.zeros(1, 3, 8, 12)
    x[0, :, 5, 2] = 1.0
    with torch.no_grad():
        student.bridge.bias.zero_()
        _, found = student(x)
    where = (found[0] != 0).any(0).nonzero()
    assert (set(where[:, 0].tolist()), set(where[:, 1].tolist())) == (rows, columns)
    assert len(where) == len(rows) * len(columns)


def test_coarser_features_count_where_the_objects_are():
    heat = torch.full((1, 5, 8, 8), -9.0)
    heat[:, 0, 2:4, 2:4] = 3.0
    taught = Output(heat, torch.ones(1, 4, 8, 8), torch.zeros(1, 2, 16, 16))
    batch = {"heat_weight": torch.ones(1, 5, 8, 8), "mask": torch.zeros(1, 2, 16, 16)}
    told = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def cost_of_an_error_at(row, column):
        own = told.clone()
        own[:, :, row, column] += 2
        terms = teacher_loss(
            taught, taught, batch, DistillConfig(features=1.0), features=(own, told)
        )
        return float(terms["teacher.features"])

    assert cost_of_an_error_at(1, 1) > 2 * cost_of_an_error_at(3, 3)


def test_the_teacher_itself_does_not_learn(tiny_toml, tmp_path):
    torch.manual_seed(5)
    save_weights(tmp_path / "t.safetensors", NanoNet().state_dict(), {"arch": "nano"})
    config = loop.TrainConfig(
        arch="nano", teacher=tmp_path / "t.safetensors", size=(96, 64), bf16=False, threads=1,
        distill=DistillConfig(features=1.0),
    )  # fmt: skip
    group = SimpleNamespace(device=torch.device("cpu"), world=1, leads=True, total=lambda x: x)
    run = loop.Run(config, tmp_path, group)
    rgb = torch.rand(1, 3, 64, 96)
    before = run.teacher(rgb), run.net.eval()(rgb)
    run.net.train()
    batch = {"image": torch.randint(0, 255, (N, 4 * H + 8, 4 * W, 3), dtype=torch.uint8)}
    batch |= {k: torch.nn.functional.pad(v, (0, 0, 0, 2)) for k, v in labels(False).items()}
    batch["mask"] = torch.full((N, 2, 16, 16), 255, dtype=torch.uint8)
    bridge = run.bridge.weight.detach().clone()
    run.train_step(batch)
    assert not torch.equal(run.bridge.weight, bridge)  # but the bridge to it does
    after = run.teacher(rgb), run.net.eval()(rgb)
    assert torch.equal(before[0].heat, after[0].heat)
    assert not torch.equal(before[1].heat, after[1].heat)
