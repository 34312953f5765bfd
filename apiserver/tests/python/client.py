"""What the Python client and its dynamic client do against a cluster; exits 0 when each step came out as with Kubernetes.

Usage: client.py KUBECONFIG
"""
import datetime
import os
import sys
import threading
import time

import kubernetes
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic.exceptions import NotFoundError
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import stream

config.load_kube_config(sys.argv[1])
api = client.ApiClient()
core, apps, batch = client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api)
ext, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
STEPS = []


def step(f):
    STEPS.append(f)
    return f


def until(what, seen, seconds=30):
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def refused(status, reason, f, *args, **kwargs):
    try:
        f(*args, **kwargs)
    except ApiException as e:
        assert e.status == status, f"{e.status} instead of {status}: {e.body}"
        assert reason in e.body, e.body
        return e
    raise AssertionError(f"not refused with {status}")


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


@step
def version_and_discovery():
    assert client.VersionApi(api).get_code().minor == "36"
    groups = {g.name for g in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups, groups
    names = {r.name for r in core.get_api_resources().resources}
    assert {"pods", "pods/log", "nodes/status"} <= names
    assert all(c.type for n in core.list_node().items for c in n.status.conditions)


@step
def objects_come_and_go():
    made = core.create_namespaced_config_map("default", config_map("one", {"of": "python"}, a="b"))
    assert made.metadata.uid and isinstance(made.metadata.creation_timestamp, datetime.datetime)
    refused(409, "AlreadyExists", core.create_namespaced_config_map, "default", config_map("one"))
    made.data["c"] = "d"
    newer = core.replace_namespaced_config_map("one", "default", made)
    refused(409, "Conflict", core.replace_namespaced_config_map, "one", "default", made)
    assert int(newer.metadata.resource_version) > int(made.metadata.resource_version)
    dry = core.create_namespaced_config_map("default", config_map("dry"), dry_run="All")
    assert dry.metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", "default")
    pretty = core.read_namespaced_config_map("one", "default", pretty="true", _preload_content=False).data
    assert b"\n  " in pretty
    core.delete_namespaced_config_map("one", "default", body=client.V1DeleteOptions(
        preconditions=client.V1Preconditions(uid=made.metadata.uid)))
    refused(404, "NotFound", core.delete_namespaced_config_map, "one", "default")


@step
def all_types_of_patches():
    core.create_namespaced_config_map("default", config_map("patched", a="b"))
    patch = core.patch_namespaced_config_map
    assert patch("patched", "default", {"data": {"a": None, "c": "d"}}).data == {"c": "d"}
    json_patch = [{"op": "test", "path": "/data/c", "value": "d"}, {"op": "add", "path": "/data/e", "value": "f"}]
    assert patch("patched", "default", json_patch).data == {"c": "d", "e": "f"}
    # The dynamic client: the typed one's way to name a type of patch changes from release to release.
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    merge = maps.patch(name="patched", namespace="default", body={"data": {"e": None}},
                       content_type="application/merge-patch+json")
    assert merge.data.to_dict() == {"c": "d"}
    refused(422, "Invalid", patch, "patched", "default", [{"op": "test", "path": "/data/c", "value": "x"}])
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "patched"}, "data": {"c": "other"}}
    try:
        maps.server_side_apply(body=body, namespace="default", field_manager="python")
        raise AssertionError("no conflict")
    except dynamic.exceptions.ConflictError:
        pass
    forced = maps.server_side_apply(body=body, namespace="default", field_manager="python", force_conflicts=True)
    owners = {m.manager: m.operation for m in forced.metadata.managedFields}
    assert forced.data.c == "other" and owners["python"] == "Apply", owners
    core.delete_namespaced_config_map("patched", "default")


