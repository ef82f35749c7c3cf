#!/usr/bin/env bash
# Build upstream's own end-to-end test program, its kubectl, and stand-ins for its test images, in the folder $1.
#
# The source is Debian 12's package of Kubernetes 1.20, the last that has all of it. Two places are brought up to date:
# since 1.24 a service account has no token Secret to wait for, and since 1.34 an empty creationTimestamp is not written.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd); bin=$out/bin; tree=$out/go/src/k8s.io/kubernetes
mkdir -p "$bin" "$out/lists/partial" "$out/images"

if [ ! -d "$tree" ]; then
  mirror=$(grep -rhoE -m 1 'https?://[^ ]+/debian/?$' /etc/apt/sources.list* | sed 1q || true)
  echo "deb-src $mirror bookworm main" >"$out/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$out/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$out/lists")
  apt-get -q "${apt[@]}" update
  (cd "$out" && apt-get -q "${apt[@]}" source --download-only kubernetes=1.20.5+really1.20.2-1.1+deb12u1)
  mkdir -p "$tree.part"
  tar xzf "$out"/kubernetes_*.orig.tar.gz -C "$tree.part" --strip-components 1
  sed -i 's/return len(t.Secrets) > 0, nil/_ = t; return true, nil/' "$tree.part/test/e2e/framework/util.go"
  sed -i 's/^\ttemplate\["$patch"\] = "replace"$/&\n\tdelete(template["metadata"].(map[string]interface{}), "creationTimestamp")/' \
    "$tree.part/pkg/controller/daemon/update.go"
  mv "$tree.part" "$tree"
fi
[ -x /usr/lib/go-1.19/bin/go ] || apt-get install -y -q --no-install-recommends golang-1.19-go

cd "$tree"
export PATH=/usr/lib/go-1.19/bin:$bin:$PATH GO111MODULE=off GOPATH=$out/go GOFLAGS= CGO_ENABLED=0
go build -o "$bin/go-bindata" ./vendor/github.com/go-bindata/go-bindata/go-bindata
ignored=(-ignore .jpg -ignore .png -ignore .md -ignore 'BUILD(\.bazel)?')
go-bindata -nometadata -pkg generated "${ignored[@]}" -o test/e2e/generated/bindata.go test/conformance/testdata/... \
  test/e2e/testing-manifests/... test/e2e_node/testing-manifests/... test/images/... test/fixtures/...
go-bindata -nometadata -nocompress -pkg generated "${ignored[@]}" \
  -o staging/src/k8s.io/kubectl/pkg/generated/bindata.go translations/...
version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
stamp="-X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20 -X $version.gitTreeState=clean \
  -X $version.gitCommit=$(printf '0%.0s' {1..40}) -X $version.buildDate=2021-01-13T00:00:00Z"
go test -c -o "$bin/e2e.test" ./test/e2e
go build -ldflags "$stamp" -o "$bin/kubectl" ./cmd/kubectl
go build -o "$bin/ginkgo" ./vendor/github.com/onsi/ginkgo/ginkgo
go build -o "$out/images/agnhost" ./test/images/agnhost
go build -o "$out/images/sample-apiserver" ./vendor/k8s.io/sample-apiserver
go build -o "$out/images/nnp" test/images/nonewprivs/nnp.go

# The names, registries and tags are those that the program asks for; what they hold is ours.
cd "$out/images"
cp -r "$tree"/test/images/agnhost/porter/localhost.* "$tree"/test/images/{nautilus,kitten} .
image() { # name lines...: an image of that name for each reference to it
  local name=$1 reference; shift
  printf '%s\n' "$@" >"$name.Dockerfile"
  docker build -q --network host -t "kubeto/upstream-$name" -f "$name.Dockerfile" . >/dev/null 2>&1 ||
    { echo "error: docker build of $name failed" >&2; exit 1; }
  "$bin/e2e.test" --list-images 2>/dev/null | grep -v authenticated | grep -E "/$name:" | while read -r reference; do
    docker tag "kubeto/upstream-$name" "${reference#docker.io/library/}"
  done
}
tools=(bind9-dnsutils curl netcat-openbsd iproute2 iperf iputils-ping apache2 nginx-light util-linux)
image agnhost 'FROM kubeto/base:trixie' \
  "RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${tools[*]}" \
  'RUN mkdir -p /uploads' 'COPY localhost.crt localhost.key agnhost /' 'RUN ln -s agnhost agnhost-2' \
  'ENTRYPOINT ["/agnhost"]' 'CMD ["pause"]'
image httpd 'FROM kubeto/upstream-agnhost' \
  'RUN mkdir -p /usr/local/apache2 && mv /var/www/html /usr/local/apache2/htdocs && ln -s /usr/local/apache2/htdocs /var/www' \
  'RUN ln -s htdocs /var/www/html; echo "<html><body><h1>It works!</h1></body></html>" >/usr/local/apache2/htdocs/index.html' \
  'ENTRYPOINT []' 'CMD ["apachectl", "-D", "FOREGROUND"]'
image nginx 'FROM kubeto/upstream-agnhost' 'ENTRYPOINT []' 'CMD ["nginx", "-g", "daemon off;"]'
image jessie-dnsutils 'FROM kubeto/upstream-agnhost' 'ENTRYPOINT []' 'CMD ["sh"]'
image etcd 'FROM kubeto/upstream-agnhost' 'RUN ln -sf /usr/bin/etcd /usr/local/bin/etcd' 'ENTRYPOINT []' 'CMD ["etcd"]'
for pet in nautilus kitten; do
  image $pet 'FROM kubeto/upstream-agnhost' 'WORKDIR /' "COPY $pet/html/*.jpg $pet/html/data.json /" 'CMD ["test-webserver"]'
done
image busybox 'FROM kubeto/busybox:1'
image pause 'FROM kubeto/pause:2'
image nonroot 'FROM kubeto/busybox:1' 'USER 1234'
image nonewprivs 'FROM kubeto/busybox:1' 'COPY nnp /usr/local/bin/nnp' 'RUN chmod +s /usr/local/bin/nnp' \
  'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'CMD ["nnp"]'
image sample-apiserver 'FROM kubeto/busybox:1' 'COPY sample-apiserver /' 'ENTRYPOINT ["/sample-apiserver"]'
