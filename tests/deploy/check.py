#!/usr/bin/env python3
"""What in deploy/, and of the manual, can be tried without a cluster.

    check.py [--agent=build/proxylet]

Manifests, chart and configurations are read as a cluster would and judged by what the agent needs; dashboard and
alerts by the names that the agent has, and so is the manual; scripts are linted, the kind script runs against
stand-ins, the image is made and used. Prints "ok", "FAIL" and "SKIP" lines, and the count as the last one.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import manifests
import manual

try:
    import yaml
except ImportError:
    yaml = None

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(TOP, "deploy")
FOLDERS = ["kubernetes/base", "kubernetes/cleanup", "kubernetes/cleanup-kube-proxy"]
CONFIGS = ["kubernetes/base/config.conf", "kind/config.conf", "systemd/config.conf"]
KUBECONFIGS = ["kubernetes/base/kubeconfig.conf", "kind/kubeconfig.conf"]


class Skip(Exception):
    """Why something cannot be tried here."""


class Bad(Exception):
    """What is wrong; a line each."""


class Run:
    """The cases and their count. Each is a function that returns, or raises what became of it."""

    def __init__(self, agent, tmp):
        self.agent, self.tmp, self.count = agent, tmp, {"ok": 0, "FAIL": 0, "SKIP": 0}

    def case(self, name, fn, *args):
        try:
            fn(self, *args)
        except Skip as e:
            self.say("SKIP", "%s: %s" % (name, e))
        except Bad as e:
            self.say("FAIL", "%s: %s" % (name, str(e).replace("\n", "\n    ")))
        else:
            self.say("ok", name)

    def say(self, verdict, text):
        self.count[verdict] += 1
        print(verdict, text, flush=True)

    def file(self, name, text):
        path = os.path.join(self.tmp, name)
        with open(path, "w") as f:
            f.write(text)
        return path


def read(*path):
    with open(os.path.join(DEPLOY, *path)) as f:
        return f.read()


def load(text):
    if not yaml:
        raise Skip("python3-yaml is not there")
    try:
        return [d for d in yaml.safe_load_all(text) if d is not None]
    except yaml.YAMLError as e:
        raise Bad(str(e))


def tool(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Skip("no %s here" % names[0])


def output(*argv, status=0, **more):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                       errors="replace", **more)
    if p.returncode != status:
        raise Bad("%s: exit status %d\n%s" % (" ".join(argv), p.returncode, p.stdout.strip()))
    return p.stdout


def no(problems):
    if problems:
        raise Bad("\n".join(problems))


# --- configurations -----------------------------------------------------------

def config_is_good(run, text):
    """Without an error, and without a warning: that would be a field we do not know."""
    said = output(run.agent, "check-config", run.file("config.conf", text))
    no([line for line in said.splitlines() if " warning: " in line])


def kubeconfig_is_whole(run, text):
    no([p for doc in load(text) for p in manifests.kubeconfig(doc)])


def values_are_good(run):
    """The chart's default configuration, which its template completes with these."""
    values, = load(read("helm/proxylet/values.yaml"))
    config_is_good(run, json.dumps(dict(values["config"], apiVersion="kubeproxy.config.k8s.io/v1alpha1", kind="KubeProxyConfiguration")))


def flags_are_known(run, args):
    output(run.agent, *args, "--help")


# --- manifests ----------------------------------------------------------------

def objects_are_good(run, objects):
    no(manifests.problems(objects))
    for ds in manifests.of_kind(objects, "DaemonSet"):
        for c in manifests.containers(ds):
            if c.get("args", [""])[0] in ("run", "cleanup"):
                flags_are_known(run, c["args"])
    for text in manifests.data(objects, "config.conf"):
        config_is_good(run, text)
    for text in manifests.data(objects, "kubeconfig.conf"):
        kubeconfig_is_whole(run, text)


def folder_is_good(run, folder):
    """What a kustomization names, as it stands in the files; its configuration is tried by itself."""
    objects = []
    for path in sorted(glob.glob(os.path.join(DEPLOY, folder, "*.yaml"))):
        objects += [d for d in load(read(path)) if d["kind"] not in ("Kustomization", "Cluster")]
    if not objects:
        raise Bad("no objects")
    no(manifests.problems(objects, rendered=False))


def kustomized(folder):
    name = tool("kubectl", "kustomize")
    verb = ["kustomize"] if name == "kubectl" else ["build"]
    return load(output(name, *verb, os.path.join(DEPLOY, folder)))


