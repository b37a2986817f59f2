"""The code that takes a user's files, each kind of file by one function of its folder."""

from __future__ import annotations

import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _only(folder: Path, suffix: str) -> Path:
    return next(p for p in sorted(folder.rglob("*")) if p.name.endswith(suffix))


def one_line(texts: Any) -> None:
    for text in texts:
        assert "\n" not in str(text), f"two lines: {text!r}"


def _command(*words: object) -> None:
    """A command as the command line runs it; an error of the system is one line there too."""
    from tools.cli import main

    try:
        with redirect_stdout(StringIO()):
            main(["--debug", *map(str, words)])
    except OSError as e:
        assert e.strerror, f"no reason: {e!r}"


def read_log(folder: Path, out: Path) -> None:
    from data.logs import open_log

    files = [p for p in folder.iterdir() if p.suffix in (".mp4", ".avi", ".mkv", ".bag", ".mcap")]
    deeper = [folder / n for n in ("d_sync", "seg")]
    source = next((p for p in [*deeper, *files] if p.exists()), folder)
    if (folder / "metadata.yaml").exists():
        source = folder
    log = open_log(source, max_frames=8)
    for frame in log:
        assert frame.image.ndim == 3
    one_line([*log.faults, log.name, log.time_source])


def read_camera(folder: Path, out: Path) -> None:
    import numpy as np

    from data.camera import load_camera

    camera = load_camera(_only(folder, ".toml"))
    camera.scaled_to(32, 24).ground_from_pixels(np.array([[3.0, 20.0]]))


def read_kitti_calib(folder: Path, out: Path) -> None:
    from data.kitti_calib import load_kitti_calib

    load_kitti_calib(_only(folder, ".txt"), 1242, 375)


def read_set(folder: Path, out: Path) -> None:
    import numpy as np

    from data.datasets import open_dataset
    from data.image_checks import check_image

    layout = folder.parent.name
    d = open_dataset(folder, "0000" if layout == "kitti_tracking" else "train", layout)
    for i in range(min(len(d), 4)):
        try:
            assert np.isfinite(d.load(i).xyxy).all()
        finally:
            entry = check_image(d, i)
            one_line([*entry.problems, *d.problems])
    if "detection" in d.tasks:
        _command("convert", folder, "--to", "coco", "--out", out / "converted", "--images", "copy",
                 "--format", layout)  # fmt: skip


def read_config(folder: Path, out: Path) -> None:
    from data.config import load_config
    from perception.training.config import TrainConfig

    load_config(TrainConfig, _only(folder, ".toml"))


def read_faults(folder: Path, out: Path) -> None:
    import numpy as np

    from tools.inject import load_faults

    for fault in load_faults(_only(folder, ".toml")):
        assert np.isfinite(fault.strength)


def read_map(folder: Path, out: Path) -> None:
    from planning.mapfile import load_map

    load_map(folder / "m.yaml")


def read_plan(folder: Path, out: Path) -> None:
    _command("plan", folder / "m.yaml", "--start", "-5,0,0", "--goal", "10,0,0", "--deadline-ms",
             "1000", "--vehicle", folder / "vehicle.toml", "--out", out / "p.json",
             "--png", out / "p.png")  # fmt: skip


def read_model(folder: Path, out: Path) -> None:
    import numpy as np

    from perception.runtime import load_model

    model = load_model(str(folder / "m.onnx"), 1)
    model(np.zeros((48, 64, 3), np.uint8), 0.1)


def read_detector(folder: Path, out: Path) -> None:
    import numpy as np

    from perception.detectors import load_detector

    names = folder / "names.yaml"
    for given in (None, names):
        load_detector(folder / "d.onnx", "yolov8", given, None, 1)(
            np.zeros((48, 64, 3), np.uint8), 0.1
        )


def read_checkpoint(folder: Path, out: Path) -> None:
    from perception.training.checkpoints import load_weights

    load_weights(folder / "c.safetensors")


def read_track(folder: Path, out: Path) -> None:
    layout = folder.parent.name
    more = ["--calibration", "pointrcnn"] if layout == "kitti" else []
    _command("track", "--detections", folder, "--format", layout, "--out", out / "tracks", *more)


def read_scores(folder: Path, out: Path) -> None:
    from perception.tracking.calibration import load_calibration

    load_calibration(folder / "c.json")


def read_diff(folder: Path, out: Path) -> None:
    _command("diff", _only(folder, ".jsonl.gz"), _only(folder, ".jsonl.gz"))


def read_record(folder: Path, out: Path) -> None:
    """Four commands; a refusal of one is no end of the others."""
    from data.errors import InputError

    runs = shutil.copytree(folder, out / "runs")  # beside which tables are kept
    refused = None
    for words in (
        ("diff", folder, ROOT / "tests/tools/golden_drive.jsonl.gz"),
        ("view", folder, "--html", out / "page.html"),
        ("score-plans", folder, "--out", out / "scores"),
        ("find", runs, "ttc_s < 2 and class == 'person'", "--out", out / "moments.csv"),
    ):
        try:
            _command(*words)
        except InputError as e:
            one_line([e])
            refused = e
    if refused is not None:
        raise refused


def read_compare(folder: Path, out: Path) -> None:
    _command("compare", folder, folder, "--out", out / "compare", "--bootstrap", 20)


TARGETS = {name[5:]: f for name, f in list(globals().items()) if name.startswith("read_")}
