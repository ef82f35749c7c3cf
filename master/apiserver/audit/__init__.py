"""The audit log: who asked for what, when, and how it ended.

A policy says how much of each request is recorded; a request that it records nothing of costs a look-up in a cache, and
without ``--audit-policy-file`` nothing at all. Events are finished, encoded and written by a thread of each sink's own,
behind a bounded queue: a full disk or a slow receiver loses events, which is counted, and never holds up a request.

Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""
