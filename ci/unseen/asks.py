"""Requests made up from dimensions: what `requests` plays. Every family is a function from a source of chance and the
world (what is there on both servers) to one request."""

import dataclasses
import json
import re
from urllib.parse import quote

NAMESPACE = "unseen-asks"
GROUP = "asks.example.com"


@dataclasses.dataclass
class Ask:
    """One request. `{rv}` and the like in path, headers and body stand for what a server says itself."""

    family: str
    method: str
    path: str
    headers: list = dataclasses.field(default_factory=list)
    body: object = None
    # admin, anonymous, or what the Authorization header says.
    user: str = "admin"
    before: list = dataclasses.field(default_factory=list)
    # Seconds to listen to what may not end.
    wait: float = 0
    # What is taken out of a text before it is compared; the text alone is compared then.
    shape: str = ""
    # Lists of all namespaces: what is listed is not compared.
    names_only: bool = False


def small(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more}, "data": {"k": "v"}}


def definition():
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "color": {"type": "string"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "asks." + GROUP},
            "spec": {"group": GROUP, "scope": "Namespaced", "versions": [version],
                     "names": {"plural": "asks", "singular": "ask", "kind": "Ask", "listKind": "AskList", "shortNames": ["ak"]}}}


def rights():
    """What the one with few rights may do."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "few", "namespace": NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["configmaps", "pods/log"], "verbs": ["get", "list", "create"]},
                      {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"], "verbs": ["get"]},
                      {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["*"]}]}
    bound = {"apiVersion": role["apiVersion"], "kind": "RoleBinding", "metadata": {"name": "few", "namespace": NAMESPACE},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "few"},
             "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"},
                          {"kind": "ServiceAccount", "name": "sa", "namespace": NAMESPACE}]}
    return [role, bound]


class World:
    """What is there on both servers."""

    def __init__(self, server, objects):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        labelled = [small(f"c{i}", labels={k: v for k, v in (("app", "ab"[i % 2]), ("tier", "xyz"[i % 3])) if v != "z"}) for i in range(6)]
        self.objects = [space, account] + objects + labelled + rights() + [definition()]
        self.late = [{"apiVersion": GROUP + "/v1", "kind": "Ask", "metadata": {"name": f"a{i}", "labels": {"app": "ab"[i]}},
                      "spec": {"replicas": i, "color": ("red", "blue")[i]}} for i in range(2)]
        self.namespace = NAMESPACE
        self.resources, self.subresources = [], []
        groups = [("v1", "/api/v1")]
        for g in server.ask("GET", "/apis")[1]["groups"]:
            groups += [(v["groupVersion"], "/apis/" + v["groupVersion"]) for v in g["versions"] if "example.com" not in g["name"]]
        for version, base in groups:
            for r in server.ask("GET", base)[1]["resources"]:
                into = self.subresources if "/" in r["name"] else self.resources
                into.append({"base": base, "version": version, **r})
        self.resources.append({"base": f"/apis/{GROUP}/v1", "version": GROUP + "/v1", "name": "asks", "kind": "Ask", "namespaced": True,
                               "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]})
        for sub in ("status", "scale"):
            self.subresources.append({**self.resources[-1], "name": "asks/" + sub, "kind": "Scale" if sub == "scale" else "Ask", "verbs": ["get", "patch", "update"]})
        self.names = {}
        for o in self.objects + self.late:
            self.names.setdefault(o["kind"], []).append(o["metadata"]["name"])

    def path(self, o):
        for r in self.resources:
            if (r["version"], r["kind"]) == (o["apiVersion"], o["kind"]):
                return collection(r)
        raise KeyError(o["kind"])


def collection(r, namespace=NAMESPACE):
    return f"{r['base']}/namespaces/{namespace}/{r['name']}" if r["namespaced"] else f"{r['base']}/{r['name']}"


def some(rng, world, verb):
    found = [r for r in world.resources if verb in r["verbs"]]
    # Half of them of the kinds that everybody uses.
    if rng.random() < 0.5:
        usual = [r for r in found if r["name"] in ("pods", "configmaps", "deployments", "services", "asks", "nodes", "secrets", "events")]
        found = usual or found
    return rng.choice(found)


def one(rng, world, r):
    """A name in a path, of an object that there is or not; what no request can have in it is escaped."""
    name = rng.choice(world.names.get(r["kind"], ["none"]) if rng.random() < 0.85 else ["none", "A_b", "a b", "%2e", "..", "x" * 300, "ü", "a%2Fb", "a:b", "%zz", "a%00b", "-"])
    return quote(name, safe="%:.")


def query(rng, choices, odds=0.35):
    """Some parameters of those that there are; now and then one twice."""
    parts = []
    for key, values in choices.items():
        for _ in range(2 if rng.random() < 0.06 else 1):
            if rng.random() < odds:
                parts.append((key, rng.choice(values)))
    rng.shuffle(parts)
    return "?" + "&".join(f"{k}={quote(v, safe='{}')}" for k, v in parts) if parts else ""


JSON, YAML, PROTO, CBOR = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"


def accept(rng, odds=0.5):
    if rng.random() > odds:
        return [("Accept", JSON)]
    kinds = [JSON, YAML, "*/*", "application/*", "text/plain", "text/html", CBOR, "", "garbage", "application/xml", JSON + ";stream=watch",
             JSON + ";charset=utf-8", JSON + ";pretty=1", "APPLICATION/JSON", "text/*", JSON + ";q=0", PROTO, PROTO, PROTO + ";stream=watch"]
    shapes = [f"as={k};v={v};g={g}" for k in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList", "Nope")
              for v in ("v1", "v1beta1", "v2") for g in ("meta.k8s.io", "other.io")]
    shapes += ["as=Table", "as=Table;v=v1", "v=v1;g=meta.k8s.io", "as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"]
    def part():
        base = rng.choice(kinds) if rng.random() < 0.5 else rng.choice([JSON, YAML, JSON, PROTO])
        if rng.random() < 0.4:
            good = [s for s in shapes if "g=meta" in s and ("v1;" in s) and "Nope" not in s]
            base += ";" + rng.choice(good if rng.random() < 0.6 else shapes)
        if rng.random() < 0.2:
            base += ";q=" + rng.choice(["0.1", "0.5", "0.9", "1", "0", "x", "2"])
        return base
    if rng.random() < 0.08:
        return []
    return [("Accept", rng.choice([",", ", "]).join(part() for _ in range(rng.choice([1, 1, 2, 3]))))]


VERSIONS = ["0", "1", "{rv}", "{future}", "abc", "-1", "", "99999999999999999999", "1.5", " 1", "0x1"]
READS = {
    "pretty": ["true", "false", "1", "0", "x", "", "TRUE", "T"],
    "resourceVersion": ["0", "{rv}", "abc", "", "1", "-1", "99999999999999999999"],
    "includeObject": ["None", "Metadata", "Object", "x", ""],
}
LISTS = {
    "pretty": ["true", "false"],
    "resourceVersion": VERSIONS,
    "resourceVersionMatch": ["Exact", "NotOlderThan", "x", ""],
    "limit": ["1", "2", "0", "-1", "abc", "500", "", "99999999999999999999", "1.5"],
    "continue": ["{continue}", "garbage", "", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "a=b", "e30", "eyJ2IjoieCJ9", "bnVsbA"],
    "timeoutSeconds": ["1", "abc", "0", "-1", "5"],
    "sendInitialEvents": ["true", "false", "x"],
    "allowWatchBookmarks": ["true", "false", "x"],
    "includeObject": ["None", "Metadata", "Object", "x"],
}


def get(rng, world):
    r = some(rng, world, "get")
    return Ask("get", rng.choice(["GET"] * 9 + ["HEAD"]), f"{collection(r)}/{one(rng, world, r)}{query(rng, READS, 0.2)}", accept(rng))


def lists(rng, world):
    r = some(rng, world, "list")
    ns = NAMESPACE if rng.random() < 0.85 else rng.choice(["missing", "A_b", "kube-nope"])
    choices = {**LISTS, **selecting(rng, r)}
    choices.pop("continue" if rng.random() < 0.5 else "sendInitialEvents")
    return Ask("list", "GET", collection(r, ns) + query(rng, choices, 0.17), accept(rng, 0.3))


def watches(rng, world):
    r = some(rng, world, "watch")
    choices = {
        "resourceVersion": VERSIONS, "resourceVersionMatch": ["NotOlderThan", "NotOlderThan", "Exact", "x"], "sendInitialEvents": ["true", "true", "false", "x", "1"],
        "allowWatchBookmarks": ["true", "false", "1"], "limit": ["1", "abc"], "continue": ["x"], "pretty": ["true"], **selecting(rng, r)}
    q = query(rng, choices, 0.3)
    q += ("&" if q else "?") + rng.choice(["watch=true", "watch=1", "watch=", "watch=x", "watch"]) + "&timeoutSeconds=" + rng.choice(["1", "1", "1", "1", "abc"])
    path = collection(r)
    if rng.random() < 0.1:
        path = path.replace(r["base"], r["base"] + "/watch")
    if rng.random() < 0.1:
        path += "/" + one(rng, world, r)
    return Ask("watch", "GET", path + q, accept(rng, 0.25), wait=2.5)


def label_selector(rng):
    key = lambda: rng.choice(["app", "tier", "app", "tier", "none", "example.com/x", "A b", "", "x" * 64, "a/b/c", "-a", "App"])
    value = lambda: rng.choice(["a", "b", "x", "y", "", "a", "b", "v" * 64, "a b", "-", "1", "ü", "in", "notin"])
    space = lambda: rng.choice(["", "", "", " ", "  "])
    def part():
        k = key()
        op = rng.choice(["=", "==", "!=", "in", "notin", "exists", "!", ">", "<", "=>", "in", "notin", "IN"])
        if op == "exists":
            return space() + k + space()
        if op == "!":
            return space() + "!" + space() + k
        if op in ("in", "notin", "IN"):
            inner = ",".join(space() + value() + space() for _ in range(rng.choice([0, 1, 2, 2])))
            return f"{k} {op} {rng.choice(['(', '(', '(', '(', ''])}{inner}{rng.choice([')', ')', ')', ')', ''])}"
        if op in ("<", ">") and rng.random() < 0.6:
            return k + space() + op + space() + rng.choice(["1", "-5", "10", "1.5"])
        return space() + k + space() + op + space() + value()
    return rng.choice([",", ",", ", ", ",,", " "]).join(part() for _ in range(rng.choice([1, 1, 1, 2, 3])))


FIELDS = {
    "pods": ["spec.nodeName", "status.phase", "spec.restartPolicy", "status.podIP", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.nominatedNodeName", "status.podIPs"],
    "events": ["involvedObject.kind", "reason", "type", "source", "reportingComponent", "involvedObject.name", "involvedObject.fieldPath", "involvedObject.uid"],
    "nodes": ["spec.unschedulable"], "secrets": ["type"], "namespaces": ["status.phase"], "jobs": ["status.successful"],
    "replicasets": ["status.replicas"], "replicationcontrollers": ["status.replicas"], "services": ["spec.clusterIP", "spec.type"],
    "certificatesigningrequests": ["spec.signerName"], "asks": ["spec.color", "spec.replicas"],
}


def field_selector(rng, r):
    def part():
        k = rng.choice(FIELDS.get(r["name"], []) * 2 + ["metadata.name", "metadata.namespace", "metadata.name", "spec.nope", "kind", "", "metadata.labels", "status.phase"])
        v = rng.choice(world_values(r) + [NAMESPACE, "x", "", "Pending", "true", "false", "0", "a\\,b", "a\\=b", "a\\b", "a\\", "red", "Opaque", "Always", "a=b"])
        return k + rng.choice(["=", "==", "!=", "=", "in", "", ">"]) + v
    return rng.choice([",", ",", ",,", ", "]).join(part() for _ in range(rng.choice([1, 1, 1, 2])))


def world_values(r):
    return {"pods": ["p"], "configmaps": ["s", "c1"], "asks": ["a0"], "nodes": ["n1"]}.get(r["name"], ["d", "s"])


def selecting(rng, r):
    return {"labelSelector": [label_selector(rng) for _ in range(2)], "fieldSelector": [field_selector(rng, r) for _ in range(2)]}


def selectors(rng, world):
    r = some(rng, world, "list") if rng.random() < 0.6 else rng.choice([r for r in world.resources if r["name"] in FIELDS])
    if "list" not in r["verbs"]:
        return lists(rng, world)
    which = rng.choice(["labelSelector", "fieldSelector", "both"])
    parts = [f"{k}={quote(v[0])}" for k, v in selecting(rng, r).items() if which in (k, "both")]
    wide = rng.random() < 0.1
    path = f"{r['base']}/{r['name']}" if wide else collection(r)
    method = "DELETE" if rng.random() < 0.1 and not wide else "GET"
    if method == "DELETE":
        parts.append("dryRun=All")
    return Ask("selectors", method, path + "?" + "&".join(parts), names_only=wide)


ODD = ["/", "/api", "/api/", "/api/v1/", "/api/v2", "/api/v1beta1/pods", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1/", "/apis/apps/v9", "/apis/nope.io", "/apis/nope.io/v1",
       "/apis/nope.io/v1/things", "/apis/apps/v1beta1/deployments", "/apis//v1", "/api//v1", "//api/v1", "/api/v1//pods", "/api/v1/../v1/pods", "/api/./v1", "/apis/apps/v1/../v1",
       "/nope", "/healthz/nope", "/api/v1/nopes", "/api/v1/nopes/x", "/api/v1/namespaces/%s/nopes", "/api/v1/namespaces/%s/nopes/x/y", "/api/v1/namespaces/%s", "/api/v1/namespaces/%s/",
       "/api/v1/namespaces/%s/pods/", "/api/v1/namespaces/%s/pods/p/", "/api/v1/namespaces/%s//pods", "/api/v1/namespaces//pods", "/api/v1/namespaces/%s/pods/p/nope", "/api/v1/namespaces/%s/pods/p/status/x",
       "/api/v1/namespaces/%s/pods/../pods", "/api/v1/namespaces/%s/pods/%%2e%%2e/pods", "/api/v1/namespaces/%s/nodes", "/api/v1/namespaces/%s/nodes/n1", "/api/v1/pods/p", "/api/v1/nodes/n1/", "/api/v1/namespaces/%s/status",
       "/api/v1/namespaces/%s/finalize", "/api/v1/namespaces/%s/nope", "/api/v1/watch", "/api/v1/watch/pods", "/api/v1/watch/namespaces/%s/pods/p", "/api/v1/proxy/nodes/n1", "/apis/asks.example.com",
       "/apis/asks.example.com/v1", "/apis/asks.example.com/v2", "/apis/asks.example.com/v2/asks", "/apis/asks.example.com/v1/nopes", "/apis/asks.example.com/v1/namespaces/%s/asks/a0/nope",
       "/apis/asks.example.com/v1/asks/a0", "/apis/asks.example.com/v1/namespaces/%s/asks/a0/status/x", "/apis/asks.example.com/v1/", "/apis/asks.example.com/", "/apis/apps/v1/namespaces/%s/deployments/d/scale/x",
       "/api/v1/componentstatuses/nope", "/api/v1/namespaces/%s/pods/p%%20", "/api/v1/namespaces/%s/po%%64s/p", "/%%61pi/v1/nodes", "/api/v1/namespaces/%s/pods;x=1", "/api/v1/bindings", "/api/v1/namespaces/%s/bindings/x",
       "/apis/authorization.k8s.io/v1/subjectaccessreviews", "/apis/authorization.k8s.io/v1/subjectaccessreviews/x", "/metrics/x", "/version/", "/version/x", "/openapi", "/openapi/", "/openapi/v4", "/swagger.json", "/ui", "/favicon.ico",
       "/api/v1/namespaces/%s/services/s/proxy/", "/api/v1/nodes/n1/proxy", "/api/v1/namespaces/%s/serviceaccounts/sa/token", "/apis/policy/v1/namespaces/%s/poddisruptionbudgets/h/status", "/apis/apps", "/apis/extensions/v1beta1/ingresses"]


def paths(rng, world):
    if rng.random() < 0.5:
        path = rng.choice(ODD)
        path = path % NAMESPACE if "%s" in path else path.replace("%%", "%")
    else:
        r = rng.choice(world.resources + world.subresources)
        name, _, sub = r["name"].partition("/")
        r = {**r, "name": name}
        path = rng.choice([collection(r), f"{r['base']}/{name}"])
        if sub or rng.random() < 0.6:
            path += "/" + (world.names.get(r["kind"], ["none"])[0] if rng.random() < 0.7 else "none")
        if sub:
            path += "/" + sub
        path += rng.choice(["", "", "", "", "/", "//", "/nope", "/..", "/status", "/scale"])
    method = rng.choice(["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "NOPE", "get"])
    # Nothing is to be changed by what is only to be refused.
    changes = method in ("POST", "PUT", "PATCH", "DELETE")
    path += "?dryRun=All" if changes else ""
    body = rng.choice(["{}", "{}", None, json.dumps(small("q"))]) if changes else None
    headers = [("Accept", JSON)] + ([("Content-Type", "application/merge-patch+json" if method == "PATCH" else JSON)] if body else [])
    shape = r"(?s).*" if path.startswith(("/version", "/?", "/metrics")) or path == "/" else ""
    wide = path in ("/api", "/api/", "/apis", "/apis/") or method == "GET" and re.search(rf"/({'|'.join(r['name'] for r in world.resources)})/?$", path) is not None
    return Ask("paths", method, path, headers, body, wait=2 if "/watch/" in path else 0, shape=shape, names_only=wide)


OPTIONS = {
    "dryRun": ["All", "All", "x", "", "all", "None"], "fieldValidation": ["Strict", "Warn", "Ignore", "x", "", "strict"],
    "fieldManager": ["m", "", "x" * 128, "x" * 129, "a\nb", "a\u00a0b", "é", "a b", "\u200b", "\u007f"], "pretty": ["true", "x"],
    "force": ["true", "false", "x"], "gracePeriodSeconds": ["0", "abc", "-1", ""], "propagationPolicy": ["x", "Orphan"], "timeoutSeconds": ["abc", "3"],
    "resourceVersion": ["abc"], "unknownParameter": ["x"], "orphanDependents": ["true", "x"], "timeout": ["abc", "1s", "-1s", "100m"],
}


def options(rng, world):
    method = rng.choice(["POST", "PUT", "PATCH", "PATCH"])
    choices = {**OPTIONS, "dryRun": OPTIONS["dryRun"]}
    q = query(rng, choices, 0.2)
    if "dryRun" not in q:
        q += ("&" if q else "?") + "dryRun=All"
    base = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    if rng.random() < 0.2:
        base = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/asks"
    name = {"configmaps": "s", "asks": "a0"}[base.rsplit("/", 1)[1]]
    o = small("new") if name == "s" else {"apiVersion": GROUP + "/v1", "kind": "Ask", "metadata": {"name": "new"}, "spec": {"replicas": 1}}
    if rng.random() < 0.3:
        o["nosuch"] = 1
    kind, body = JSON, o
    if method == "PATCH":
        kind = "application/" + rng.choice(["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml", "apply-patch+yaml", "json", "x", "apply-patch+cbor", "apply-patch+json"])
        body = rng.choice([{"data": {"z": "1"}}, {**o, "metadata": {"name": name}}, [], {}, "s", None, [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}],
                           [{"op": "test", "path": "/data/k", "value": "no"}], [{"op": "remove", "path": "/nope"}], [{"op": "x", "path": "/data"}], {"metadata": {"name": "other"}}, {"kind": "Nope"}])
    elif method == "PUT":
        o["metadata"]["name"] = rng.choice([name, name, "other", ""])
        o["metadata"]["resourceVersion"] = rng.choice(["", "1", "abc", "{cm-rv}"])
    path = base + ("" if method == "POST" else "/" + name)
    return Ask("options", method, path + q, [("Accept", JSON), ("Content-Type", kind)], json.dumps(body))


TYPES = [None, JSON, JSON, JSON, YAML, YAML, JSON + ";charset=utf-8", JSON + "; charset=latin1", "text/plain", "text/yaml", PROTO, CBOR, "application/x-yaml", "garbage", "", "application/json-patch+json",
         "APPLICATION/JSON", JSON + ";x", "multipart/form-data", "application/json, application/yaml", "application/x-www-form-urlencoded"]
GOOD = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":"b"}}'
BODIES = [
    GOOD, GOOD, "", "null", "[]", "{}", "5", '"s"', "true", "{", '{"a"', '{"a":}', GOOD[:-1], GOOD + GOOD, GOOD + "x", GOOD + "\n", " " + GOOD, "\ufeff" + GOOD,
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","name":"two"},"data":{"a":"b","a":"c"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","nosuch":1},"data":{"a":"b"},"nosuch":{"a":1},"Data":{"q":"r"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","kind":"ConfigMap","metadata":{"name":"new"},"x":1,"x":2}',
    '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"new"}}', '{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"new"}}',
    '{"apiVersion":"apps/v1","kind":"ConfigMap","metadata":{"name":"new"}}', '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"new"}}', '{"kind":"ConfigMap","metadata":{"name":"new"}}',
    '{"apiVersion":"v1","metadata":{"name":"new"}}', '{"metadata":{"name":"new"}}', '{"apiVersion":5,"kind":"ConfigMap"}', '{"apiVersion":"v1","kind":{},"metadata":{}}', '{"apiVersion":"a/b/c","kind":"ConfigMap"}',
    '{"apiVersion":"v1","kind":"ConfigMapList","items":[]}', '{"apiVersion":"v1","kind":"Status"}', '{"apiVersion":"v1","kind":"Nope"}', '{"apiVersion":"nope.io/v1","kind":"Nope"}', '{"apiVersion":"v1","kind":"List","items":[]}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","namespace":"other"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"gen-"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"' + "g" * 260 + '"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' + "n" * 254 + '"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"G_"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":1}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":1e400}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"immutable":"x"}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","generation":99999999999999999999}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","generation":1.5}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","generation":1e2}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":[]}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":"x"}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":5}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","creationTimestamp":"x"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","uid":"x","resourceVersion":"5"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"s"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"binaryData":{"a":"!!"}}',
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":"\\ud800"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":"\\x"}}', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":"\t"}}',
    "[" * 12000, '{"a":' * 12000, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":' + '{"a":' * 60 + "1" + "}" * 61,
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\ndata:\n  a: b\n", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\n  name: two\ndata:\n  a: b\n  a: c\nnosuch: 1\n",
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new2}\n", "a: [", "\tx: 1", "a: &x 1\nb: *x", "a: *nope", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\ndata:\n  a: yes\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 0x10\n", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\ndata:\n  1: b\n  true: c\n", "just text", "- a\n- b\n", "# nothing\n", "kind: ConfigMap\n kind: x\n", "? a\n: b\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: !!binary aGk=}\n",
    b"\xff\xfe{}", GOOD.encode().replace(b'"b"', b'"\xff"'), b"k8s\x00", b"k8s\x00\x0a\x01", b"\x00\x01\x02", b"\xd9\xd9\xf7\xa0",
]


def bodies(rng, world):
    kind, body = rng.choice(TYPES), rng.choice(BODIES)
    if isinstance(body, str) and not body.lstrip().startswith(("{", "[")) and rng.random() < 0.6:
        kind = YAML
    headers = [("Accept", JSON)] + ([("Content-Type", kind)] if kind is not None else [])
    method = rng.choice(["POST", "POST", "POST", "PUT", "DELETE"])
    custom = rng.random() < 0.25
    path = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/asks" if custom else f"/api/v1/namespaces/{NAMESPACE}/{rng.choice(['configmaps'] * 4 + ['pods'])}"
    if custom and isinstance(body, str):
        body = body.replace('"v1"', f'"{GROUP}/v1"').replace("ConfigMap", "Ask").replace("apiVersion: v1", f"apiVersion: {GROUP}/v1")
    if method != "POST":
        path += "/new"
    q = "?dryRun=All" + rng.choice(["", "", "&fieldValidation=Strict", "&fieldValidation=Ignore", "&fieldValidation=Warn"])
    return Ask("bodies", method, path + q, headers, body)


def deletes(rng, world):
    cm, pod = f"/api/v1/namespaces/{NAMESPACE}/configmaps", f"/api/v1/namespaces/{NAMESPACE}/pods"
    running = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gone"}, "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": rng.choice(["", "", "n9"])}}
    custom = {"apiVersion": GROUP + "/v1", "kind": "Ask", "metadata": {"name": "gone"}}
    target, o = rng.choice([(cm, small("gone")), (cm, small("gone", finalizers=["example.com/f"])), (pod, running), (f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/asks", custom)])
    name = "gone"
    version = rng.choice(["v1", "v1", "v1", "meta.k8s.io/v1", "apps/v1", "policy/v1", "v2", "", GROUP + "/v1"])
    body = {"apiVersion": version, "kind": rng.choice(["DeleteOptions"] * 5 + ["", "ConfigMap", "Nope"])}
    for field, values in {
        "gracePeriodSeconds": [0, 1, -1, 30, "x", 1.5, 2**40], "propagationPolicy": ["Orphan", "Background", "Foreground", "x", "", 5], "orphanDependents": [True, False, "x"],
        "preconditions": [{"uid": "nope"}, {"uid": "{cm-uid}"}, {"resourceVersion": "1"}, {"resourceVersion": "abc"}, {}, "x", {"nosuch": 1}, {"uid": ""}], "dryRun": [["All"], ["x"], [], "All", ["All", "All"]],
        "nosuch": [1], "ignoreStoreReadErrorWithClusterBreakingPotential": [True, False],
    }.items():
        if rng.random() < 0.22:
            body[field] = rng.choice(values)
    q = query(rng, {"gracePeriodSeconds": ["0", "abc", "-1", "5", ""], "propagationPolicy": ["Orphan", "Foreground", "x", ""], "orphanDependents": ["true", "false", "x"], "dryRun": ["All", "x", ""],
                    "pretty": ["true"], "fieldValidation": ["x", "Strict"], "ignoreStoreReadErrorWithClusterBreakingPotential": ["true", "x"]}, 0.15)
    sent = None if rng.random() < 0.3 else json.dumps(body)
    if rng.random() < 0.15:
        sent = rng.choice(["", "{", "[]", "null", '{"kind":5}', "5", '{"apiVersion":"v1","kind":"DeleteOptions","kind":"DeleteOptions"}'])
    kind = rng.choice([JSON] * 6 + [YAML, "text/plain", None, PROTO, JSON + ";charset=utf-8"])
    path = f"{target}/{name}"
    free = Ask("", "PATCH", path, [("Content-Type", "application/merge-patch+json")], '{"metadata":{"finalizers":null}}')
    before = [free, Ask("", "DELETE", path + "?gracePeriodSeconds=0"), Ask("", "POST", target, [("Content-Type", JSON)], json.dumps(o))]
    if rng.random() < 0.2:
        path = target
        q += ("&" if q else "?") + "fieldSelector=" + quote(rng.choice(["metadata.name=gone", "metadata.name=nope", "metadata.name==gone,metadata.name!=x"]))
    return Ask("deletes", "DELETE", path + q, [("Accept", JSON)] + ([("Content-Type", kind)] if kind and sent is not None else []), sent, before=before)


def subresources(rng, world):
    r = rng.choice(world.subresources)
    if rng.random() < 0.5:
        r = rng.choice([s for s in world.subresources if re.search(r"/(scale|log|eviction|token|binding|approval|resize|ephemeralcontainers|finalize|exec|proxy|portforward|attach|status)$", s["name"])])
    name, _, sub = r["name"].partition("/")
    parent = [p for p in world.resources if p["base"] == r["base"] and p["name"] == name][0]
    path = collection(parent) + "/" + rng.choice(world.names.get(parent["kind"], ["none"])[:1] * 4 + ["none"]) + "/" + sub
    method = rng.choice(["GET", "POST", "PUT", "PATCH", "PATCH"]) if rng.random() < 0.6 else {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}.get(rng.choice(r["verbs"]), "GET")
    q, body, kind, shape = "", None, JSON, ""
    meta = {"name": path.split("/")[-2]}
    if sub == "log":
        q = query(rng, {"container": ["c", "nope", "a b", ""], "follow": ["true", "x"], "previous": ["true"], "sinceSeconds": ["1", "-1", "0", "abc"], "sinceTime": ["x", "2024-01-01T00:00:00Z"], "timestamps": ["true"],
                        "tailLines": ["-1", "5", "abc"], "limitBytes": ["0", "-1", "10"], "stream": ["All", "Stdout", "x"], "insecureSkipTLSVerifyBackend": ["true"]}, 0.25)
    elif sub in ("exec", "attach"):
        q = query(rng, {"container": ["c", "nope"], "command": ["ls", ""], "stdin": ["true"], "stdout": ["true"], "tty": ["true"]}, 0.4)
    elif sub == "portforward":
        q = query(rng, {"ports": ["80", "x", "99999"]}, 0.4)
    elif method in ("POST", "PUT", "PATCH"):
        q = "?dryRun=All" if rng.random() < 0.9 or method != "POST" else ""
        if sub == "scale":
            body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": meta, "spec": {"replicas": rng.choice([1, 0, -1, "x", 3, 1.5, 2**40, None])}}
        elif sub == "eviction":
            body = {"apiVersion": rng.choice(["policy/v1", "policy/v1", "policy/v1beta1", "v1"]), "kind": "Eviction", "metadata": rng.choice([meta, {"name": "other"}, {}, {"name": "p", "namespace": "other"}]), "deleteOptions": rng.choice([{}, {"gracePeriodSeconds": -1}, {"preconditions": {"uid": "x"}}, {"dryRun": ["All"]}, {"dryRun": ["x"]}, {"propagationPolicy": "x"}])}
        elif sub == "binding":
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": rng.choice([meta, {"name": "other"}, {}]), "target": rng.choice([{"kind": "Node", "name": "n1"}, {"kind": "Pod", "name": "x"}, {}, {"name": "n1"}, {"name": "A_b"}])}
        elif sub == "token":
            spec = {}
            for field, values in {"audiences": [["a"], [], [""], "x", ["a", "a"]], "expirationSeconds": [600, 599, 1, -1, 2**32 + 1, "x", 10**12, 7200], "boundObjectRef": [
                    {"kind": "Pod", "apiVersion": "v1", "name": "p"}, {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"}, {"kind": "Secret", "apiVersion": "v1", "name": "s"}, {"kind": "Node", "apiVersion": "v1", "name": "n1"}, {"kind": "ConfigMap", "name": "s"}, {}, {"kind": "Secret", "name": "none", "apiVersion": "v1"}, {"kind": "Pod", "apiVersion": "v2", "name": "p"}]}.items():
                if rng.random() < 0.4:
                    spec[field] = rng.choice(values)
            body = {"apiVersion": rng.choice(["authentication.k8s.io/v1"] * 4 + ["", "v1"]), "kind": "TokenRequest", "metadata": rng.choice([{}, {"name": "sa"}, {"name": "x"}, {"namespace": "x"}]), "spec": spec}
        elif sub == "approval":
            body = {"apiVersion": r["version"], "kind": "CertificateSigningRequest", "metadata": meta, "status": {"conditions": [{"type": rng.choice(["Approved", "Denied", "Failed", "x", ""]), "status": rng.choice(["True", "False", "x"]), "reason": "x"}]}}
        elif sub == "resize":
            body = {"spec": {"containers": [{"name": rng.choice(["c", "nope"]), "resources": {"requests": {"cpu": rng.choice(["1", "-1", "x"])}}}]}}
        elif sub == "ephemeralcontainers":
            body = {"spec": {"ephemeralContainers": [{"name": rng.choice(["e", "c", ""]), "image": rng.choice(["i", ""]), **rng.choice([{}, {"ports": [{"containerPort": 1}]}, {"targetContainerName": "nope"}])}]}}
        elif sub == "finalize":
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "spec": {"finalizers": rng.choice([[], ["kubernetes"], ["x"], ["a b"]])}}
        else:
            body = {"apiVersion": parent["version"], "kind": parent["kind"], "metadata": {**meta, **rng.choice([{}, {"labels": {"a": "b"}}, {"resourceVersion": "1"}])}, "status": rng.choice([{}, {"nosuch": 1}, "x", {"conditions": []}, {"replicas": 1}, {"phase": "x"}])}
        if method == "PATCH":
            kind = "application/" + rng.choice(["merge-patch+json", "strategic-merge-patch+json", "merge-patch+json", "apply-patch+yaml"])
            q += "&fieldManager=m" if q else "?fieldManager=m"
        elif rng.random() < 0.1:
            body = rng.choice([{}, [], None, {"apiVersion": "v1", "kind": "ConfigMap"}])
        body = json.dumps(body)
    else:
        q = query(rng, READS, 0.15)
    headers = accept(rng, 0.15) + ([("Content-Type", kind)] if body is not None else [])
    return Ask("subresources", method, path + q, headers, body, shape=shape, wait=0)


DISCOVERY = ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/apis/batch/v1", "/apis/asks.example.com/v1", "/apis/asks.example.com", "/apis/autoscaling", "/apis/authorization.k8s.io/v1", "/version", "/healthz", "/livez", "/readyz",
             "/healthz?verbose", "/livez?verbose", "/readyz?verbose", "/healthz/ping", "/healthz/etcd", "/livez/ping", "/readyz/informer-sync", "/readyz/etcd", "/readyz/shutdown", "/healthz/poststarthook/start-apiextensions-informers", "/livez/nope", "/healthz/ping?verbose", "/readyz?exclude=etcd", "/readyz?exclude=nope", "/readyz?verbose&exclude=etcd&exclude=nope",
             "/livez?verbose=false&exclude=ping", "/logs", "/logs/", "/debug", "/debug/pprof", "/debug/pprof/", "/debug/flags/v", "/debug/api_priority_and_fairness/dump_priority_levels", "/.well-known/openid-configuration", "/openid/v1/jwks", "/openid/v1", "/.well-known", "/", "/index.html", "/openapi/v3", "/openapi/v3/api/v1",
             "/openapi/v3/apis/apps/v1", "/openapi/v3/nope", "/openapi/v3/version", "/openapi/v3/api", "/openapi/v3/apis", "/openapi/v3/apis/asks.example.com/v1", "/openapi/v3/.well-known/openid-configuration", "/openapi/v3/openid/v1/jwks", "/openapi/v3/logs", "/openapi/v2", "/metrics", "/metrics/slis", "/statusz", "/flagz", "/configz", "/readyz/", "/healthz/", "/apis/", "/version?x=1", "/openapi/v3/", "/openapi/v2/", "/api?x"]


def discovery(rng, world):
    path = rng.choice(DISCOVERY)
    shapes = [JSON + f";g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in ("v2", "v2beta1", "v3")]
    headers = accept(rng, 0.35)
    if path.startswith(("/api", "/apis")) and rng.random() < 0.5:
        headers = [("Accept", ",".join(rng.sample(shapes + [JSON, PROTO, YAML], rng.choice([1, 2, 3]))))]
    if path.startswith("/openapi") and rng.random() < 0.6:
        headers = [("Accept", rng.choice([JSON, "*/*", "application/*", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "text/html", JSON + ";q=0.5", YAML, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf,application/json", "garbage"]))]
    if rng.random() < 0.15:
        headers.append(("If-None-Match", rng.choice(['"x"', "*", 'W/"x"'])))
    if rng.random() < 0.1:
        headers.append(("If-Modified-Since", rng.choice(["Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 2091 00:00:00 GMT", "x"])))
    method = rng.choice(["GET"] * 8 + ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    # What a server says of its own insides is not to be compared, nor the documents that hold everything (kubectl and
    # conformance read those).
    own = r"^/(metrics|version|logs|\.well-known/open|openid|debug/|statusz|flagz|configz|openapi/v[23](/(api/|apis/a|apis/b)|$|\?)|$)"
    shape = r"(?s).*" if re.match(own, path) else ""
    groups = path in ("/api", "/apis", "/apis/", "/api?x")
    return Ask("discovery", method, path, headers, "{}" if method in ("POST", "PUT", "PATCH") else None, user=rng.choice(["admin"] * 6 + ["anonymous", "Bearer {sa-token}"]), shape=shape, names_only=groups)


def requirement(rng):
    return {"key": rng.choice(["metadata.name", "app", "a b", ""]), "operator": rng.choice(["In", "NotIn", "Exists", "DoesNotExist", "x", "Gt", ""]), "values": rng.choice([[], ["a"], ["a", "b"], ["a b"]])}


def reviews(rng, world):
    base, kind, path = rng.choice([
        ("authorization.k8s.io/v1", "SubjectAccessReview", "/subjectaccessreviews"), ("authorization.k8s.io/v1", "SelfSubjectAccessReview", "/selfsubjectaccessreviews"),
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview", "/selfsubjectrulesreviews"), ("authorization.k8s.io/v1", "LocalSubjectAccessReview", f"/namespaces/{NAMESPACE}/localsubjectaccessreviews"),
        ("authentication.k8s.io/v1", "TokenReview", "/tokenreviews"), ("authentication.k8s.io/v1", "SelfSubjectReview", "/selfsubjectreviews")])
    spec = {}
    def maybe(into, field, values, odds=0.5):
        if rng.random() < odds:
            into[field] = rng.choice(values)
    if kind.endswith("AccessReview"):
        if kind != "SelfSubjectAccessReview":
            maybe(spec, "user", ["jane", "", "system:admin", f"system:serviceaccount:{NAMESPACE}:sa", "x"], 0.85)
            maybe(spec, "groups", [["system:masters"], [], ["dev"], [""], ["system:authenticated"]], 0.4)
            maybe(spec, "uid", ["u"], 0.1)
            maybe(spec, "extra", [{"a": ["b"]}, {"A": []}, {"": ["x"]}], 0.15)
        if rng.random() < 0.8:
            of = spec["resourceAttributes"] = {}
            maybe(of, "namespace", [NAMESPACE, NAMESPACE, "", "other", "A_b"], 0.8)
            maybe(of, "verb", ["get", "list", "*", "create", "x", "watch", "deletecollection"], 0.9)
            maybe(of, "group", ["", "apps", "*", "nope.io"], 0.5)
            maybe(of, "version", ["v1", "*", "x"], 0.3)
            maybe(of, "resource", ["configmaps", "deployments", "secrets", "pods", "*", ""], 0.9)
            maybe(of, "subresource", ["log", "scale", "", "*", "status"], 0.25)
            maybe(of, "name", ["s", "x", "", "*"], 0.35)
            for field in ("fieldSelector", "labelSelector"):
                maybe(of, field, [{"requirements": [requirement(rng)]}, {"rawSelector": "a=b"}, {"rawSelector": "((", "requirements": [requirement(rng)]}, {}, {"requirements": []}, {"requirements": [requirement(rng), requirement(rng)]}], 0.2)
        if rng.random() < 0.25:
            spec["nonResourceAttributes"] = {}
            maybe(spec["nonResourceAttributes"], "path", ["/healthz", "/api", "/nope", "*", ""], 0.9)
            maybe(spec["nonResourceAttributes"], "verb", ["get", "post", "*", ""], 0.9)
    elif kind == "SelfSubjectRulesReview":
        maybe(spec, "namespace", [NAMESPACE, "other", "", "A_b"], 0.85)
    elif kind == "TokenReview":
        maybe(spec, "token", ["{sa-token}", "x", "", "a.b.c", "{other-token}"], 0.9)
        maybe(spec, "audiences", [["a"], ["other"], [], ["https://kubernetes.default.svc.cluster.local"]], 0.5)
    maybe(spec, "nosuch", [1], 0.08)
    o = {"apiVersion": rng.choice([base] * 8 + ["v1", "authorization.k8s.io/v1beta1"]), "kind": rng.choice([kind] * 12 + ["Nope", ""]), "spec": spec}
    maybe(o, "metadata", [{}, {"name": "x"}, {"namespace": NAMESPACE}, {"namespace": "other"}, {"labels": {"a": "b"}}, {"generateName": "x"}, {"annotations": {"A b": "c"}}, {"uid": "x", "generation": 5}], 0.4)
    maybe(o, "status", [{"allowed": True}, {}, {"authenticated": True}, "x"], 0.15)
    q = query(rng, {"dryRun": ["All", "x"], "fieldManager": ["m"], "fieldValidation": ["Strict", "Ignore"], "pretty": ["true"]}, 0.12)
    user = rng.choice(["admin"] * 5 + ["Bearer {sa-token}", "anonymous"])
    headers = accept(rng, 0.1) + [("Content-Type", JSON)]
    if user == "admin" and rng.random() < 0.3:
        headers += [("Impersonate-User", "jane"), ("Impersonate-Group", "dev")]
    return Ask("reviews", "POST", f"/apis/{base}{path}{q}", headers, json.dumps(o), user=user)


def identities(rng, world):
    """Who asks: impersonated, anonymous, with a token that is none, with few rights."""
    r = rng.choice(world.resources + world.subresources)
    if rng.random() < 0.5:
        r = rng.choice([x for x in world.resources if x["name"] in ("configmaps", "secrets", "deployments", "pods", "nodes", "namespaces")])
    name, _, sub = r["name"].partition("/")
    r = {**r, "name": name}
    path = collection(r) if rng.random() < 0.8 else f"{r['base']}/{name}"
    if sub or rng.random() < 0.6:
        path += "/" + rng.choice(world.names.get(r["kind"], []) + ["x"])
    path += "/" + sub if sub else ""
    if rng.random() < 0.15:
        path = rng.choice(["/", "/api", "/apis", "/healthz", "/metrics", "/version", "/nope", "/openapi/v2/x", "/logs", "/readyz"])
    method = rng.choice(["GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
    changes = method in ("POST", "PUT", "PATCH", "DELETE")
    q = query(rng, {"dryRun": ["All"], "watch": ["true"], "fieldSelector": ["metadata.name=s"], "labelSelector": ["a=b"]}, 0.1)
    if changes and "dryRun" not in q:
        q += ("&" if q else "?") + "dryRun=All"
    if "watch" in q:
        q += "&timeoutSeconds=1"
    headers = [("Accept", rng.choice([JSON, JSON, JSON, YAML]))] + ([("Content-Type", "application/merge-patch+json" if method == "PATCH" else JSON)] if changes else [])
    shape = r"(?s).*" if path in ("/version", "/metrics", "/") else ""
    user = rng.choice(["admin"] * 5 + ["anonymous", "Bearer {sa-token}", "Bearer {sa-token}", "Bearer {other-token}", "Bearer x", "Bearer ", "Basic eDp5", "bearer {sa-token}", "Bearer  {sa-token}", "{sa-token}", "Token x", "Bearer a.b.c"])
    if user == "admin" or rng.random() < 0.1:
        choices = [("Impersonate-User", ["jane", "jane", f"system:serviceaccount:{NAMESPACE}:sa", "system:anonymous", "", "system:serviceaccount:a", "system:node:n1", "é"]),
                   ("Impersonate-Group", ["dev", "system:masters", "system:authenticated", "", "system:unauthenticated", "a b"]), ("Impersonate-Group", ["ops"]), ("Impersonate-Uid", ["u", ""]),
                   ("Impersonate-Extra-scopes", ["a", ""]), ("Impersonate-Extra-a%2Fb", ["c"]), ("Impersonate-Extra-A%zz", ["c"]), ("Impersonate-Nope", ["x"])]
        for i, (k, values) in enumerate(choices):
            if rng.random() < (0.9 if i == 0 else 0.35 if i == 1 else 0.12):
                value = rng.choice(values)
                headers.append((k, value.encode().decode("latin1")))
    return Ask("identities", method, path + q, headers, "{}" if method in ("POST", "PUT", "PATCH") else None, user=user, wait=2 if "watch=" in q else 0, shape=shape, names_only=True)


FAMILIES = {
    "get": (get, 8), "list": (lists, 14), "watch": (watches, 6), "selectors": (selectors, 12), "paths": (paths, 16), "options": (options, 8), "bodies": (bodies, 12),
    "deletes": (deletes, 8), "subresources": (subresources, 14), "discovery": (discovery, 10), "reviews": (reviews, 10), "identities": (identities, 12),
}


def made_up(rng, world, count, families):
    """COUNT requests; the same for the same seed, whatever is asked of them."""
    chosen = {k: v for k, v in FAMILIES.items() if re.search(families, k)}
    for _ in range(count):
        make = rng.choices([f for f, _ in chosen.values()], [w for _, w in chosen.values()])[0]
        yield make(rng, world)
