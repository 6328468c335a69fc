"""The server as processes: data root, socket, signals, and one worker or several under uvicorn's supervisor."""

import asyncio
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app import logs, tls
from app.access.gate import is_loopback
from app.access.keys import Keys
from app.access.openid import provider_of
from app.access.sessions import Sessions
from app.access.watched import AccessError
from app.archive import ArchiveError, open_archive
from app.backup.contents import BackupError
from app.backup.restoring import require_no_half_restore
from app.connections import Bounds
from app.main import create_app
from app.plant import PlantError, load_plant
from app.protocol import BoundedProtocol
from app.settings import Settings
from app.store.database import DatabaseError
from app.store.migrate import migrate
from app.store.record import database_of
from app.store.soundness import require_sound
from model.errors import SteelsightError
from model.files import exclusive
from model.signing import public_keys

# A camera that sends a frame now and then should find its connection open.
KEEP_ALIVE_S = 75
BACKLOG = 2048
# Files, databases, processes and what a library opens.
DESCRIPTORS_BESIDE = 512
# A worker that does not answer its supervisor for so long is replaced. It answers only once it has started, and on a
# machine with other work that was seen to take more than uvicorn's own 5 s: each was killed before it could serve.
WORKER_HANGS_S = 60
# A certificate that ends sooner is spoken of at the start.
CERTIFICATE_SOON = timedelta(days=30)


class StartError(Exception):
    """Why the server cannot start, in one line."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight finish first. Raises `StartError`."""
    # From here on SIGTERM ends the process as Ctrl-C does. uvicorn takes both signals while it serves, and
    # raises them again once it is done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _data_root(settings):
        _require_guard(settings)
        _require_model_keys(settings)
        _require_tls(settings)
        _prepare_record(settings)
        _allow_descriptors(settings)
        _listen_and_serve(settings)


def _allow_descriptors(settings: Settings) -> None:
    """As many as all connections take, where the system lets us: at 1,024, its usual bound, none could be accepted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + DESCRIPTORS_BESIDE
    if soft < min(wanted, hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _listen_and_serve(settings: Settings) -> None:
    with _listen(settings) as listener:
        _announce(settings, listener)
        logs.configure(settings.log_level)
        config = _uvicorn_config(settings)
        try:
            if settings.workers == 1:
                uvicorn.Server(config).run([listener])
            else:
                _supervise(settings, config, listener)
        except KeyboardInterrupt:
            return


def worker_app(settings: Settings) -> FastAPI:
    """What each worker process runs."""
    logs.configure(settings.log_level)
    if supervisor := multiprocessing.parent_process():
        threading.Thread(target=_outlive_not, args=(supervisor,), daemon=True).start()
    return create_app(settings)


def _outlive_not(supervisor: BaseProcess) -> None:
    """Stop when the supervisor is killed: its lock on the data root is gone, and the port is not ours to keep."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _supervise(settings: Settings, config: uvicorn.Config, listener: socket.socket) -> None:
    # prometheus_client knows of other processes by this variable alone, which they inherit.
    folder = settings.home / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    supervisor = Multiprocess(config, [listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise StartError("a worker process failed to start; its log says why")


def _uvicorn_config(settings: Settings) -> uvicorn.Config:
    bounds = Bounds(settings.max_connections, settings.max_connections_per_address)
    return uvicorn.Config(
        # Workers are new processes: they get the settings pickled, whole, whatever their environment says.
        partial(worker_app, settings),
        factory=True,
        http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, bounds=bounds)),
        lifespan="on",
        ws="none",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        # Whoever connects is the client, unless it is a proxy that was named: no other header may say otherwise.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        ssl_context_factory=_tls(settings),
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        timeout_worker_healthcheck=WORKER_HANGS_S,
    )


@contextmanager
def _data_root(settings: Settings) -> Iterator[None]:
    """The data root, ours alone. The lock goes with the process, however it ends."""
    root = settings.home.resolve()
    with ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(root / "serve.lock", wait=False))
            require_no_half_restore(root)
            _models_folder(settings.models)
        except BackupError as error:
            raise StartError(str(error)) from error
        except BlockingIOError as error:
            raise StartError(
                f"another server runs on {root}, or a restore does; stop it, or give this one its own STEELSIGHT_HOME"
            ) from error
        except OSError as error:
            raise StartError(f"the data root {root} cannot be used: {error.strerror}") from error
        yield


