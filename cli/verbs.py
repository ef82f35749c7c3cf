"""The table of verbs. A verb's module is imported when the verb is used: most of them need an HTTP client, or
cryptography, and ``kubeto --help`` none of that.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:  # where typer keeps them is its own affair
    from typer._click import Command, Context, HelpFormatter


@dataclass(frozen=True, slots=True)
class Verb:
    """``where`` is MODULE:NAME of a function, or of a Typer application with verbs of its own."""

    where: str
    help: str
    hidden: bool = False

    def command(self, name: str) -> "Command":
        """The command, its module imported."""
        module, _, attribute = self.where.partition(":")
        found: Callable[..., Any] | typer.Typer = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=HELP_OPTIONS)
            app.command(name)(found)
            found = app
        command = typer.main.get_command(found)
        command.name = name
        return command


HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
VERBS = {
    "up": Verb("cli.up.command:up", "Start a cluster and wait until its nodes are Ready."),
    "down": Verb("cli.up.command:down", "Stop the cluster; its data stay unless --clean is given."),
    "get": Verb("cli.get:get", "Show objects: 'kubeto get pods -A -o wide', 'kubeto get nodes -w'."),
    "describe": Verb("cli.describe:describe", "Tell everything about objects, with their events."),
    "apply": Verb("cli.write:apply", "Make the cluster have what the files say (server-side apply)."),
    "create": Verb("cli.write:create", "Create objects, from files or by a few words."),
    "delete": Verb("cli.write:delete", "Delete objects, by name, by label or as files say."),
    "scale": Verb("cli.write:scale", "Set the number of pods: 'kubeto scale deploy/web --replicas=5'."),
    "rollout": Verb("cli.rollout:app", "Follow and change a rollout: status, history, undo, restart, pause, resume."),
    "logs": Verb("cli.streams:logs", "Print a container's log: 'kubeto logs deploy/web -f'."),
    "exec": Verb("cli.streams:exec_", "Run a command in a container: 'kubeto exec -it web-0 -- sh'."),
    "port-forward": Verb("cli.port_forward:port_forward", "Reach a pod's port on this machine."),
    "top": Verb("cli.insight:top", "CPU and memory in use now: 'kubeto top nodes', 'kubeto top pods -A'."),
    "why": Verb("cli.insight:why", "Why a pod is where it is, or nowhere, and what would let it in."),
    "init": Verb("cli.up.containers:init", "", hidden=True),
    "component": Verb("cli.up.containers:component", "", hidden=True),
}


class Verbs(TyperGroup):
    """The group of all verbs."""

    def list_commands(self, ctx: "Context") -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        verb = VERBS.get(cmd_name)
        return verb.command(cmd_name) if verb else None

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items() if not verb.hidden])
