"""``kubeto rollout``: follow, undo, restart, pause and resume a Deployment's rollout."""

import datetime
from typing import Annotated

import typer

from apimachinery.errors import BadRequest, NotFound
from cli.api import MERGE_PATCH, Object
from cli.printers import table
from cli.resources import Resource, targets
from cli.session import Namespace, Session
from cli.verbs import HELP_OPTIONS

app = typer.Typer(
    help="Follow and change a rollout: status, history, undo, restart, pause, resume.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
)
_REVISION = "deployment.kubernetes.io/revision"
_CHANGE_CAUSE = "kubernetes.io/change-cause"
_HASH = "pod-template-hash"
Words = Annotated[list[str], typer.Argument(metavar="deployment/NAME")]


def _named(session: Session, words: list[str]) -> tuple[Resource, str]:
    target = targets(session.resources, words)[0]
    if target.resource.plural != "deployments" or len(target.names) != 1:
        raise BadRequest("rollout takes one deployment, as in 'deployment/web'")
    return target.resource, target.names[0]


def progress(deployment: Object) -> tuple[bool, str]:
    """Whether a rollout is done, and its line. Raises BadRequest when it exceeded its deadline."""
    spec, status, name = deployment["spec"], deployment.get("status", {}), deployment["metadata"]["name"]
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return False, "Waiting for deployment spec update to be observed..."
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    if conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        raise BadRequest(f'deployment "{name}" exceeded its progress deadline')
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return False, f"{waiting}{updated} out of {wanted} new replicas have been updated..."
    if (old := status.get("replicas", 0) - updated) > 0:
        return False, f"{waiting}{old} old replicas are pending termination..."
    if (available := status.get("availableReplicas", 0)) < updated:
        return False, f"{waiting}{available} of {updated} updated replicas are available..."
    return True, f'deployment "{name}" successfully rolled out'


@app.command()
def status(words: Words, namespace: Namespace = "") -> None:
    """Follow the rollout until it is done."""
    session = Session(namespace)
    resource, name = _named(session, words)
    deployment = session.api.get(session.path(resource, name))
    done, line = progress(deployment)
    print(line, flush=True)
    query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": deployment["metadata"]["resourceVersion"]}
    events = session.api.watch(session.path(resource), query)
    while not done:
        event = next(events)
        if event["type"] == "DELETED":
            raise NotFound(f'deployment "{name}" was deleted')
        done, new = progress(event["object"])
        if new != line:
            print(new, flush=True)
        line = new


def _patch(words: list[str], namespace: str, patch: Object, done: str) -> None:
    session = Session(namespace)
    resource, name = _named(session, words)
    session.api.request("PATCH", session.path(resource, name), body=patch, content_type=MERGE_PATCH)
    print(f"{resource.label}/{name} {done}")


@app.command()
def restart(words: Words, namespace: Namespace = "") -> None:
    """Replace all pods by new ones of the same template."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = {"kubectl.kubernetes.io/restartedAt": now}
    _patch(words, namespace, {"spec": {"template": {"metadata": {"annotations": annotations}}}}, "restarted")


@app.command()
def pause(words: Words, namespace: Namespace = "") -> None:
    """Stop acting on changes of the template."""
    _patch(words, namespace, {"spec": {"paused": True}}, "paused")


@app.command()
def resume(words: Words, namespace: Namespace = "") -> None:
    """Act on changes of the template again."""
    _patch(words, namespace, {"spec": {"paused": None}}, "resumed")


def _replica_sets(session: Session, deployment: Object) -> dict[int, Object]:
    """The deployment's replica sets by revision."""
    uid = deployment["metadata"]["uid"]
    owned = session.api.get_list(session.path(session.resources.one("replicasets.apps")))
    return {
        int(rs["metadata"].get("annotations", {}).get(_REVISION, 0)): rs
        for rs in owned
        if any(o.get("uid") == uid and o.get("controller") for o in rs["metadata"].get("ownerReferences", ()))
    }


@app.command()
def history(words: Words, namespace: Namespace = "") -> None:
    """The revisions that can be gone back to."""
    session = Session(namespace)
    resource, name = _named(session, words)
    revisions = _replica_sets(session, session.api.get(session.path(resource, name)))
    rows = [
        (str(revision), rs["metadata"].get("annotations", {}).get(_CHANGE_CAUSE, "<none>"))
        for revision, rs in sorted(revisions.items())
    ]
    print(f"{resource.label}/{name}\n{table(('REVISION', 'CHANGE-CAUSE'), rows)}")


@app.command()
def undo(
    words: Words,
    namespace: Namespace = "",
    revision: Annotated[int, typer.Option("--to-revision", help="0 = the one before.")] = 0,
) -> None:
    """Go back to an earlier revision's pod template."""
    session = Session(namespace)
    resource, name = _named(session, words)
    path = session.path(resource, name)
    deployment = session.api.get(path)
    revisions = _replica_sets(session, deployment)
    current = int(deployment["metadata"].get("annotations", {}).get(_REVISION, 0))
    earlier = [r for r in revisions if r < current]
    wanted = revision or max(earlier, default=0)
    if wanted not in revisions:
        raise NotFound(f"no revision {wanted} of {name} to go back to")
    template = revisions[wanted]["spec"]["template"]
    template["metadata"].get("labels", {}).pop(_HASH, None)
    patch = [{"op": "replace", "path": "/spec/template", "value": template}]
    session.api.request("PATCH", path, body=patch, content_type="application/json-patch+json")
    print(f"{resource.label}/{name} rolled back")
