"""gRPC as all of Kubeto's processes use it: limits, keepalive and credentials.

A peer that vanished without closing its connection is noticed after ``KEEPALIVE_SECONDS`` plus
``KEEPALIVE_TIMEOUT_SECONDS``. gRPC servers drop clients that ping more often than they allow, so clients and
servers take their options from here, together.
"""

import grpc

from apimachinery.config import ClusterAccess

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
KEEPALIVE_SECONDS = 5
KEEPALIVE_TIMEOUT_SECONDS = 5

Options = list[tuple[str, int | str]]

_LIMITS: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]
_KEEPALIVE: Options = [
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
    # A keepalive ping rides on a ping that is under way (to measure bandwidth), and has that one's timeout then.
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
    ("grpc.http2.max_pings_without_data", 0),
]

CLIENT_OPTIONS: Options = [
    *_LIMITS,
    *_KEEPALIVE,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # the deadline of one attempt
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]

SERVER_OPTIONS: Options = [
    *_LIMITS,
    *_KEEPALIVE,
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 500),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),  # a port that is taken must be an error
]


def client_credentials(access: ClusterAccess) -> grpc.ChannelCredentials:
    """TLS by the cluster's CA with the client certificate if there is one, else with the bearer token."""
    if access.client_certificate:
        return grpc.ssl_channel_credentials(access.ca, access.client_key, access.client_certificate)
    tls = grpc.ssl_channel_credentials(access.ca)
    if not access.token:
        return tls
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(access.token))
