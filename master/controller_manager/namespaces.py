"""What the controllers that furnish every namespace share."""

from apimachinery.client.informer import Informer
from apimachinery.meta import is_deleting, namespace_of
from master.controller_manager.frame import ManagedController


def accepts_objects(namespaces: Informer, name: str) -> bool:
    """Whether the namespace exists and is not on its way out: one that ends must not be filled again."""
    namespace = namespaces.store.get("", name)
    if namespace is None or is_deleting(namespace):
        return False
    return (namespace.get("status") or {}).get("phase") != "Terminating"


def enqueue_namespaces(controller: ManagedController, namespaces: Informer, furniture: Informer) -> None:
    """Look at a namespace, key ("", name), when it changes and when a piece of its furniture does."""
    controller.enqueue_object(namespaces)
    controller.enqueue_by(furniture, lambda obj: [("", namespace_of(obj))])
