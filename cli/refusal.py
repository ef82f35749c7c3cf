"""What the command line says no with."""


class Refusal(Exception):
    """The command cannot be done; the message tells a person why, in one line where that is enough."""
