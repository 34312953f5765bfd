"""What `play`, `requests` and `expressions` share: a connection to an API server, the masks of what no two servers have in common, and
the report of what differs."""

import argparse
import base64
import collections
import http.client
import json
import re
import ssl
import subprocess
import tempfile


class Server:
    """One connection to an API server."""

    def __init__(self, kubeconfig):
        view = ["kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw", "--minify", "--flatten", "-o", "json"]
        config = json.loads(subprocess.run(view, check=True, capture_output=True).stdout)
        user = config["users"][0]["user"]
        self.host = config["clusters"][0]["cluster"]["server"].split("//")[1]
        self.token = user.get("token")
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as pem:
                for part in ("client-certificate-data", "client-key-data"):
                    pem.write(base64.b64decode(user[part]) + b"\n")
                pem.flush()
                self.tls.load_cert_chain(pem.name)
        self.connection = None
        self.versions = {}
        # Names that the other server chose at random, and what this one chose: requests made of the one's objects are sent to both.
        self.renamed = {}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        self.user = self.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)[1]["status"]["userInfo"]

    def masked(self, value):
        """What it answered; who asks is who has the certificate, so its name and its digest are not compared."""
        name = self.user["username"]
        # As a field, and within a text that has the object.
        text = re.sub(rf'(\\*"username\\*": ?\\*"){re.escape(name)}(\\*")', r"\1CLIENT\2", json.dumps(value))
        value = masked(json.loads(re.sub(r"X509SHA256=[0-9a-f]{64}", "X509SHA256=DIGEST", text)))
        body = value.get("body") if isinstance(value, dict) else None
        if isinstance(body, dict) and body.get("kind") == "Table":
            for row in body.get("rows") or []:
                row["cells"] = ["CLIENT" if c == name else c for c in row["cells"]]
        return value

    def ask(self, method, path, body=None, kind="application/json", accept="application/json"):
        """Status, body and warnings; status 0 where the connection ends without an answer. `kind` is the body's media type."""
        for _ in range(2):
            try:
                if not self.connection:
                    self.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
                headers = {"User-Agent": "differential/1", "Accept": accept}
                if self.token:
                    headers["Authorization"] = "Bearer " + self.token
                if body is not None:
                    headers["Content-Type"] = kind
                    body = body if isinstance(body, bytes) else json.dumps(body).encode()
                    for theirs, own in self.renamed.items():
                        body = body.replace(theirs, own)
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                warnings = [v for k, v in answer.getheaders() if k.lower() == "warning"]
                try:
                    return answer.status, json.loads(text), warnings
                except ValueError:
                    return answer.status, text.decode(errors="replace"), warnings
            except (OSError, http.client.HTTPException) as error:
                self.connection = None
                why = str(error)
        return 0, why, []

    def put(self, path, query, body):
        """Writes over what is stored; the version is the stored one's unless the body has one."""
        if body["metadata"].get("resourceVersion") is None:
            if path not in self.versions:
                self.versions[path] = (self.ask("GET", path)[1].get("metadata") or {}).get("resourceVersion")
            if self.versions[path]:
                body = {**body, "metadata": {**body["metadata"], "resourceVersion": self.versions[path]}}
        return self.ask("PUT", path + query, body)


UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
AGE = re.compile(r"^(\d+[ydhms])+$|(?<=\()(\d+[ydhms])+(?= ago\))")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# What no two servers have in common, wherever it stands in a text.
TEXTS = [
    (UID, "UID"),
    (TIME, "TIME"),
    (re.compile(r"10\.96\.\d+\.\d+"), "ADDRESS"),
    (re.compile(r"([nN]odePort\\*\"?: ?)3\d{4}"), r"\1PORT"),
    (re.compile(r"(resourceVersion\\*\"?: ?\\*\"?)\d+"), r"\1VERSION"),
    (re.compile(r"(kube-api-access-)[a-z0-9]{5}"), r"\1SUFFIX"),
]


def text_masked(s, texts=()):
    for pattern, to in [*TEXTS, *texts]:
        s = pattern.sub(to, s)
    return s


def compact(o):
    return json.dumps(o, separators=(",", ":"), sort_keys=True).encode()


def masked(value, key=None):
    if key in ("request", "username"):  # A certificate request's, by a key and a user of its own.
        return "REQUEST"
    if isinstance(value, dict):
        return {k: masked(v, k) for k, v in value.items() if not (k == "extra" and "usages" in value)}
    if isinstance(value, list):
        return [masked(v) for v in value]
    if key in ("nodePort", "healthCheckNodePort") and isinstance(value, int) and 30000 <= value < 32768:
        return "PORT"
    if isinstance(value, str):
        if key == "resourceVersion":
            return "VERSION"
        return text_masked(value)
    return value


def differences(a, b, path=""):
    if type(a) is not type(b):
        return [(path, a, b)]
    if isinstance(a, dict):
        none = "<none>"
        both = sorted(set(a) | set(b))
        return [d for k in both for d in (differences(a[k], b[k], f"{path}.{k}") if k in a and k in b else [(f"{path}.{k}", a.get(k, none), b.get(k, none))])]
    if isinstance(a, list):
        if len(a) != len(b):
            return [(path, a, b)]
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{path}[{i}]")]
    return [] if a == b else [(path, a, b)]


class Report:
    """Answers counted: how many of each group are the same, and what differs, by what it differs in."""

    def __init__(self, out, show):
        self.out = open(out, "w", encoding="utf-8") if out else None
        self.show = show
        self.total, self.same, self.groups = collections.Counter(), collections.Counter(), collections.defaultdict(list)

    def add(self, group, found, key=None, line=None):
        """One answer of `group`. Where something was found to differ: what it is counted by, and what is told of it."""
        self.total[group] += 1
        if not found:
            self.same[group] += 1
            return
        self.groups[key].append(line)
        if self.out:
            self.out.write(json.dumps(line) + "\n")
            self.out.flush()

    def told(self, example, width, more=""):
        """Prints it, `example` being the lines that one difference is shown by; the exit status."""
        for key, lines in sorted(self.groups.items(), key=lambda g: -len(g[1]))[: self.show]:
            print(f"{len(lines):5} {' '.join(map(str, key))}")
            for text in example(lines[0]):
                print(f"        {text}")
        for group, n in sorted(self.total.items(), key=lambda t: self.same[t[0]] / t[1]):
            print(f"{group:{width}} {self.same[group]:6} of {n:6}")
        print(f"{sum(self.same.values())} of {sum(self.total.values())} the same{more}")
        return 1 if self.groups else 0


def parser(about):
    """The options that both have."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("real")
    made.add_argument("ours")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--out")
    made.add_argument("--show", type=int, default=20, help="differences to print")
    return made
