"""A definition of custom resources with all that apply and tables look at, and objects of it."""

import time

GROUP = "unseen.example.com"


def fields():
    keyed = {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP"}, "port": {"type": "integer", "format": "int32", "maximum": 65535},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, "inner": {"type": "object", "additionalProperties": {"type": "string"}}}}
    return {
        "ports": {"type": "array", "items": keyed, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "protocol"]},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "numbers": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"},
        "plain": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "d"}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": {"type": "string"}}},
        "size": {"type": "integer", "default": 3, "minimum": 0}, "ratio": {"type": "number"}, "on": {"type": "boolean", "default": True},
        "either": {"x-kubernetes-int-or-string": True}, "none": {"type": "string", "nullable": True, "default": None}, "when": {"type": "string", "format": "date-time"},
        "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
        "deep": {"type": "object", "default": {"x": {"y": "z"}}, "properties": {"x": {"type": "object", "properties": {"y": {"type": "string"}, "n": {"type": "integer", "default": 1}}}}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    }


def columns(more):
    column = lambda name, kind, path, **rest: {"name": name, "type": kind, "jsonPath": path, **rest}
    return [
        column("Size", "integer", ".spec.size"), column("Ratio", "number", ".spec.ratio", priority=1), column("On", "boolean", ".spec.on", description="Whether it is on"),
        column("When", "date", ".spec.when"), column("Mode", "string", ".spec.mode", format="byte"), column("Either", "string", ".spec.either"),
        column("Ports", "string", ".spec.ports[*].port"), column("First", "string", ".spec.ports[0].name"), column("Map", "string", ".spec.map"),
        column("Named", "integer", '.spec.ports[?(@.name=="a")].port'), column("Wrong", "integer", ".spec.mode"), column("Text", "string", ".spec.size"),
        column("Label", "string", ".metadata.labels.a\\.b/c"), column("Phase", "string", ".status.phase"), column("Age", "date", ".metadata.creationTimestamp"),
    ] if more else []


def definition(plural, kind, scope, more):
    schema = lambda: {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": fields()},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}, "conditions": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}, "status": {"type": "string"}}}}}}}}}
    version = lambda name, stored: {"name": name, "served": True, "storage": stored, "schema": schema(), "additionalPrinterColumns": columns(more),
                                    "subresources": {"status": {}, **({"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}} if more else {})} if more else {}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {"group": GROUP, "scope": scope, "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
                     "versions": [version("v1", True), version("v1beta1", False)]}}


def instance(version, kind, name):
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name, "labels": {"a": "b", "a.b/c": "d"}}, "spec": {
        "ports": [{"name": "a", "port": 1, "tags": ["x", "y"]}, {"name": "a", "protocol": "UDP", "port": 2, "inner": {"k": "v"}}, {"name": "b"}],
        "set": ["x", "y"], "numbers": [1, 2], "plain": [{"a": "x", "b": 1}], "whole": {"a": "x"}, "map": {"k": "v", "l": "w"}, "open": {"known": "k", "more": {"deep": [1, {"x": "y"}]}},
        "size": 5, "ratio": 1.5, "on": False, "either": "50%", "when": "2024-01-01T00:00:00Z", "mode": "B", "deep": {"x": {"y": "q"}},
        "embedded": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e"}, "data": {"a": "b"}}}}


def objects():
    return [instance("v1", "Widget", "w"), instance("v1beta1", "Widget", "w2"), instance("v1", "Plainer", "p")]


def define(server):
    """Has the definitions made on a server, and waits until they are served."""
    for made in (definition("widgets", "Widget", "Namespaced", True), definition("plainers", "Plainer", "Cluster", False)):
        server.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made)
    for _ in range(100):
        found = server.ask("GET", f"/openapi/v3/apis/{GROUP}/v1beta1")[1]
        kinds = json_kinds(found)
        if {"Widget", "Plainer"} <= kinds and server.ask("GET", f"/apis/{GROUP}/v1beta1/widgets")[0] == 200:
            return
        time.sleep(0.3)
    raise SystemExit("the definitions are not served")


def json_kinds(document):
    schemas = document.get("components", {}).get("schemas", {}) if isinstance(document, dict) else {}
    return {g["kind"] for s in schemas.values() for g in s.get("x-kubernetes-group-version-kind", [])}
