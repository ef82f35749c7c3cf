"""What a container of the in-memory fake does: its command, read as a tiny shell script.

Known are ``true``, ``false``, ``exit N``, ``sleep N``, ``sleep infinity``, ``echo TEXT`` and ``trap`` (the
signal TERM is then not obeyed), alone or joined by ``;``, ``&&`` or newlines in ``sh -c``. Any other command runs
until it is stopped, which is what servers do.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

FOREVER = float("inf")


@dataclass(slots=True)
class Program:
    """How a container behaves: runs ``seconds``, prints ``output`` as (second, line), and ends with ``exit_code``."""

    seconds: float = FOREVER
    exit_code: int = 0
    output: list[tuple[float, str]] = field(default_factory=list)
    obeys_term: bool = True


def parse(command: Sequence[str]) -> Program:
    """The program of a container's command and arguments together; an empty one runs for ever."""
    program = Program(seconds=0.0)
    if not command:
        return Program()
    for words in _statements(command):
        if not _step(program, words):
            break
    return program


def _statements(command: Sequence[str]) -> Iterator[list[str]]:
    shell = command[0].rsplit("/", 1)[-1] in ("sh", "bash", "ash")
    if not (shell and len(command) > 2 and command[1] == "-c"):
        yield list(command)
        return
    lexer = shlex.shlex(command[2].replace("\n", ";"), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if token and set(token) <= set(";&|"):
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def _step(program: Program, words: list[str]) -> bool:
    """Take one statement in; whether the script goes on after it."""
    name, args = words[0].rsplit("/", 1)[-1], words[1:]
    program.exit_code = 0
    if name == "sleep":
        program.seconds += _seconds(args[0] if args else "")
    elif name == "echo":
        program.output.append((program.seconds, " ".join(args)))
    elif name == "trap":
        program.obeys_term = False
    elif name == "exit":
        program.exit_code = int(args[0]) % 256 if args and args[0].isdigit() else 0
        return False
    elif name == "false":
        program.exit_code = 1
    elif name != "true":
        program.seconds = FOREVER
    return program.seconds != FOREVER


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return FOREVER
