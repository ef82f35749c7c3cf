"""``kubeto``: the command line. One file a verb, or a few that belong together."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from apimachinery.errors import ApiError
from cli import rollout
from cli.api import ApiUnreachable
from cli.describe import describe
from cli.get import get
from cli.insight import top, why
from cli.jsonpath import BadTemplate
from cli.manifests import BadManifest
from cli.port_forward import port_forward
from cli.printers import BadOutput
from cli.resources import UnknownResource
from cli.session import SETTINGS
from cli.streams import exec_, logs
from cli.up.command import down, up
from cli.up.containers import component, init
from cli.up.prerequisites import CannotStart
from cli.write import apply, create, delete, scale

app = typer.Typer(
    name="kubeto",
    help="A Kubernetes in Python: start a cluster, and use it with kubectl's grammar.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (up, down, get, describe, apply, create, delete, scale, logs, port_forward, top, why):
    app.command(verb.__name__.replace("_", "-"))(verb)
app.command("exec")(exec_)
app.command("init", hidden=True)(init)
app.command("component", hidden=True)(component)
app.add_typer(rollout.app, name="rollout")

_REFUSALS = (ApiUnreachable, BadManifest, BadOutput, BadTemplate, CannotStart, UnknownResource)


@app.callback()
def settings(
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The kubeconfig; else $KUBECONFIG, else .kubeto/admin.conf.")
    ] = None,
    context: Annotated[str, typer.Option(help="The kubeconfig's context; else its current one.")] = "",
) -> None:
    SETTINGS.kubeconfig, SETTINGS.context = kubeconfig, context


def main() -> None:
    """Run the command line; every refusal is one line on standard error and exit code 1."""
    try:
        app()
    except ApiError as error:
        sys.exit(f"Error from server ({error.status_reason}): {error.message}")
    except _REFUSALS as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename or error}: no such file (is there a cluster? 'kubeto up' starts one)")
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
