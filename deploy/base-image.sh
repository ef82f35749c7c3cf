#!/usr/bin/env bash
# Make the base image that the node and control-plane images start from: Debian trixie with Python 3.13, etcd and
# the network tools. Where Docker Hub can be reached its Debian image is used; elsewhere debootstrap makes the same.
set -euo pipefail

IMAGE=${1:-kubeto/base:trixie}
PACKAGES=(python3 python3-venv etcd-server etcd-client nftables iproute2 conntrack kmod procps ca-certificates)

docker image inspect "$IMAGE" >/dev/null 2>&1 && exit 0

from_registry() {
  timeout 120 docker pull -q debian:trixie-slim >/dev/null 2>&1 || return 1
  printf 'FROM debian:trixie-slim\nRUN apt-get update && apt-get install -y --no-install-recommends %s && rm -rf /var/lib/apt/lists/*\n' \
    "${PACKAGES[*]}" | DOCKER_BUILDKIT=0 docker build -q -t "$IMAGE" -
}

# The mirror that this machine already uses, when it is a Debian one; debootstrap's own choice otherwise.
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(SUITE)' 'Created-By: Packages' 2>/dev/null \
    | grep -E '/debian/? ' | grep -v security | head -n 1 | cut -d' ' -f1
}

from_debootstrap() {
  local root include
  root=$(mktemp -d)
  trap 'rm -rf "$root"' RETURN
  include=$(IFS=,; echo "${PACKAGES[*]}")
  debootstrap --variant=minbase --include="$include" trixie "$root" $(mirror) >"$root.log" 2>&1 \
    || { tail -n 5 "$root.log" >&2; echo "debootstrap of Debian trixie failed; its log is $root.log" >&2; return 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root.log"
  tar -C "$root" --numeric-owner -c . | docker import -c 'ENV LANG=C.UTF-8' - "$IMAGE" >/dev/null
}

from_registry || from_debootstrap
