"""``/openapi/v2`` and ``/openapi/v3``: what kubectl explains, validates and merges by.

Documents are made when first asked for. Those of built-in kinds are made for all groups at once, from definitions too
large to keep, and put on disk beside the compiled schema, so that they cost a running server no memory; where nothing
can be written they stay in memory. Those of custom kinds are made from the catalog and again when it changes.
"""

from .documents import OpenApi
from .routes import router

__all__ = ["OpenApi", "router"]
