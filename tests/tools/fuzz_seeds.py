"""Small sound inputs of every kind that a user can give, to be spoilt: a folder of files each."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 48)
KITTI_ROW = "Car 0.00 0 -1.58 10.0 12.0 40.0 30.0 1.65 1.67 3.64 -0.65 1.71 26.0 -1.59\n"
CALIB = (
    "P2: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 "
    "0 0 1 2.745884e-03\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
    "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n"
    "Tr_imu_to_velo: 1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.8\n"
)
CAMERA = (
    "width_px = 64\nheight_px = 48\nfx_px = 60.0\nfy_px = 60.0\ncx_px = 32.0\ncy_px = 20.0\n"
    "height_m = 1.4\npitch_rad = 0.01\ndistortion = [0.1, -0.05, 0.001, 0.002, 0.0]\n"
)


def _picture(i: int) -> np.ndarray:
    patches = np.random.default_rng(i).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(patches, SIZE, interpolation=cv2.INTER_CUBIC))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        assert cv2.imwrite(str(path), content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def _sibling(name: str) -> ModuleType:
    """Another test's makers of files."""
    path = ROOT / "tests" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _video(codec: str, name: str, pixels: str = "yuv420p") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with av.open(str(folder / name), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = *SIZE, pixels
            stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            for i in range(8):
                frame = av.VideoFrame.from_ndarray(_picture(i), format="bgr24")
                frame.pts, frame.time_base = i, Fraction(1, 10)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))

    return make


def _pictures(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for i in range(3):
            write(folder / f"{i}{suffix}", _picture(i))

    return make


def _bag(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from tests.data import bag_maker

        made = bag_maker.made(folder, kind)
        if kind != "ros1":  # the files, and what names them
            for file in list(made.iterdir()):
                shutil.move(file, folder / file.name)
            made.rmdir()

    return make


def _kitti_drive(folder: Path) -> None:
    drives = _sibling("data/test_logs_drives.py")
    drives.pictures(folder / "d_sync" / "image_02" / "data", 10, 3)
    stamps = "".join(f"2011-09-26 13:02:25.{100 * i:03d}000000\n" for i in range(3))
    write(folder / "d_sync/image_02/timestamps.txt", stamps)
    for i in range(3):
        write(folder / f"d_sync/oxts/data/{i:010d}.txt", drives.oxts(10 + i, 0.1))
    write(folder / "calib_cam_to_cam.txt", drives.CALIB)


def _comma(folder: Path) -> None:
    _sibling("data/test_logs_drives.py").segment(folder / "seg", 100.0)


def _bdd(folder: Path) -> None:
    box = {"category": "car", "box2d": {"x1": 5, "y1": 6, "x2": 40, "y2": 30}, "id": "1"}
    entries = [
        {"name": f"{n}.png", "attributes": {"weather": "clear"}, "labels": [box]} for n in "ab"
    ]
    write(folder / "labels/det_20/det_train.json", entries)
    for k, n in enumerate("ab"):
        write(folder / f"images/100k/train/{n}.png", _picture(k))
        for place in ("drivable/masks", "lane/binary"):
            write(folder / f"labels/{place}/train/{n}.png", np.zeros(SIZE[::-1], np.uint8))


def _coco(folder: Path) -> None:
    write(folder / "images/train/a.png", _picture(0))
    table = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 20], "area": 600,
             "iscrowd": 0, "segmentation": [[1, 2, 31, 2, 31, 22]]},
        ],
        "categories": [{"id": 3, "name": "car"}],
    }  # fmt: skip
    write(folder / "annotations/instances_train.json", table)


def _yolo(folder: Path) -> None:
    write(folder / "images/train/a.png", _picture(0))
    write(folder / "labels/train/a.txt", "0 0.5 0.5 0.25 0.25\n1 0.2 0.2 0.1 0.1\n")
    write(folder / "data.yaml", "path: .\ntrain: images/train\nnames: {0: car, 1: person}\n")


def make_voc(folder: Path) -> None:
    write(folder / "JPEGImages/a.jpg", _picture(0))
    write(
        folder / "Annotations/a.xml",
        "<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height>"
        "<depth>3</depth></size><object><name>car</name><difficult>0</difficult><bndbox>"
        "<xmin>5</xmin><ymin>6</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object></annotation>",
    )
    write(folder / "ImageSets/Main/train.txt", "a\n")


def _kitti(folder: Path) -> None:
    write(folder / "training/image_2/000000.png", _picture(0))
    write(folder / "training/label_2/000000.txt", KITTI_ROW * 2)
    write(folder / "training/calib/000000.txt", CALIB)


def _kitti_tracking(folder: Path) -> None:
    write(folder / "training/image_02/0000/000000.png", _picture(0))
    write(folder / "training/label_02/0000.txt", f"0 1 {KITTI_ROW}0 2 {KITTI_ROW}")
    write(folder / "training/calib/0000.txt", CALIB)


