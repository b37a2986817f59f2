"""Targets, losses and steps of training."""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.augment import AugmentConfig, augment, build_augmentation  # noqa: E402
from data.datasets.base import Boxes, Dataset  # noqa: E402
from data.taxonomy import CLASSES  # noqa: E402
from data.types import Sample  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.models.deploy import DeployNet, peaks  # noqa: E402
from perception.models.multitask import MultiTaskNet, Output  # noqa: E402
from perception.training.config import OptimizerConfig, SetConfig, TrainConfig  # noqa: E402
from perception.training.loop import rate_factor, train  # noqa: E402
from perception.training.losses import box_loss, heat_loss, mask_loss, total_loss  # noqa: E402
from perception.training.targets import make_targets  # noqa: E402

CAR = [[40.0, 60.0, 120.0, 140.0]]


def sample(
    boxes=CAR, classes=(0,), labelled=(1, 1, 1, 1, 1), drivable=True, lane=True, ignore=None
):
    image = np.full((192, 320, 3), 100, np.uint8)
    for x1, y1, x2, y2 in np.array(boxes, int).reshape(-1, 4):
        image[y1:y2, x1:x2] = (0, 0, 255)
    mask = np.zeros((192, 320), np.uint8)
    mask[120:] = 1
    return Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.zeros(len(classes), bool) if ignore is None else np.array(ignore),
        np.array(labelled, bool),
        mask if drivable else None,
        mask if lane else None,
        "made",
    )


def tensors(*samples):
    targets = [make_targets(s) for s in samples]
    return {
        k: torch.stack([torch.from_numpy(getattr(t, k)) for t in targets])
        for k in targets[0]._fields
    }


def perfect_output(batch):
    """What a network that had learnt the batch by heart would answer."""
    heat = torch.where(batch["heat"] == 1, 12.0, -12.0)
    mask = torch.where(batch["mask"] == 1, 12.0, -12.0)
    return Output(heat, batch["box"], mask)


def test_targets_decode_to_the_labels():
    """Assignment and decoding are each other's inverse."""
    boxes = [[40, 60, 120, 140], [200, 100, 212, 120]]
    batch = tensors(sample(boxes, (0, 3)))
    found, scores, classes = peaks(perfect_output(batch), k=10)
    sure = scores[0] > 0.5
    assert int(sure.sum()) == 2
    got = {int(c): b.tolist() for c, b in zip(classes[0][sure], found[0][sure])}
    assert got[0] == pytest.approx(boxes[0])
    assert got[3] == pytest.approx(boxes[1])


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does():
    batch = tensors(sample())
    good = total_loss(perfect_output(batch), batch)
    assert float(good["total"]) < 0.02
    wrong = perfect_output(batch)._replace(box=batch["box"] * 2)
    assert float(total_loss(wrong, batch)["box"]) > 0.5


def test_a_set_without_lane_labels_does_not_teach_no_lanes():
    batch = tensors(sample(lane=False))
    assert float(mask_loss(torch.full((1, 96, 160), 9.0), batch["mask"][:, 1])) == 0


def test_an_unlabelled_class_gets_no_gradient():
    batch = tensors(sample(labelled=(1, 0, 1, 1, 1)))
    logits = torch.zeros_like(batch["heat"], requires_grad=True)
    heat_loss(logits, batch["heat"], batch["heat_weight"]).backward()
    assert float(logits.grad[:, 1].abs().max()) == 0
    assert float(logits.grad[:, 0].abs().max()) > 0


def test_an_ignored_area_gets_no_gradient():
    batch = tensors(sample(ignore=(True,)))
    logits = torch.zeros_like(batch["heat"], requires_grad=True)
    heat_loss(logits, batch["heat"], batch["heat_weight"]).backward()
    assert float(logits.grad[0, 0, 25, 20].abs()) == 0
    assert float(logits.grad[0, 0, 5, 60].abs()) > 0


def test_box_loss_of_disjoint_sizes_by_hand():
    # 10 x 10 against 20 x 10 about the same left edge: IoU 0.5, hull equals the larger
    target = torch.tensor([0.0001, 5, 10, 5]).reshape(1, 4, 1, 1)
    answer = torch.tensor([0.0001, 5, 20, 5]).reshape(1, 4, 1, 1)
    assert float(box_loss(answer, target, torch.ones(1, 1, 1))) == pytest.approx(0.5, abs=1e-3)


def test_smaller_object_wins_where_two_overlap():
    t = make_targets(sample([[0, 0, 320, 192], [150, 90, 170, 102]], (0, 1)))
    y, x = 24, 40  # the cell of both centres
    assert t.box[0, y, x] == pytest.approx((x + 0.5) * 4 - 150)


