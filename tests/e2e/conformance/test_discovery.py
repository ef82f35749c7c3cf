"""sig-api-machinery, discovery: upstream's tests that start no pod. Each is named after upstream's."""

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import discovered, resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GROUPS = [
    "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1/customresourcedefinitions",
    "apiregistration.k8s.io/v1/apiservices",
    "apps/v1/deployments",
    "authentication.k8s.io/v1/tokenreviews",
    "authorization.k8s.io/v1/selfsubjectaccessreviews",
    "autoscaling/v1/horizontalpodautoscalers",
    "autoscaling/v2/horizontalpodautoscalers",
    "batch/v1/jobs",
    "certificates.k8s.io/v1/certificatesigningrequests",
    "coordination.k8s.io/v1/leases",
    "discovery.k8s.io/v1/endpointslices",
    "events.k8s.io/v1/events",
    "networking.k8s.io/v1/ingresses",
    "node.k8s.io/v1/runtimeclasses",
    "policy/v1/poddisruptionbudgets",
    "scheduling.k8s.io/v1/priorityclasses",
    "storage.k8s.io/v1/csinodes",
]


def test_should_support_raw_aggregated_discovery_endpoint_accept_headers(plane: ApiServerProgram) -> None:
    reply = plane.request("GET", "/apis", headers={"Accept": AGGREGATED})
    assert "as=APIGroupDiscoveryList" in reply.headers["content-type"]
    found = {
        f"{group['metadata']['name']}/{version['version']}/{r['resource']}"
        for group in reply.json["items"]
        for version in group["versions"]
        for r in version["resources"]
    }
    assert set(GROUPS) <= found
    core = plane.request("GET", "/api", headers={"Accept": AGGREGATED}).json["items"]
    assert "namespaces" in [r["resource"] for r in core[0]["versions"][0]["resources"]]


def test_should_validate_preferred_version_for_each_api_group(plane: ApiServerProgram) -> None:
    for group in plane.request("GET", "/apis").json["groups"]:
        for path in (f"/apis/{group['name']}", f"/apis/{group['name']}/"):
            got = plane.request("GET", path).json
            assert got["preferredVersion"] in got["versions"]
            assert got["preferredVersion"] == group["preferredVersion"]


def test_should_locate_all_expected_resources_in_discovery(plane: ApiServerProgram) -> None:
    for line in GROUPS:
        group, version, name = line.split("/")
        kinds = plane.request("GET", f"/apis/{group}/{version}").json["resources"]
        assert name in [k["name"] for k in kinds]


def test_should_find_the_server_version(plane: ApiServerProgram) -> None:
    found = plane.request("GET", "/version").json
    assert (found["major"], found["minor"], found["gitVersion"][:6]) == ("1", "36", "v1.36.")


def test_served_kinds_have_singular_names_and_verbs(plane: ApiServerProgram) -> None:
    for kind in plane.request("GET", "/api/v1").json["resources"]:
        assert kind["verbs"], kind
        assert bool(kind["singularName"]) != ("/" in kind["name"])
    assert "pods/ephemeralcontainers" in set(discovered(plane, resource(plane, "pods").kind))
