"""Aggregated APIs: group versions that another API server behind a Service answers for.

``table`` knows the APIServices, ``proxy`` passes requests on, ``availability`` looks whether the others answer and
keeps what they say of themselves (``documents``), ``registration`` has an APIService for all that is served here.

Source: KEP-263, ``k8s.io/kube-aggregator``.
"""
