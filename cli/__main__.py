"""``kubeto``: the command line. One file a verb, or a few that belong together."""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from apimachinery.errors import ApiError
from cli.refusal import Refusal
from cli.settings import SETTINGS
from cli.verbs import HELP_OPTIONS, Verbs

app = typer.Typer(
    name="kubeto",
    help="A Kubernetes in Python: start a cluster, and use it with kubectl's grammar.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
    cls=Verbs,
)


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
    except Refusal as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename or error}: no such file (is there a cluster? 'kubeto up' starts one)")
    except PermissionError as error:
        sys.exit(
            f"error: {error.filename or error}: no right to do this: use sudo, or the user who started the cluster"
        )
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"error: {error.filename or error}: no space left on the disk: make room and type the same again")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