def kustomization_is_good(run, folder):
    objects_are_good(run, kustomized(folder))


def only_the_image(run):
    """The overlay for an existing kube-proxy must name the container, its image, and nothing more."""
    want = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"namespace": "kube-system", "name": "kube-proxy"},
            "spec": {"template": {"spec": {"containers": [{"name": "kube-proxy", "image": "proxylet:" + version()}]}}}}
    if kustomized("kubernetes/replace-kube-proxy") != [want]:
        raise Bad("says more or something else")


def with_component(run, component, *resources):
    """What kustomize makes of the folders with the component on top."""
    folder = tempfile.mkdtemp(dir=run.tmp)
    paths = [os.path.relpath(os.path.join(DEPLOY, "kubernetes", f), folder) for f in (*resources, "components/" + component)]
    with open(os.path.join(folder, "kustomization.yaml"), "w") as f:
        json.dump({"resources": paths[:-1], "components": paths[-1:]}, f)
    return kustomized(folder)


def one_by_one(run):
    ds, = manifests.of_kind(with_component(run, "one-by-one", "base"), "DaemonSet")
    if ds["spec"]["updateStrategy"]["rollingUpdate"] != {"maxSurge": 0, "maxUnavailable": 1}:
        raise Bad("the component does not set it")


def iptables_legacy(run):
    objects = with_component(run, "iptables-legacy", "base", "cleanup", "cleanup-kube-proxy")
    no(manifests.problems(objects))
    for ds in manifests.of_kind(objects, "DaemonSet"):
        if manifests.containers(ds)[0]["securityContext"]["capabilities"]["add"] != ["NET_ADMIN", "NET_RAW"]:
            raise Bad("%s: no NET_RAW" % ds["metadata"]["name"])


def chart(run, *values):
    args = [v for pair in values for v in ("--set-json", pair)]
    rendered = output(tool("helm"), "template", "proxylet", os.path.join(DEPLOY, "helm/proxylet"), "--namespace",
                      "kube-system", "--kube-version", "1.36.0", "--set", "apiServer=https://192.0.2.1:6443", *args)
    objects_are_good(run, load(rendered))


def chart_wants_a_server(run):
    said = output(tool("helm"), "template", "proxylet", os.path.join(DEPLOY, "helm/proxylet"), "--kube-version",
                  "1.36.0", status=1)
    if "apiServer" not in said:
        raise Bad(said)


def version():
    with open(os.path.join(TOP, "Makefile")) as f:
        return re.search(r"^VERSION +:= (\S+)", f.read(), re.M).group(1)


def versions_agree(run):
    places = {"kubernetes/base/kustomization.yaml": r"newTag: (\S+)", "kubernetes/cleanup/kustomization.yaml": r"newTag: (\S+)",
              "kubernetes/cleanup-kube-proxy/kustomization.yaml": r"newTag: (\S+)",
              "kubernetes/replace-kube-proxy/kustomization.yaml": r"newTag: (\S+)", "kind/up.sh": r"image=proxylet:(\S+)",
              "helm/proxylet/Chart.yaml": r"(?m)^(?:appVersion|version): (\S+)", "Dockerfile": r"-t proxylet:(\S+)"}
    no(["%s: %s, the Makefile has %s" % (place, found, version()) for place, pattern in places.items()
        for found in re.findall(pattern, read(place)) or ["none"] if found != version()])


# --- the unit -----------------------------------------------------------------

def unit_is_good(run):
    text = read("systemd/proxylet.service").replace("/usr/sbin/proxylet", os.path.abspath(run.agent))
    said = output(tool("systemd-analyze"), "verify", "--man=no", run.file("proxylet.service", text))
    no(said.splitlines())


def calls_of(names, sets):
    return {call for name in names for call in (calls_of(sets[name], sets) if name in sets else [name])}


def unit_lets_it_call(run):
    """What the agent's own sandbox has a reason to let through is not refused by the unit's."""
    blocks = output(tool("systemd-analyze"), "syscall-filter").split("\n\n")
    lines = [[x.strip() for x in b.splitlines() if x.strip() and not x.strip().startswith("#")] for b in blocks]
    sets, may = {b[0]: b[1:] for b in lines if b}, set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", read("systemd/proxylet.service"), re.M):
        names = calls_of(line.lstrip("~").split(), sets)
        may = may - names if line.startswith("~") else may | names
    with open(os.path.join(TOP, "proxy/sandbox_calls.c")) as f:
        groups = re.findall(r"KP_CALLS_(?:ALWAYS|PROGRAMS), GROUP\(([^)]*)\)", f.read())
    wanted = set(re.findall(r'"(\w+)"', " ".join(groups))) - {"setrlimit"}  # C libraries use prlimit64
    refused = wanted & calls_of(sets, sets) - may  # an older systemd does not know them all
    no(["no list of calls"] * (not wanted) + ["%s: refused by the unit" % call for call in sorted(refused)])


