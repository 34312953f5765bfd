"""Sequences of server-side applies that nobody wrote down, by managers that own parts of one object in turn."""

import copy
import json
import random
import urllib.parse

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
# Their names are not theirs to choose, or they stay when they are deleted; no two of the others may be alike.
FIXED = {"CustomResourceDefinition", "APIService", "Namespace", "IPAddress", "ServiceCIDR"}
MANAGERS = ["a", "b", "c", "kubectl", "before-first-apply", "é", "a b", "x" * 128, "x" * 129, "", None, "a/b", '"', "kube-controller-manager", "unknown"]


class Applies:
    """Sequences about objects like `o`; `mutants` are its changed copies."""

    def __init__(self, mutator, o, mutants):
        self.mutator, self.o, self.mutants = mutator, o, mutants
        self.root = mutator.schemas[mutator.names[o["apiVersion"] + "/" + o["kind"]]]

    def part(self, value, schema, keep):
        """Some of the fields; elements of lists keep what tells them apart."""
        schema = self.mutator.resolved(schema)
        if isinstance(value, dict):
            other = schema.get("additionalProperties")
            of = lambda k: schema.get("properties", {}).get(k) or (other if isinstance(other, dict) else {})
            return {k: self.part(v, of(k), keep) for k, v in value.items() if random.random() < keep}
        if isinstance(value, list):
            keys = schema.get("x-kubernetes-list-map-keys", [])
            items = [v for v in value if random.random() < keep] or value[:1]
            told = lambda v: {k: v[k] for k in keys if k in v} if isinstance(v, dict) else {}
            return [{**told(v), **self.part(v, schema.get("items", {}), keep)} if isinstance(v, dict) else v for v in items]
        return value

    def configuration(self, name, keep, changed):
        o = copy.deepcopy(random.choice(self.mutants) if changed and self.mutants else self.o)
        meta = o.get("metadata") if isinstance(o.get("metadata"), dict) else {}
        part = self.part({k: v for k, v in o.items() if k not in ("apiVersion", "kind", "metadata")}, self.root, keep)
        kept = {k: v for k, v in meta.items() if k != "name" and random.random() < keep}
        return {"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": {"name": name, **kept}, **part}

    def query(self, manager, force=None, **more):
        said = {"fieldManager": manager, "force": force, **more}
        if random.random() < 0.1:
            said["fieldValidation"] = random.choice(["Strict", "Warn", "Ignore"])
        return "?" + urllib.parse.urlencode({k: v for k, v in said.items() if v is not None})

    def sequence(self, n):
        """Requests on one object: method, path, media type, body. The last two take it away."""
        name = f"seq{n}" + (".example.com" if "." in self.o["metadata"]["name"] else "")
        base = self.mutator.path(self.o)
        path = f"{base}/{name}"
        for port in self.o.get("spec", {}).get("ports", []) if self.o["kind"] == "Service" else []:
            port.pop("nodePort", None)  # It is taken.
        full = {**copy.deepcopy(self.o), "metadata": {**copy.deepcopy(self.o["metadata"]), "name": name}}
        first = random.random()
        if first < 0.45:
            yield "POST", base + self.query("a"), "application/json", json.dumps(full, separators=(",", ":"), sort_keys=True).encode()
        elif first < 0.85:
            yield "PATCH", path + self.query("a"), APPLY, full
        else:
            yield "PATCH", path + self.query(random.choice(MANAGERS), None), APPLY, self.configuration(name, 0.9, True)
        last = {}
        for _ in range(random.choice([2, 3, 4, 5])):
            manager = random.choice(["a", "a", "b", "b", "c", random.choice(MANAGERS)])
            force = random.choice([None, None, "true", "true", "false"])
            dice = random.random()
            if dice < 0.5:
                body = self.configuration(name, random.choice([0.15, 0.4, 0.7, 1]), random.random() < 0.5)
                last[manager] = body
                yield "PATCH", path + self.query(manager, force), APPLY, body
            elif dice < 0.65 and last:
                manager = random.choice(list(last))
                body = last[manager]
                less = self.part({k: v for k, v in body.items() if k not in ("apiVersion", "kind", "metadata")}, self.root, 0.7)
                last[manager] = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": name}, **less}
                yield "PATCH", path + self.query(manager, force), APPLY, last[manager]
            elif dice < 0.78:
                changes = self.configuration(name, 0.3, True)
                yield "PATCH", path + self.query(manager), MERGE, changes
            elif dice < 0.86:
                body = self.configuration(name, 0.3, False)
                made = self.mutator.made(self.root.get("properties", {}).get("status", {}))
                yield "PATCH", path + "/status" + self.query(manager, force), APPLY, {**body, "status": made} if made else body
            else:
                yield "PATCH", path + self.query(manager, force), APPLY, self.odd(name)
        yield "PATCH", path + self.query("a"), MERGE, {"metadata": {"finalizers": None}}
        yield "DELETE", path + "?gracePeriodSeconds=0", "application/json", None

    def odd(self, name):
        """A configuration that is wrong, or oddly written."""
        body = self.configuration(name, 0.4, False)
        meta, kind = body["metadata"], body["kind"]
        twice = copy.deepcopy(self.o)
        twice["metadata"] = {"name": name}
        self.double(twice)
        yaml = f"apiVersion: {body['apiVersion']}\nkind: {kind}\nmetadata:\n  name: {name}\n"
        return random.choice([
            {**body, "metadata": {**meta, "managedFields": []}},
            {**body, "metadata": {**meta, "managedFields": None}},
            {**body, "metadata": {**meta, "managedFields": [{"manager": "x", "operation": "Apply", "apiVersion": body["apiVersion"], "fieldsType": "FieldsV1", "fieldsV1": {}}]}},
            {**body, "metadata": {**meta, "managedFields": [{}]}},
            {**body, "apiVersion": "v9"}, {**body, "apiVersion": "example.com/v1"}, {**body, "kind": "Other"}, {**body, "kind": ""},
            {k: v for k, v in body.items() if k != "apiVersion"}, {k: v for k, v in body.items() if k != "kind"},
            {**body, "metadata": {**meta, "name": "other"}}, {**body, "metadata": {}}, {**body, "metadata": None}, {k: v for k, v in body.items() if k != "metadata"},
            {**body, "metadata": {**meta, "namespace": "other"}}, {**body, "metadata": {**meta, "resourceVersion": "1"}},
            {**body, "metadata": {**meta, "resourceVersion": "x"}}, {**body, "metadata": {**meta, "uid": "other"}}, {**body, "metadata": {**meta, "generateName": "g"}},
            {**body, "metadata": {**meta, "labels": {"a": None}}}, {**body, "metadata": {**meta, "labels": {"a": 5}}}, {**body, "metadata": {**meta, "labels": []}},
            {**body, "metadata": {**meta, "annotations": {"a": "1", "b": "2"}, "finalizers": ["a/b", "a/b"]}}, {**body, "metadata": {**meta, "finalizers": [None]}},
            {**body, "metadata": {**meta, "ownerReferences": [{"uid": "u"}, {"uid": "u"}]}}, {**body, "metadata": {**meta, "nosuch": 1}},
            {**body, "nosuch": {"a": 1}}, {**body, "spec": None}, {**body, "spec": []}, {**body, "spec": "x"}, {**body, "status": {"nosuch": 1}},
            {**body, "metadata": {**meta, "creationTimestamp": None}}, {**body, "metadata": {**meta, "creationTimestamp": "2024-01-01T00:00:00Z"}},
            {**body, "metadata": {**meta, "generation": 5}}, {**body, "metadata": {**meta, "deletionTimestamp": "2024-01-01T00:00:00Z"}},
            twice, twice, twice,
            (yaml + "  labels: {a: b}\n").encode(), (yaml + "  labels: {a: b, a: c}\n").encode(), (yaml + "  labels: &x {a: b}\n  annotations: *x\n").encode(),
            (yaml + "---\n" + yaml).encode(), yaml.replace("  ", "\t").encode(), b"", b"null", b"[]", b"5", b"a", b"{}", b"{", b"# none\n", b"\xff\xfe",
            ("# comment\n" + yaml + "  labels: {a: yes}\n").encode(), (yaml + "  labels: {a: 1.0}\n").encode(), (yaml + "  labels: {1: b}\n").encode(),
            (yaml + "  labels: {a: ~}\n").encode(), (yaml + "  annotations:\n    x: |\n      two\n      lines\n").encode(), (yaml + "nosuch: 1\nnosuch: 2\n").encode(),
        ])

    def double(self, value):
        """Has the last element of some list twice."""
        lists = [v for _, _, v in self.mutator.places(value, self.root) if isinstance(v, list) and v]
        if lists:
            chosen = random.choice(lists)
            chosen.append(copy.deepcopy(chosen[-1]))


def read(body):
    """What a request says, for people."""
    return body.decode(errors="replace") if isinstance(body, bytes) else json.dumps(body)
