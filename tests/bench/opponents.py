"""Loaders of rules other than the agent: nft, iptables, and a plain netlink loader. One run each, in a namespace of its own.

Everything here returns seconds, and the peak memory of the loader in MB.
"""
import json
import os
import subprocess
import sys
import time

from loads import obj


class Fault(Exception):
    pass


class Tools:
    """The C programs beside this file, built below build/tests/bench."""

    def __init__(self, agent):
        self.folder = os.path.join(os.path.dirname(agent), "tests", "bench")

    def path(self, name):
        return os.path.join(self.folder, name)


def timed(ns, argv, stdin=None, env=None):
    """-> (seconds, peak MB) of a program that has to succeed"""
    with ns, open(stdin or os.devnull, "rb") as f:
        began = time.monotonic()
        p = subprocess.Popen(argv, stdin=f, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ, **(env or {})))
        text = p.stderr.read()
        _, status, usage = os.wait4(p.pid, 0)
        took = time.monotonic() - began
    p.returncode = status
    if status:
        raise Fault("%s: %s" % (" ".join(argv)[:80], text.decode(errors="replace")[:300].strip()))
    return took, usage.ru_maxrss / 1024


def write(path, lines):
    with open(path, "w") as f:
        f.writelines(line + "\n" for line in lines)
    return path


def nft(ns, path, env=None):
    return timed(ns, ["nft", "-f", path], env=env)


def iptables(variant):
    """variant: "legacy" or "nft" """
    def run(ns, path):
        return timed(ns, ["iptables-%s-restore" % variant, "--noflush", "-w"], stdin=path)
    return run


def recording(tools, out):
    """The environment of a loader whose transactions are kept."""
    if os.path.exists(out):
        os.unlink(out)
    return {"LD_PRELOAD": tools.path("record.so"), "NFT_RECORD": out}


def record(tools, ns, out, argv):
    timed(ns, argv, env=recording(tools, out))
    return out


def record_agent(lab, path, cidr):
    """The transactions of an agent's own first start with a file of objects. -> path"""
    out = path + ".own.rec"
    if not os.path.exists(out):
        env = ["%s=%s" % pair for pair in recording(Tools(lab.agent), out).items()]
        in_bare(lab, lambda ns: lab.run(ns, paths=path, before=["env", *env], clusterCIDR=cidr).ready(120).stop())
    return out


def replay(tools, ns, path):
    """-> seconds in the kernel, of the largest recorded transaction: an agent also tries what the kernel can, and IPv6 is empty"""
    with ns:
        p = subprocess.run([tools.path("replay"), path], capture_output=True, text=True)
    lines = [line.split(None, 2) for line in p.stdout.splitlines()]
    bad = [line[2] for line in lines if line[2] != "ok"]
    if p.returncode or bad or not lines:
        raise Fault("replay %s: %s" % (os.path.basename(path), bad[:1] or p.stderr.strip() or "nothing was recorded"))
    return max((int(size), int(us) / 1e6) for us, size, _ in lines)[1]


def in_bare(lab, step, *args):
    """step(ns, *args) in a fresh namespace, which goes afterwards."""
    ns = lab.bare_node()
    try:
        return step(ns, *args)
    finally:
        ns.close()
        lab.namespaces.remove(ns)


def render(lab, path, cidr):
    """Our rules of IPv4 as nft text: nft 1.0.6 cannot read all that it lists of IPv6. -> (path, seconds)"""
    began = time.monotonic()
    out = path + ".nft"
    with open(out + ".all", "w") as f, lab.node:
        subprocess.run([lab.agent, "render", "-f", path, "--node", obj.NODE, "--cluster-cidr", cidr], stdout=f, check=True)
    took = time.monotonic() - began
    with open(out + ".all") as f, open(out, "w") as only:
        only.write(f.read().split("table ip6 ")[0])
    return out, took


VARIANTS = ("legacy", "nft")


def have_iptables(lab, variant):
    """Is the program there, and what it needs of the kernel? Many a kernel has no legacy tables."""
    try:
        return bool(in_bare(lab, timed, ["iptables-" + variant, "-t", "nat", "-S"]))
    except (Fault, OSError):
        return False


def real_kube_proxy(path, load, changes, judge_folder):
    """load.py with the real thing. -> its result"""
    argv = [sys.executable, "-B", os.path.join(judge_folder, "load.py"), "--kube-proxy", path, "--services", str(load.services),
            "--endpoints", str(load.endpoints), "--changes", str(changes), "--gap", "1.5", "--burst", "500"]
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = p.communicate()
    finally:
        p.terminate()   # it has a namespace of its own
        p.wait()
    if p.returncode:
        raise Fault("kube-proxy: " + err.strip()[-300:])
    return json.loads(out.splitlines()[-1])
