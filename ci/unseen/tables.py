"""Objects asked for as tables and as their metadata alone."""

import json
import random

FIXED = {"CustomResourceDefinition", "APIService", "IPAddress"}
META = "g=meta.k8s.io"
ACCEPTS = [f"application/json;as=Table;v=v1;{META}"] * 8 + [
    f"application/json;as=PartialObjectMetadata;v=v1;{META}", f"application/json;as=Table;v=v1beta1;{META}", f"application/json;as=PartialObjectMetadata;v=v1beta1;{META}",
    f"application/json;as=PartialObjectMetadataList;v=v1;{META}", f"application/json;as=Table;{META};v=v1,application/json", f"application/json;as=Table;v=v2;{META}",
    "application/json;as=Table", "application/json;as=Table;g=other;v=v1", f"application/json;as=Nosuch;v=v1;{META},application/json",
    "application/json;pretty=1",
]
WORDS = ["a", "b", "True", "False", "Ready", "Complete", "Failed", "Running", "Pending", "Succeeded", "Bound", "Available", "Approved", "1.2.3.4", "Unknown"]
INCLUDES = [None, None, None, "Object", "Metadata", "None", "", "object", "x"]


def plausible(mutator, schema, depth=0):
    """Something that is likely taken."""
    schema = mutator.resolved(schema)
    kind, deeper = mutator.type_of(schema), depth + 1
    if kind == "object" and "additionalProperties" in schema:
        return {random.choice(["a", "cpu", "memory", "pods"]): plausible(mutator, schema["additionalProperties"], deeper) for _ in range(2)}
    if kind == "object":
        needed = schema.get("required", [])
        return {k: plausible(mutator, v, deeper) for k, v in schema.get("properties", {}).items() if k in needed or random.random() < 1.2 / (1 + depth)}
    if kind == "array":
        return [plausible(mutator, schema.get("items", {}), deeper) for _ in range(random.choice([0, 1, 1, 2]))]
    if kind == "string" and schema.get("enum"):
        return random.choice(schema["enum"])
    return {
        "integer": random.choice([0, 1, 3]), "number": 1.5, "boolean": random.random() < 0.5, "quantity": random.choice(["1", "100m", "2Gi"]),
        "int-or-string": random.choice([1, "50%"]), "time": random.choice(["2024-01-01T00:00:00Z", "2025-03-01T10:00:00Z"]),
    }.get(kind, random.choice(WORDS))


def requests(mutator, o, mutant):
    """One request about an object: method, path, accept, body."""
    path, name = mutator.path(o), o["metadata"]["name"]
    accept, include = random.choice(ACCEPTS), random.choice(INCLUDES)
    query = "" if include is None else "includeObject=" + include
    dice = random.random()
    if dice < 0.4:
        meta = mutant.get("metadata")
        if isinstance(meta, dict) and meta.get("name") == name and o["kind"] not in FIXED:
            mutant = {**mutant, "metadata": {**meta, "name": "t" + name}}
        return "POST", f"{path}?dryRun=All&fieldManager=m&{query}", accept, mutant
    if dice < 0.75 and "status" in mutator.schemas[mutator.names[o["apiVersion"] + "/" + o["kind"]]].get("properties", {}):
        root = mutator.schemas[mutator.names[o["apiVersion"] + "/" + o["kind"]]]
        status = plausible(mutator, root["properties"]["status"])
        body = {"metadata": {"labels": {"t": "1"}}, "status": status}
        return "PATCH", f"{path}/{name}/status?dryRun=All&fieldManager=m&{query}", accept, body
    if dice < 0.85:
        spec = {k: v for k, v in mutant.items() if k not in ("apiVersion", "kind", "metadata", "status")}
        return "PATCH", f"{path}/{name}?dryRun=All&fieldManager=m&{query}", accept, spec
    if dice < 0.95:
        return "GET", f"{path}/{name}?{query}", accept, None
    return "GET", f"{path}?fieldSelector=metadata.name={name}&{query}", accept, None


def told(request):
    method, path, accept, body = request
    return f"{method} {path} {accept} {json.dumps(body)[:200]}"
