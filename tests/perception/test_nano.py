"""The small network, and the choice between the networks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("albumentations")

from data.config import load_config  # noqa: E402
from data.errors import InputError  # noqa: E402
from perception.models.architectures import build  # noqa: E402
from perception.models.deploy import DeployNet  # noqa: E402
from perception.models.multitask import MultiTaskNet  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.preprocess import letterbox  # noqa: E402
from perception.training.checkpoints import load_weights, save_weights  # noqa: E402
from perception.training.config import TrainConfig  # noqa: E402
from perception.training.loop import build_network, set_train_mode  # noqa: E402
from tools.train import run_train  # noqa: E402

BASE = Path(__file__).parents[2] / "perception/weights/base.safetensors"


def test_all_networks_answer_in_the_same_shapes():
    picture = torch.zeros(1, 3, 64, 96)
    with torch.inference_mode():
        shapes = [[m.shape for m in build(n).eval()(picture)] for n in ("base", "nano")]
    assert shapes[0] == shapes[1] == [(1, 5, 16, 24), (1, 4, 16, 24), (1, 2, 32, 48)]


def test_nano_has_plain_convolutions_alone():
    layers = [m for m in NanoNet().modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.groups == 1 and m.kernel_size in ((1, 1), (3, 3)) for m in layers)
    assert len(layers) > 20


def test_nano_trains_whole_and_base_keeps_the_statistics_of_its_backbone():
    nano, base = NanoNet(), build("base")
    for net in (nano, base):
        set_train_mode(net, frozen_blocks=3)
    assert all(m.training for m in nano.modules())
    assert all(p.requires_grad for p in nano.parameters())
    assert not base.backbone._blocks[9]._bn1.training
    assert base.pyramid.training
    assert not next(base.backbone._blocks[2].parameters()).requires_grad
    assert next(base.backbone._blocks[3].parameters()).requires_grad


def test_the_named_parts_alone_learn(tiny_toml, tmp_path):
    path = tiny_toml(f'init = "{tmp_path / "start.safetensors"}"')
    torch.manual_seed(4)
    start = NanoNet().state_dict()
    save_weights(tmp_path / "start.safetensors", start, {"arch": "nano"})
    run_train(path, tmp_path / "run", ('optimizer.only=["heat", "det_stem"]',))
    ended = torch.load(tmp_path / "run/state.pt")["net"]
    changed = {k.split(".")[0] for k, v in start.items() if not torch.equal(v, ended[k])}
    assert changed == {"heat", "det_stem"}  # batch statistics too
    run_train(path, tmp_path / "one", ('optimizer.only=["heat.bias"]',))
    ended = torch.load(tmp_path / "one/state.pt")["net"]
    assert [k for k, v in start.items() if not torch.equal(v, ended[k])] == ["heat.bias"]
    with pytest.raises(InputError, match=r"only: no part is named 'haet'; expected some of stem,"):
        run_train(path, tmp_path / "other", ('optimizer.only=["haet"]',))


def test_parts_of_a_checkpoint_of_another_shape_start_a_run(tmp_path):
    path = tmp_path / "former.safetensors"
    torch.manual_seed(4)
    former = NanoNet(width=32).state_dict()
    save_weights(path, former, {"arch": "nano"})
    config = TrainConfig(arch="nano", init=path, init_parts=("stem", "stages"))
    torch.manual_seed(5)
    new = build_network(config).state_dict()
    torch.manual_seed(5)
    fresh = NanoNet().state_dict()
    for name, v in new.items():
        parts = former if name.startswith(("stem", "stages")) else fresh
        assert torch.equal(v, parts[name]), name
    assert not torch.equal(former["stages.0.0.0.weight"], fresh["stages.0.0.0.weight"])


def test_parts_that_do_not_fit_are_refused_in_words(tmp_path):
    path = tmp_path / "former.safetensors"
    save_weights(path, NanoNet(width=32).state_dict(), {"arch": "nano"})

    def start(arch, *parts):
        build_network(TrainConfig(arch=arch, init=path, init_parts=parts))

    with pytest.raises(InputError, match=r"init_parts: no part is named 'steam'; expected some of"):
        start("nano", "steam")
    with pytest.raises(InputError, match=r"has \[32, 128, 1, 1\] for 'context.*expected \[64, "):
        start("nano", "stem", "context")
    with pytest.raises(InputError, match=r"has nothing for 'backbone"):
        start("base", "backbone")
    with pytest.raises(ValueError, match="init_parts: of which checkpoint"):
        TrainConfig(init_parts=("stem",))


def test_a_checkpoint_of_another_layout_is_refused_in_one_line(tmp_path):
    path = tmp_path / "former.safetensors"
    save_weights(path, NanoNet(width=32).state_dict(), {"arch": "nano"})
    with pytest.raises(InputError, match=r"'nano' as it is now \(context\S+ and \d+ others\)") as e:
        load_weights(path)
    assert "\n" not in str(e.value)
    state = NanoNet().state_dict()
    state["extra"] = torch.zeros(1)
    save_weights(path, state, {"arch": "nano"})
    with pytest.raises(InputError, match=r"\(extra and 0 others\)"):
        load_weights(path)


def test_a_checkpoint_says_which_network_it_is_of(tmp_path):
    path = tmp_path / "w.safetensors"
    net = NanoNet()
    save_weights(path, net.state_dict(), {"arch": "nano", "step": 7})
    read, meta = load_weights(path)
    assert isinstance(read, NanoNet) and meta == {"arch": "nano", "step": 7}
    assert torch.equal(read.stem[0].weight, net.stem[0].weight)
    other = tmp_path / "other"
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode  # readable by whom other files are
    save_weights(path, net.state_dict(), {"arch": "mega"})
    with pytest.raises(InputError, match=r"'mega' is unknown; known: base, nano, semantic"):
        load_weights(path)


def test_checkpoints_from_before_the_choice_are_of_base(tmp_path):
    net, meta = load_weights(BASE)
    assert type(net) is MultiTaskNet and meta["arch"] == "base"
    save_weights(tmp_path / "old.safetensors", net.state_dict(), {"step": 1})
    assert type(load_weights(tmp_path / "old.safetensors")[0]) is MultiTaskNet


def test_a_wrong_choice_is_refused_in_words():
    with pytest.raises(
        InputError, match="arch: expected one of base, nano, semantic, given 'nana'"
    ):
        load_config(TrainConfig, None, ('arch="nana"',))
    config = load_config(TrainConfig, None, ('arch="nano"', f'init="{BASE}"'))
    with pytest.raises(InputError, match="is a 'base' network, but arch is 'nano'"):
        build_network(config)


@pytest.mark.parametrize("size", [(320, 192), (224, 160)])
def test_nano_is_exported_at_any_size_and_answers_alike(tmp_path, size):
    pytest.importorskip("onnxslim")
    from perception.export import ExportOptions, GateData, export_files
    from perception.runtime import load_model

    torch.manual_seed(1)
    net = NanoNet()
    pictures = [np.random.default_rng(k).integers(0, 255, (180, 320, 3), np.uint8) for k in (0, 1)]
    net.heat.weight.data *= 40
    with torch.no_grad():  # an untrained net that sees some thirty objects, to compare
        seen = torch.from_numpy(np.stack([letterbox(p, size)[0] for p in pictures]))
        for _ in range(5):
            DeployNet(net.train())(seen)
        scores = DeployNet(net.eval())(seen)[1]
    # more than thirty, as some lie in the padding
    net.heat.bias.data -= torch.logit(scores[:, 80].min()) - torch.logit(torch.tensor(0.05))
    data = GateData(pictures, None, ())
    (made,) = export_files(net, {"arch": "nano"}, tmp_path, ExportOptions("nano", size), data)
    assert made.gate.passed, made.gate
    model = load_model(str(tmp_path / "nano.onnx"), threads=1)
    assert model.input_size == size
    assert '"arch": "nano"' in model.meta["roadstack.training"]
    detections, surfaces = model(pictures[0], 0.05)
    assert len(detections) >= 30 and surfaces.lane.shape[1] == size[0] // 2


def test_nano_learns_a_handful_of_pictures_by_heart(tiny_toml, tmp_path):
    out = tmp_path / "run"
    rate = ("optimizer.rate=0.004", "val_every=30", "save_every=30", "augment.min_crop=0.9")
    run_train(tiny_toml(steps=60), out, rate)
    first, last = np.genfromtxt(out / "metrics.csv", delimiter=",", names=True)[["losstotal"]]
    assert last[0] < 0.75 * first[0]
    scores = load_weights(out / "last.safetensors")[1]["val"]
    assert scores["drivable.iou"] > 0.8


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 0.0, 1.0, 1.0), (1.0, math.inf, 1, 1, 1)])
def test_class_weights_are_one_above_zero_for_each_class(weights):
    with pytest.raises(ValueError, match="class_weights: expected one above 0 for each of vehicle"):
        TrainConfig(arch="nano", class_weights=weights)
    with pytest.raises(ValueError, match="knows no objects"):
        TrainConfig(arch="semantic", class_weights=(1.0,) * 5)
