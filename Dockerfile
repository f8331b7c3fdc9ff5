# docker build --target server ...       the server; it fetches its model at start
# docker build --target with-model ...   the same with models/kidney.onnx inside
# docs/container.md explains both.

# The Debian and the Python that the tests ran with. A release pins its base by digest:
# --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements requirements
# Extras of pyproject.toml, separated by commas: s3 to fetch models of s3://, verify for signatures.
ARG EXTRAS=
# What the package needs, each file by its hash, without its code, so that this layer of 190 MB
# changes with the lock alone and a push of new code sends 1 MB.
RUN python3 -m venv --without-pip /opt/venv \
    && IFS=, && for part in server $EXTRAS; do \
        python3 -m pip --python /opt/venv/bin/python3 install --no-cache-dir --no-compile \
            --only-binary :all: --require-hashes --requirement "requirements/$part.txt" || exit 1; \
    done \
    && python3 -m pip install --no-cache-dir --root-user-action ignore --only-binary :all: \
        --require-hashes --requirement requirements/build.txt
# imagecodecs brings 60 codecs in 79 MB. The server calls two of them, JPEG Lossless and
# JPEG-LS of DICOM files. The others go; if one of the two needs them, the build fails here.
RUN packages=$(echo /opt/venv/lib/python3.*/site-packages) \
    && find "$packages/imagecodecs" -name '_*.so' ! -name '_shared*' \
        ! -name '_jpeg8.*' ! -name '_jpegls.*' -delete \
    && find "$packages/imagecodecs.libs" -type f \
        ! -name 'libjpeg-*' ! -name 'libcharls-*' -delete \
    && /opt/venv/bin/python3 -c 'import imagecodecs as codecs, numpy as np; \
ramp = np.arange(4096, dtype="u2").reshape(64, 64); \
lossless = codecs.jpeg8_encode(ramp, lossless=True, bitspersample=16); \
assert (codecs.jpeg8_decode(lossless) == ramp).all(); \
assert (codecs.jpegls_decode(codecs.jpegls_encode(ramp)) == ramp).all()'
COPY pyproject.toml README.md LICENSE ./
COPY kidney kidney
RUN python3 -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python3 -m pip install --no-cache-dir --no-compile --no-deps --target /app /wheels/*.whl
# Bytecode of the modules that a start imports: 11 MB save one second per start. All of it would be
# 42 MB.
RUN PYTHONPATH=/app /opt/venv/bin/python3 -c 'import kidney.remote.fetch_model, kidney.serving.app, kidney.serving.process.run'

FROM ${PYTHON_IMAGE} AS server
# The installers have no work here and make most of a scanner's findings. A new volume takes over
# the owner of /models.
RUN python3 -m pip uninstall --yes --root-user-action ignore wheel setuptools pip \
    && install --directory --owner 10001 --group 10001 /models
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# Disable the telemetry of onnxruntime.
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
# Not in /models: an old volume there would hide the new model.
ARG MODEL=models/kidney.onnx
COPY --chmod=0444 ${MODEL} /srv/kidney.onnx
ENV KIDNEY_MODEL=/srv/kidney.onnx
# A damaged or foreign file fails the build; the log shows its card.
RUN ["python3", "-m", "kidney.artifact", "/srv/kidney.onnx"]
