"""Every threshold of the tracker, in seconds, shares and probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field

from perception.tracking.ego import EgoConfig
from perception.tracking.ground import GroundConfig
from perception.tracking.motion import BoxMotionConfig


@dataclass(frozen=True)
class TrackerConfig:
    """When detections become, stay and cease to be objects.

    Scores are probabilities of being right, or raw scores in [0, 1] with thresholds to suit.
    A track's evidence is the mean log-odds of its detections over ``score_time_s``; it is
    reported from a probability of ``report_score`` on, and then while it is ``keep_score``.

    Attributes:
        high_score: detections from here on are sure ones, matched first.
        low_score: detections below are not looked at.
        birth_score: an unmatched detection from here on begins a track.
        sure_score: one detection of this score is reported at once; others must be seen again,
            the longer the less sure they are.
        report_score: least probability of a track that is reported; it gets its id then.
        keep_score: least probability at which it is still reported later.
        score_time_s: time constant of the evidence.
        fade_odds_ps: log-odds that a track loses per second unseen, as far as reporting goes.
        tentative_unseen_s: a track never reported and unseen for longer is forgotten.
        max_coast_s: a track once reported and unseen for longer is not reported, and forgotten ...
        person_memory_s: ... or, a person's, after this long: persons come out slowly from behind
            what hides them; where a vehicle was hidden for long, mostly another comes out.
        max_gap_s: after a longer gap between frames all tracks are forgotten.
        min_iou: least overlap of a sure detection with a predicted box, both widened.
        min_iou_low: the same for an unsure detection.
        widening: boxes are widened by this many standard deviations of the prediction ...
        max_widening_sizes: ... but by no more than this share of the box's size.
        gate: greatest distance of a match in standard deviations (of four numbers).
        gate_log_size_std: added to the prediction's spread of log width and height for the gate:
            boxes shrink fast where the picture's border or another object cuts them.
        max_log_height_change: greatest difference of a detection's log height from the
            prediction's, however unsure that is: what moves in the picture fast may be found far
            from where it was thought to be, but it is still as tall.
        gate_weight: cost of a match at the gate's edge, as a loss of overlap.
        duplicate_iou: a detection overlapping an object of its class seen in this frame by more
            than this begins no track.
        double_iou: of detections of one class overlapping by more than this only the best is
            looked at; 1 where the detector removes doubles itself.
        rival_iou: detections of two classes of ``rivals`` overlapping by more than this are one
            object: each is as probable as it is and the other is not.
        rivals: groups of class ids that exclude each other in one place.
        max_detections: the best by score that are looked at in a frame.
        places: noise of places on the ground; None to leave them unknown, which is faster.
        boxes: noise of boxes.
        ego: how the own motion is guessed from the tracks, where a camera is known; None to do
            without.
    """

    high_score: float = 0.4
    low_score: float = 0.15
    birth_score: float = 0.45
    sure_score: float = 0.9
    report_score: float = 0.3
    keep_score: float = 0.1
    score_time_s: float = 0.25
    fade_odds_ps: float = 20.0
    tentative_unseen_s: float = 0.15
    max_coast_s: float = 0.8
    person_memory_s: float = 4.0
    max_gap_s: float = 2.0
    min_iou: float = 0.2
    min_iou_low: float = 0.5
    widening: float = 0.5
    max_widening_sizes: float = 0.4
    gate: float = 5.0
    gate_log_size_std: tuple[float, float] = (0.25, 0.05)
    max_log_height_change: float = 0.35
    gate_weight: float = 0.1
    duplicate_iou: float = 0.7
    double_iou: float = 1.0
    rival_iou: float = 0.3
    rivals: tuple[tuple[int, ...], ...] = ()
    max_detections: int = 1000
    places: GroundConfig | None = field(default_factory=GroundConfig)
    boxes: BoxMotionConfig = field(default_factory=BoxMotionConfig)
    ego: EgoConfig | None = field(default_factory=EgoConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.low_score <= self.high_score <= self.birth_score <= 1:
            raise ValueError(
                "TrackerConfig: expected 0 <= low_score <= high_score <= birth_score <= 1, given "
                f"{self.low_score}, {self.high_score}, {self.birth_score}"
            )
        if not 0 < self.keep_score <= self.report_score <= self.sure_score <= 1:
            raise ValueError(
                "TrackerConfig: expected 0 < keep_score <= report_score <= sure_score <= 1, given "
                f"{self.keep_score}, {self.report_score}, {self.sure_score}"
            )


# For calibrated probabilities, chosen on the ten KITTI tracking drives that are not among the usual
# validation drives, seen at 10, 5 and 2.5 Hz.
PROBABILITIES = TrackerConfig(
    high_score=0.35,
    low_score=0.05,
    birth_score=0.35,
    sure_score=0.67,
    report_score=0.45,
    keep_score=0.35,
    fade_odds_ps=60.0,
    min_iou=0.15,
    min_iou_low=0.6,
    max_widening_sizes=0.7,
    gate=4.0,
    gate_weight=0.15,
    places=None,
    boxes=BoxMotionConfig(
        log_size_std=0.055,
        pixel_std_px=0.8,
        centre_acceleration=(1.6, 0.9),
        log_size_acceleration=0.55,
        first_log_size_ps=0.55,
        correlation_s=0.07,
    ),
)
