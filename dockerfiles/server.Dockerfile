# The server: as a user of its own, on a root file system that may be read-only, with a health check.
#
# The context holds `headscale-*.whl` and `slim-root`, and the wheels of all dependencies when no package index can be
# reached (dockerfiles/build-server makes such a context, with or without a registry):
#
#   docker build -f dockerfiles/server.Dockerfile -t headscale CONTEXT
#   docker build -f dockerfiles/server.Dockerfile -t headscale --build-arg BASE=IMAGE CONTEXT
#
# BASE needs Python 3.11 or newer with venv and pip, and ca-certificates. Nothing of it is in the image but what
# slim-root takes.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
LABEL headscale.stage=build
COPY . /wheels
RUN python3 -m venv /opt/headscale && \
    if ls /wheels/aiohttp-*.whl >/dev/null 2>&1; then offline="--no-index --find-links /wheels"; fi && \
    wheel=$(ls /wheels/headscale-*.whl) && \
    /opt/headscale/bin/pip install --no-cache-dir --disable-pip-version-check $offline "$wheel[acme,postgres]" && \
    /opt/headscale/bin/python -m compileall -q -j 0 /opt/headscale/lib && \
    python3 /wheels/slim-root /opt/headscale /slim && \
    install -d -o 10001 -g 10001 -m 0700 /owned/headscale

FROM scratch
COPY --from=build /slim /
COPY --from=build --chown=10001:10001 /owned /var/lib
ENV PATH=/opt/headscale/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    HOME=/var/lib/headscale \
    HEADSCALE_DATA_DIR=/var/lib/headscale \
    HEADSCALE_UNIX_SOCKET=/var/lib/headscale/headscale.sock
USER 10001:10001
WORKDIR /var/lib/headscale
VOLUME /var/lib/headscale
EXPOSE 8080/tcp 8443/tcp 3478/udp
HEALTHCHECK --interval=30s --timeout=15s --start-period=20s CMD ["headscale", "health"]
ENTRYPOINT ["headscale"]
CMD ["serve"]