def _camvid(folder: Path) -> None:
    write(folder / "train/a.png", _picture(0))
    write(folder / "trainannot/a.png", np.full(SIZE[::-1], 3, np.uint8))


def _idd(folder: Path) -> None:
    write(folder / "leftImg8bit/train/d/1_image.jpg", _picture(0))
    write(folder / "gtFine/train/d/1_label.png", np.zeros(SIZE[::-1], np.uint8))


def make_map(folder: Path) -> None:
    picture = np.full((60, 100), 254, np.uint8)
    picture[20:, 50:53] = 0
    write(folder / "m.pgm", picture)
    write(
        folder / "m.yaml",
        "image: m.pgm\nresolution: 0.25\norigin: [-10, -5, 0]\noccupied_thresh: 0.65\n"
        "free_thresh: 0.196\nnegate: 0\nmode: trinary\n",
    )


def _vehicle(folder: Path) -> None:
    make_map(folder)
    text = "wheelbase_m = 2.7\nwidth_m = 2.0\nfront_m = 3.7\nrear_m = 0.9\nmax_steer_rad = 0.6\n"
    write(folder / "vehicle.toml", text)


def _model(folder: Path) -> None:
    """A network without weights that answers as ours do."""
    import onnx
    from onnx import TensorProto as T
    from onnx import helper, numpy_helper

    from data.taxonomy import CLASSES
    from perception.preprocess import LETTERBOX_RULE
    from perception.runtime import FORMAT

    answers = {
        "boxes": np.array([[[5, 5, 40, 30]] * 4], np.float32),
        "scores": np.array([[0.9, 0.5, 0.2, 0.0]], np.float32),
        "classes": np.array([[0, 1, 2, 0]], np.int64),
        "drivable": np.full((1, 12, 16), 0.7, np.float32),
        "lane": np.full((1, 12, 16), 0.1, np.float32),
    }
    kinds = {"classes": T.INT64}
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=T.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Cast", ["z"], ["zi"], to=T.INT64),
    ]
    stored = [numpy_helper.from_array(np.float32(0), "zero")]
    outs = []
    for name, value in answers.items():
        stored.append(numpy_helper.from_array(value, f"c_{name}"))
        zero = "zi" if name == "classes" else "z"
        nodes.append(helper.make_node("Add", [f"c_{name}", zero], [name]))
        outs.append(helper.make_tensor_value_info(name, kinds.get(name, T.FLOAT), value.shape))
    x = helper.make_tensor_value_info("image", T.UINT8, [1, 48, 64, 3])
    graph = helper.make_graph(nodes, "g", [x], outs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    meta = {"roadstack.format": FORMAT, "roadstack.classes": json.dumps(list(CLASSES)),
            "roadstack.letterbox": LETTERBOX_RULE}  # fmt: skip
    helper.set_model_props(model, meta)
    onnx.save(model, str(folder / "m.onnx"))


def _detector(folder: Path) -> None:
    made = _sibling("perception/test_detector_files.py")
    rows = [(0, 20, 20, 10, 10, 1, 0.9), (5, 60, 40, 30, 20, 0, 0.5)]
    out = made.yolov8_out(rows, classes=2, cells=21)
    made.save_fixed(folder / "d.onnx", out, size=(32, 32), meta={"names": "{0: 'car', 1: 'bus'}"})
    write(folder / "names.yaml", "names:\n  0: car\n  1: bus\n")


def _checkpoint(folder: Path) -> None:
    from perception.models.architectures import build
    from perception.training.checkpoints import save_weights

    save_weights(folder / "c.safetensors", build("nano", 0).state_dict(), {"arch": "nano"})


def _detections(layout: str) -> Callable[[Path], None]:
    coco = [
        {"file_name": f"a/{i:06d}.png", "category": "vehicle", "bbox": [10, 20, 30, 15 + i],
         "score": 0.8}
        for i in range(4)
    ]  # fmt: skip
    whole = {
        "images": [{"id": i, "file_name": f"a/{i:06d}.png"} for i in range(2)],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}],
    }
    texts = {
        "whole": json.dumps(whole),
        "kitti": "".join(
            f"{i},2,10.0,20.0,50.0,60.0,8.5,1.5,1.6,3.9,0,0,9,0,0\n" for i in range(4)
        ),
        "mot": "".join(f"{i + 1},-1,10,20,40,50,0.9\n" for i in range(4)),
        "coco": json.dumps(coco),
    }

    def make(folder: Path) -> None:
        write(folder / (f"0001.{'json' if layout in ('coco', 'whole') else 'txt'}"), texts[layout])
        write(folder.parent / f"{folder.name}.calib" / "0001.txt", CALIB)

    return make


def _record_rows(count: int) -> list[str]:
    with gzip.open(ROOT / "tests/tools/golden_drive.jsonl.gz", "rt") as f:
        return [next(f) for _ in range(count)]


