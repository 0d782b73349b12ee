# A Tailscale client of one release for the container backend, to be named in HARNESS_CLIENT_IMAGE.
#
# The context is a folder with the release's static binaries `tailscale` and `tailscaled` (an entry of the
# harness's cache is one). With a registry the base is Debian's own image; without one, any local image that
# already holds the packages, such as the harness's debootstrap base:
#
#   docker build -f dockerfiles/client.Dockerfile -t client:1.102.4 FOLDER
#   docker build -f dockerfiles/client.Dockerfile -t client:1.102.4 --build-arg BASE=headscale-harness-base:TAG FOLDER
ARG BASE=debian:bookworm-slim
FROM ${BASE}

RUN command -v ip && command -v iptables && command -v nft && test -e /etc/ssl/certs/ca-certificates.crt || \
    { apt-get update && \
      apt-get install -y --no-install-recommends ca-certificates iproute2 iptables nftables && \
      rm -rf /var/lib/apt/lists/*; }

COPY tailscale tailscaled /usr/local/bin/

# The harness starts its own agent as process 1, and tailscaled through it; by itself the image runs a client.
ENTRYPOINT ["tailscaled", "--statedir=/var/lib/tailscale", "--no-logs-no-support"]
