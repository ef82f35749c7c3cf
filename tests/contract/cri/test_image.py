"""Specs "Image Manager", "Image Consistency", "Image Identifier Consistency", "Image Volume" and "Idempotence" (of
images). Pulls are real ones, from a registry on loopback."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from protos.cri.runtime.v1 import api_pb2 as cri
from tests.contract.cri.kit import Kit, on_fake, refused
from tests.contract.cri.registry import Registry


@pytest.fixture
def digest(kit: Kit) -> str:
    registry: Registry | None = kit.target.registry
    assert registry
    return next(f"digest@{reference}" for name, reference in registry.manifests if name == "digest")


def test_image_with_tag_is_pulled_and_removed(kit: Kit) -> None:
    pulled_and_removed(kit, "tagged:test", tags=["tagged:test"])


def test_image_without_tag_is_pulled_and_removed(kit: Kit) -> None:
    pulled_and_removed(kit, "latest", tags=["latest:latest"])


def test_image_with_digest_is_pulled_and_removed(kit: Kit, digest: str) -> None:
    pulled_and_removed(kit, digest, tags=[], digests=[digest])


def pulled_and_removed(kit: Kit, name: str, *, tags: list[str], digests: list[str] | None = None) -> None:
    reference = kit.target.image(name)
    kit.remove_image(reference)
    assert kit.image(reference) is None
    kit.pull(name)
    image = kit.image(reference)
    assert image and image.size > 0
    assert list(image.repo_tags) == [kit.target.image(tag) for tag in tags]
    if digests is not None:
        assert list(image.repo_digests) == [kit.target.image(d) for d in digests]
    assert reference_listed(kit, image.id)
    kit.remove_image(reference)
    assert kit.image(reference) is None and not reference_listed(kit, image.id)
    kit.remove_image(reference)


def test_pull_keeps_its_deadline(kit: Kit) -> None:
    request = cri.PullImageRequest(image=cri.ImageSpec(image=kit.target.image("tagged:test")))
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        kit.images.PullImage(request, timeout=0.001)


def test_pull_of_what_is_not_there_tells_so(kit: Kit) -> None:
    with refused(grpc.StatusCode.NOT_FOUND) as failed:
        kit.pull("no-such-image:1")
    assert "no-such-image" in str(failed.value)


def test_all_kinds_of_references(kit: Kit) -> None:
    kit.pull("tagged:all")
    image = kit.image(kit.target.image("tagged:all"))
    assert image and image.repo_tags and image.repo_digests
    for reference in (image.id, *image.repo_tags, *image.repo_digests):
        assert kit.image(reference) == image, reference


@pytest.mark.parametrize(
    ("name", "uid", "username"),
    [
        ("user-uid", 1002, ""),
        ("user-username", 0, "www-data"),
        ("user-uid-group", 1003, ""),
        ("user-username-group", 0, "www-data"),
    ],
)
def test_image_status_has_uid_or_username(kit: Kit, name: str, uid: int, username: str) -> None:
    image = kit.image(kit.present(name))
    assert image and (image.uid.value, image.username) == (uid, username)


def test_different_tags_of_different_images(kit: Kit) -> None:
    names = [f"image-{number}:latest" for number in "123"]
    ids = [kit.pull(name) for name in names]
    assert len(set(ids)) == 3
    tags = {image.id: list(image.repo_tags) for image in kit.images.ListImages(cri.ListImagesRequest()).images}
    assert [tags[identity] for identity in ids] == [[kit.target.image(name)] for name in names]


def test_different_tags_of_the_same_image(kit: Kit) -> None:
    names = [f"tags:{number}" for number in "123"]
    ids = {kit.pull(name) for name in names}
    assert len(ids) == 1
    image = kit.image(ids.pop())
    assert image and sorted(image.repo_tags) == [kit.target.image(name) for name in names]
    kit.remove_image(image.id)
    assert all(kit.image(kit.target.image(name)) is None for name in names)


def test_simultaneous_removals(kit: Kit) -> None:
    identity = kit.pull("tagged:test")
    request = cri.RemoveImageRequest(image=cri.ImageSpec(image=identity))

    def remove(_: int) -> cri.Image | None:
        kit.images.RemoveImage(request)
        return kit.image(identity)

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(remove, range(5))) == [None] * 5


@on_fake
def test_idempotence_of_remove_image(kit: Kit) -> None:
    for _ in range(2):
        kit.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image="0" * 64)))


@pytest.mark.parametrize("other", [False, True], ids=["same", "other-registry"])
def test_same_identifier_across_all_apis(kit: Kit, other: bool) -> None:
    kit.remove_image(kit.target.image("tagged:test"))
    identity = kit.pull("tagged:test")
    if other:
        reference = kit.target.image("tagged:test").replace("127.0.0.1", "localhost")
        assert kit.pull(reference) == identity
        found = kit.image(reference)
        assert found and found.id == identity
    image = kit.image(kit.target.image("tagged:test"))
    container = kit.shared().run((), image=identity)
    listing = kit.runtime.ListContainers(cri.ListContainersRequest(filter=cri.ContainerFilter(id=container.id)))
    assert image and image.id == identity
    kit.needs(kit.target.name != "containerd", "image_id came after containerd 1.6")
    assert container.status().image_id == identity == listing.containers[0].image_id
    assert container.status().image.image


@pytest.fixture
def volume(kit: Kit) -> str:
    kit.needs(kit.target.name != "containerd", "image volumes came after containerd 1.6")
    return kit.pull("tagged:test")


def test_image_volume_reports_its_digest(kit: Kit, volume: str) -> None:
    container = kit.shared().create(image=volume, mounts=[image_mount(volume)])
    assert container.status().mounts[0].image.image_ref == volume


def test_image_volume_is_readonly_and_executable(kit: Kit, volume: str) -> None:
    container = kit.shared().run(mounts=[image_mount(volume)])
    assert container.output("ls", "-A", "/mnt/image-volume/bin/sh")
    assert container.exec("touch", "/mnt/image-volume/test-write").exit_code
    assert "bin" in container.output("/mnt/image-volume/bin/ls", "/mnt/image-volume")


def test_image_volume_that_is_writable_is_refused(kit: Kit, volume: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        kit.shared().create(mounts=[image_mount(volume, readonly=False)])


def test_image_volume_with_sub_path(kit: Kit, volume: str) -> None:
    container = kit.shared().run(mounts=[image_mount(volume, image_sub_path="etc")])
    assert "passwd" in container.output("ls", "/mnt/image-volume")


def test_image_volume_without_its_sub_path_is_refused(kit: Kit, volume: str) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        kit.shared().create(mounts=[image_mount(volume, image_sub_path="not-existing")])


def image_mount(identity: str, *, readonly: bool = True, image_sub_path: str = "") -> cri.Mount:
    spec = cri.ImageSpec(image=identity)
    return cri.Mount(container_path="/mnt/image-volume", readonly=readonly, image=spec, image_sub_path=image_sub_path)


def test_image_filesystem_info(kit: Kit) -> None:
    told = kit.images.ImageFsInfo(cri.ImageFsInfoRequest()).image_filesystems
    assert told[0].timestamp and told[0].fs_id.mountpoint and told[0].used_bytes.value


def reference_listed(kit: Kit, identity: str) -> bool:
    return identity in [image.id for image in kit.images.ListImages(cri.ListImagesRequest()).images]
