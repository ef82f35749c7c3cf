"""The streaming server: exec, attach and port-forward over SPDY/3.1 or WebSocket, as Kubernetes' clients speak them.

``urls`` hands out one-time addresses, ``server`` takes the connections, ``channels`` makes one thing of the
protocols, ``remote_command`` and ``port_forward`` join them to a container.
"""
