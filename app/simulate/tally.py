"""What became of the frames, while they are sent and at the end: in words and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.simulate.plan import Gap, Plan, Take
from app.simulate.planting import Period, Planted

VERDICTS = ("ok", "review", "defect")
# Behind by less than this, a line and its server keep up: frames wait for one another at times.
KEEPS_UP_S = 1.0


@dataclass
class Tally:
    """Counts of one run. A frame is sent once, however often it must be tried.

    given_up: frames that no answer came for within the patience. lag_s: how long after its moment the last frame
    left; longest_lag_s: any.
    """

    sent: int = 0
    megapixels: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    given_up: list[Take] = field(default_factory=list)
    retries: int = 0
    passed_mm: float = 0.0
    lag_s: float = 0.0
    longest_lag_s: float = 0.0

    def leaves(self, take: Take, pixels: int, lag_s: float) -> None:
        """A frame is sent for the first time."""
        self.sent += 1
        self.megapixels += pixels / 1e6
        self.passed_mm = max(self.passed_mm, take.end_mm)
        self.lag_s = lag_s
        self.longest_lag_s = max(self.longest_lag_s, lag_s)

    @property
    def answered(self) -> bool:
        """Whether each frame that was sent has a verdict."""
        return self.verdicts.total() == self.sent

    def line(self, plan: Plan, elapsed_s: float) -> str:
        """How far it is, on one line.

        >>> from app.simulate.plan import Camera
        >>> plan = Plan((Camera(0, "top-1", "top", [500] * 100),), 1.0, 2000.0)
        >>> Tally(sent=8, megapixels=4.2, verdicts=Counter(ok=7, defect=1), passed_mm=3500.0).line(plan, 2.0)
        '3.5 of 50 m, 8 frames, 2.1 Mpx/s: 7 ok, 0 review, 1 defect'
        """
        rate = self.megapixels / elapsed_s if elapsed_s else 0.0
        told = f"{self.passed_mm / 1000:.1f} of {plan.length_mm / 1000:g} m, {self.sent} frames, {rate:.1f} Mpx/s: "
        told += ", ".join(f"{self.verdicts[verdict]} {verdict}" for verdict in VERDICTS)
        for count, name in ((self.refused.total(), "refused"), (len(self.given_up), "without an answer")):
            told += f", {count} {name}" if count else ""
        return told + (f", {self.lag_s:.1f} s behind" if self.lag_s >= KEEPS_UP_S else "")


@dataclass(frozen=True)
class Summary:
    """A run and what was true of its coil, to be held against the record."""

    coil_id: str
    plan: Plan
    tally: Tally
    planted: Sequence[Planted]
    period: Period | None
    seconds: float
    interrupted: bool

    @property
    def gaps(self) -> list[Gap]:
        """What nobody got to see, as planned."""
        return self.plan.gaps()

    def words(self) -> str:
        """Some lines for a person."""
        lines = [f"coil {self.coil_id}: {self.tally.line(self.plan, self.seconds)}", *self._planted(), *self._gaps()]
        if self.tally.refused:
            codes = ", ".join(f"{count} {code}" for code, count in self.tally.refused.most_common())
            lines.append(f"refused: {codes}")
        if self.tally.given_up:
            lines.append(f"without an answer, and given up: {_sequences(self.tally.given_up)}")
        if self.tally.longest_lag_s >= KEEPS_UP_S:
            lines.append(f"fell up to {self.tally.longest_lag_s:.1f} s behind the line; no frame was left out for it")
        if self.interrupted:
            lines.append("stopped before the end; the coil is left open")
        return "\n".join(lines)

    def told(self) -> dict[str, Any]:
        """One JSON object: `frames` as they went, the rest as it was planned.

        lost (of `frames`): without an answer. given_up: which. gaps: stopped cameras, and frames never sent.
        """
        tally = self.tally
        return {
            "coil_id": self.coil_id,
            "length_mm": self.plan.length_mm,
            "mm_per_pixel": self.plan.mm_per_pixel,
            "speed_m_s": self.plan.speed_mm_s / 1000,
            "cameras": [{"camera_id": one.camera_id, "side": one.side} for one in self.plan.cameras],
            "frames": {
                "planned": self.plan.frames,
                "sent": tally.sent,
                **{verdict: tally.verdicts[verdict] for verdict in VERDICTS},
                "refused": tally.refused.total(),
                "lost": len(tally.given_up),
                "retries": tally.retries,
            },
            "refused_by_code": dict(tally.refused),
            "given_up": [{"camera_id": take.camera.camera_id, "sequence": take.sequence} for take in tally.given_up],
            "planted": [asdict(one) for one in self.planted],
            "period": self.period and asdict(self.period),
            "gaps": [asdict(gap) for gap in self.gaps],
            "seconds": round(self.seconds, 3),
            "megapixels": round(tally.megapixels, 3),
            "longest_lag_s": round(tally.longest_lag_s, 3),
            "interrupted": self.interrupted,
        }

    def _planted(self) -> list[str]:
        scattered = [planted for planted in self.planted if not planted.periodic]
        lines = []
        if scattered:
            classes = Counter(planted.defect_class for planted in scattered)
            named = ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))
            lines.append(f"planted: {len(scattered)} defects ({named})")
        if self.period:
            lines.append(
                f"planted: one that returns every {self.period.interval_mm:g} mm under {self.period.camera_id}, "
                f"{self.period.across_mm:g} mm from its first column, {self.period.repeats} times"
            )
        return lines

    def _gaps(self) -> list[str]:
        words = {"stopped": "camera stopped", "lost": "lost on the way"}
        return [
            f"{words[gap.why]}: {gap.frames} frames of {gap.camera_id}, {gap.first_sequence} to {gap.last_sequence}, "
            f"{gap.from_mm / 1000:g} to {gap.to_mm / 1000:g} m"
            for gap in self.gaps
        ]


def _sequences(takes: Sequence[Take]) -> str:
    """The first few by name; a list of thousands helps nobody, and JSON has them all."""
    named = ", ".join(f"{take.camera.camera_id} {take.sequence}" for take in takes[:10])
    return named + (f" and {len(takes) - 10} more" if len(takes) > 10 else "")
