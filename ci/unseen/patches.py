"""Patches that nobody wrote down: one change of a stored object as a JSON, a merge and a strategic merge patch."""

import copy
import json
import random

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
GONE = object()
# Not the same on any two servers.
OWN = {"uid", "resourceVersion", "creationTimestamp", "time", "nodePort", "healthCheckNodePort", "clusterIP", "clusterIPs", "request"}
MALFORMED = [
    b"", b"{", b"null", b"[]", b"{}", b'"x"', b"5", b"[null]", b"[[]]", b"[5]", b"true", b" {} ", b"{}{}", b"a: b\n", b"\xff", b"[{}]",
    b'[{"op":"add"}]', b'[{"op":"nosuch","path":"/metadata/labels","value":{}}]', b'[{"op":"remove"}]', b'[{"op":"add","path":5,"value":1}]',
    b'[{"op":"test","path":"","value":{}}]', b'[{"op":"replace","path":"","value":{}}]', b'[{"op":"remove","path":""}]', b'{"op":"remove"}',
    b'[{"op":"add","path":"/metadata/labels/x"}]', b'[{"op":"copy","path":"/metadata/labels/x"}]', b'[{"OP":"remove","path":"/metadata/labels"}]',
    b'[{"op":"move","from":"/metadata/labels","path":"/metadata/labels/x"}]', b'[{"op":"replace","path":"/nosuch","value":1}]',
    b'[{"op":"replace","path":"metadata","value":1}]', b'[{"op":"add","path":"/","value":1}]', b'[{"op":"add","path":"/metadata/","value":1}]',
    b'{"metadata":null}', b'{"metadata":5}', b'{"metadata":[]}', b'{"metadata":{"labels":[]}}', b'{"metadata":{"labels":{"a":5}}}',
    b'{"metadata":{"labels":{"a":"1","a":"2"}}}', b'{"kind":null}', b'{"kind":"Other"}', b'{"apiVersion":"v9"}', b'{"apiVersion":null}',
    b'{"metadata":{"name":"other"}}', b'{"metadata":{"name":null}}', b'{"metadata":{"namespace":"other"}}', b'{"metadata":{"uid":"other"}}',
    b'{"metadata":{"uid":null}}', b'{"metadata":{"resourceVersion":"1"}}', b'{"metadata":{"resourceVersion":"x"}}', b'{"metadata":{"resourceVersion":""}}',
    b'{"metadata":{"creationTimestamp":null}}', b'{"metadata":{"creationTimestamp":"2024-01-01T00:00:00Z"}}', b'{"metadata":{"creationTimestamp":"x"}}',
    b'{"metadata":{"managedFields":[]}}', b'{"metadata":{"managedFields":[{}]}}', b'{"metadata":{"managedFields":null}}', b'{"metadata":{"managedFields":5}}',
    b'{"metadata":{"managedFields":[{"manager":"x","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:a":{}}}}}]}}',
    b'{"metadata":{"managedFields":[{"manager":"x","operation":"No"}]}}', b'{"metadata":{"finalizers":["a/b"]}}', b'{"metadata":{"finalizers":["ab"]}}',
    b'{"metadata":{"generation":77}}', b'{"metadata":{"deletionTimestamp":"2024-01-01T00:00:00Z"}}', b'{"metadata":{"generateName":"x"}}',
    b'{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"X","name":"x","uid":"u"}]}}', b'{"metadata":{"selfLink":"/x"}}',
    b'{"metadata":{"annotations":{"a":null}}}', b'{"metadata":{"annotations":null}}', b'{"metadata":{"annotations":{"a b":"c"}}}', b'{"nosuch":1}',
    b'{"metadata":{"nosuch":1}}', b'{"$patch":"delete"}', b'{"$patch":"replace"}', b'{"$patch":"merge"}', b'{"$patch":5}', b'{"$retainKeys":["a"]}',
    b'{"metadata":{"$patch":"replace"}}', b'{"metadata":{"$patch":"delete"}}', b'{"metadata":{"labels":{"$patch":"replace","z":"y"}}}',
    b'{"metadata":{"labels":{"$patch":"delete"}}}', b'{"metadata":{"labels":{"$patch":"x"}}}', b'{"metadata":{"labels":{"$retainKeys":["z"],"z":"1"}}}',
    b'{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"]}}', b'{"metadata":{"$setElementOrder/finalizers":["a/b"],"finalizers":["a/b"]}}',
    b'{"metadata":{"$setElementOrder/ownerReferences":[{"uid":"u"}]}}', b'{"status":null}', b'{"status":{}}', b'{"status":{"nosuch":1}}', b'{"spec":null}', b'{"spec":{}}',
]