@pytest.mark.parametrize("start", [20, 21, 22, 23])
def test_a_surface_is_taught_where_it_lies(start):
    """Half a pixel off costs a lane line, which is a few pixels wide, hundredths of its IoU."""
    made = sample()
    label = np.zeros((192, 320), np.uint8)
    label[start : start + 40, 2 * start : 2 * start + 55] = 1
    mask = make_targets(dataclasses.replace(made, drivable=label)).mask[0]
    for axis in (0, 1):  # the middle of what is taught, in pixels of the picture
        middle = [(np.nonzero(m)[axis].mean() + 0.5) * s for m, s in ((label, 1), (mask, 2))]
        assert middle[1] == pytest.approx(middle[0], abs=0.1)
    assert 4 * mask.sum() == pytest.approx(label.sum(), rel=0.02)


def test_augmentation_moves_boxes_and_masks_with_the_picture():
    """A red car stays under its box, whatever was done to the picture."""
    calm = AugmentConfig(photometric=0.0, weather=0.0, zoom_out=0.3)
    pipeline = build_augmentation((320, 192), calm)
    seen = 0
    for seed in range(40):
        out = augment(pipeline, sample(), seed)
        for x1, y1, x2, y2 in out.xyxy.astype(int):
            if x2 - x1 < 12 or y2 - y1 < 12:
                continue
            seen += 1
            middle = out.image[(y1 + y2) // 2, (x1 + x2) // 2]
            assert middle[2] > 200 and middle[0] < 60
        again = augment(pipeline, sample(), seed)
        assert (again.image == out.image).all()
        assert (again.xyxy == out.xyxy).all()
    assert seen > 20


def test_schedule_warms_up_then_falls():
    c = OptimizerConfig(steps=100, warmup_steps=10, final_factor=0.1)
    factors = [rate_factor(i, c) for i in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1)
    assert factors[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def made_set(folder):
    """Two pictures with a box, drivable area and lanes, as files."""
    folder.mkdir(exist_ok=True)
    boxes = [[[40 + 60 * i, 60, 120 + 60 * i, 140]] for i in range(2)]
    for i, box in enumerate(boxes):
        s = sample(box)
        for name, image in (("image", s.image), ("drivable", s.drivable), ("lane", s.lane)):
            cv2.imwrite(str(folder / f"{i}_{name}.png"), image)
    images, *masks = (
        tuple(folder / f"{i}_{kind}.png" for i in range(2))
        for kind in ("image", "drivable", "lane")
    )
    return Dataset(
        "made", folder, "train", ("a", "b"), images, ("detection", "drivable", "lane"),
        {"vehicle": "vehicle"}, CLASSES, lambda i: Boxes(boxes[i], ("vehicle",), [False]),
        dict(zip(("drivable", "lane"), masks)), {k: {0: 0, 1: 1} for k in ("drivable", "lane")},
    )  # fmt: skip


def small_run(tmp_path, steps, name="run"):
    config = TrainConfig(
        data=(SetConfig(tmp_path),), size=(320, 192), val_size=(320, 192), bf16=False,
        val_every=2, workers=0, threads=1,
        optimizer=OptimizerConfig(steps=steps, batch=2, warmup_steps=1),
    )  # fmt: skip
    made = made_set(tmp_path / "made")
    losses = {}
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    best = train(config, [made], [], out, lambda n, t: losses.__setitem__(n, t["total"]))
    return losses, best


def test_training_is_repeatable_and_resumes_where_it_was(tmp_path, monkeypatch):
    whole, best = small_run(tmp_path, 4)
    assert best.is_file()
    assert small_run(tmp_path, 4, "again")[0] == whole

    # a run killed after its second step goes on with the same losses
    class Killed(Exception):
        pass

    import perception.training.loop as loop

    real = loop.Run.train_step

    def dies(self, batch):
        if self.step == 2:
            raise Killed
        return real(self, batch)

    monkeypatch.setattr(loop.Run, "train_step", dies)
    with pytest.raises(Killed):
        small_run(tmp_path, 4, "broken")
    monkeypatch.setattr(loop.Run, "train_step", real)
    rest, _ = small_run(tmp_path, 4, "broken")
    assert rest == {n: whole[n] for n in (3, 4)}


def test_deployed_graph_takes_bgr_bytes_and_gives_sorted_scores():
    net = DeployNet(MultiTaskNet().eval())
    with torch.inference_mode():
        boxes, scores, classes, drivable, lane = net(
            torch.randint(0, 255, (1, 192, 320, 3), dtype=torch.uint8)
        )
    assert boxes.shape == (1, 100, 4)
    assert classes.dtype == torch.int32
    assert drivable.shape == lane.shape == (1, 96, 160)
    assert (scores[0, :-1] >= scores[0, 1:]).all()


@pytest.mark.parametrize(("arch", "gflops"), [("base", 6), ("nano", 2)])
def test_networks_stay_within_their_arithmetic(arch, gflops):
    """Multiplications and additions of all convolutions at 640 x 384, counted layer by layer."""
    total = 0

    def count(layer, _, out):
        nonlocal total
        total += out.numel() * layer.weight[0].numel()

    net = build(arch).eval()
    for m in net.modules():
        if isinstance(m, torch.nn.Conv2d):
            m.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.zeros(1, 3, 384, 640))
    assert 0.9 * gflops * 1e9 < 2 * total <= gflops * 1e9
