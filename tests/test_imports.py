"""The rooms and who may import whom; PyTorch stays where training and export are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "data": set(),
    "perception": {"data"},
    "planning": {"data"},
    "tools": {"data", "perception", "planning"},
}
TORCH_ROOMS = ("perception/models/", "perception/training/", "perception/export.py")
TRAINING_PACKAGES = {"torch", "albumentations", "onnx", "onnxslim", "safetensors", "matplotlib"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """First parts of all imported names of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_they_may(room):
    assert modules(room), f"no modules in {room}"
    for path in modules(room):
        others = imported(path) & (set(ALLOWED) - {room})
        assert others <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {others}"


@pytest.mark.parametrize("room", ALLOWED)
def test_torch_only_in_models_training_and_export(room):
    for path in modules(room):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(TORCH_ROOMS):
            assert "torch" not in imported(path), f"{name} imports torch"


def test_only_the_stack_joins_perception_and_planning():
    both = [
        p.relative_to(ROOT).as_posix()
        for p in modules("tools")
        if {"perception", "planning"} <= imported(p)
    ]
    assert both == ["tools/stack.py"]


def test_the_command_line_starts_without_heavy_packages():
    code = (
        "import sys, tools.cli; tools.cli.build_parser('1'); "
        "heavy = {'torch', 'cv2', 'numpy', 'onnxruntime', 'scipy', 'numba', 'rich'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_replay_needs_no_training_package():
    code = (
        "import sys, tools.replay, tools.predict; "
        f"bad = {TRAINING_PACKAGES!r} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