def _models_folder(models: Path) -> None:
    """Versions are copied into it by hand. One that lies elsewhere and cannot be made is what /readyz speaks of."""
    with suppress(OSError):
        models.mkdir(exist_ok=True)


def _require_guard(settings: Settings) -> None:
    """Beyond this machine nobody is let in without a key, and a server that would let nobody in does not start."""
    try:
        provider_of(settings)
    except ValueError as error:
        raise StartError(str(error)) from error
    try:
        anybody = Keys(settings.home).require() or Sessions(settings.home).require()
    except AccessError as error:
        if settings.access != "open":
            raise StartError(str(error)) from error
        return
    if anybody or settings.access == "open" or (settings.access == "auto" and is_loopback(settings.host)):
        return
    where = f"to listen on {settings.host}" if settings.access == "auto" else "with STEELSIGHT_ACCESS=keys"
    raise StartError(
        f"there is no key, and {where} one is needed: make one with `python -m app keys create NAME --scope inspect "
        "read` (in a container: in the same volume), or set STEELSIGHT_ACCESS=open where another layer guards"
    )


def _require_model_keys(settings: Settings) -> None:
    """A server that is told to ask for signatures does not start without the keys to check them by."""
    try:
        public_keys(settings.model_public_keys)
    except SteelsightError as error:
        raise StartError(f"STEELSIGHT_MODEL_PUBLIC_KEYS: {error.message}") from error


def _require_tls(settings: Settings) -> None:
    """What is wrong with the certificate would stop every worker."""
    try:
        tls.context_of(settings.tls_certificate, settings.tls_key, "STEELSIGHT_TLS")
    except tls.TlsError as error:
        raise StartError(str(error)) from error


def _tls(settings: Settings) -> Callable[..., ssl.SSLContext] | None:
    """Made in each worker, which gets the settings pickled."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return partial(_encrypting, settings.tls_certificate, settings.tls_key)


def _encrypting(certificate: Path, key: Path, *_: object) -> ssl.SSLContext:
    return tls.context(certificate, key)


def _prepare_record(settings: Settings) -> None:
    """What would stop every worker is found here, once and in one line; the workers find the schema as they need it."""
    if settings.record == "off":
        return
    try:
        load_plant(settings.plant)
        open_archive(settings.archive).close()
        database = database_of(settings)
        if database.file is not None:
            require_sound(database.file)
        migrate(database)
        database.close()
    except (DatabaseError, ArchiveError, PlantError) as error:
        raise StartError(str(error)) from error


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        # `create_server` adds the address in its own words.
        reason = str(error.strerror).partition(" (")[0]
        raise StartError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; choose another with --port"
        ) from error


def _announce(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    print(f"Steelsight API  {address}/v1/inspect", file=sys.stderr)
    print(f"description     {address}/docs", file=sys.stderr)
    print(
        f"engine {settings.engine}, {settings.workers} worker(s), in each {settings.concurrency} thread(s) that decode "
        f"and inspect, engine threads for each of these: {settings.engine_threads or 'as many as it likes'}; "
        f"models in {settings.models}",
        file=sys.stderr,
        flush=True,
    )
    for line in _cautions(settings):
        print(f"caution: {line}", file=sys.stderr, flush=True)


def _cautions(settings: Settings) -> Iterator[str]:
    """What does not keep a server from starting, and should be known."""
    if settings.tls_certificate:
        ends = tls.ends_at(settings.tls_certificate)
        if (left := ends - datetime.now(UTC)) < CERTIFICATE_SOON:
            word = "ended" if left < timedelta() else "ends"
            yield f"the certificate {settings.tls_certificate} {word} {ends:%Y-%m-%d}"
    if is_loopback(settings.host):
        return
    if settings.access == "open":
        yield f"no key is asked for (STEELSIGHT_ACCESS=open), and {settings.host} is reached from other machines"
    elif not settings.tls_certificate and not settings.trusted_proxies:
        yield "keys travel unencrypted: set STEELSIGHT_TLS_CERTIFICATE and STEELSIGHT_TLS_KEY, or put a proxy before it"
