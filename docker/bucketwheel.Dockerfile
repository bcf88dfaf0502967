# Our own processes, intake, worker and Flower, and the command line.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
RUN python -m venv /usr/local/lib/bucketwheel
ENV PATH=/usr/local/lib/bucketwheel/bin:$PATH \
    PIP_DEFAULT_TIMEOUT=180
WORKDIR /source
# What ours needs comes first: it changes seldom.
COPY setup.py pyproject.toml README.md ./
RUN pip install --no-cache-dir .
COPY broker broker
COPY bucketwheel bucketwheel
COPY storage storage
COPY workers workers
RUN pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:${PYTHON_VERSION}-slim-bookworm
# Debian's packages that functions need: nodejs, default-jre-headless, ffmpeg.
ARG PACKAGES=""
RUN if [ -n "$PACKAGES" ]; then \
      apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi
RUN useradd --uid 10001 --home-dir /data --no-create-home bucketwheel \
 && mkdir /data && chown bucketwheel:bucketwheel /data
# Below /usr, which is what functions see of the system.
COPY --from=build /usr/local/lib/bucketwheel /usr/local/lib/bucketwheel
RUN if command -v java; then /usr/local/lib/bucketwheel/bin/bucketwheel runtimes install java; fi
ENV PATH=/usr/local/lib/bucketwheel/bin:$PATH \
    BUCKETWHEEL_DATA=/data \
    PYTHONUNBUFFERED=1
USER bucketwheel
WORKDIR /data
ENTRYPOINT ["bucketwheel"]
