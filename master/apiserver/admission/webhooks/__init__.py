"""Admission webhooks: who else is asked about a write, and how his answer is taken.

``source`` knows the configurations, ``review`` makes questions and reads answers, ``plugins`` are the two members of
the chain. Source: KEP-1693, ``k8s.io/apiserver/pkg/admission/plugin/webhook``.
"""