@step
def lists_in_pages_and_by_selectors():
    for i in range(7):
        core.create_namespaced_config_map("default", config_map(f"page-{i}", {"page": str(i % 2)}, i=str(i)))
    seen, token = [], None
    while True:
        page = core.list_namespaced_config_map("default", label_selector="page", limit=3, _continue=token)
        seen += [o.metadata.name for o in page.items]
        token = page.metadata._continue
        if not token:
            break
        # With a selector nobody counts what is left.
        assert page.metadata.remaining_item_count is None
    assert seen == [f"page-{i}" for i in range(7)], seen
    odd = core.list_namespaced_config_map("default", label_selector="page in (1),page!=0").items
    assert len(odd) == 3
    named = core.list_config_map_for_all_namespaces(field_selector="metadata.name=page-3").items
    assert [o.data["i"] for o in named] == ["3"]
    refused(400, "BadRequest", core.list_namespaced_config_map, "default", label_selector="a in (")
    refused(400, "BadRequest", core.list_namespaced_config_map, "default", field_selector="data.i=3")
    core.delete_collection_namespaced_config_map("default", label_selector="page")
    assert not core.list_namespaced_config_map("default", label_selector="page").items


@step
def watches():
    first = core.list_namespaced_config_map("default").metadata.resource_version

    def change():
        core.create_namespaced_config_map("default", config_map("watched", {"w": "1"}, n="0"))
        core.patch_namespaced_config_map("watched", "default", {"data": {"n": "1"}})
        core.patch_namespaced_config_map("watched", "default", {"metadata": {"labels": {"w": "2"}}})
        core.delete_namespaced_config_map("watched", "default")

    thread = threading.Thread(target=change)
    thread.start()
    w, events = watch.Watch(), []
    for e in w.stream(core.list_namespaced_config_map, "default", resource_version=first, label_selector="w=1",
                      timeout_seconds=20):
        events.append((e["type"], e["object"].data["n"]))
        if e["type"] == "DELETED":
            w.stop()
    thread.join()
    # What leaves the selector is gone for the watcher.
    assert events == [("ADDED", "0"), ("MODIFIED", "1"), ("DELETED", "1")], events
    begun = time.monotonic()
    assert not list(watch.Watch().stream(core.list_namespaced_secret, "default", timeout_seconds=1,
                                         resource_version=core.list_namespaced_secret("default").metadata.resource_version))
    assert 0.5 < time.monotonic() - begun < 10


@step
def a_deployment_runs_scales_and_goes():
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
        "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}
    utils.create_from_dict(api, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    until("2 ready", lambda: apps.read_namespaced_deployment_status("web", "default").status.ready_replicas == 2)
    assert apps.read_namespaced_deployment_scale("web", "default").status.replicas == 2
    apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}})
    until("3 ready", lambda: apps.read_namespaced_deployment("web", "default").status.ready_replicas == 3)
    pods = core.list_namespaced_pod("default", label_selector="app=web").items
    assert len(pods) == 3 and all(p.status.phase == "Running" and p.spec.node_name for p in pods)
    pod = pods[0].metadata.name
    core.create_namespaced_pod_eviction(pod, "default", client.V1Eviction(metadata=client.V1ObjectMeta(name=pod)))
    apps.delete_namespaced_deployment("web", "default", propagation_policy="Foreground")
    until("all gone", lambda: not core.list_namespaced_pod("default", label_selector="app=web").items)


@step
def a_container_says_and_is_told():
    shell = {"name": "c", "image": "busybox:1.37", "command": ["sh", "-c", "echo $WHO; sleep 600"],
             "env": [{"name": "WHO", "value": "python"}]}
    core.create_namespaced_pod("default", {"metadata": {"name": "shell"}, "spec": {"containers": [shell]}})
    until("running", lambda: core.read_namespaced_pod("shell", "default").status.phase == "Running")
    until("its log", lambda: core.read_namespaced_pod_log("shell", "default") == "python\n")
    out = stream(core.connect_get_namespaced_pod_exec, "shell", "default", command=["echo", "hello"], stdout=True,
                 stderr=True, stdin=False, tty=False)
    assert out.strip() == "hello", out
    # Spoken with, a line at a time.
    sh = stream(core.connect_get_namespaced_pod_exec, "shell", "default", command=["/bin/sh"], stdout=True, stderr=True,
                stdin=True, tty=False, _preload_content=False)
    for said, heard in [("echo $WHO", "python"), ("echo $((1 + 1))", "2")]:
        sh.write_stdin(said + "\n")
        line = sh.readline_stdout(timeout=20)
        assert line == heard, line
    sh.write_stdin("exit 3\n")
    sh.run_forever(timeout=20)
    assert sh.returncode == 3, sh.returncode
    core.delete_namespaced_pod("shell", "default", grace_period_seconds=0)


