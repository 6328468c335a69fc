"""Is it well? What the server tells of itself -> findings: a light, the state in words, and what to do if not green.

Everything here is a pure function of replies, so that each sentence an operator may have to act on at night is tested.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from app.dashboard.pages.health_readings import Readings, percentile
from app.dashboard.pages.signs import TIMES
from app.dashboard.words import as_share, clock_ahead, late


class Light(IntEnum):
    """How bad, rising. Symbol and word stand beside the colour wherever a light is shown."""

    GREEN = 0
    AMBER = 1
    RED = 2

    @property
    def word(self) -> str:
        """What an operator calls it."""
        return ("well", "look at it", "act now")[self]


@dataclass(frozen=True)
class Finding:
    """One subject's state. advice: what to do; never missing unless the light is green."""

    subject: str
    light: Light
    state: str
    advice: str = ""

    def __post_init__(self) -> None:
        assert bool(self.advice) == (self.light is not Light.GREEN), self


# A frame that waits this long for a thread is late for most lines, and half way to nothing: the deadline is 10 s.
SLOW_QUEUE_S = 0.5
# Two of the desk's looks; and a line at its slowest still sends a frame every few seconds.
QUIET_CAMERA_S = 15.0

# By code of the refusal. What has no line here is a client's own doing, and its detail says what to mend.
ADVICE = {
    "overloaded": "More frames arrive than the server can judge: raise STEELSIGHT_WORKERS, choose a faster engine, or "
    "send fewer frames.",
    "deadline_exceeded": "Frames waited too long: raise STEELSIGHT_WORKERS or choose a faster engine.",
    "internal_error": "A fault of the server: its log has the whole of it under the request's id; hand that on.",
    "no_active_model": "Activate a version on the page Models.",
    "model_loading": "Wait: a version is being loaded.",
    "model_unavailable": "Activate another version on the page Models, or roll back.",
    "artifact_invalid": "A version's files are damaged: publish it anew, and activate another one meanwhile.",
    "engine_unavailable": "Set STEELSIGHT_ENGINE to a runtime that this machine has, and start the server anew.",
    "shutting_down": "The server was stopped while frames were in it; nothing to do if that was meant.",
    "record_unavailable": "If this server is to keep a record, look at its database's disk and connection, and at the "
    "server's log.",
    "archive_full": "Free space in the archive or raise its limit: see docs/operations.md.",
    "explain_unavailable": "The page Network needs a server with TensorFlow; inspections do not.",
    "decoder_unavailable": "No process could be started that decodes image files: look at the server's memory and log.",
    "keys_unavailable": "The files of keys and people cannot be read: look at `keys` in the data root, and its rights.",
    "provider_unavailable": "The OpenID provider does not answer: look at its address and the way to it.",
    "signing_key_invalid": "STEELSIGHT_MODEL_PUBLIC_KEYS or ..._SIGNING_KEY is wrong: see docs/operations.md.",
    "export_disagrees": "A version's fast form gives other verdicts than its model: publish it anew.",
}
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
GAPS = "Surface passed uninspected: the page Coil shows from where to where, and why as far as known."
LATE = (
    "Verdicts come too late to act on: more frames are taken than judged and they wait at their sender (raise "
    "STEELSIGHT_WORKERS, choose a faster engine, or send fewer frames), or the sender's clock is slow."
)
WRONG_CLOCK = "Set the sender's clock, or the server's: frames are said to come before they were taken."
CLIENTS_OWN = "Refused for what was sent, not for a fault here: the sending program was told each reason in words."
UNREACHABLE = "Start the server (`python -m app serve`), or correct the address that the desk was started with."


def advice_for(code: str) -> str:
    """What to do about refusals of that code.

    >>> advice_for("model_loading")
    'Wait: a version is being loaded.'
    >>> advice_for("image_corrupt") == CLIENTS_OWN
    True
    """
    return ADVICE.get(code, CLIENTS_OWN)


def unreachable(detail: str) -> Finding:
    """Nothing answers."""
    return Finding("Server", Light.RED, detail, UNREACHABLE)


def ready(reply: Mapping[str, Any]) -> Iterator[Finding]:
    """`GET /readyz`, 200: frames are inspected, if not always by the newest choice of model.

    >>> [found.state for found in ready({"model": {"version": "a", "engine": "onnx"}, "failure": None})]
    ['answers and inspects frames', 'a serves, engine onnx']
    """
    model = reply["model"]
    yield Finding("Server", Light.GREEN, "answers and inspects frames")
    serves = f"{model['version']} serves, engine {model['engine']}"
    if reply.get("failure"):
        advice = (
            "Inspection goes on as before. Activate a sound version on the page Models, or mend what is named here."
        )
        yield Finding("Model", Light.AMBER, f"{serves}; the newer choice does not: {reply['failure']}", advice)
    else:
        yield Finding("Model", Light.GREEN, serves)


