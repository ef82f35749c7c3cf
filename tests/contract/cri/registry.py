"""A registry of images on loopback, over plain HTTP, and the images that the validation specs want, made in memory.

It serves what a pull needs of the OCI distribution specification, and nothing else.
"""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.ports import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
Files = Mapping[str, tuple[int, bytes]]
"""Path -> (mode, content)."""


class Registry:
    """``manifests`` by (repository, tag or digest), ``blobs`` by digest. One instance may listen in many namespaces."""

    def __init__(self) -> None:
        self.port = free_port()
        """The same in every namespace."""
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self._servers: list[ThreadingHTTPServer] = []

    def listen(self) -> None:
        """In the network namespace of the calling thread."""
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, name: str, *tags: str, layers: tuple[bytes, ...], **config: object) -> str:
        """Offer one image, made of tars, under these tags; its manifest's digest."""
        zipped = [gzip.compress(layer, 1, mtime=0) for layer in layers]
        rootfs = {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]}
        image = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": rootfs}
        body = json.dumps(image).encode()
        described = [self._blob(_CONFIG, body), *(self._blob(_LAYER, layer) for layer in zipped)]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[0], "layers": described[1:]}
        encoded = json.dumps(manifest).encode()
        for reference in (*tags, _digest(encoded)):
            self.manifests[name, reference] = encoded
        return _digest(encoded)

    def _blob(self, media_type: str, content: bytes) -> dict[str, object]:
        self.blobs[_digest(content)] = content
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}

    def find(self, path: str) -> tuple[str, bytes] | None:
        """(media type, content)."""
        if path in ("/v2/", "/v2"):
            return "application/json", b"{}"
        repository, _, reference = path.removeprefix("/v2/").rpartition("/")
        name, _, kind = repository.rpartition("/")
        content = self.manifests.get((name, reference)) if kind == "manifests" else self.blobs.get(reference)
        return (_MANIFEST if kind == "manifests" else "application/octet-stream", content) if content else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                media_type, content = registry.find(self.path.split("?")[0]) or (
                    "",
                    b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
                )
                self.send_response(200 if media_type else 404)
                self.send_header("Content-Type", media_type or "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Docker-Content-Digest", _digest(content))
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def layer(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, (mode, content) in files.items():
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def layer_of(image: str) -> bytes:
    """The last layer of an image that the engine holds."""
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest
        found = archive.extractfile(json.load(manifest)[0]["Layers"][-1])
        assert found
        return found.read()


def member(archive: bytes, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = opened.extractfile(next(m for m in opened.getmembers() if m.name.lstrip("./") == path))
        assert found
        return found.read()


def fill(registry: Registry) -> None:
    """All images of the validation specs, one base under all."""
    base = layer_of("kubeto/busybox:1")
    path = ["PATH=/bin"]
    passwd = (
        b"root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n"
        b"default-user:x:1000:1000::/:/bin/sh\n"
    )
    group = b"root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"
    users = layer({"etc/passwd": (0o644, passwd), "etc/group": (0o644, group)})
    registry.add("busybox", "1", layers=(base,), Cmd=["/bin/sh"], Env=path)
    for name, user in {
        "uid": "1002",
        "username": "www-data",
        "uid-group": "1003:users",
        "username-group": "www-data:100",
    }.items():
        registry.add(f"user-{name}", "latest", layers=(base, users), User=user, Env=path)
    registry.add("predefined-group", "latest", layers=(base, users), Env=path, Cmd=["/bin/sh"])
    registry.add("latest", "latest", layers=(base, layer({"latest": (0o644, b"")})), Env=path, Cmd=["/bin/sh"])
    tagged = (base, layer({"tagged": (0o644, b"")}))
    for name in ("tagged", "mirror/tagged"):
        registry.add(name, "test", layers=tagged, Env=path, Cmd=["/bin/sleep", "1000"])
    registry.add("tagged", "all", layers=(base, layer({"all": (0o644, b"")})), Env=path)
    registry.add("digest", layers=(base, layer({"digest": (0o644, b"")})), Env=path)
    registry.add("tags", "1", "2", "3", layers=(base, layer({"tags": (0o644, b"")})), Env=path)
    for number in "123":
        registry.add(f"image-{number}", "latest", layers=(base, layer({number: (0o644, b"")})), Env=path)
    page = layer({"www/index.html": (0o644, b"<html>here</html>")})
    for name, port in {"web": 80, "web-hostnet": 12003}.items():
        command = ["/bin/sh", "-c", f"echo serving; exec httpd -f -p {port} -h /www"]
        registry.add(name, "latest", layers=(base, page), Cmd=command, Env=path)
    suid = layer({"suid/su": (0o4755, member(base, "bin/busybox"))})
    command = ["/suid/su", "-c", "echo Effective uid: $(id -u)"]
    registry.add("nonewprivs", "latest", layers=(base, users, suid), Cmd=command, Env=path)


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