@step
def a_job_ends():
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}}
    pods = {"metadata": {"annotations": {"cfn.akraino.org/run-for": "10ms"}}}
    spec["template"].update(pods)
    batch.create_namespaced_job("default", {"metadata": {"name": "once"}, "spec": spec})
    until("complete", lambda: batch.read_namespaced_job("once", "default").status.succeeded == 1)
    batch.delete_namespaced_job("once", "default", propagation_policy="Background")


@step
def custom_resources():
    spec = {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}}}
    ext.create_custom_resource_definition({"metadata": {"name": "gadgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                      "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                          "spec": spec, "status": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}}}]}})
    until("established", lambda: any(
        c.type == "Established" and c.status == "True"
        for c in ext.read_custom_resource_definition("gadgets.example.com").status.conditions or []))
    at = ("example.com", "v1", "default", "gadgets")
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 2, "odd": 1}}
    made = custom.create_namespaced_custom_object(*at, gadget)
    assert made["spec"] == {"size": 2, "color": "red"}, made["spec"]
    gadget["metadata"]["name"], gadget["spec"]["size"] = "bad", 0
    e = refused(422, "spec.size", custom.create_namespaced_custom_object, *at, gadget)
    assert "should be greater than or equal to 1" in e.body, e.body
    custom.patch_namespaced_custom_object_status(*at, "g", {"status": {"ok": True}})
    assert custom.get_namespaced_custom_object_status(*at, "g")["status"] == {"ok": True}
    dyn = dynamic.DynamicClient(api)
    gadgets = dyn.resources.get(api_version="example.com/v1", kind="Gadget")
    assert [g.metadata.name for g in gadgets.get(namespace="default").items] == ["g"]
    gadgets.patch(name="g", namespace="default", body={"spec": {"size": 5}}, content_type="application/merge-patch+json")
    for e in gadgets.watch(namespace="default", timeout=5):
        assert e["object"].spec.size == 5
        break
    gadgets.delete(name="g", namespace="default")
    try:
        gadgets.get(name="g", namespace="default")
        raise AssertionError("still there")
    except NotFoundError:
        pass
    ext.delete_custom_resource_definition("gadgets.example.com")
    until("not served", lambda: gone(lambda: custom.list_namespaced_custom_object(*at)))


def gone(f):
    try:
        f()
        return False
    except ApiException as e:
        return e.status == 404


@step
def who_may():
    core.create_namespaced_service_account("default", {"metadata": {"name": "reader"}})
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role("default", {"metadata": {"name": "read"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]})
    rbac.create_namespaced_role_binding("default", {"metadata": {"name": "read"}, "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"}, "subjects": [
        {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]})
    token = core.create_namespaced_service_account_token("reader", "default", {"spec": {"expirationSeconds": 600}})
    mine = client.Configuration.get_default_copy()
    mine.cert_file = mine.key_file = None
    mine.api_key = {"authorization": "Bearer " + token.status.token}
    reader = client.CoreV1Api(client.ApiClient(mine))
    assert reader.list_namespaced_config_map("default").items
    refused(403, "Forbidden", reader.create_namespaced_config_map, "default", config_map("no"))
    refused(403, "Forbidden", reader.list_namespaced_config_map, "kube-system")
    review = client.AuthorizationV1Api(reader.api_client).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "delete", "resource": "configmaps", "namespace": "default"}}})
    assert review.status.allowed is False
    mine.api_key = {"authorization": "Bearer nobody"}
    refused(401, "Unauthorized", client.CoreV1Api(client.ApiClient(mine)).list_node)


@step
def a_leader_is_elected():
    led = threading.Event()
    lock = ConfigMapLock("leader", "default", "python")
    elected = electionconfig.Config(lock, lease_duration=4, renew_deadline=3, retry_period=1,
                                    onstarted_leading=led.set, onstopped_leading=lambda: None)
    threading.Thread(target=leaderelection.LeaderElection(elected).run, daemon=True).start()
    assert led.wait(20), "nobody leads"


print(f"kubernetes client {kubernetes.__version__}")
for f in STEPS:
    f()
    print(f.__name__)
# The thread that leads goes on for ever, and prints: an interpreter that ends in order may trip over it.
sys.stdout.flush()
os._exit(0)
