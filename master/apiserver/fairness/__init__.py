"""API priority and fairness: who is served when more is asked than can be answered.

Two things are rationed. *Seats* are upstream's: a request sits from its dispatch to the end of its answer, waiting for
etcd and webhooks included, and what finds no seat in its priority level waits in a queue or is refused. *Turns* are
ours: all requests share one event loop, so when it is busy, the code between two awaits of a request waits for its
flow's turn. Seats keep what waits outside in bounds; turns keep what computes from going first because it came first.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/, KEP-1040.
"""
