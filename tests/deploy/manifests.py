"""What Kubernetes objects must say so that the agent runs as intended. Every function returns a list of problems."""

HEALTH_PORT = 10256
ROLE = "system:node-proxier"


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def pod(ds):
    return ds["spec"]["template"]["spec"]


def containers(ds):
    return pod(ds).get("initContainers", []) + pod(ds)["containers"]


def data(objects, key):
    return [o["data"][key] for o in of_kind(objects, "ConfigMap") if key in o["data"]]


def _names(objects, kind):
    return {o["metadata"]["name"] for o in of_kind(objects, kind)}


def _need(pairs, where):
    return ["%s: %s" % (where, text) for good, text in pairs if not good]


def _confinement(c):
    """A container of ours: one capability, nothing to write to, no way to more. A second for iptables-legacy, with its lock."""
    s = c.get("securityContext", {})
    caps = s.get("capabilities", {})
    locked = "/run/xtables.lock" in [m["mountPath"] for m in c.get("volumeMounts", [])]
    return [
        (caps.get("drop") == ["ALL"], "capabilities.drop is not [ALL]"),
        (caps.get("add") == ["NET_ADMIN"] + ["NET_RAW"] * locked, "capabilities.add is not [NET_ADMIN]"),
        (s.get("readOnlyRootFilesystem") is True, "readOnlyRootFilesystem is not true"),
        (s.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation is not false"),
        (not s.get("privileged"), "privileged"),
        (s.get("runAsUser") == 0, "runAsUser is not 0, so that the capability would be lost"),
    ]


def _probe(c, name, path):
    get = c.get(name, {}).get("httpGet", {})
    return [(get.get("path") == path, "%s does not ask for %s" % (name, path)),
            (get.get("port") == HEALTH_PORT, "%s does not ask port %d" % (name, HEALTH_PORT))]


def _mounts(p, c):
    volumes = {v["name"] for v in p.get("volumes", [])}
    return [(m["name"] in volumes, "volume %s is not there" % m["name"]) for m in c.get("volumeMounts", [])]


def _container(ds, c, rendered):
    command = (c.get("args") or [""])[0]
    pairs = [(not c.get("ports"), "has ports: they become host ports")] + _mounts(pod(ds), c)
    if command in ("run", "cleanup"):
        pairs += _confinement(c)
    if command == "run":
        pairs += _probe(c, "livenessProbe", "/livez") + _probe(c, "readinessProbe", "/healthz")
    if rendered:
        pairs.append((":" in c["image"].rpartition("/")[2], "image %s has no tag" % c["image"]))
    return _need(pairs, "%s/%s" % (ds["metadata"]["name"], c["name"]))


def _daemonset(ds, rendered):
    labels = ds["spec"]["template"]["metadata"]["labels"].items()
    p = pod(ds)
    wanted = ds["spec"]["selector"]["matchLabels"].items()
    found = _need([
        (wanted and set(wanted) <= set(labels), "the selector does not match the pods' labels"),
        (p.get("hostNetwork") is True, "hostNetwork is not true"),
        ({"operator": "Exists"} in p.get("tolerations", []), "does not tolerate every taint"),
        (p.get("priorityClassName") == "system-node-critical", "priorityClassName is not system-node-critical"),
    ], ds["metadata"]["name"])
    for c in containers(ds):
        found += _container(ds, c, rendered)
    return found


def _update(ds):
    """Of the agent itself: the next pod starts beside this one and takes over."""
    spec, folder = ds["spec"], {v["name"]: v.get("hostPath", {}).get("path") for v in pod(ds).get("volumes", [])}
    return _need([
        (spec["updateStrategy"].get("rollingUpdate") == {"maxSurge": 1, "maxUnavailable": 0}, "no surge update"),
        (spec.get("minReadySeconds", 0) >= 5, "minReadySeconds leaves no time to take over"),
        (pod(ds).get("terminationGracePeriodSeconds", 30) > 35, "a hand-over is cut short when the pod is told to end"),
        (folder.get("run") == "/run/proxylet", "the status socket is in a folder of the pod"),
        (folder.get("state") == "/var/lib/proxylet", "the snapshot is in a folder of the pod"),
    ], ds["metadata"]["name"])


def _references(ds, objects):
    """Names that have to be among the objects, and the agent's permission."""
    p = pod(ds)
    maps = [v["configMap"]["name"] for v in p.get("volumes", []) if "configMap" in v]
    pairs = [(m in _names(objects, "ConfigMap"), "ConfigMap %s is not there" % m) for m in maps]
    account = p.get("serviceAccountName")
    if account:
        subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
        bound = [b for b in of_kind(objects, "ClusterRoleBinding") if subject in b["subjects"]]
        pairs += [(account in _names(objects, "ServiceAccount"), "ServiceAccount %s is not there" % account),
                  (any(b["roleRef"]["name"] == ROLE for b in bound), "%s is not bound to %s" % (account, ROLE))]
    else:
        pairs.append((p.get("automountServiceAccountToken") is False, "gets a token that it does not need"))
    return _need(pairs, ds["metadata"]["name"])


def problems(objects, rendered=True):
    """rendered: as kustomize or helm gives them out; else as they stand in the files, where some names are open."""
    found = []
    for ds in of_kind(objects, "DaemonSet"):
        found += _daemonset(ds, rendered)
        if any((c.get("args") or [""])[0] == "run" for c in containers(ds)) and ds["metadata"]["name"] == "proxylet":
            found += _update(ds)
        if rendered:
            found += _references(ds, objects)
    return found + (["no DaemonSet"] if not of_kind(objects, "DaemonSet") else [])


def kubeconfig(doc):
    """The current context leads to a cluster and a user."""
    contexts = {c["name"]: c["context"] for c in doc["contexts"]}
    context = contexts.get(doc["current-context"], {})
    return _need([
        (context.get("cluster") in [c["name"] for c in doc["clusters"]], "no cluster of the current context"),
        (context.get("user") in [u["name"] for u in doc["users"]], "no user of the current context"),
        (all(c["cluster"]["server"].startswith("https://") for c in doc["clusters"]), "a server without https"),
    ], "kubeconfig")
