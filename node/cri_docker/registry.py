"""Pulls and removals through the Docker SDK, which knows registries' credentials and the engine's error streams.

Blocking: ``images`` calls this in its threads.
"""

import docker
from docker.errors import APIError, DockerException
from docker.errors import NotFound as EngineNotFound
from docker.utils import parse_repository_tag

from node.cri_docker.engine import API_VERSION
from node.cri_docker.refusal import CriError, Denied, NotFound, Refused, Unavailable, WrongState
from protos.cri.runtime.v1 import api_pb2 as cri

_SECONDS = 600
"""Between two words of the engine, not for a whole pull."""


def pull(docker_host: str, reference: str, auth: cri.AuthConfig | None) -> None:
    """Pull one tag (``latest`` without any) or digest. Raises CriError as the registry's answer means it."""
    name, tag = parse_repository_tag(reference)
    sdk = docker.APIClient(base_url=docker_host, version=API_VERSION, timeout=_SECONDS)
    try:
        for line in sdk.pull(name, tag=tag or "latest", stream=True, decode=True, auth_config=credentials(auth)):
            if "error" in line:
                raise translate(line["error"], reference)
    except DockerException as error:
        raise _translated(error, reference) from error
    except OSError as error:
        raise Unavailable(f"image {reference!r}: {error}") from error
    finally:
        sdk.close()


def remove(docker_host: str, image_id: str) -> None:
    """Remove an image with all its tags; one that is gone is removed. Raises CriError."""
    sdk = docker.APIClient(base_url=docker_host, version=API_VERSION, timeout=_SECONDS)
    try:
        sdk.remove_image(image_id, force=True)
    except EngineNotFound:
        return  # somebody else was quicker
    except DockerException as error:
        raise _translated(error, image_id) from error
    except OSError as error:
        raise Unavailable(f"image {image_id!r}: {error}") from error
    finally:
        sdk.close()


def _translated(error: DockerException, reference: str) -> CriError:
    explanation = error.explanation if isinstance(error, APIError) else None
    return translate(str(explanation or error), reference)


def translate(message: str, reference: str) -> CriError:
    """An engine's or registry's words as the error they mean."""
    text, lower = f"image {reference!r}: {message}", message.lower()
    if "unauthorized" in lower or "denied" in lower or "authentication required" in lower:
        # Registries say "denied" for what does not exist as well: upstream treats it as no right, too.
        return Denied(text)
    if "not found" in lower or "unknown" in lower or "no such image" in lower or "does not exist" in lower:
        return NotFound(text)
    if "being used" in lower or "conflict" in lower:
        return WrongState(text)
    return Refused(text) if "invalid reference" in lower or "parsing" in lower else Unavailable(text)


def credentials(auth: cri.AuthConfig | None) -> dict[str, str] | None:
    """None: the engine user's own configuration applies."""
    if auth is None or not auth.ListFields():
        return None
    fields = {
        "username": auth.username,
        "password": auth.password,
        "auth": auth.auth,
        "serveraddress": auth.server_address,
        "identitytoken": auth.identity_token,
        "registrytoken": auth.registry_token,
    }
    return {name: value for name, value in fields.items() if value}
