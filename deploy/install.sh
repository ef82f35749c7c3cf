#!/usr/bin/env bash
# Install what a cluster needs from Debian's or Ubuntu's packages, and only what is missing. Quick when nothing is.
set -euo pipefail

# command -> package
declare -A needed=(
  [dockerd]=docker.io [etcd]=etcd-server [etcdctl]=etcd-client [containerd]=containerd [nft]=nftables [ip]=iproute2
  [iptables]=iptables [conntrack]=conntrack [busybox]=busybox-static [debootstrap]=debootstrap [findmnt]=util-linux
)
missing=()
for command in "${!needed[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${needed[$command]}")
done
[ -e /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
busybox=$(command -v busybox || true)
if [ -n "$busybox" ] && ldd "$busybox" >/dev/null 2>&1; then missing+=(busybox-static); fi
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing ${missing[*]} …" >&2
if [ "$(id -u)" -ne 0 ]; then
  echo "error: only root can install packages. Run: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  echo "error: apt-get failed; its log is $log" >&2
  exit 1
fi
rm -f "$log"
# Debian starts an etcd of its own on the port that the cluster's etcd uses.
if [[ " ${missing[*]} " == *" etcd-server "* ]] && [ -d /run/systemd/system ]; then
  systemctl disable --quiet --now etcd.service || true
fi
