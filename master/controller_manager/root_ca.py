"""Every namespace has a ConfigMap ``kube-root-ca.crt`` with the CA by which pods know the API server.

Source: ``pkg/controller/certificates/rootcacertpublisher``.
"""

from pathlib import Path

from apimachinery.config import ConfigError
from apimachinery.errors import AlreadyExists, Forbidden, NotFound
from apimachinery.meta import Key, Object
from apimachinery.scheme import CONFIG_MAPS, NAMESPACES
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.namespaces import accepts_objects, enqueue_namespaces
from master.controller_manager.pod_control import in_ending_namespace

NAME = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def root_ca(context: Context) -> str:
    """The certificates to publish, PEM. Raises ConfigError if there are none."""
    path = context.options.root_ca_file
    if not path:
        if context.access.ca is None:
            raise ConfigError("no CA to publish: give --root-ca-file, or a kubeconfig with a certificate authority")
        return context.access.ca.decode()
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"cannot read --root-ca-file {path}: {error.strerror}") from error


class RootCAPublisher(ManagedController):
    """Keys are ("", namespace)."""

    name = "root-ca-certificate-publisher-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._data = {"ca.crt": root_ca(context)}
        self._namespaces = context.informers.informer(NAMESPACES)
        self._maps = context.informers.informer(CONFIG_MAPS, field_selector=f"metadata.name={NAME}")
        enqueue_namespaces(self, self._namespaces, self._maps)

    async def reconcile(self, key: Key) -> None:
        namespace = key[1]
        found = self._maps.store.get(namespace, NAME)
        if (found and found.get("data") == self._data) or not accepts_objects(self._namespaces, namespace):
            return
        try:
            if found is None:
                await self.client.create(CONFIG_MAPS, self._wanted(namespace))
            else:  # put back whole: keys that are not ours go
                await self.client.update(CONFIG_MAPS, {**found, "data": self._data})
        except (AlreadyExists, NotFound):
            return
        except Forbidden as error:
            if not in_ending_namespace(error):
                raise

    def _wanted(self, namespace: str) -> Object:
        annotations = {"kubernetes.io/description": _DESCRIPTION}
        metadata = {"name": NAME, "namespace": namespace, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data}
