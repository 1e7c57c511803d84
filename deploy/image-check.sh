#!/bin/sh
# Makes the image and tries what is in it. Where a container tool answers, it builds deploy/Dockerfile; elsewhere
# it goes through the same stages in folders: "make", "make install DESTDIR=...", image-root.sh, chroot.
#
#     image-check.sh [--folder | --debian] [BUILD]
#
# --folder: do without a container tool; --debian: build in a fresh Debian 12 (mmdebstrap or debootstrap, a network,
# root). BUILD: the build folder of make, "build" unless said otherwise. Prints a line "ok", "SKIP" or "FAIL" for each
# try and the image's size; exit status 1 if something failed, 2 if it cannot run at all.
# shellcheck disable=SC2317 # functions that try and trap call
set -eu
cd "$(dirname "$0")/.."
deploy=$PWD/deploy
tag=proxylet-image-check
mode=
case ${1-} in
--*) mode=${1#--}; shift ;;
esac
build=${1:-build}
failed=0

tmp=$(mktemp -d "${TMPDIR:-/tmp}/$tag.XXXXXX")
root=$tmp/image
finish() {
	[ -z "${tool:-}" ] || "$tool" image rm -f "$tag" >/dev/null 2>&1 || true
	rm -rf --one-file-system "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM

# try WHAT PATTERN COMMAND...: it succeeds and prints a line that matches.
try() {
	what=$1 pattern=$2
	shift 2
	if "$@" >"$tmp/out" 2>&1 && grep -q -- "$pattern" "$tmp/out"; then
		echo "ok $what"
	else
		echo "FAIL $what: $*"
		sed 's/^/    /' "$tmp/out" | tail -n 20
		failed=1
	fi
}

# --- the image in a container -------------------------------------------------

container_tool() {
	for t in docker podman; do
		if command -v "$t" >/dev/null && "$t" info >/dev/null 2>&1; then
			echo "$t"
			return
		fi
	done
}

contained() {
	"$tool" run --rm --network none --read-only --cap-drop ALL --user 65532 -v "$deploy/examples:/mnt:ro" "$@"
}

in_containers() {
	"$tool" build -q -t "$tag" -f deploy/Dockerfile . || { echo "FAIL $tool build"; exit 1; }
	try "version, not as root" '^proxylet ' contained "$tag" version
	try "render, not as root" '^table ip proxylet' contained "$tag" render -f /mnt --node node-1
	try "kube-proxy by name" 'proxylet run' contained --entrypoint kube-proxy "$tag" --help
	"$tool" image inspect -f '{{.Size}}' "$tag" | awk '{ printf "image: %.1f MB\n", $1 / 1e6 }'
}

# --- the same stages in folders -----------------------------------------------

# In a Debian of its own, as the Dockerfile's first stage; needs its mirror.
build_in_debian() {
	[ "$(id -u)" = 0 ] || { echo "image-check: --debian needs root" >&2; exit 2; }
	if command -v mmdebstrap >/dev/null; then
		mmdebstrap --quiet --variant=minbase --include=make,ca-certificates,iptables bookworm "$tmp/debian" >/dev/null
	elif command -v debootstrap >/dev/null; then
		debootstrap --variant=minbase --include=make,ca-certificates,iptables bookworm "$tmp/debian" >/dev/null
	else
		echo "image-check: --debian needs mmdebstrap or debootstrap" >&2
		exit 2
	fi
	mkdir -p "$tmp/debian/src/deploy"
	cp -r Makefile proxy healthz nft "$tmp/debian/src/"
	cp deploy/image-root.sh "$tmp/debian/src/deploy/"
	chroot "$tmp/debian" sh -ec 'cd /src && make deps-build && make WERROR=1 all &&
		make install DESTDIR=/image && sh deploy/image-root.sh /image' >"$tmp/log" 2>&1 || { tail "$tmp/log"; exit 1; }
	mv "$tmp/debian/image" "$root"
}

build_here() {
	make BUILD="$build" install DESTDIR="$root" PREFIX=/usr/local >"$tmp/log" 2>&1 || { tail "$tmp/log"; exit 1; }
	sh deploy/image-root.sh "$root"
}

# Root can; others if the kernel lets them have a user namespace.
inside() {
	if [ "$(id -u)" = 0 ]; then
		unshare --net chroot --userspec=65532:65532 "$root" "$@"
	else
		unshare --user --map-root-user --net chroot "$root" "$@"
	fi
}

# confined_agent CAPABILITIES MODE VARIANT: as the DaemonSet's securityContext has it: uid 0 with CAP_NET_ADMIN, no new
# privileges, a read-only file system; for iptables-legacy CAP_NET_RAW and a lock that can be written as well, as its
# component has it. CAP_SYS_CHROOT is there because chroot itself is the last step.
confined_agent() {
	cat >"$root/mnt/config.conf" <<-END
		{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: $2,
		 proxylet: {iptablesVariant: $3}}
	END
	touch "$tmp/lock" "$root/run/xtables.lock"
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --net --mount --pid --fork --kill-child sh -ec '
		ip link set lo up
		mount --bind "$1" "$1"
		mount -t proc proc "$1/proc"
		mount -o remount,bind,ro "$1"
		[ "$4" != legacy ] || mount --bind "$5" "$1/run/xtables.lock"
		setpriv --no-new-privs --bounding-set="-all,$3,+sys_chroot" --inh-caps=-all \
			chroot "$1" /usr/local/sbin/proxylet run --config /mnt/config.conf --objects /mnt \
			--hostname-override node-1 &
		exec python3 -B -c "$2"
	' sh "$root" "$healthy" "$1" "$3" "$tmp/lock"
}

healthy='
import sys, time, urllib.request
end = time.monotonic() + 60
while True:
    try:
        sys.exit(print("healthz", urllib.request.urlopen("http://127.0.0.1:10256/healthz", timeout=20).status))
    except OSError as e:
        if time.monotonic() > end:
            sys.exit("healthz: %s" % e)
    time.sleep(0.05)
'

in_folders() {
	if [ "$mode" = debian ]; then build_in_debian; else build_here; fi
	du -sk --apparent-size "$root" | awk '{ printf "image: %.1f MB", $1 / 1e3 }'
	find "$root" -name '*.so*' | wc -l | awk '{ printf ", %d libraries\n", $1 }'
	mkdir -p "$root/mnt" "$root/proc"
	cp deploy/examples/*.yaml "$root/mnt/"
	chmod -R a+rX "$root"
	if ! inside /usr/local/sbin/proxylet version >/dev/null 2>&1 && ! unshare --user --map-root-user --net true 2>/dev/null; then
		echo "SKIP image: neither root nor user namespaces"
		return
	fi
	try "version, alone in the image" '^proxylet ' inside /usr/local/sbin/proxylet version
	try "render, alone in the image" '^table ip proxylet' inside /usr/local/sbin/proxylet render -f /mnt --node node-1
	try "kube-proxy by name" 'proxylet run' inside /usr/local/bin/kube-proxy --help
	if [ "$(id -u)" = 0 ]; then
		try "the agent as the DaemonSet confines it" '^healthz 200' confined_agent +net_admin nftables auto
		try "the same in mode iptables" '^healthz 200' confined_agent +net_admin iptables nft
		if unshare --net chroot "$root" /usr/sbin/iptables-legacy-save -t nat >/dev/null 2>&1; then
			try "through iptables-legacy, as its component has it" '^healthz 200' \
				confined_agent +net_admin,+net_raw iptables legacy
		else
			echo "SKIP image: no legacy iptables in this kernel"
		fi
	else
		echo "SKIP image: the confined agent needs root"
	fi
}

tool=
case $mode in
'') tool=$(container_tool) ;;
folder|debian) ;;
*) echo "image-check: unknown option --$mode" >&2; exit 2 ;;
esac
if [ -n "$tool" ]; then in_containers; else in_folders; fi
exit $failed
