"""CRI ImageService: each method finds its verb."""

from typing import Any

import grpc

from node.cri_docker.rpc import verb
from node.cri_docker.runtime import Runtime
from protos.cri.runtime.v1 import api_pb2 as cri
from protos.cri.runtime.v1 import api_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class ImageService(api_pb2_grpc.ImageServiceServicer):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._images = runtime, runtime.images

    @verb
    async def ListImages(self, request: cri.ListImagesRequest, context: Context) -> cri.ListImagesResponse:
        return cri.ListImagesResponse(images=await self._images.list(request.filter.image.image))

    @verb
    async def ImageStatus(self, request: cri.ImageStatusRequest, context: Context) -> cri.ImageStatusResponse:
        return cri.ImageStatusResponse(image=await self._images.find(request.image.image))

    @verb
    async def PullImage(self, request: cri.PullImageRequest, context: Context) -> cri.PullImageResponse:
        auth = request.auth if request.HasField("auth") else None
        return cri.PullImageResponse(image_ref=await self._images.pull(request.image.image, auth))

    @verb
    async def RemoveImage(self, request: cri.RemoveImageRequest, context: Context) -> cri.RemoveImageResponse:
        await self._runtime.collect_image_mounts()
        await self._images.remove(request.image.image)
        return cri.RemoveImageResponse()

    @verb
    async def ImageFsInfo(self, request: cri.ImageFsInfoRequest, context: Context) -> cri.ImageFsInfoResponse:
        usage = await self._images.filesystem(self._runtime.limits().root_dir)
        return cri.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])
