# The server: slim, as a user of its own, with a health check.
#
# The context holds `headscale-*.whl`, and with it the wheels of all dependencies when no package index can be
# reached (dockerfiles/build-server makes such a context, with or without a registry):
#
#   docker build -f dockerfiles/server.Dockerfile -t headscale CONTEXT
#   docker build -f dockerfiles/server.Dockerfile -t headscale --build-arg BASE=IMAGE CONTEXT
#
# BASE needs Python 3.11 or newer with venv and pip.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
COPY . /wheels
RUN python3 -m venv /opt/headscale && \
    if ls /wheels/aiohttp-*.whl >/dev/null 2>&1; then offline="--no-index --find-links /wheels"; fi && \
    /opt/headscale/bin/pip install --no-cache-dir --disable-pip-version-check $offline /wheels/headscale-*.whl && \
    /opt/headscale/bin/python -m compileall -q /opt/headscale/lib && \
    rm -rf /opt/headscale/lib/python3*/site-packages/pip /opt/headscale/bin/pip*

FROM ${BASE}
COPY --from=build /opt/headscale /opt/headscale
ENV PATH=/opt/headscale/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADSCALE_DATA_DIR=/var/lib/headscale \
    HEADSCALE_UNIX_SOCKET=/var/run/headscale/headscale.sock
RUN groupadd --system --gid 10001 headscale && \
    useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/headscale \
        --shell /usr/sbin/nologin headscale && \
    install -d -o headscale -g headscale -m 0700 /var/lib/headscale && \
    install -d -o headscale -g headscale -m 0750 /var/run/headscale
USER headscale
VOLUME /var/lib/headscale
EXPOSE 8080/tcp 8443/tcp 3478/udp
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["headscale", "health"]
ENTRYPOINT ["headscale"]
CMD ["serve"]
