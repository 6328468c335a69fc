"""What a server is told from outside: flags and `STEELSIGHT_*` variables -> one frozen object.

The environment is handed in, so that what a server does follows from what this module was given.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from model.choices import EngineChoice, MaxPixels, MinSide, Stride
from model.image import DEFAULT_LIMITS, Limits

PREFIX = "STEELSIGHT_"
# Variables of the same prefix that belong to the tests, to clients or to whoever publishes, not to a server.
FOREIGN = frozenset(
    {
        "STEELSIGHT_TEST_DATA",
        "STEELSIGHT_TEST_KILLS",
        "STEELSIGHT_TEST_CUTS",
        "STEELSIGHT_MODEL_SIGNING_KEY",
        "STEELSIGHT_KEY",
        "STEELSIGHT_DESK_KEY",
        "STEELSIGHT_CA",
        "STEELSIGHT_DESK_URL",
        "STEELSIGHT_OIDC_CLIENT_SECRET",
    }
)
DATABASE_URL = "DATABASE_URL"


class SettingsError(Exception):
    """One line that names every setting that is unknown or invalid, what was received and what is expected."""


def addresses(given: str) -> str:
    """The addresses of proxies, without spaces and without what is empty between commas.

    >>> addresses("10.0.0.5, 10.0.0.0/28"), addresses(", ")
    ('10.0.0.5,10.0.0.0/28', '')

    Raises ValueError.
    """
    named = [one for one in given.replace(" ", "").split(",") if one]
    for one in named:
        try:
            everyone = ip_network(one, strict=False).prefixlen == 0
        except ValueError:
            everyone = True
        if everyone:
            raise ValueError(f"{one!r} is no address or network of proxies, such as 10.0.0.5 or 10.0.0.0/28")
    return ",".join(named)


# What is larger is a slip of the pen or a mistaken unit, and something below would end: the calendar, on which days and
# seconds are counted back from now, an array's size, a file's offset.
MOST_DAYS = 36_500
Days = Annotated[float, Field(ge=0, le=MOST_DAYS)]
Seconds = Annotated[float, Field(gt=0, le=MOST_DAYS * 86_400)]
# Bytes of a body, which lie in memory; bytes that an archive keeps, 0 for no bound.
Size = Annotated[int, Field(ge=1, le=2**40)]
KeptBytes = Annotated[int, Field(ge=0, le=2**50)]
# Connections, and frames at a time.
Count = Annotated[int, Field(le=1_000_000)]


class Settings(BaseModel):
    """Everything that can be set. A field `port` is the variable `STEELSIGHT_PORT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(Path("var"), description="The data root. One server per root.")
    models: Path = Field(
        default_factory=lambda known: Path(known["home"]) / "models",
        description="Folder of model versions; `home`/models unless set.",
    )
    model_public_keys: str | None = Field(
        None,
        description="Files of Ed25519 public keys (PEM), separated by commas; if set, a version serves only with a "
        "signature of one of them.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every IPv4 interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")
    workers: int = Field(1, ge=1, le=256, description="Processes; each has its own model, threads and limits.")
    engine: EngineChoice = Field(
        "auto",
        description="Runtime that computes logits; `auto` is the GPU's where there is one, else the fastest with the "
        "model's verdicts.",
    )
    engine_threads: int = Field(
        1, ge=0, le=256, description="Threads inside the engine for one frame; 0 lets the runtime choose."
    )
    stride: Stride | None = Field(None, description="Pixels between tiles; unset takes the artifact's own.")
    max_pixels: MaxPixels = Field(
        DEFAULT_LIMITS.max_pixels, description="Largest frame in pixels, as sent and as scored."
    )
    min_side: MinSide = Field(DEFAULT_LIMITS.min_side, description="Shortest side of a frame in pixels.")
    max_body_bytes: Size = Field(128 * 1024 * 1024, description="Largest request body; 128 MiB holds 64 Mpx of Mono16.")
    body_seconds: float = Field(30, gt=0, le=3600, description="Time in which a whole body must have arrived.")
    max_connections: Count = Field(
        4096, ge=0, description="Open connections of one worker; a further one is answered 503 and closed. 0: no bound."
    )
    max_connections_per_address: Count = Field(
        1024,
        ge=0,
        description="Of these, from one address (of IPv6, one network of 64 bits); 0: no bound, for servers behind a "
        "proxy.",
    )
    max_in_flight: Count = Field(
        64, ge=1, description="Inspections in one worker at a time; past it `overloaded` is answered at once."
    )
    max_batch_images: Count = Field(
        32, ge=1, description="Most images of one batch request; each holds one of the `max_in_flight` places."
    )
    deadline_ms: float = Field(
        10_000,
        gt=0,
        le=3_600_000,
        description="From a request's headers on; an inspection not begun by then is dropped: `deadline_exceeded`.",
    )
    concurrency: int = Field(
        default_factory=lambda known: _threads(known["workers"], known["engine_threads"]),
        ge=1,
        le=256,
        description="Threads of one worker that decode and inspect; unless set, its share of the processor's cores "
        "over `engine_threads`.",
    )
    decode: Literal["isolated", "inside"] = Field(
        "isolated",
        description="Where image files are decoded: `isolated` in processes that are bounded in memory and time and "
        "may die of a file, `inside` in the server's own threads.",
    )
    record: Literal["on", "off"] = Field(
        "on", description="`off` keeps nothing of what was inspected: where another system keeps the record."
    )
    database_url: str | None = Field(
        None,
        # It may hold a password, which nothing shows that shows settings.
        repr=False,
        description="Where the record is kept, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; also read from "
        "DATABASE_URL. Unset, it is a file in `home`.",
    )
    archive: str = Field(
        default_factory=lambda known: str(Path(known["home"]) / "archive"),
        description="Where images are kept: a folder, or an s3:// URL; `home`/archive unless set.",
    )
    archive_max_bytes: KeptBytes = Field(0, description="Most bytes of images; 0 is as many as there is room for.")
    archive_when_full: Literal["refuse", "continue-without-image"] = Field(
        "continue-without-image", description="What becomes of a frame whose image cannot be kept."
    )
    sample_ok: float = Field(
        0.01, ge=0, le=1, description="Share of `ok` frames drawn at random, whose images are kept for review."
    )
    sample_called: float = Field(
        0.1, ge=0, le=1, description="Share of `review` and `defect` frames drawn at random for the overkill estimate."
    )
    keep_ok_days: Days = Field(30, description="How long images of `ok` frames are kept; 0 is for ever.")
    keep_review_days: Days = Field(365, description="How long images of `review` frames are kept.")
    keep_defect_days: Days = Field(730, description="How long images of `defect` frames are kept.")
    keep_ok_bytes: KeptBytes = Field(0, description="Most bytes of images of `ok` frames, the oldest go; 0: no bound.")
    keep_review_bytes: KeptBytes = Field(0, description="Most bytes of images of `review` frames.")
    keep_defect_bytes: KeptBytes = Field(0, description="Most bytes of images of `defect` frames.")
    coil_idle_seconds: Seconds = Field(600, description="A coil of which no frame came for so long is closed.")
    plant: Path = Field(
        default_factory=lambda known: Path(known["home"]) / "plant.toml",
        description="What the plant says of its cameras, rolls and acceptance; `home`/plant.toml unless set.",
    )
    tls_certificate: Path | None = Field(
        None, description="File with the server's certificate and its chain, in PEM; with it the API speaks HTTPS."
    )
    tls_key: Path | None = Field(None, description="File with the certificate's key, in PEM, without a password.")
    trusted_proxies: Annotated[str, AfterValidator(addresses)] = Field(
        "",
        description="Addresses or networks, with commas between, of proxies whose X-Forwarded-For and -Proto count.",
    )
    access: Literal["auto", "keys", "open"] = Field(
        "auto",
        description="`auto` asks for keys once there is one, and always beyond loopback; `keys` asks always; `open` "
        "never, where another layer guards.",
    )
    rate_per_minute: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests a minute of a key that has no rate of its own, in each worker; 0 is no bound.",
    )
    oidc_issuer: str | None = Field(
        None, pattern=r"^https?://[^\s?#]+$", description="Address of the OpenID provider that people sign in at."
    )
    oidc_client_id: str | None = Field(None, description="What the provider calls this installation.")
    oidc_name_claim: str = Field("preferred_username", description="Claim of the ID token that names the person.")
    oidc_role_claim: str = Field(
        "roles", description="Claim with the person's groups or roles; a dot leads into it: `realm_access.roles`."
    )
    oidc_roles: str = Field(
        "steelsight-viewer=viewer,steelsight-reviewer=reviewer,steelsight-admin=admin",
        pattern=r"^[^=,]+=(viewer|reviewer|admin)(,[^=,]+=(viewer|reviewer|admin))*$",
        description="What a value of that claim makes of a person; of several the role that may do most.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    shutdown_seconds: int = Field(
        30, ge=0, le=3600, description="Time for requests in flight to finish after SIGTERM or Ctrl-C."
    )

    @property
    def limits(self) -> Limits:
        """What `model.image` accepts."""
        return Limits(max_pixels=self.max_pixels, min_side=self.min_side)


def _threads(workers: int, engine_threads: int) -> int:
    """As many as keep every core busy and none waiting: each thread calls the engine, which brings its own."""
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // (workers * (engine_threads or cores)))


def load(environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from variables and from flags, which win. An empty variable counts as not set.

    flags: values by field name; None means that the flag was not given.

    >>> load({"STEELSIGHT_PORT": "9000"}).port
    9000
    >>> load({"STEELSIGHT_PROT": "9000"})
    Traceback (most recent call last):
    app.settings.SettingsError: STEELSIGHT_PROT is not a setting; did you mean STEELSIGHT_PORT?

    Raises `SettingsError`.
    """
    variables = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in FOREIGN and value
    }
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    # Where a platform hands a database to a program, this is what it calls it.
    if environ.get(DATABASE_URL):
        variables.setdefault("database_url", environ[DATABASE_URL])
    try:
        return Settings.model_validate(variables | given)
    except ValidationError as error:
        # A default that follows from a wrong setting is no mistake of its own.
        mistakes = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        raise SettingsError("; ".join(_complaint(dict(each), given) for each in mistakes)) from None


def _complaint(error: Mapping[str, Any], flags: Mapping[str, object]) -> str:
    (field,) = error["loc"]
    name = f"--{field}" if field in flags else f"{PREFIX}{field.upper()}"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(field, Settings.model_fields, n=1)
        return f"{name} is not a setting" + (f"; did you mean {PREFIX}{near[0].upper()}?" if near else "")
    expected = error["msg"].removeprefix("Value error, ")
    expected = expected[0].lower() + expected[1:]
    return f"{name}: received {error['input']!r}; {expected}"
