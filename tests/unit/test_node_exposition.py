"""A node's use in Prometheus' format: names, labels and values."""

from prometheus_client.parser import text_string_to_metric_families as parsed

from master.apiserver.rest.node_exposition import resource_metrics

SUMMARY = {
    "node": {"cpu": {"usageCoreNanoSeconds": 5 * 10**9}, "memory": {"workingSetBytes": 100}},
    "pods": [
        {
            "podRef": {"namespace": "a", "name": "p"},
            "cpu": {"usageCoreNanoSeconds": 2 * 10**9},
            "memory": {"workingSetBytes": 30},
            "network": {"name": "eth0", "rxBytes": 7, "txBytes": 8},
            "containers": [
                {
                    "name": "c",
                    "cpu": {"usageCoreNanoSeconds": 10**9},
                    "memory": {"workingSetBytes": 20, "usageBytes": 25, "rssBytes": 15},
                    "rootfs": {"usedBytes": 9},
                }
            ],
        }
    ],
}


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for f in parsed(text.decode()) for s in f.samples}


def test_resource_metrics() -> None:
    found = samples(resource_metrics(SUMMARY))
    assert found["node_cpu_usage_seconds_total",] == 5 and found["node_memory_working_set_bytes",] == 100
    assert found["pod_cpu_usage_seconds_total", "a", "p"] == 2
    assert found["container_memory_working_set_bytes", "c", "a", "p"] == 20
    assert found["resource_scrape_error",] == 0
