"""The functions that expressions may call: CEL's own, and Kubernetes'.

Source: https://kubernetes.io/docs/reference/using-api/cel/
"""


def load() -> None:
    """Fill the table of overloads."""
    from . import authorizer, formats, lists, network, optionals, quantities, semver, sets, standard, strings, urls

    del authorizer, formats, lists, network, optionals, quantities, semver, sets, standard, strings, urls
