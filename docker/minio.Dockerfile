# The object store, run unmodified: built from source, or taken from another image.
ARG MINIO_IMAGE=from-source

# Its version is said in the Makefile alone; what else changes there must not build it anew.
FROM debian:bookworm-slim AS version
COPY Makefile .
RUN sed -n 's/^MINIO_VERSION := //p' Makefile > /version

FROM golang:1.26-bookworm AS build
COPY --from=version /version /version
# What one try has fetched stays for the next.
RUN for pause in 5 30 0; do \
      CGO_ENABLED=0 GOFLAGS=-ldflags=-s go install "github.com/minio/minio@$(cat /version)" && exit 0; \
      sleep "$pause"; \
    done; exit 1

FROM debian:bookworm-slim AS from-source
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /go/bin/minio /usr/local/bin/minio

FROM ${MINIO_IMAGE}
USER root
# A new volume takes over its owner.
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
ENTRYPOINT ["minio"]
