"""INT8 files laid out for CPUs: the picture's bytes, several pixels at once, and heads last."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxslim")

from torch import nn  # noqa: E402

from perception import cpu_layout  # noqa: E402
from perception.cpu_layout import fold_conversion  # noqa: E402
from perception.export import ExportOptions, build_onnx, load_bytes  # noqa: E402
from perception.int8_measure import calibrate  # noqa: E402
from perception.models.nano import NanoNet  # noqa: E402
from perception.onnx_graph import first_convolutions, head_convolutions  # noqa: E402
from perception.quantize import SCHEMES, attempts, quantize  # noqa: E402

SIZE = (160, 96)
SCHEME = SCHEMES["int8-cpu"]
STEM = "/net/stem/stem.0/Conv"


@pytest.fixture(scope="module")
def canvases():
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (3, SIZE[1], SIZE[0], 3), np.uint8))


class Shifted(NanoNet):
    """A stem padded right and below alone, as EfficientNet-Lite's is."""

    def __init__(self):
        super().__init__()
        self.stem[0] = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 16, 3, 2, bias=False))


def lively(net):
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.normal_(module.bias)
    nn.init.normal_(net.heat.weight)
    return net.eval()


def fp32_of(net, **options):
    return build_onnx(lively(net), {}, ExportOptions("n", SIZE, **options))


def fed_by(content, name):
    return [n.op_type for n in onnx.load_from_string(content).graph.node if name in n.input]


def weights_of(content, index=0):
    model = onnx.load_from_string(content)
    made = {o: n for n in model.graph.node for o in n.output}
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    stored = {t.name: t for t in model.graph.initializer}
    return onnx.numpy_helper.to_array(stored[made[convs[index].input[1]].input[0]])


def with_and_without(canvases, monkeypatch, step, net=NanoNet):
    """A quantised file, and one made without a step of the layout."""
    content = fp32_of(net())
    measured = calibrate(content, canvases, False)
    made = quantize(content, measured, SCHEME)
    with monkeypatch.context() as m:
        m.setattr(step, lambda *_: None)
        return made, quantize(content, measured, SCHEME)


def kinds_of(content):
    return [n.op_type for n in onnx.load_from_string(content).graph.node]


@pytest.mark.parametrize("net", [NanoNet, Shifted])
def test_pixels_side_by_side_give_the_same_as_one_by_one(net, canvases, monkeypatch):
    canvases = [c // 2 for c in canvases]  # pairs of products then fit 16 bits: all AVX2 has
    step = "perception.cpu_layout._group_pixels"
    grouped, single = with_and_without(canvases, monkeypatch, step, net)
    assert weights_of(single).shape == (16, 3, 3, 3)
    assert weights_of(grouped).shape == (32, 12, 3, 2)
    assert fed_by(grouped, "image") == ["Reshape"] and fed_by(single, "image") == ["Transpose"]
    for canvas in canvases:
        a, b = (load_bytes(c).infer(canvas) for c in (grouped, single))
        assert all((a[k] == b[k]).all() for k in a)
        assert np.ptp(a["drivable"]) > 0


def test_the_picture_is_read_to_the_last_bit(canvases):
    """With weights that 8 bits hold exactly, the first layer is as in fp32 but for the borders."""
    net = NanoNet()
    levels = np.random.default_rng(1).integers(-127, 128, (16, 3, 3, 3))
    levels[:, 0, 0, 0] = 127  # the step is then one
    with torch.no_grad():
        net.stem[0].weight.copy_(torch.from_numpy(levels / 127.0))
    content = build_onnx(net.eval(), {}, ExportOptions("n", SIZE))
    model = onnx.load_from_string(content)
    first = fold_conversion(model, STEM)
    assert (first.zero, first.step) == (128, pytest.approx(1 / 127.5))
    assert first.range == (pytest.approx(-128 / 127.5), pytest.approx(127 / 127.5))
    made = next(n for n in model.graph.node if n.name == STEM).output[0]
    import onnxruntime as ort

    def run(m):
        del m.graph.output[:]
        m.graph.output.extend([onnx.ValueInfoProto(name=made)])
        shift = next(n for n in m.graph.node if n.op_type == "Sub")
        if m is model:  # (byte - 128) / 127.5, as the INT8 file has it
            shift.input[1] = cpu_layout._add(m.graph, "zero", np.float32(128 / 127.5))
        session = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"image": canvases[0][None]})[0]

    got, want = run(model), run(onnx.load_from_string(content))
    assert np.abs(got - want)[:, :, 1:, 1:].max() < 1e-5
    assert 1e-5 < np.abs(got - want).max() < 0.05


def test_heads_become_products_with_the_same_answers(canvases, monkeypatch):
    made, usual = with_and_without(canvases, monkeypatch, "perception.quantize.heads_last")
    assert kinds_of(made).count("MatMul") == 2  # of boxes and classes together, and of surfaces
    names = {"/net/heat/Conv", "/net/box/Conv", "/net/mask/Conv"}
    assert names & {n.name for n in head_convolutions(onnx.load_from_string(usual))} == names
    assert not names & {n.name for n in onnx.load_from_string(made).graph.node}
    for canvas in canvases:
        a, b = (load_bytes(c).infer(canvas) for c in (made, usual))
        for key in ("drivable", "lane", "scores"):
            assert np.abs(a[key] - b[key]).max() < 1e-5, key


