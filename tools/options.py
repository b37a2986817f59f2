"""The options of every command. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from tools.option_parts import add_bench, add_detector_options
from tools.option_parts import path as _path
from tools.option_parts import size as _size
from tools.options_checkpoints import add_average, add_export, add_slim
from tools.options_evaluate import add_compare, add_report_options, add_samples, add_score_plans
from tools.options_fleet import add_find, add_fleet_options
from tools.options_replay import add_diff, add_replay_options
from tools.options_view import add_view


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong option: one line and exit code 2."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _add_log_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--start", type=float, default=0.0, metavar="S", help="first second (0)")
    p.add_argument("--stop", type=float, metavar="S", help="last second (the end)")
    p.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth frame (1)")
    p.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    p.add_argument("--fps", type=float, help="frame rate of a folder of images (10)")
    p.add_argument(
        "--model", default="base", help="released model's name or an ONNX file (%(default)s)"
    )
    add_detector_options(p)
    p.add_argument("--threads", type=int, help="threads of the network (all processors)")


def _add_set_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--format", dest="layout", help="layout of the set (recognised)")
    p.add_argument(
        "--class", dest="names", action="append", default=[], metavar="NAME=OURS",
        help="map a class name of the set by hand, to 'none' to leave it out; repeatable",
    )  # fmt: skip
    p.add_argument("--strict", action="store_true", help="stop at the first malformed entry")


def _add_replay(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "replay",
        help="run the full stack over a recorded drive",
        description="Run perception, tracking and planning over a video or a folder of images "
        "and write overlay.mp4, record.jsonl, timings.jsonl and summary.json. Without SOURCE a "
        "built-in synthetic drive is replayed.",
    )
    p.add_argument("source", nargs="*", type=_path, help="video, folder of images, bag; or several")
    p.add_argument("--out", type=_path, default=Path("runs/replay"), help="folder (%(default)s)")
    _add_log_options(p)
    p.add_argument("--camera", type=_path, metavar="FILE.toml", help="calibration of the camera")
    p.add_argument("--seed", type=int, default=0, help="of the built-in drive (0)")
    p.add_argument("--no-overlay", action="store_true", help="do not write overlay.mp4")
    add_replay_options(p)
    add_fleet_options(p)


def _add_predict(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "predict",
        help="write objects and masks for pictures or a video",
        description="Write detections.json (COCO boxes with our class names) and masks "
        "drivable/NAME.png and lane/NAME.png at the pictures' own size.",
    )
    p.add_argument("source", type=_path, help="image, folder of images, or video file")
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    _add_log_options(p)
    p.add_argument("--min-score", type=float, default=0.01, help="lowest score (%(default)s)")


def _add_evaluate(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "evaluate",
        help="score a model or written predictions on labelled data",
        description="Score every task that the data labels: objects, surfaces, the class of each "
        "pixel, tracks (KITTI tracking, MOT); writes metrics.json, metrics.csv, report.html and "
        "what compare reads.",
    )
    p.add_argument("--data", type=_path, required=True, help="folder of a labelled set")
    p.add_argument("--split", help="(test; all drives of a set whose splits are drives)")
    _add_set_options(p)
    p.add_argument("--model", default="base", help="model to score (%(default)s)")
    add_detector_options(p)
    p.add_argument(
        "--predictions", type=_path,
        help="in its place: folder written by predict, or "
        "with DRIVE.txt of tracks, or of detections, which are then tracked",
    )  # fmt: skip
    p.add_argument("--out", type=_path, required=True, help="folder for metrics.json")
    p.add_argument("--threads", type=int, help="threads of the network (all processors)")
    add_report_options(p)


def _add_train(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "train",
        help="train the network on labelled data",
        description="Train as CONFIG.toml says, or fine-tune the released network on --data; "
        "key=value overrides either, e.g. optimizer.steps=500. An unfinished run in --out is "
        "resumed.",
    )
    p.add_argument("config", type=_path, nargs="?", metavar="CONFIG.toml", help="settings")
    p.add_argument("--data", type=_path, metavar="FOLDER", help="labelled set to fine-tune on")
    _add_set_options(p)
    p.add_argument("overrides", nargs="*", metavar="key=value")
    p.add_argument("--out", type=_path, default=Path("runs/train"), help="folder (%(default)s)")


def _add_label(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "label",
        help="write pseudo-labels for frames without labels",
        description="Label a folder of pictures, a video, or what a labelled set leaves "
        "unlabelled, in BDD100K's layout to train on; with a network of pixel classes (--model "
        "camvid) every picture, labelled or not, in CamVid's. Doubtful areas are ignored. An "
        "unfinished run in --out goes on.",
    )
    p.add_argument("source", type=_path, help="folder of images, video, or labelled set")
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    p.add_argument("--split", help="of a labelled set, and as it is written (train)")
    _add_set_options(p)
    p.add_argument("--model", default="base", help="model that labels (%(default)s)")
    p.add_argument("--threads", type=int, help="threads of the network (all processors)")
    p.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth frame (1)")
    p.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    p.add_argument(
        "--images", choices=("link", "copy"), default="link",
        help="hard links where they can be, or copies (%(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--min-confidence", type=float, default=0.3, help="leave out frames below it (%(default)s)"
    )
    p.add_argument(
        "--fit", type=_path, metavar="FOLDER",
        help="labelled set to fit the thresholds to (measured ones)",
    )  # fmt: skip
    p.add_argument("--fit-split", default="val", help="(%(default)s)")
    p.add_argument(
        "--precision", type=float, default=0.8,
        help="share of boxes to be right, with --fit (%(default)s)",
    )  # fmt: skip


def _add_render(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "render",
        help="render synthetic frames with exact labels",
        description="Write rendered road scenes with boxes, drivable area and lane lines in "
        "BDD100K's layout, to train on.",
    )
    p.add_argument("--out", type=_path, required=True, help="folder to write to")
    p.add_argument("--count", type=int, default=100, help="frames (%(default)s)")
    p.add_argument("--size", type=_size, default=(960, 540), help="of the frames (960x540)")
    p.add_argument("--seed", type=int, default=0, help="of the first frame (%(default)s)")


def _add_doctor(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "doctor",
        help="check a labelled set before training on it",
        description="Look at every image and label of a set; print figures, findings with advice "
        "and a verdict, and write doctor.json and contact sheets. Exit code 1 when something would "
        "spoil training.",
    )
    p.add_argument("path", type=_path, help="folder of a labelled set")
    p.add_argument(
        "--split", nargs="+", action="extend", metavar="S", help="splits to look at (all)"
    )
    _add_set_options(p)
    p.add_argument("--out", type=_path, default=Path("runs/doctor"), help="folder (%(default)s)")
    p.add_argument("--sheet", type=int, default=24, metavar="N", help="frames a sheet (24; 0 none)")
    p.add_argument("--augment", action="store_true", help="also draw augmented frames")
    p.add_argument(
        "--fast", action="store_true", help="headers and boxes alone: decode and compare no image"
    )


def _add_convert(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "convert",
        help="bring boxes from one label format to another",
        description="Write the boxes of a labelled set as COCO, YOLO, Pascal VOC, KITTI object or "
        "BDD100K, all splits or some, and say what the format cannot hold.",
    )
    p.add_argument("source", type=_path, help="folder of a labelled set")
    p.add_argument(
        "--to", required=True, choices=("coco", "yolo", "voc", "kitti", "bdd100k"), help="format"
    )
    p.add_argument("--out", type=_path, required=True, help="new folder to write to")
    p.add_argument("--split", action="append", default=[], help="only this one; repeatable (all)")
    _add_set_options(p)
    p.add_argument(
        "--images", choices=("link", "copy", "none"), default="link",
        help="hard links where they can be, copies, or labels alone (%(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--classes", choices=("own", "ours"), default="own",
        help="class names of the set, or what maps to one of ours, with --class (%(default)s)",
    )  # fmt: skip


def _add_calibrate(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "calibrate",
        help="make a camera file from photographs of a chessboard",
        description="Write the camera file, and beside it calibration.json (errors, photographs "
        "used) and calibration.png. Exit code 1 when the RMS error is 1 px or more.",
    )
    p.add_argument("photos", nargs="+", type=_path, help="pictures, or folders of them")
    p.add_argument(
        "--board", type=_size, required=True, metavar="COLSxROWS",
        help="inner corners: 9x6 for a board of 10x7 squares",
    )  # fmt: skip
    p.add_argument("--square", type=float, default=0.025, metavar="M", help="side (%(default)s)")
    p.add_argument("--size", type=_size, help="of the photographs to use (that of most)")
    for name, metavar, text in (
        ("height", "M", "of the camera above the road (1.4, assumed)"),
        ("pitch", "RAD", "downward tilt (0)"),
        ("yaw", "RAD", "turn to the left (0)"),
        ("roll", "RAD", "right side down (0)"),
        ("forward", "M", "ahead of the rear axle (1.7)"),
        ("left", "M", "left of the middle (0)"),
    ):
        p.add_argument(f"--{name}", type=float, metavar=metavar, help=text)
    p.add_argument("--out", type=_path, default=Path("camera.toml"), help="(%(default)s)")


def _add_distance(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "distance",
        help="check distances on the ground against KITTI's labels",
        description="Compare the depth of each labelled box's foot, cast to the ground, with its "
        "labelled place; writes distance.json.",
    )
    p.add_argument("--data", type=_path, required=True, help="KITTI object or tracking folder")
    p.add_argument("--camera", type=_path, metavar="FILE.toml", help="in place of the set's own")
    p.add_argument("--out", type=_path, required=True, help="folder for distance.json")


def _add_track(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "track",
        help="track the objects of detection files",
        description="Read detections of KITTI, MOT or COCO form and write KITTI tracking results, "
        "one DRIVE.txt a drive with all classes, by the tracker of the replay.",
    )
    p.add_argument("--detections", type=_path, required=True, help="file or folder")
    p.add_argument("--format", dest="layout", choices=("kitti", "mot", "coco"), required=True)
    p.add_argument("--out", type=_path, required=True, help="folder for DRIVE.txt")
    p.add_argument("--fps", type=float, default=10.0, help="frames a second (10)")
    p.add_argument("--stride", type=int, default=1, help="see each Nth frame (1)")
    p.add_argument("--calibration", metavar="NAME|FILE", help="score map (recognised; 'none')")
    p.add_argument("--calib", type=_path, help="KITTI camera calibration, file or folder")
    p.add_argument("--size", type=_size, help="size of the pictures (as far as boxes reach)")


def _add_score_tracks(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "score-tracks",
        help="HOTA, CLEAR and identity scores of tracks",
        description="Score tracking results against KITTI or MOT labels, by KITTI's ignore rules.",
    )
    p.add_argument("--labels", type=_path, required=True, help="file or folder")
    p.add_argument("--tracks", type=_path, required=True, help="file or folder")
    p.add_argument("--format", dest="layout", choices=("kitti", "mot"), default="kitti")
    p.add_argument("--stride", type=int, default=1, help="score each Nth frame (1)")
    p.add_argument("--out", type=_path, help="folder for tracking.json and tracking.csv")
    add_samples(p, "drives")


def _add_calibrate_scores(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "calibrate-scores",
        help="fit a detector's scores to probabilities",
        description="Fit a map from score to probability (Platt), class by class, on labelled "
        "drives or on evaluated frames; track and replay work on probabilities, and replay takes "
        "the map beside a model, MODEL.scores.json.",
    )
    given = p.add_mutually_exclusive_group(required=True)
    given.add_argument("--run", type=_path, help="folder written by evaluate, of the model's own")
    given.add_argument("--detections", type=_path, help="file or folder, with --labels")
    p.add_argument(
        "--format", dest="layout", choices=("kitti", "mot", "coco"), help="of --detections (kitti)"
    )
    p.add_argument("--labels", type=_path, help="folder of KITTI label files")
    p.add_argument("--detector", help="its name (the detections' folder)")
    p.add_argument("--out", type=_path, required=True, help="FILE.json")


def _add_plan(sub: argparse._SubParsersAction) -> None:
    p = sub.add_parser(
        "plan",
        help="find a way over an occupancy map",
        description="Plan from pose to pose on a map in the form of ROS map_server; writes JSON.",
    )
    # else "--start -3,2,0" is taken for an option
    p._negative_number_matcher = re.compile(r"-[\d.]")  # type: ignore[attr-defined]
    p.add_argument("map", type=_path, help="YAML file of the map")
    p.add_argument("--start", required=True, metavar="X,Y,YAW", help="rear axle, m and rad")
    p.add_argument("--goal", required=True, metavar="X,Y,YAW", help="the same")
    p.add_argument(
        "--vehicle", type=_path, metavar="FILE.toml",
        help="wheelbase_m, width_m, front_m, rear_m, max_steer_rad (a car of 4.3 m x 2.0 m)",
    )  # fmt: skip
    p.add_argument("--reverse", action="store_true", help="allow driving backwards")
    p.add_argument("--deadline-ms", type=float, default=1000.0, help="(%(default)s)")
    p.add_argument("--out", type=_path, required=True, help="JSON file to write")
    p.add_argument("--png", type=_path, help="picture to write")


def _add_warmup(sub: argparse._SubParsersAction) -> None:
    sub.add_parser("warmup", help="compile the kernels of planner, renderer and metrics ahead")


def build_parser(version: str) -> argparse.ArgumentParser:
    """The parser of ``roadstack COMMAND``."""
    parser = _Parser(prog="roadstack", description="Camera-only perception and planning.")
    parser.add_argument("--version", action="version", version=f"roadstack {version}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_replay, _add_predict, _add_evaluate, _add_train, add_average, add_slim, add_export,
        _add_label, _add_render, _add_doctor, _add_convert, _add_calibrate, _add_distance,
        _add_track, _add_score_tracks, _add_calibrate_scores, _add_plan, _add_warmup, add_bench,
        add_compare, add_score_plans, add_diff, add_view, add_find,
    ):  # fmt: skip
        add(sub)
    for p in sub.choices.values():
        p.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="")
    return parser
