"""A CRI ``runtime.v1`` server over a Docker engine: what ``kubeto-cri-docker`` runs.

A pod's way through it: ``runtime_service`` takes the call, ``sandboxes`` and ``containers`` carry it out by
``engine`` with what ``specs`` translated, ``cache`` holds what the engine then is asked for only when ``events`` says
that something happened. ``attachments`` is all that is kept on disk of our own; everything else can be asked again.
"""
