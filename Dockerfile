# docker build --target server ...       the server, which fetches its model when it starts
# docker build --target with-model ...   the same with artifacts/kidney.onnx inside
# docs/container.md says how to build and run both.

# Debian and Python are those that the tests ran with. A release is built from one very image:
# --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# The package without its code: so this layer of 300 MB changes with the lock alone, and a push of
# new code sends 1 MB.
RUN touch README.md LICENSE \
    && python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python3 install --no-cache-dir --no-compile \
        --constraint constraints.txt '.[s3,verify]' \
    && python3 -m pip --python /opt/venv/bin/python3 uninstall --yes kidney-tumor-identification
COPY README.md LICENSE ./
COPY kidney kidney
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python3 -m pip install --no-cache-dir --no-compile --no-deps --target /app /wheels/*.whl
# The bytecode of what a start imports: 11 MB for a second less of each. That of all would be 42.
RUN PYTHONPATH=/app /opt/venv/bin/python3 -c 'import kidney.remote.fetch_model, kidney.serving.app, kidney.serving.process.run'

FROM ${PYTHON_IMAGE} AS server
# What installs packages has no work here, and would be most of what a scanner finds. The folder is
# for a volume: a new one takes over its owner.
RUN python3 -m pip uninstall --yes --root-user-action ignore wheel setuptools pip \
    && install --directory --owner 10001 --group 10001 /models
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# onnxruntime would report its use to its maker.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    ORT_DISABLE_TELEMETRY=1 \
    KIDNEY_MODEL=/models/kidney.onnx \
    KIDNEY_HOST=0.0.0.0 \
    KIDNEY_PORT=8000
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-m", "kidney.serving.monitoring.probe"]
CMD ["python3", "-m", "kidney.serving"]
ARG SOURCE=unknown
ARG REVISION=unknown
ARG VERSION=unknown
ARG LICENSES=Apache-2.0
LABEL org.opencontainers.image.title="Kidney Tumor Identification System" \
    org.opencontainers.image.source=${SOURCE} \
    org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.version=${VERSION} \
    org.opencontainers.image.licenses=${LICENSES}

FROM server AS with-model
# Beside the folder for volumes: an old volume there must not hide a new model.
COPY --chmod=0444 artifacts/kidney.onnx /srv/kidney.onnx
ENV KIDNEY_MODEL=/srv/kidney.onnx
# A damaged or foreign file fails the build; what it is stands in its log.
RUN ["python3", "-m", "kidney.artifact", "/srv/kidney.onnx"]