def unready(code: str, detail: str) -> Iterator[Finding]:
    """`GET /readyz`, anything but 200: no frame is inspected."""
    yield Finding("Server", Light.GREEN, "answers")
    light = Light.AMBER if code == "model_loading" else Light.RED
    yield Finding("Model", light, f"no frame is inspected: {detail}", advice_for(code))


def workers(serving: list[tuple[str, str]]) -> Iterator[Finding]:
    """What all workers serve, (version, engine) each: a finding only while they do not agree.

    >>> list(workers([("a", "onnx")]))
    []
    """
    if len(serving) > 1:
        told = " and ".join(f"{version} ({engine})" for version, engine in serving)
        advice = "After a change this lasts two seconds. If it stays, a worker cannot load the new one: see the log."
        yield Finding("Workers", Light.AMBER, f"serve different versions: {told}", advice)


def shadow(models: Mapping[str, Any]) -> Finding:
    """Whether a second version scores along as it should.

    >>> shadow({"shadow": None, "shadow_failure": None}).state
    'no version shadows'
    """
    running, failure = models.get("shadow"), models.get("shadow_failure")
    if failure:
        return Finding(
            "Shadow", Light.AMBER, f"does not run: {failure}", "End it or choose another on the page Models; verdicts "
            "do not depend on it.",
        )  # fmt: skip
    if running is None:
        return Finding("Shadow", Light.GREEN, "no version shadows")
    state = f"{running['version']} scores {as_share(running['share'])} of the frames"
    if running["failed"]:
        return Finding(
            "Shadow", Light.AMBER, f"{state}; {running['failed']} it could not score",
            "End it on the page Models: the server's log says why it fails; verdicts do not depend on it.",
        )  # fmt: skip
    return Finding("Shadow", Light.GREEN, state)


def queue(now: Readings, lately: Readings) -> Finding:
    """Whether frames wait, and whether any had to be dropped lately."""
    waiting, working = int(now.total("steelsight_queue_depth")), int(now.total("steelsight_in_flight"))
    state = f"{_frames(waiting)} waiting, {working} in progress"
    dropped = {reason: int(count) for reason, count in lately.by("steelsight_dropped_total", "reason").items() if count}
    if left := {reason: count for reason, count in dropped.items() if reason != "client_left"}:
        return Finding("Queue", Light.RED, f"{state}; {_frames(sum(left.values()))} dropped, not inspected",
                       ADVICE["deadline_exceeded" if set(left) == {"deadline"} else "overloaded"])  # fmt: skip
    wait = percentile(lately.buckets("steelsight_stage_seconds", stage="queue"), 0.95)
    if wait is not None and wait > SLOW_QUEUE_S:
        state += f"; 5 % of the frames waited longer than {wait:.1f} s"
        return Finding("Queue", Light.AMBER, state, "The server is at its limit: " + _lowered(ADVICE["overloaded"]))
    if dropped:
        state += f"; {_frames(dropped['client_left'])} given up by their senders"
        return Finding("Queue", Light.AMBER, state, "A sender hung up before its answer: look at its time limit.")
    return Finding("Queue", Light.GREEN, state)


def refusals(lately: Readings) -> Finding:
    """Whether anything was refused lately, and the gravest of it."""
    counts = {code: int(count) for code, count in lately.by("steelsight_refusals_total", "code").items() if count}
    # A probe that asks before a model serves, or a wrong address typed by hand, harms no frame.
    harmful = {code: count for code, count in counts.items() if code not in ("not_found", "method_not_allowed")}
    if not harmful:
        return Finding("Refusals", Light.GREEN, "no frame refused of late")
    ours = {code: count for code, count in harmful.items() if code in ADVICE}
    gravest = max(ours or harmful, key=lambda code: harmful[code])
    state = ", ".join(f"{count} {TIMES} {code}" for code, count in sorted(harmful.items(), key=lambda item: -item[1]))
    return Finding("Refusals", Light.RED if ours else Light.AMBER, state, advice_for(gravest))


