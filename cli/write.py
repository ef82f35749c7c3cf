"""``kubeto apply``, ``create``, ``delete``, ``scale`` and ``label``: the verbs that change objects."""

import sys
import time
from collections.abc import Callable
from typing import Annotated

import orjson
import typer

from apimachinery.errors import ApiError, BadRequest, NotFound
from cli import manifests
from cli.api import APPLY_PATCH, MERGE_PATCH, Object
from cli.resources import Resource, targets
from cli.session import AllNamespaces, DryRun, Files, Namespace, Selector, Session, selection

_MANAGER = "kubeto"
_POLL = 0.1


def _dry(dry_run: str) -> dict[str, str]:
    if dry_run not in ("none", "server"):
        raise BadRequest(f"--dry-run={dry_run} is not supported: none or server")
    return {"dryRun": "All"} if dry_run == "server" else {}


def _place(session: Session, document: Object) -> tuple[Resource, str, str]:
    """The type, the collection's path and the name of an object in a file."""
    resource = session.resources.of_object(document)
    metadata = document.setdefault("metadata", {})
    namespace = metadata.get("namespace") or session.namespace
    return resource, resource.path(namespace if resource.namespaced else ""), metadata.get("name", "")


def _each(documents: list[Object], act: Callable[[Object], None]) -> None:
    """Carry out all, report each failure, and end with 1 if there was any: one bad object stops no other."""
    failed = False
    for document in documents:
        try:
            act(document)
        except ApiError as error:
            failed = True
            print(f"Error from server ({error.status_reason}): {error.message}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def apply(
    files: Files,
    namespace: Namespace = "",
    dry_run: DryRun = "none",
    force: Annotated[bool, typer.Option("--force-conflicts", help="Take over fields of other managers.")] = False,
) -> None:
    """Make the cluster have what the files say (server-side apply): 'kubeto apply -f web.yaml'."""
    session = Session(namespace)
    query = {"fieldManager": _MANAGER, "force": str(force).lower(), "fieldValidation": "Strict", **_dry(dry_run)}

    def act(document: Object) -> None:
        resource, path, name = _place(session, document)
        if not name:
            raise BadRequest("metadata.name is needed to apply")
        before = _version(session, f"{path}/{name}")
        body = orjson.dumps(document)
        after = session.api.request("PATCH", f"{path}/{name}", params=query, body=body, content_type=APPLY_PATCH)
        unchanged = before == after["metadata"].get("resourceVersion")
        done = "created" if before is None else "unchanged" if unchanged else "configured"
        print(f"{resource.label}/{name} {done}{' (server dry run)' if dry_run == 'server' else ''}")

    _each(manifests.read(files), act)


def _version(session: Session, path: str) -> str | None:
    try:
        return str(session.api.get(path)["metadata"]["resourceVersion"])
    except NotFound:
        return None


def create(
    words: Annotated[list[str] | None, typer.Argument(metavar="[namespace|deployment|configmap NAME]")] = None,
    files: Files = [],  # noqa: B006
    namespace: Namespace = "",
    image: Annotated[str, typer.Option("--image", help="With 'deployment': its image.")] = "",
    replicas: Annotated[int, typer.Option("--replicas", help="With 'deployment': how many pods.")] = 1,
    literal: Annotated[list[str], typer.Option("--from-literal", help="With 'configmap': KEY=VALUE.")] = [],  # noqa: B006
    dry_run: DryRun = "none",
) -> None:
    """Create objects: from files, or 'kubeto create deployment web --image=nginx --replicas=2'."""
    session = Session(namespace)
    documents = [_named(words, image, replicas, literal)] if words else manifests.read(files)

    def act(document: Object) -> None:
        resource, path, _ = _place(session, document)
        made = session.api.request("POST", path, params={"fieldManager": _MANAGER, **_dry(dry_run)}, body=document)
        print(f"{resource.label}/{made['metadata']['name']} created")

    _each(documents, act)


