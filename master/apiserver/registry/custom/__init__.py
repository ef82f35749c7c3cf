"""Custom kinds: what CustomResourceDefinitions add to the server while it runs.

``controller`` follows the definitions in the watch cache, whoever wrote them, and gives each served version a
``strategy``; ``views`` hold the stored objects as each version shows them, through ``conversion``.
"""