def test_layers_that_look_at_the_same_are_one_with_the_same_answers(canvases, monkeypatch):
    made, apart = with_and_without(canvases, monkeypatch, "perception.quantize.twins_together")
    # the stems of boxes and of surfaces
    assert kinds_of(apart).count("Conv") - kinds_of(made).count("Conv") == 1
    for canvas in canvases:
        a, b = (load_bytes(c).infer(canvas) for c in (made, apart))
        for key in ("drivable", "lane", "scores"):  # but for sums at the middle of two steps
            assert np.abs(a[key] - b[key]).max() < 0.05, key
            assert (a[key] == b[key]).mean() > 0.99, key


def test_twins_that_round_about_other_zeros_stay_apart(canvases):
    content = fp32_of(NanoNet())
    made = quantize(content, calibrate(content, canvases, False), SCHEME)
    model = onnx.load_from_string(made)
    graph = model.graph
    users = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    conv = next(n for n in graph.node if n.name == "/net/smooth/smooth.0/Conv")
    twin = onnx.NodeProto()
    twin.CopyFrom(conv)
    twin.name, twin.output[0] = "twin", "twin/made"
    rounds = onnx.NodeProto()
    rounds.CopyFrom(next(u for u in users if conv.output[0] in u.input))
    rounds.name, rounds.input[0], rounds.output[0] = "twin/rounds", "twin/made", "twin/rounded"
    rounds.input[2] = cpu_layout._add(graph, "twin/zero", np.uint8(7))
    cpu_layout._insert(graph, list(graph.node).index(conv) + 1, [twin, rounds])
    before = [n.name for n in graph.node if n.op_type == "Conv"]
    cpu_layout.twins_together(model)
    assert [n.name for n in graph.node if n.op_type == "Conv"] == before


def test_pixels_are_shuffled_by_rows_to_the_same_surfaces(canvases, monkeypatch):
    made, usual = with_and_without(canvases, monkeypatch, "perception.cpu_layout._shuffle_rows")
    assert [kinds_of(c).count("DepthToSpace") for c in (made, usual)] == [0, 3]
    for canvas in canvases:
        a, b = (load_bytes(c).infer(canvas) for c in (made, usual))
        assert all((a[k] == b[k]).all() for k in a)
        assert np.ptp(a["lane"]) > 0


def test_a_bias_that_another_layer_shares_is_left_to_it(canvases):
    net = NanoNet(width=32).eval()  # all biases are zero, and each is kept once
    content = build_onnx(net, {}, ExportOptions("n", SIZE))
    nodes = onnx.load_from_string(content).graph.node
    bias = next(n for n in nodes if n.name == STEM).input[2]
    assert sum(bias in n.input for n in nodes) > 1
    made = quantize(content, calibrate(content, canvases, False), SCHEME, ["/net/lateral.0/Conv"])
    assert np.isfinite(load_bytes(made).infer(canvases[0])["drivable"]).all()


def test_nothing_is_left_that_nobody_uses(canvases):
    content = fp32_of(NanoNet())
    graph = onnx.load_from_string(quantize(content, calibrate(content, canvases, False), SCHEME))
    onnx.checker.check_model(graph, full_check=True)
    used = {i for n in graph.graph.node for i in n.input} | {o.name for o in graph.graph.output}
    assert all(t.name in used for t in graph.graph.initializer)
    assert all(any(o in used for o in n.output) for n in graph.graph.node)


def test_a_picture_that_comes_another_way_is_converted_and_its_layer_left_in_fp32(canvases):
    model = onnx.load_from_string(fp32_of(NanoNet()))
    shift = next(n for n in model.graph.node if n.op_type == "Sub")
    more = onnx.helper.make_node("Neg", [shift.output[0]], ["other"], "other")
    model.graph.node.insert(list(model.graph.node).index(shift) + 1, more)
    content = model.SerializeToString()
    before = model.SerializeToString()
    assert fold_conversion(model, STEM) is None and model.SerializeToString() == before
    measured = calibrate(content, canvases, False)
    first = next(iter(attempts(content, measured, SCHEME, canvases[:1])))
    assert first_convolutions(model) == [STEM] and first.left_float[0] == STEM


def test_the_first_layer_left_in_fp32_gets_the_picture_as_before(canvases):
    content = fp32_of(NanoNet())
    made = quantize(content, calibrate(content, canvases, False), SCHEME, [STEM])
    assert fed_by(made, "image") == ["Cast"]


def test_an_open_batch_stays_open(canvases):
    content = fp32_of(NanoNet(), dynamic_batch=True)
    made = load_bytes(quantize(content, calibrate(content, canvases, False), SCHEME))
    outputs = ["scores", "drivable"]
    both = made.session.run(outputs, {"image": np.stack(canvases[:2])})
    for k, canvas in enumerate(canvases[:2]):
        alone = made.session.run(outputs, {"image": canvas[None]})
        assert all(np.array_equal(a[k], b[0]) for a, b in zip(both, alone, strict=True))