def pointer(path):
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def at(value, path):
    for step in path:
        value = value[step]
    return value


def owned(value):
    """Whether something in it is not the same on any two servers."""
    if isinstance(value, dict):
        return any(k in OWN or owned(v) for k, v in value.items())
    if isinstance(value, list):
        return any(owned(v) for v in value)
    return isinstance(value, str) and "kube-api-access-" in value


class Patches:
    """Patches of one stored object; `mutator` knows the schemas."""

    def __init__(self, mutator, live):
        self.mutator, self.live = mutator, live
        self.root = mutator.schemas[mutator.names[live["apiVersion"] + "/" + live["kind"]]]
        self.places = [p for p in mutator.places(live, self.root) if p[0] and not OWN & set(p[0]) and not owned(p[2]) and "managedFields" not in p[0]]

    def one(self):
        """What it is, its media type and its body."""
        if random.random() < 0.12:
            body = random.choice(MALFORMED)
            return "malformed " + body.decode(errors="replace")[:120], random.choice([JSON, MERGE, STRATEGIC, STRATEGIC]), body
        path, schema, value = random.choice(self.places)
        new = self.other(schema, value)
        kind = random.choice([JSON, MERGE, STRATEGIC, STRATEGIC])
        body = {JSON: self.json_patch, MERGE: self.merge_patch, STRATEGIC: self.strategic}[kind](path, value, new)
        text = json.dumps(body, ensure_ascii=False)
        if random.random() < 0.03 and isinstance(body, dict) and body:
            first = next(iter(body))
            text = text[:-1] + f", {json.dumps(first)}: {json.dumps(body[first])}}}"
        return f"{kind[12:17]} {text[:400]}", kind, text.encode()

    def other(self, schema, value):
        """Another value that may be there, or nearly; or none."""
        if random.random() < 0.15:
            return GONE
        if isinstance(value, list) and random.random() < 0.5:
            return random.choice([value[::-1], value + value[-1:], value[1:], value + [self.mutator.made(schema.get("items", {}))]])
        if random.random() < 0.5:
            return random.choice(self.mutator.values(schema))
        return self.mutator.made(schema)

    def somewhere(self):
        path = random.choice(self.places)[0]
        return path, at(self.live, path)

    def json_patch(self, path, value, new):
        where, steps = pointer(path), []
        odd = random.choice([where + "/nosuch", where + "/0", where + "/-", where + "/99", where + "/-1", where + "/01", where + "~2", where[1:], where + "/",
                             "/" + where, where + "/a~1b~0c", where.upper(), where + "/nosuch/deep"])
        whole = None if new is GONE else new
        other, its_value = self.somewhere()
        for _ in range(random.choice([1, 1, 2, 3])):
            sane = random.random() < 0.6
            steps.append(random.choice([
                {"op": "remove", "path": where} if new is GONE else {"op": "replace", "path": where, "value": new},
                {"op": "add", "path": where, "value": whole},
                {"op": "test", "path": where, "value": value},
                {"op": "add", "path": "/metadata/annotations", "value": {"x/y": "1", "x~y": "2"}},
                {"op": "copy", "from": pointer(other[:-1] + path[-1:]) if other[:-1] == path[:-1] else where, "path": where},
            ] if sane and not steps else [
                {"op": "remove", "path": where} if new is GONE else {"op": "replace", "path": where, "value": new},
                {"op": "add", "path": where, "value": whole},
                {"op": "remove", "path": where},
                {"op": "test", "path": where, "value": random.choice([value, value, whole])},
                {"op": "copy", "from": pointer(other), "path": where},
                {"op": "move", "from": pointer(other), "path": where},
                {"op": "copy", "from": where, "path": odd},
                {"op": "move", "from": odd, "path": where},
                {"op": random.choice(["add", "add", "replace", "remove", "test"]), "path": odd, "value": whole},
                {"op": "add", "path": pointer(path[:-1] + ("-",)), "value": whole},
                {"op": "add", "path": "/metadata/annotations/x~1y", "value": json.dumps(its_value)[:20]},
                {"op": "test", "path": pointer(other), "value": its_value},
            ]))
        return steps

    def merge_patch(self, path, value, new):
        if new is GONE:
            new = None
        lists = [i for i, step in enumerate(path) if isinstance(step, int)]
        if lists:
            # The whole list, changed within.
            path, inner = path[: lists[0]], path[lists[0]:]
            whole = copy.deepcopy(at(self.live, path))
            at(whole, inner[:-1])[inner[-1]] = new
            new = whole
        for step in reversed(path):
            new = {step: new}
        if random.random() < 0.2:
            new = self.together(new, self.merge_patch(*random.choice(self.places)[:1], None, GONE))
        return new

    @staticmethod
    def together(a, b):
        for k, v in b.items():
            a[k] = Patches.together(a[k], v) if isinstance(a.get(k), dict) and isinstance(v, dict) else v
        return a

    def strategic(self, path, value, new):
        return self.nested(path, self.live, self.root, new)

    def nested(self, path, live, schema, new):
        if not path:
            return None if new is GONE else new
        schema, step, rest = self.mutator.resolved(schema), path[0], path[1:]
        inner = schema.get("properties", {}).get(step) or schema.get("additionalProperties") or {}
        inner = inner if isinstance(inner, dict) else {}
        patch = {}
        if isinstance(live.get(step), list):
            key, strategy = inner.get("x-kubernetes-patch-merge-key"), inner.get("x-kubernetes-patch-strategy", "")
            self.listed(patch, step, live[step], rest, key, "merge" in strategy, inner, new)
        else:
            patch[step] = self.nested(rest, live[step], inner, new)
        dice = random.random()
        if dice < 0.04:
            patch["$patch"] = random.choice(["replace", "delete", "merge", "nosuch", 5, None])
        elif dice < 0.08:
            patch["$retainKeys"] = random.choice([[step], list(live)[:2] + [step], [], "x", [5], list(live), None])
        elif dice < 0.1:
            patch["$nosuch"] = 1
        return patch

    def listed(self, patch, name, items, rest, key, merges, schema, new):
        """A list within a strategic patch: `rest` leads into it."""
        if not rest:
            patch[name] = None if new is GONE else new
        elif not (merges and key and isinstance(items[rest[0]], dict)):
            whole = copy.deepcopy(items)
            if new is GONE:
                del at(whole, rest[:-1])[rest[-1]]
            else:
                at(whole, rest[:-1])[rest[-1]] = new
            patch[name] = whole if not merges or random.random() < 0.5 else whole[rest[0]: rest[0] + 1]
        else:
            item = items[rest[0]]
            one = self.nested(rest[1:], item, schema.get("items", {}), new) or {}
            one = one if isinstance(one, dict) else {}
            if key in item and random.random() < 0.95:
                one.setdefault(key, item[key])
            patch[name] = [one]
            if random.random() < 0.2:
                patch[name].append(random.choice([{key: "new"}, {key: item.get(key), "$patch": "delete"}, {"$patch": "replace"}, {key: 5}, {}, "s", None,
                                                  {key: "gone", "$patch": "delete"}, {key: item.get(key), "$patch": "x"}, {"$patch": "merge", key: "z"}, {"$patch": "delete"}]))
        dice, whole = random.random(), patch.get(name)
        scalars = [v if key is None or not isinstance(v, dict) else {key: v.get(key)} for v in items]
        order = random.choice([scalars, scalars[::-1], scalars[1:], scalars + ["z"], [], "x", None, [{}], whole])
        if dice < 0.1:
            patch["$setElementOrder/" + name] = order
        elif dice < 0.16:
            patch["$deleteFromPrimitiveList/" + name] = random.choice([items[:1], scalars[-1:], ["nosuch"], [], "x", None, [5], [{}]])
            if random.random() < 0.7:
                patch.pop(name)
