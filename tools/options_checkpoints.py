"""Options of the commands that make something of checkpoints. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from tools.option_parts import names, numbers, path, size


def add_average(sub: argparse._SubParsersAction) -> None:
    """Options of ``roadstack average``."""
    p = sub.add_parser("average", help="the mean of several checkpoints' weights, as a checkpoint")
    p.add_argument("checkpoints", type=path, nargs="+", help="of one network, *.safetensors")
    p.add_argument("--out", type=path, required=True, help="the checkpoint to write")


def add_slim(sub: argparse._SubParsersAction) -> None:
    """Options of ``roadstack slim``."""
    p = sub.add_parser(
        "slim",
        help="fewer channels for a trained 'base', to be trained on for a while",
        description="Leave out the channels of a 'base' checkpoint that its answers on real "
        "pictures need least, and let the heads share a convolution of low rank. Then train on "
        "from it (init=OUT), best with the first checkpoint as teacher=.",
    )
    p.add_argument("checkpoint", type=path, help=".safetensors file of a training run")
    p.add_argument(
        "--data", type=path, required=True,
        help="labelled set (its train split), folder of pictures or video",
    )  # fmt: skip
    p.add_argument("--out", type=path, required=True, help="the checkpoint to write")
    p.add_argument(
        "--most-lost", type=float, default=0.03, metavar="SHARE",
        help="of the variance of what a layer gives (%(default)s)",
    )  # fmt: skip
    p.add_argument("--frames", type=int, default=40, help="to look at (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 384), help="input size (640x384)")


def add_export(sub: argparse._SubParsersAction) -> None:
    """Options of ``roadstack export``."""
    p = sub.add_parser(
        "export",
        help="turn a checkpoint into ONNX files that answer alike",
        description="Write one self-contained ONNX file for each precision, and export.json. The "
        "fp32 file is kept only if it gives the training code's answers, the others only if they "
        "score as the fp32 file does on labelled frames; exit code 1 when one does not.",
    )
    p.add_argument("checkpoint", type=path, help=".safetensors file of a training run")
    p.add_argument("--out", type=path, required=True, help="folder to write to")
    p.add_argument("--name", help="of the files (the checkpoint's)")
    p.add_argument("--size", type=size, default=(640, 384), help="input size (640x384)")
    p.add_argument(
        "--precision", type=names, default=["fp32"], metavar="P[,P...]",
        help="some of fp32, fp16, int8-cpu, int8-gpu (fp32)",
    )  # fmt: skip
    p.add_argument(
        "--calibrate", type=path, metavar="DATA",
        help="labelled set (its train split), folder of pictures or video to set INT8's ranges by "
        "(rendered frames)",
    )  # fmt: skip
    p.add_argument(
        "--evaluate", type=path, metavar="DATA",
        help="labelled set to compare accuracy on (rendered frames)",
    )  # fmt: skip
    p.add_argument("--split", default="val", help="of --evaluate (%(default)s)")
    p.add_argument(
        "--check", type=path, metavar="DATA",
        help="pictures to compare with the training code on (those of --evaluate)",
    )  # fmt: skip
    p.add_argument(
        "--scales", type=numbers, default=[1.0], metavar="S[,S...]",
        help="of a network of pixel classes: answer by the mean over these scales of the picture, "
        "e.g. 1,1.33,1.67; more exact, and slower (1)",
    )  # fmt: skip
    p.add_argument("--dynamic-batch", action="store_true", help="leave the batch size open")
    p.add_argument("--terms", metavar="TEXT", help="of the training data, kept in the files")
    p.add_argument("--engine", action="store_true", help="build TensorRT engines too")
    p.add_argument("--force", action="store_true", help="keep files that fail the check")