def unit_starts_it(run):
    start = re.search(r"^ExecStart=\S+ (.*)$", read("systemd/proxylet.service"), re.M).group(1)
    flags_are_known(run, start.replace("$PROXYLET_ARGS", "").split())


# --- dashboard and alerts -----------------------------------------------------

def dashboard_expressions():
    return [t["expr"] for p in json.loads(read("monitoring/dashboard.json"))["panels"] for t in p.get("targets", [])]


def metric_names(text):
    found = set(re.findall(r"\b(?:kubeproxy|proxylet|process)_[a-z0-9_]+", text))
    return {re.sub(r"_(?:bucket|count|sum)$", "", name) for name in found}


def dashboard_is_whole(run):
    board = json.loads(read("monitoring/dashboard.json"))
    ids = [p["id"] for p in board["panels"]]
    no(["panel ids are not unique"] * (len(ids) != len(set(ids))) +
       ["panel %r has no expression" % p["title"] for p in board["panels"] if p["type"] != "row" and not p["targets"]])


def metrics_exist(run, text):
    """Every family's name is a string of the program."""
    with open(run.agent, "rb") as f:
        program = f.read()
    if b"kubeproxy_" not in program:
        raise Skip("this build has no metrics")
    names = metric_names(text)
    no(["no metric names"] * (not names) +
       ["%s: the agent has no such metric" % n for n in sorted(names) if n.encode() + b"\0" not in program])


def alerts_hold(run):
    promtool = tool("promtool")
    output(promtool, "check", "rules", os.path.join(DEPLOY, "monitoring/alerts.yaml"))
    output(promtool, "test", "rules", "alerts_test.yaml", cwd=os.path.join(DEPLOY, "monitoring"))


def alerts_are_tested(run):
    rules, = load(read("monitoring/alerts.yaml"))
    tests, = load(read("monitoring/alerts_test.yaml"))
    fired = {case["alertname"] for t in tests["tests"] for case in t["alert_rule_test"] if case.get("exp_alerts")}
    no(["%s never fires in a test" % r["alert"] for g in rules["groups"] for r in g["rules"] if r["alert"] not in fired])