def _run(folder: Path) -> None:
    """What replay writes, without its video."""
    rows = _record_rows(5)
    write(folder / "record.jsonl", "".join(rows))
    numbers = [json.loads(row) for row in rows]
    times = [
        {"index": n["index"], "t_ns": n["t_ns"], "stage_ms": {"network": 20.5, "plan": 3.25},
         "total_ms": 23.75, "deadline_missed": False, "skipped": 0}
        for n in numbers
    ]  # fmt: skip
    write(folder / "timings.jsonl", "".join(json.dumps(t) + "\n" for t in times))
    summary = {"schema": "roadstack-summary-1", "source": "a.mp4", "frames": 5, "width_px": 960,
               "height_px": 540, "model": {"name": "base"}, "warnings": ["x"]}  # fmt: skip
    write(folder / "summary.json", summary)


def _packed_record(folder: Path) -> None:
    (folder / "record.jsonl.gz").write_bytes(gzip.compress("".join(_record_rows(4)).encode()))


def _frames(folder: Path) -> None:
    from data.types import Detections, Sample
    from perception.metrics.frames import FrameCollector, save
    from perception.metrics.score import Prediction

    collector = FrameCollector()
    box = np.array([[5, 6, 40, 30]], np.float32)
    for i in range(3):
        sample = Sample(
            image=np.zeros((*SIZE[::-1], 3), np.uint8), name=f"{i}", xyxy=box,
            class_id=np.zeros(1, np.int64), ignore=np.zeros(1, bool),
            labelled_classes=np.ones(5, bool), drivable=np.zeros(SIZE[::-1], np.uint8), lane=None,
        )  # fmt: skip
        found = Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int64))
        collector.add(sample, Prediction(found, np.zeros(SIZE[::-1], np.uint8), None))
    about = {"data": {"path": "x", "split": "test"}, "model": {"name": "base"}, "protocol": {}}
    save(collector.record(about), folder / "frames.npz")


def _config(folder: Path) -> None:
    shutil.copy(ROOT / "perception/training/recipes/base_1.toml", folder / "c.toml")


def _faults(folder: Path) -> None:
    text = '[[fault]]\nkind = "black"\nstart_s = 0.1\nduration_s = 0.5\nshare = 0.5\nseed = 1\n'
    write(folder / "f.toml", text + '[[fault]]\nkind = "noise"\nstart_frame = 2\namount = 20\n')


def _scores(folder: Path) -> None:
    shutil.copy(ROOT / "perception/tracking/calibrations/pointrcnn.json", folder / "c.json")


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, text)


# seed -> (target that takes it, maker)
SEEDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "video mp4": ("log", _video("libx264", "v.mp4")),
    "video hevc": ("log", _video("libx265", "v.mp4")),
    "video avi": ("log", _video("mjpeg", "v.avi", "yuvj420p")),
    "video mkv": ("log", _video("libvpx-vp9", "v.mkv")),
    "video mpeg4": ("log", _video("mpeg4", "v.avi")),
    "images jpg": ("log", _pictures(".jpg")),
    "images png": ("log", _pictures(".png")),
    "images bmp": ("log", _pictures(".bmp")),
    "images webp": ("log", _pictures(".webp")),
    "images tiff": ("log", _pictures(".tiff")),
    "images ppm": ("log", _pictures(".ppm")),
    "bag mcap": ("log", _bag("mcap")),
    "bag db3": ("log", _bag("sqlite")),
    "bag ros1": ("log", _bag("ros1")),
    "drive kitti": ("log", _kitti_drive),
    "drive comma": ("log", _comma),
    "camera": ("camera", _text("c.toml", CAMERA)),
    "kitti calib": ("kitti_calib", _text("c.txt", CALIB)),
    "set bdd100k": ("set", _bdd),
    "set coco": ("set", _coco),
    "set yolo": ("set", _yolo),
    "set voc": ("set", make_voc),
    "set kitti": ("set", _kitti),
    "set kitti_tracking": ("set", _kitti_tracking),
    "set camvid": ("set", _camvid),
    "set idd": ("set", _idd),
    "config": ("config", _config),
    "faults": ("faults", _faults),
    "map": ("map", make_map),
    "plan": ("plan", _vehicle),
    "model": ("model", _model),
    "model detector": ("detector", _detector),
    "model checkpoint": ("checkpoint", _checkpoint),
    "track kitti": ("track", _detections("kitti")),
    "track mot": ("track", _detections("mot")),
    "track coco": ("track", _detections("coco")),
    "track whole coco": ("track", _detections("whole")),
    "scores": ("scores", _scores),
    "record": ("record", _run),
    "record gz": ("diff", _packed_record),
    "compare": ("compare", _frames),
}


def make_seed(make: Callable[[Path], None], folder: Path) -> None:
    folder.mkdir(parents=True)
    make(folder)
