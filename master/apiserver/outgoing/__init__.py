"""Calls out of the API server: to webhooks, to aggregated API servers, and what proxies pass on.

One mechanism for all: ``dial`` opens a connection, straight or through a node; ``http`` keeps connections alive on top
of it; ``client`` asks a webhook.
"""