def expressions_parse(run):
    rules = [{"record": "x:%d" % i, "expr": e.replace("$__rate_interval", "5m")}
             for i, e in enumerate(dashboard_expressions())]
    path = run.file("expressions.yaml", json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    output(tool("promtool"), "check", "rules", path)


# --- the manual ---------------------------------------------------------------

def manual_is_true(run):
    with open(os.path.join(TOP, "proxy/proxylet.8")) as f:
        text = f.read()
    with open(run.agent, "rb") as f:
        names = {n.decode() for n in re.findall(rb"(?<![ -~])(proxylet_[a-z0-9_]+)(?=\0)", f.read())}
    usage = output(run.agent, "--help")
    found = manual.commands(text, usage) + manual.metrics(text, names) + manual.once(text)
    for command in ("status", "drain", "state", "probes", "render", "check-config", "cleanup"):
        found += [command + ": " + p for p in manual.flags(text, output(run.agent, command, "--help"))]
    no(found)


# --- scripts ------------------------------------------------------------------

def script_is_clean(run, path):
    output(tool("shellcheck"), path)


STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
case "${0##*/} $*" in
"kind get nodes"*) echo proxylet-worker ;;
*clusterIP*) echo 10.96.0.1 ;;
*nodePort*) echo 30053 ;;
*) [ "$*" != "${REFUSE-}" ] ;;
esac
"""


def kind_with(run, tools, **env):
    """The script's exit status and text where just these stand-ins are, and what it called."""
    folder = tempfile.mkdtemp(dir=run.tmp)
    log = os.path.join(folder, "log")
    for name in tools:
        with open(os.path.join(folder, name), "w") as f:
            f.write(STAND_IN)
        os.chmod(os.path.join(folder, name), 0o755)
    for name in ("sh", "dirname", "grep", "sleep"):
        os.symlink(shutil.which(name), os.path.join(folder, name))
    p = subprocess.run(["/bin/sh", os.path.join(DEPLOY, "kind/up.sh")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, env=dict(env, PATH=folder, LOG=log))
    calls = open(log).read() if os.path.exists(log) else ""
    return p.returncode, p.stdout, calls


def kind_needs_its_tools(run):
    for missing in ("docker", "kind", "kubectl"):
        status, text, calls = kind_with(run, {"docker", "kind", "kubectl"} - {missing})
        if (status, text, calls) != (2, "up.sh: %s is missing\n" % missing, ""):
            raise Bad("without %s: exit status %d\n%s%s" % (missing, status, text, calls))
    status, text, calls = kind_with(run, {"docker", "kind", "kubectl"}, REFUSE="info")
    if status != 2 or calls != "docker info\n":
        raise Bad("docker without its daemon: exit status %d\n%s" % (status, text))


def kind_takes_its_steps(run):
    status, text, calls = kind_with(run, {"docker", "kind", "kubectl"})
    steps = ["docker build", "kind create cluster", "kind load docker-image", "apply -k deploy/kind", "rollout status daemonset",
             "rollout status deployment/coredns", "docker exec proxylet-worker curl"]
    found = [calls.find(s) for s in steps]
    if status or -1 in found or found != sorted(found):
        raise Bad("exit status %d\n%s%s" % (status, text, calls))


# --- the image ----------------------------------------------------------------

def image(run):
    """Its own script; a case for each of its lines."""
    p = subprocess.run(["sh", os.path.join(DEPLOY, "image-check.sh"), "--folder", os.path.dirname(run.agent)],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    before = run.count["FAIL"]
    for line in p.stdout.splitlines():
        verdict, _, rest = line.partition(" ")
        if verdict in run.count:
            run.say(verdict, rest if verdict == "SKIP" else "image: " + rest)
        else:
            print("   " + line)
    if p.returncode and run.count["FAIL"] == before:
        run.say("FAIL", "image: image-check.sh ended with status %d" % p.returncode)


def everything(run):
    for path in CONFIGS:
        run.case("configuration " + path, config_is_good, read(path))
    run.case("configuration in helm/proxylet/values.yaml", values_are_good)
    for path in KUBECONFIGS:
        run.case("kubeconfig " + path, kubeconfig_is_whole, read(path))
    for folder in FOLDERS:
        run.case("manifests " + folder, folder_is_good, folder)
    for folder in FOLDERS + ["kind"]:
        run.case("kustomize " + folder, kustomization_is_good, folder)
    run.case("kustomize kubernetes/replace-kube-proxy", only_the_image)
    run.case("kustomize kubernetes/components/one-by-one", one_by_one)
    run.case("kustomize kubernetes/components/iptables-legacy", iptables_legacy)
    run.case("helm defaults", chart)
    run.case("helm with values", chart, 'extraArgs=["--v=4"]', 'podAnnotations={"a":"b"}', 'affinity={"nodeAffinity":{}}',
             'config.clusterCIDR="10.0.0.0/8"', "iptablesLegacy=true", 'imagePullSecrets=[{"name":"x"}]', 'serviceAccount.name="other"')
    run.case("helm without a server", chart_wants_a_server)
    run.case("versions", versions_agree)
    run.case("systemd unit", unit_is_good)
    run.case("systemd unit's calls", unit_lets_it_call)
    run.case("systemd unit's command", unit_starts_it)
    run.case("dashboard", dashboard_is_whole)
    run.case("dashboard metrics", metrics_exist, "\n".join(dashboard_expressions()))
    run.case("alert metrics", metrics_exist, read("monitoring/alerts.yaml"))
    run.case("alerts tested", alerts_are_tested)
    run.case("alerts promtool", alerts_hold)
    run.case("dashboard promtool", expressions_parse)
    run.case("monitoring/prometheus.yaml", lambda _: load(read("monitoring/prometheus.yaml")))
    run.case("proxylet.8", manual_is_true)
    for path in sorted(glob.glob(DEPLOY + "/**/*.sh", recursive=True)):
        run.case("shellcheck " + os.path.relpath(path, DEPLOY), script_is_clean, path)
    run.case("kind without tools", kind_needs_its_tools)
    run.case("kind steps", kind_takes_its_steps)
    image(run)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", default=os.path.join(TOP, "build/proxylet"))
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="proxylet-deploy.") as tmp:
        run = Run(os.path.abspath(args.agent), tmp)
        everything(run)
    print("%d passed, %d failed, %d skipped" % (run.count["ok"], run.count["FAIL"], run.count["SKIP"]))
    return 1 if run.count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
