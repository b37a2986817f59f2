"""Biases make up for what the rounding of weights shifts."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from perception.bias_correction import (  # noqa: E402
    correct_biases,
    inputs_of_convolutions,
    mean_shift,
)
from perception.rounding import round_to_steps  # noqa: E402
from perception.weight_steps import whole_range_steps  # noqa: E402


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_shift_is_what_rounded_weights_add_on_average(groups):
    rng = np.random.default_rng(0)
    x = rng.random((8, 6, 9, 9)) + rng.random((1, 6, 1, 1)) * 4
    w = rng.normal(size=(12, 6 // groups, 3, 3))
    bias = rng.normal(size=12)

    def run(weight):
        given = (torch.from_numpy(v) for v in (x, weight, bias))
        return torch.nn.functional.conv2d(*given, groups=groups).numpy().mean((0, 2, 3))

    errors = round_to_steps(w, whole_range_steps(w), None) - w
    shift = mean_shift(errors, x.mean((0, 2, 3)), groups)
    # the mean within the border is nearly that of all
    assert run(w + errors) - run(w) == pytest.approx(shift, abs=3e-3)
    assert np.abs(shift).max() > 0.01


def graph(bias_used_twice=False):
    """Two convolutions behind one another."""
    rng = np.random.default_rng(1)
    make, array = onnx.helper, onnx.numpy_helper.from_array
    names = ("b1", "b1" if bias_used_twice else "b2")
    nodes = [
        make.make_node("Conv", ["x", "w1", names[0]], ["y"], "first"),
        make.make_node("Conv", ["y", "w2", names[1]], ["z"], "second"),
    ]
    values = {n: rng.normal(size=(4, 4, 1, 1)).astype(np.float32) for n in ("w1", "w2")}
    values |= {n: rng.normal(size=4).astype(np.float32) for n in set(names)}
    shape = onnx.TensorProto.FLOAT, (1, 4, 3, 3)
    ends = [[make.make_tensor_value_info(n, *shape)] for n in "xz"]
    return make.make_model(
        make.make_graph(nodes, "g", *ends, [array(v, k) for k, v in values.items()])
    )


def biases(model):
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.dims == [4]}


def test_biases_of_what_is_rounded_alone_are_corrected():
    model = graph()
    assert inputs_of_convolutions(model) == ["x", "y"]
    before, means = biases(model), {"x": np.full(4, 3.0), "y": np.full(4, 2.0)}
    weight = onnx.numpy_helper.to_array(model.graph.initializer[1])
    rounded = round_to_steps(weight, whole_range_steps(weight), None)
    correct_biases(model, means, {"w2": rounded}, ["first"])
    after = biases(model)
    assert (after["b1"] == before["b1"]).all()
    shift = mean_shift(rounded - weight, means["y"], 1)
    assert np.abs(shift).max() > 1e-3
    assert before["b2"] - after["b2"] == pytest.approx(shift, abs=1e-6)


def test_a_bias_that_two_share_stays():
    model = graph(bias_used_twice=True)
    before = biases(model)
    rounded = {name: np.ones((4, 4, 1, 1), np.float32) for name in ("w1", "w2")}
    correct_biases(model, {"x": np.ones(4), "y": np.ones(4)}, rounded, [])
    assert (biases(model)["b1"] == before["b1"]).all()
