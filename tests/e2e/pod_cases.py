"""Pods and what becomes of them: what upstream's conformance tests ask of a node, a line or two each.

A case is a pod, patterns that its container's log must have, the phase it must reach, and a check of the whole object.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
IMAGE = "kubeto/busybox:1"


@dataclass(frozen=True)
class Case:
    spec: Object
    log: tuple[str, ...] = ()
    phase: str = "Succeeded"
    check: Callable[[Object], bool] = lambda pod: True
    meta: Object = field(default_factory=dict)


def c(script: str, name: str = "c", **fields: Any) -> Object:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **fields}


def run(containers: Object | list[Object], *log: str, phase: str = "Succeeded", **spec: Any) -> Case:
    check, meta = spec.pop("check", lambda pod: True), spec.pop("meta", {})
    listed = containers if isinstance(containers, list) else [containers]
    base = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": listed}
    return Case(base | spec, log, phase, check, meta)


def env(**values: Any) -> list[Object]:
    return [{"name": name, **(v if isinstance(v, dict) else {"value": v})} for name, v in values.items()]


def of_field(path: str) -> Object:
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def of_resource(resource: str, **more: str) -> Object:
    return {"valueFrom": {"resourceFieldRef": {"resource": resource, **more}}}


def mount(path: str = "/v", **more: Any) -> list[Object]:
    return [{"name": "v", "mountPath": path, **more}]


def volume(**source: Any) -> list[Object]:
    return [{"name": "v", **source}]


def first(pod: Object) -> Object:
    status: Object = pod["status"]["containerStatuses"][0]
    return status


def waits(*reasons: str) -> Callable[[Object], bool]:
    return lambda pod: first(pod)["state"]["waiting"]["reason"] in reasons


def restarted(pod: Object) -> bool:
    return int(first(pod)["restartCount"]) >= 1


def ready(pod: Object) -> bool:
    return bool(first(pod)["ready"])


def ended(**fields: Any) -> Callable[[Object], bool]:
    return lambda pod: all(first(pod)["state"]["terminated"].get(k, "") == v for k, v in fields.items())


OBJECTS: list[Object] = [
    {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"},
        "data": {"data-1": "value-1", "data-2": "value-2"},
        "binaryData": {"bin": base64.b64encode(bytes.fromhex("decafebad0feff")).decode()},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec"}, "stringData": {"data-1": "value-1", "N": "s"}},
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "websvc"},
        "spec": {"ports": [{"port": 8765}], "selector": {"x": "y"}},
    },
]  # fmt: skip

_LIST = (
    "for f in $(find /v -maxdepth 3 -follow -type f 2>/dev/null | grep -v '\\.\\.'); "
    "do stat -L -c '%n %a %u:%g' $f; cat $f; echo; done"
)
_AMOUNTS = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}
_LABELS = {"labels": {"a": "x"}, "annotations": {"b": "y"}}
_SERVER = "mkdir /w; echo ok > /w/healthz; httpd -f -p 8080 -h /w"


def listing(*log: str, **spec: Any) -> Case:
    """A pod that lists its volume /v."""
    return run(c(_LIST, volumeMounts=mount(), resources=spec.pop("resources", {})), *log, **spec)


def probed(script: str, kind: str, **probe: Any) -> Object:
    return c(script, **{f"{kind}Probe": {"periodSeconds": 1, **probe}})


def _empty(medium: str, user: int) -> Case:
    script = "stat -c 'd %a' /v; grep ' /v ' /proc/mounts; echo hi > /v/f; chmod 0644 /v/f; stat -c '%a %u' /v/f"
    log = ["d 1777", "tmpfs /v tmpfs"] if medium else ["d 777"]
    log.append(f"644 {user}")
    source = volume(emptyDir={"medium": medium} if medium else {})
    return run(c(script, volumeMounts=mount()), *log, securityContext={"runAsUser": user}, volumes=source)


ENVIRONMENT = {
    "env-composed": run(
        c("echo $FB", env=env(FOO="f", BAR="b", FB="$(FOO);;$(BAR);;$$(X);;$(NO)")), r"f;;b;;\$\(X\);;\$\(NO\)"
    ),
    "args-expanded": run(
        {**c(""), "command": ["sh", "-c"], "args": ["echo '$(T)' '$$(T)' '$(U)'"], "env": env(T="val")},
        r"val \$\(T\) \$\(U\)",
    ),
    "command-expanded": run(c("echo '$(T)'", env=env(T="val")), "val"),
    "downward-env": run(
        c(
            "env",
            env=env(
                PN=of_field("metadata.name"), IP=of_field("status.podIP"), HOST=of_field("status.hostIP"),
                HOSTS=of_field("status.hostIPs"), U=of_field("metadata.uid"), SA=of_field("spec.serviceAccountName"),
                L=of_field("metadata.labels['a']"), A=of_field("metadata.annotations['b']"),
                NODE=of_field("spec.nodeName"), PODS=of_field("status.podIPs"),
            ),
        ),
        "PN=downward-env", r"IP=10\.244", "HOST=172", "HOSTS=172", "U=[0-9a-f-]{36}", "SA=default", "L=x", "A=y",
        "NODE=node-", r"PODS=10\.244",
        meta=_LABELS,
    ),
    "downward-resources": run(
        c(
            "env",
            resources=_AMOUNTS,
            env=env(
                CL=of_resource("limits.cpu"), ML=of_resource("limits.memory"), CR=of_resource("requests.cpu"),
                MM=of_resource("limits.memory", divisor="1Mi"), CM=of_resource("limits.cpu", divisor="1m"),
            ),
        ),
        "CL=2$", "ML=67108864$", "CR=1$", "MM=64$", "CM=1250$",
    ),
    "downward-allocatable": run(
        c("env", env=env(CL=of_resource("limits.cpu"), ML=of_resource("limits.memory"))),
        "CL=[1-9]", "ML=[1-9][0-9]{8,}",
    ),
    "config-env": run(
        c(
            "tr '\\0' '\\n' < /proc/1/environ; true",
            envFrom=[{"configMapRef": {"name": "cm"}}, {"prefix": "1 $_-", "secretRef": {"name": "sec"}}],
            env=env(
                ONE={"valueFrom": {"configMapKeyRef": {"name": "cm", "key": "data-1"}}},
                TWO={"valueFrom": {"configMapKeyRef": {"name": "no", "key": "z", "optional": True}}},
                THREE={"valueFrom": {"secretKeyRef": {"name": "sec", "key": "data-1"}}},
            ),
        ),
        "ONE=value-1", "THREE=value-1", r"^1 \$_-N=s", "^data-2=value-2",
    ),
    "service-env": run(
        c("env"), r"WEBSVC_SERVICE_HOST=10\.96", "WEBSVC_SERVICE_PORT=8765", "WEBSVC_PORT_8765_TCP_PROTO=tcp",
        r"KUBERNETES_SERVICE_HOST=10\.96\.0\.1",
    ),
}  # fmt: skip

VOLUMES = {
    "config-volume": listing("/v/data-1 644 0:0", "value-1", volumes=volume(configMap={"name": "cm"})),
    "config-mode": listing("/v/data-1 400", volumes=volume(configMap={"name": "cm", "defaultMode": 0o400})),
    "config-items": listing(
        "/v/path/to/data-2 400 ", "value-2",
        volumes=volume(configMap={"name": "cm", "items": [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]}),
    ),
    "config-as-user": listing(
        "value-1", securityContext={"runAsUser": 1000}, volumes=volume(configMap={"name": "cm"})
    ),
    "config-fs-group": listing(
        r"/v/data-1 \d+ 0:1001", "value-1",
        securityContext={"runAsUser": 1000, "fsGroup": 1001},
        volumes=volume(configMap={"name": "cm", "defaultMode": 0o440}),
    ),
    "config-binary": run(
        c("od -An -tx1 /v/bin", volumeMounts=mount()), "de ca fe ba d0 fe ff", volumes=volume(configMap={"name": "cm"})
    ),
    "config-optional": run(
        c("ls /v | wc -l", volumeMounts=mount()), "^0$", volumes=volume(configMap={"name": "no", "optional": True})
    ),
    "secret-volume": listing("/v/data-1 644 0:0", "value-1", volumes=volume(secret={"secretName": "sec"})),
    "secret-fs-group": listing(
        "/v/data-1 440 0:1001", "value-1",
        securityContext={"runAsUser": 1000, "fsGroup": 1001},
        volumes=volume(secret={"secretName": "sec", "defaultMode": 0o440}),
    ),
    "projected": listing(
        "/v/c/data-1 644", "/v/s/data-1", "/v/podname", "^projected$", "/v/cpu", "/v/token",
        volumes=volume(projected={"sources": [
            {"configMap": {"name": "cm", "items": [{"key": "data-1", "path": "c/data-1"}]}},
            {"secret": {"name": "sec", "items": [{"key": "data-1", "path": "s/data-1"}]}},
            {"downwardAPI": {"items": [
                {"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
            ]}},
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        ]}),
    ),
    "downward-volume": listing(
        'a="x"', 'b="y"', "/v/name 400", r"/v/cpu 644[^\n]*\n1250", r"/v/memory 644[^\n]*\n64\n",
        meta=_LABELS, resources=_AMOUNTS,
        volumes=volume(downwardAPI={"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
            {"path": "name", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "cpu",
             "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}},
            {"path": "memory",
             "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
        ]}),
    ),
    "empty-root": _empty("", 0),
    "empty-user": _empty("", 1001),
    "empty-memory-root": _empty("Memory", 0),
    "empty-memory-user": _empty("Memory", 1001),
    "empty-shared": run(
        [c("echo shared > /v/x; sleep 2", "w", volumeMounts=mount()),
         c("while [ ! -f /v/x ]; do sleep 0.1; done; cat /v/x", volumeMounts=mount())],
        "shared", volumes=volume(emptyDir={}),
    ),
    "sub-path": run(
        c("cat /etc/passwd", volumeMounts=mount("/etc/passwd", subPath="data-1")),
        "value-1", volumes=volume(configMap={"name": "cm"}),
    ),
    "sub-path-expr": run(
        c("echo ok > /v/x; ls /all/sub-path-expr", env=env(PN=of_field("metadata.name")),
          volumeMounts=[*mount(subPathExpr="$(PN)"), *mount("/all")]),
        "^x$", volumes=volume(emptyDir={}),
    ),
    "sub-path-absolute": run(
        c("true", env=env(PN="/abs"), volumeMounts=mount(subPathExpr="$(PN)")),
        phase="Pending", check=waits("CreateContainerConfigError"), volumes=volume(emptyDir={}),
    ),
    "sub-path-backstep": run(
        c("true", env=env(PN="../x"), volumeMounts=mount(subPathExpr="$(PN)")),
        phase="Pending", check=waits("CreateContainerConfigError"), volumes=volume(emptyDir={}),
    ),
    "token-volume": run(
        c("cd /var/run/secrets/kubernetes.io/serviceaccount; ls; wc -c < token"), "ca.crt", "namespace", "token",
        r"\d{3}",
    ),
}  # fmt: skip

LIFE = {
    "message-file": run(c("printf DONE > /dev/termination-log"), check=ended(message="DONE")),
    "message-none": run(c("echo DONE", terminationMessagePolicy="FallbackToLogsOnError"), check=ended(message="")),
    "message-log": run(
        c("printf DONE; exit 1", terminationMessagePolicy="FallbackToLogsOnError"),
        phase="Failed", check=ended(message="DONE", reason="Error"),
    ),
    "message-user": run(
        c("printf DONE > /dev/own", terminationMessagePath="/dev/own", securityContext={"runAsUser": 10000}),
        check=ended(message="DONE"),
    ),
    "init-order": run(
        c("cat /v/o", volumeMounts=mount()), r"1\n2\n",
        initContainers=[c(f"echo {i} >> /v/o", f"i{i}", volumeMounts=mount()) for i in (1, 2)],
        volumes=volume(emptyDir={}),
    ),
    "init-fails": run(
        c("true"), phase="Failed", initContainers=[c("true", "i1"), c("false", "i2")],
        check=lambda pod: "waiting" in first(pod)["state"],
    ),
    "init-retries": run(
        c("true"), phase="Pending", restartPolicy="Always", initContainers=[c("false", "i1"), c("true", "i2")],
        check=lambda pod: pod["status"]["initContainerStatuses"][0]["restartCount"] >= 1
        and "containers with incomplete status: [i1 i2]" in [x.get("message") for x in pod["status"]["conditions"]],
    ),
    "post-start": run(
        c("while [ ! -f /v/x ]; do sleep 0.1; done; cat /v/x", volumeMounts=mount(),
          lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /v/x"]}}}),
        "hooked", volumes=volume(emptyDir={}),
    ),
    "sidecar": run(
        c("cat /v/s", volumeMounts=mount()), "side", volumes=volume(emptyDir={}),
        initContainers=[
            c("echo side > /v/s; trap 'exit 0' TERM; sleep 1000 & wait", "s", restartPolicy="Always",
              volumeMounts=mount(),
              startupProbe={"exec": {"command": ["test", "-f", "/v/s"]}, "periodSeconds": 1}),
        ],
    ),
    "liveness-exec": run(
        probed("touch /h; sleep 2; rm /h; sleep 1000", "liveness", exec={"command": ["cat", "/h"]}, failureThreshold=1),
        phase="Running", check=restarted, restartPolicy="Always",
    ),
    "liveness-http": run(
        probed(_SERVER, "liveness", httpGet={"path": "/healthz", "port": 8080}, initialDelaySeconds=1),
        phase="Running", check=ready, restartPolicy="Always",
    ),
    "liveness-http-fails": run(
        probed(_SERVER, "liveness", httpGet={"path": "/none", "port": 8080}, failureThreshold=2),
        phase="Running", check=restarted, restartPolicy="Always",
    ),
    "liveness-tcp": run(
        probed(_SERVER, "liveness", tcpSocket={"port": 8080}, initialDelaySeconds=1),
        phase="Running", check=ready, restartPolicy="Always",
    ),
    "readiness-fails": run(
        probed("sleep 1000", "readiness", exec={"command": ["false"]}), phase="Running", check=lambda p: not ready(p)
    ),
    "deadline": run(
        c("sleep 1000"), phase="Failed", activeDeadlineSeconds=3,
        check=lambda pod: pod["status"]["reason"] == "DeadlineExceeded",
    ),
    "restart-on-failure": run(c("false"), phase="Running", check=restarted, restartPolicy="OnFailure"),
    "killed-for-memory": run(
        c("tail /dev/zero", resources={"limits": {"memory": "20Mi"}}), phase="Failed", check=ended(reason="OOMKilled")
    ),
    "image-missing": run(
        {"name": "c", "image": "foo:non-existent"}, phase="Pending", check=waits("ErrImagePull", "ImagePullBackOff")
    ),
    "guaranteed": run(
        c("true", resources={"limits": {"cpu": "100m", "memory": "10Mi"}}),
        check=lambda pod: pod["status"]["qosClass"] == "Guaranteed",
    ),
    "terminal": run(c("test -t 1 && echo istty", tty=True, stdin=True), "istty"),
    "working-folder": run(c("pwd", workingDir="/tmp"), "^/tmp"),
}  # fmt: skip

SECURITY = {
    "users": run(
        c("id"), "uid=1001 gid=2001 groups=.*4000",
        securityContext={"runAsUser": 1001, "runAsGroup": 2001, "supplementalGroups": [4000]},
    ),
    "users-of-container": run(
        c("id", securityContext={"runAsUser": 1002, "runAsGroup": 2002}), "uid=1002 gid=2002",
        securityContext={"runAsUser": 1001},
    ),
    "read-only-root": run(
        c("echo x > /file || echo refused", securityContext={"readOnlyRootFilesystem": True}), "refused"
    ),
    "unprivileged": run(
        c("ip link add dummy0 type dummy || echo refused", securityContext={"privileged": False}), "refused"
    ),
    "privileged": run(
        c("grep CapEff /proc/self/status; ls /dev | wc -l", securityContext={"privileged": True}),
        r"CapEff:\t0+[1-9a-f][0-9a-f]{9,10}$", r"^\d{2,}$",
    ),
    "no-new-privileges": run(
        c("grep NoNewPrivs /proc/self/status", securityContext={"allowPrivilegeEscalation": False}), "NoNewPrivs:\t1"
    ),
    "capabilities": run(
        c("grep CapEff /proc/self/status",
          securityContext={"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        "0000000000000400",
    ),
    "seccomp": run(
        c("grep Seccomp: /proc/self/status", securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
        "Seccomp:\t2",
    ),
    "sysctl": run(
        c("cat /proc/sys/kernel/shm_rmid_forced"), "^1",
        securityContext={"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
    ),
    "sysctl-unsafe": run(
        c("true"), phase="Failed", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "10000"}]},
        check=lambda pod: pod["status"]["reason"] == "SysctlForbidden"
        and pod["status"]["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
    ),
    "shared-processes": run(
        [c("sleep 1000", "a"), c("while ! ps | grep -q 'sleep [1]000'; do sleep 0.1; done; ps")], "sleep 1000",
        shareProcessNamespace=True, phase="Running",
    ),
}  # fmt: skip

NAMES = {
    "hosts-aliases": run(
        c("cat /etc/hosts"), "# Kubernetes-managed hosts file.", "123.45.67.89\tfoo\tbar",
        hostAliases=[{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}],
    ),
    "hosts-domain": run(
        c("cat /etc/hosts; hostname"), r"10\.244[^\n]*\thn\.sub\.[a-z-]+\.svc\.cluster\.local\thn", "^hn$",
        hostname="hn", subdomain="sub",
    ),
    "hosts-own": run(
        c("cat /etc/hosts", volumeMounts=mount("/etc/hosts", subPath="data-1")), "^value-1",
        volumes=volume(configMap={"name": "cm"}),
    ),
    "hosts-of-node": run(c("cat /etc/hosts"), "localhost", hostNetwork=True),
    "long-name-" + "x" * 60: run(c("hostname"), "^long-name-x{53}$"),
    "dns-none": run(
        c("cat /etc/resolv.conf"), r"nameserver 1\.1\.1\.1$", "search a.local$",
        dnsPolicy="None", dnsConfig={"nameservers": ["1.1.1.1"], "searches": ["a.local"]},
    ),
    "dns-first": run(
        c("cat /etc/resolv.conf"), r"nameserver 10\.96\.0\.10", r"search [a-z-]+.svc.cluster.local svc.cluster.local",
        "options ndots:5",
    ),
}  # fmt: skip

CASES: dict[str, Case] = ENVIRONMENT | VOLUMES | LIFE | SECURITY | NAMES
