"""What every verb begins with: the options that all of them share, and the cluster that they mean."""

from typing import Annotated

import typer

from cli.api import Api, default_kubeconfig
from cli.resources import Resource, Resources
from cli.settings import SETTINGS

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The namespace; the context's if not given.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Label selector, such as app=web,tier!=db.")]
FieldSelector = Annotated[str, typer.Option("--field-selector", help="Field selector, such as status.phase=Running.")]
Output = Annotated[
    str, typer.Option("--output", "-o", help="wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=SPEC.")
]
Files = Annotated[list[str], typer.Option("--filename", "-f", help="A file, a folder, a URL's file, or - for stdin.")]
DryRun = Annotated[str, typer.Option("--dry-run", help="none or server: check, admit and default, but store nothing.")]
Container = Annotated[str, typer.Option("--container", "-c", help="The container, where the pod has several.")]


class Session:
    """One verb's view of a cluster."""

    def __init__(self, namespace: str = "") -> None:
        self.api = Api.from_kubeconfig(SETTINGS.kubeconfig or default_kubeconfig(), SETTINGS.context)
        self.namespace = namespace or self.api.namespace
        self.resources = Resources(self.api)

    def path(self, resource: Resource, name: str = "", subresource: str = "", *, everywhere: bool = False) -> str:
        """The REST path in this session's namespace."""
        return resource.path("" if everywhere else self.namespace, name, subresource)


def selection(selector: str = "", fields: str = "") -> dict[str, str]:
    """The query of a list that selects."""
    query = {"labelSelector": selector, "fieldSelector": fields}
    return {key: value for key, value in query.items() if value}
