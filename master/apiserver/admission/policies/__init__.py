"""Admission policies: rules that users write in CEL and bind to requests.

``environment`` knows what an expression may name, ``source`` which policies and bindings there are, ``params`` what
parameterizes them, ``scope`` the values for one request; ``validating`` and ``mutating`` are the two members of the
chain, ``type_checking`` and ``status`` tell authors what is wrong with an expression.
Source: KEP-3488, KEP-3962, ``k8s.io/apiserver/pkg/admission/plugin/policy``.
"""
