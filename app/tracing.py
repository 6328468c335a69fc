"""OpenTelemetry traces, when the standard `OTEL_` variables name a receiver; nothing of it is imported otherwise.

A request is a span, which follows the caller's `traceparent`; the stages of an inspection are spans below it.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from app.requests import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span, TracerProvider
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE = "steelsight"
# FastAPI has traces, metrics and logs of its own, which a variable could switch on: its spans would come twice and know
# nothing of stages, its log records hold what clients sent.
FRAMEWORKS_OWN: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def configured(environ: Mapping[str, str]) -> bool:
    """Whether traces are asked for: an endpoint is named, and nothing says no.

    >>> configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}), configured({})
    (True, False)
    >>> configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"})
    False
    """
    refused = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return not refused and exporter == "otlp" and any(environ.get(name) for name in ENDPOINTS)


class TracingMiddleware:
    """A span for every request, sent in batches by a thread of the library's own. Outermost of all."""

    def __init__(self, app: ASGIApp, environ: Mapping[str, str]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app = app
        self._provider = _provider(environ)
        self._tracer = self._provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            # What is waiting is sent, which may take as long as the receiver does.
            await asyncio.to_thread(self._provider.shutdown)
            return
        started_ns = time.time_ns()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span: Any = self._tracer.start_span(
            scope["method"], context=self._propagator.extract(headers), start_time=started_ns
        )
        try:
            await self.app(scope, receive, send)
        finally:
            if span.is_recording():
                record = scope["state"]["record"]
                _describe(span, scope, record)
                _stages(self._tracer, span, record, started_ns)
            span.end()


def _provider(environ: Mapping[str, str]) -> "TracerProvider":
    """The library reads endpoint, headers, sampler and batch sizes from the same variables by itself."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _describe(span: "Span", scope: Scope, record: RequestRecord) -> None:
    """What the request's log line says, in OpenTelemetry's words where it has some."""
    from opentelemetry.trace import StatusCode

    route = getattr(scope.get("route"), "path", None)
    attributes = {
        "http.request.method": scope["method"],
        "http.route": route,
        "http.response.status_code": record.status,
        "error.type": record.code,
        "steelsight.request_id": record.request_id,
        "steelsight.verdict": record.verdict,
        "steelsight.model_version": record.version,
    }
    span.update_name(f"{scope['method']} {route}" if route else scope["method"])
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if record.status >= 500:
        span.set_status(StatusCode.ERROR)


def _stages(tracer: "Tracer", span: "Span", record: RequestRecord, started_ns: int) -> None:
    """A span for each stage of an inspection. They were measured as durations, and are laid end to end backwards from
    the moment of the reply; before them the body was received.
    """
    if record.stages is None:
        return
    from opentelemetry.trace import set_span_in_context

    context = set_span_in_context(span)
    queue, decode, inference, store, total = (round(seconds * 1e9) for seconds in record.stages)
    end = started_ns + total
    for name, duration in (("store", store), ("inference", inference), ("decode", decode), ("queue", queue)):
        start = max(started_ns, end - duration)
        tracer.start_span(name, context, start_time=start).end(end)
        end = start
    tracer.start_span("receive", context, start_time=started_ns).end(end)
