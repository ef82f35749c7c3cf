"""State: etcd behind a few verbs (``interface``, ``etcd``), and the watch cache that answers every read (``cache``)."""
