"""Every namespace has a ServiceAccount ``default``, and gets it back when it is deleted.

Source: ``pkg/controller/serviceaccount/serviceaccounts_controller.go``.
"""

from apimachinery.errors import AlreadyExists, Forbidden
from apimachinery.meta import Key
from apimachinery.scheme import NAMESPACES, SERVICE_ACCOUNTS
from master.controller_manager.frame import Context, ManagedController
from master.controller_manager.namespaces import accepts_objects, enqueue_namespaces
from master.controller_manager.pod_control import in_ending_namespace

_NAME = "default"


class ServiceAccountController(ManagedController):
    """Keys are ("", namespace)."""

    name = "serviceaccount-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.informer(NAMESPACES)
        self._accounts = context.informers.informer(SERVICE_ACCOUNTS, field_selector=f"metadata.name={_NAME}")
        enqueue_namespaces(self, self._namespaces, self._accounts)

    async def reconcile(self, key: Key) -> None:
        namespace = key[1]
        if self._accounts.store.get(namespace, _NAME) or not accepts_objects(self._namespaces, namespace):
            return
        account = {"metadata": {"name": _NAME, "namespace": namespace}}
        kind = SERVICE_ACCOUNTS
        try:
            await self.client.create(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **account})
        except AlreadyExists:
            return
        except Forbidden as error:
            if not in_ending_namespace(error):
                raise