def record(reply: Mapping[str, Any], lately: Readings) -> Iterator[Finding]:
    """`GET /v1/record`: the database, its writer, the archive; with what failed lately."""
    database, archive, writer = reply["database"], reply["archive"], reply["writer"]
    kind = DATABASES.get(database["kind"], database["kind"])
    kept = f"{kind}, {count(database['inspections'])} inspections, {size(database['bytes'])}"
    state = f"{kept}; {count(writer['waiting'])} writes waiting"
    failed = int(lately.total("steelsight_record_failures_total"))
    lost = int(lately.total("steelsight_refused_frames_lost_total"))
    if failed:
        yield Finding("Record", Light.RED, f"{state}; {failed} could not be committed", ADVICE["record_unavailable"])
    elif lost:
        yield Finding(
            "Record", Light.AMBER, f"{state}; {_frames(lost)} refused without a note of it", ADVICE["overloaded"]
        )
    else:
        yield Finding("Record", Light.GREEN, state)
    held = f"{archive['kind']}, {count(archive['images'])} images, {size(archive['bytes'])}"
    free = archive.get("free_bytes")
    if free is not None:
        held += f", {size(free)} free"
    missing = int(lately.total("steelsight_images_not_kept_total"))
    if archive["full"]:
        yield Finding("Archive", Light.RED, f"full: {held}", ADVICE["archive_full"])
    elif missing:
        state = f"{held}; {missing} images could not be kept"
        yield Finding("Archive", Light.RED, state, "Look at the archive's disk or address, and at the server's log.")
    else:
        yield Finding("Archive", Light.GREEN, held)


def unrecorded(code: str, detail: str) -> Finding:
    """`GET /v1/record` was refused: amber, for a server that cannot write its record refuses frames, which is red."""
    return Finding("Record", Light.AMBER, detail, ADVICE.get(code, ADVICE["record_unavailable"]))


def camera(reply: Mapping[str, Any]) -> Finding:
    """One of `GET /v1/cameras`: does it send, in time, and did all of it arrive."""
    subject = f"Camera {reply['camera_id'] or 'without a name'}" + (f" ({reply['side']})" if reply.get("side") else "")
    quiet = reply.get("seconds_since_last")
    coil = f", coil {reply['coil_id']}" if reply.get("coil_id") else ""
    if quiet is not None and quiet > QUIET_CAMERA_S:
        return Finding(
            subject, Light.AMBER, f"silent for {duration(quiet)}",
            "If the line runs, look at the camera, its cable and the sending program; if it stands, all is as it "
            "should be.",
        )  # fmt: skip
    per_second = reply.get("frames_per_second")
    rate = (
        "sends" if per_second is None else f"{per_second:.1f} frames/s" if per_second >= 0.1 else "sends now and then"
    )
    lag = "" if reply.get("lag_ms") is None else f", {behind(reply['lag_ms'])}"
    # Of its last thousand frames, which may have been of several coils.
    missing = reply.get("gaps") or 0
    gaps = f"{missing or 'no'} {'gap' if missing == 1 else 'gaps'} of late"
    advice = [*([GAPS] if missing else []), *_untimely(reply.get("lag_ms"))]
    return Finding(subject, Light.AMBER if advice else Light.GREEN, f"{rate}{lag}{coil}; {gaps}", " ".join(advice))


def _untimely(lag_ms: float | None) -> Iterator[str]:
    """What to do where frames come late, or before they were taken."""
    if clock_ahead(lag_ms):
        yield WRONG_CLOCK
    elif late(lag_ms):
        yield LATE


def unlisted(detail: str) -> Finding:
    """`GET /v1/cameras` was refused."""
    return Finding("Cameras", Light.AMBER, detail, "What the cameras do is not known until this answers again.")


def worst(findings: list[Finding]) -> Light:
    """The gravest light of all.

    >>> worst([Finding("a", Light.GREEN, "fine"), Finding("b", Light.AMBER, "slow", "look")]).word
    'look at it'
    """
    return max((found.light for found in findings), default=Light.GREEN)


def count(number: float) -> str:
    """A whole number as people read it.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,.0f}"


def size(number: float | None) -> str:
    """Bytes as people read them, in powers of ten as disks are sold.

    >>> size(532), size(1_480_000_000), size(None)
    ('532 B', '1.5 GB', 'size unknown')
    """
    if number is None:
        return "size unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """How long, in the unit an operator would use.

    >>> duration(42), duration(600), duration(7300), duration(200_000)
    ('42 s', '10 min', '2.0 h', '2.3 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def behind(lag_ms: float) -> str:
    """From the capture of a frame to its receipt; before it is what a clock says that is wrong.

    >>> behind(212.4), behind(9_100), behind(5_186_209_471.7), behind(-84_190_568.9)
    ('212 ms behind', '9 s behind', '60.0 days behind', 'its clock 23.4 h ahead')
    """
    if clock_ahead(lag_ms):
        return f"its clock {duration(-lag_ms / 1000)} ahead"
    return f"{lag_ms:.0f} ms behind" if lag_ms < 1000 else f"{duration(lag_ms / 1000)} behind"


def _frames(number: int) -> str:
    return f"{count(number)} {'frame' if number == 1 else 'frames'}"


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
