#!/usr/bin/env bash
# Make the two small images that a cluster needs where no registry can be reached, from Debian's static busybox:
# kubeto/pause:2 holds a pod's namespaces; kubeto/busybox:1 has a shell, a web server and the usual tools.
set -euo pipefail

busybox=$(command -v busybox)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# A fixed modification time and order make the same image, with the same id, on every run.
import() {
  tar -C "$root" --sort=name --mtime=@0 --numeric-owner -c . | docker import "$@" >/dev/null
}

if ! docker image inspect kubeto/pause:2 >/dev/null 2>&1; then
  mkdir -p "$root/bin"
  cp "$busybox" "$root/bin/busybox"
  # The first process of a pod's shared pid namespace: it has to reap what others leave, and to end when it is told to.
  pause='trap \"exit 0\" INT TERM; while :; do /bin/busybox sleep 2147483647 & wait; done'
  import -c "ENTRYPOINT [\"/bin/busybox\",\"sh\",\"-c\",\"$pause\"]" - kubeto/pause:2
fi
if ! docker image inspect kubeto/busybox:1 >/dev/null 2>&1; then
  mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,var/www}
  chmod 1777 "$root/tmp"
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do ln -sf busybox "$root/bin/$applet"; done
  cp --remove-destination "$busybox" "$root/bin/busybox"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' - kubeto/busybox:1
fi
