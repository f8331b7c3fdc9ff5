# The MLflow server of deploy/compose.yaml, with what it needs for PostgreSQL and S3:
# docker build --file deploy/mlflow.Dockerfile --tag kidney-mlflow .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE}
COPY constraints.txt /src/
RUN python3 -m pip install --no-cache-dir --no-compile --root-user-action ignore \
    --constraint /src/constraints.txt mlflow boto3 "psycopg[binary]==3.3.9"
# MLflow keeps small files in its home and beside where it runs.
ENV HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=6 CMD ["python3", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "2"]
