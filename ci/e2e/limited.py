#!/usr/bin/env python3
"""Runs specs of Kubernetes' end-to-end suite, each in a process of its own with a limit of time.

    ci/e2e/limited.py KUBECONFIG LIST OUT

For specs that mostly wait for what never comes: Ginkgo only limits a whole run. LIST has one full name a line; OUT gets
results.tsv (state, seconds, spec, first failure), in the form of the runner for whole runs. [Serial] specs come last, one by one.

Environment: E2E_TEST, KUBECTL (binaries), PROCS (default 8), LIMIT (seconds a spec, default 90), NUM_NODES (default 4).
Exit status: 0 all passed, 1 a spec failed.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time


def first_failure(reports):
    """State and message of the one spec that ran."""
    for suite in reports:
        for spec in suite["SpecReports"] or []:
            if spec["LeafNodeType"] == "It" and spec["State"] != "skipped":
                message = spec.get("Failure", {}).get("Message", "")
                return spec["State"], " ".join(message.split())[:300]
            if spec["State"] == "skipped" and spec.get("Failure", {}).get("Message"):
                return "skipped", " ".join(spec["Failure"]["Message"].split())[:300]
    return "notrun", ""


def run(spec, config, limit, logs):
    """One spec: its line of results."""
    began = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        command = [
            os.environ["E2E_TEST"],
            f"--kubeconfig={config}",
            f"--kubectl-path={os.environ['KUBECTL']}",
            "--ginkgo.focus=(?:^|e2e suite )" + re.escape(spec) + "$",
            "--ginkgo.no-color",
            "--ginkgo.silence-skips",
            "--ginkgo.poll-progress-after=0",
            "--ginkgo.grace-period=10s",
            f"--ginkgo.timeout={limit}s",
            f"--ginkgo.json-report={report}",
            "--provider=skeleton",
            f"--num-nodes={os.environ.get('NUM_NODES', '4')}",
            "--minStartupPods=0",
            "--allowed-not-ready-nodes=-1",
            "--dump-logs-on-failure=false",
            "--disable-log-dump=true",
            "--delete-namespace-on-failure=true",
        ]
        safe = re.sub(r"[^A-Za-z0-9]+", "-", spec)[:180]
        with open(os.path.join(logs, safe + ".log"), "wb") as log:
            try:
                subprocess.run(command, stdout=log, stderr=log, timeout=limit + 40, cwd=scratch, check=False)
            except subprocess.TimeoutExpired:
                pass
        try:
            with open(report, encoding="utf-8") as f:
                state, why = first_failure(json.load(f))
        except (OSError, ValueError):
            state, why = "timedout", ""
    return f"{state}\t{time.time() - began:.1f}\t{spec}\t{why}"


def main():
    config, names, out = sys.argv[1], sys.argv[2], sys.argv[3]
    limit, procs = int(os.environ.get("LIMIT", "90")), int(os.environ.get("PROCS", "8"))
    with open(names, encoding="utf-8") as f:
        specs = sorted({line.strip() for line in f if line.strip() and not line.startswith("#")})
    logs = os.path.join(out, "logs")
    os.makedirs(logs, exist_ok=True)
    together = [s for s in specs if "[Serial]" not in s]
    alone = [s for s in specs if "[Serial]" in s]
    lines = []
    with open(os.path.join(out, "results.tsv"), "w", encoding="utf-8") as table:

        def done(line):
            lines.append(line)
            table.write(line + "\n")
            table.flush()

        for group, width in ((together, procs), (alone, 1)):
            with concurrent.futures.ThreadPoolExecutor(width) as pool:
                jobs = [pool.submit(run, s, config, limit, logs) for s in group]
                for job in concurrent.futures.as_completed(jobs):
                    done(job.result())
    passed = sum(line.startswith("passed\t") for line in lines)
    print(f"{passed} passed, {len(lines) - passed} failed")
    sys.exit(0 if passed == len(lines) else 1)


if __name__ == "__main__":
    main()