def _named(words: list[str], image: str, replicas: int, literal: list[str]) -> Object:
    kind, name = words if len(words) == 2 else ("", "")
    metadata = {"name": name}
    if kind in ("namespace", "ns"):
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    if kind in ("configmap", "cm"):
        data = dict(pair.split("=", 1) for pair in literal if "=" in pair)
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    if kind in ("deployment", "deploy") and image:
        labels = {"app": name}
        container = {"name": image.rsplit("/", 1)[-1].split(":")[0].split("@")[0], "image": image}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**metadata, "labels": labels}, "spec": spec}
    raise BadRequest("create needs -f FILE, or one of: namespace NAME, configmap NAME, deployment NAME --image=IMAGE")


def delete(
    words: Annotated[list[str] | None, typer.Argument(metavar="TYPE[/NAME] [NAME...]")] = None,
    files: Files = [],  # noqa: B006
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    selector: Selector = "",
    everything: Annotated[bool, typer.Option("--all", help="Every object of the type.")] = False,
    grace: Annotated[int, typer.Option("--grace-period", help="Seconds; -1 = each object's own.")] = -1,
    force: Annotated[bool, typer.Option("--force", help="At once, without waiting for the node.")] = False,
    cascade: Annotated[str, typer.Option("--cascade", help="background, foreground or orphan.")] = "background",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is gone.")] = True,
) -> None:
    """Delete objects: 'kubeto delete pod web-0', 'kubeto delete -f web.yaml', 'kubeto delete ns test'."""
    session = Session(namespace)
    options: Object = {"propagationPolicy": cascade.capitalize()}
    if force or grace >= 0:
        options["gracePeriodSeconds"] = 0 if force else grace
    doomed = _from_files(session, files) if files else _selected(session, words or [], selector, everything, everywhere)

    def act(document: Object) -> None:
        path, label = document["path"], document["label"]
        session.api.request("DELETE", path, body=options)
        print(f"{label} {'force ' if force else ''}deleted", flush=True)

    _each(doomed, act)
    for document in doomed if wait else ():
        _wait_until_gone(session, document["path"], document["uid"])


def _from_files(session: Session, files: list[str]) -> list[Object]:
    doomed = []
    for document in manifests.read(files):
        resource, path, name = _place(session, document)
        doomed.append({"path": f"{path}/{name}", "label": f'{resource.label} "{name}"', "uid": ""})
    return doomed


def _selected(session: Session, words: list[str], selector: str, everything: bool, everywhere: bool) -> list[Object]:
    doomed = []
    for target in targets(session.resources, words):
        if not (target.names or selector or everything):
            raise BadRequest("resource(s) were provided, but no name was specified: give names, -l or --all")
        path = session.path(target.resource, everywhere=everywhere)
        items = [{"metadata": {"name": n, "namespace": session.namespace}} for n in target.names]
        for item in items or session.api.get_list(path, selection(selector)):
            metadata = item["metadata"]
            where = target.resource.path(metadata.get("namespace", ""), metadata["name"])
            label = f'{target.resource.label} "{metadata["name"]}"'
            doomed.append({"path": where, "label": label, "uid": metadata.get("uid", "")})
    return doomed


def _wait_until_gone(session: Session, path: str, uid: str) -> None:
    """A new object by the same name counts as gone."""
    while True:
        try:
            found = session.api.get(path)["metadata"]["uid"]
        except NotFound:
            return
        uid = uid or found
        if found != uid:
            return
        time.sleep(_POLL)


def scale(
    words: Annotated[list[str], typer.Argument(metavar="TYPE[/NAME] [NAME...]")],
    replicas: Annotated[int, typer.Option("--replicas", help="The wanted number of pods.")],
    namespace: Namespace = "",
) -> None:
    """Set the number of pods: 'kubeto scale deploy/web --replicas=5'."""
    session = Session(namespace)
    for target in targets(session.resources, words):
        for name in target.names:
            path = session.path(target.resource, name, "scale")
            session.api.request("PATCH", path, body={"spec": {"replicas": replicas}}, content_type=MERGE_PATCH)
            print(f"{target.resource.label}/{name} scaled")
