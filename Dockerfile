# Targets: `serve` (default) inspects with ONNX Runtime on a CPU; `gpu` inspects and trains with TensorFlow on CUDA.
# docs/operations.md says how to build and run them.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS install
RUN python3 -m venv --without-pip /opt/steelsight
WORKDIR /build

FROM install AS install-serve
COPY requirements-serve.lock .
RUN python3 -m pip --python /opt/steelsight/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
    --requirement requirements-serve.lock

FROM install AS install-gpu
COPY requirements-gpu.lock .
RUN python3 -m pip --python /opt/steelsight/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
    --requirement requirements-gpu.lock

FROM ${BASE_IMAGE} AS runtime
# The packages are found from any working directory; the data root is the one writable place.
ENV PATH=/opt/steelsight/bin:$PATH \
    PYTHONPATH=/srv/steelsight \
    PYTHONUNBUFFERED=1 \
    STEELSIGHT_HOME=/data \
    STEELSIGHT_HOST=0.0.0.0
# No program of the base image may give its caller more than the caller has.
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# A new volume takes its owner from the folder that it is mounted on; where the image has none it is root's.
RUN mkdir /data /backups && chown 10001:10001 /data /backups
VOLUME /data
WORKDIR /data
EXPOSE 8000
# Of the API. The desk, from the same image, is given a check of its own: docs/operations.md.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "app.health"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "app", "serve"]

FROM runtime AS gpu
COPY --from=install-gpu /opt/steelsight /opt/steelsight
COPY app /srv/steelsight/app
COPY model /srv/steelsight/model
COPY synthetic /srv/steelsight/synthetic
COPY training /srv/steelsight/training
# Compiled while the root can be written: a read-only container could not keep what it compiles.
RUN python -m compileall -q -j 0 /opt/steelsight /srv/steelsight || true
ENV STEELSIGHT_ENGINE=keras
USER 10001:10001

FROM runtime AS serve
COPY --from=install-serve /opt/steelsight /opt/steelsight
COPY app /srv/steelsight/app
COPY model /srv/steelsight/model
COPY synthetic /srv/steelsight/synthetic
RUN python -m compileall -q -j 0 /opt/steelsight /srv/steelsight
USER 10001:10001
