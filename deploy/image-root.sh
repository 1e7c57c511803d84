#!/bin/sh
# Fills ROOT, where "make install DESTDIR=ROOT" has been, with what the program needs to run alone: the libraries it
# is linked with and their loader, both variants of iptables for the mode of that name and for what a kube-proxy left,
# CA certificates, and the few files that the C library asks for. Run by the Dockerfile and by image-check.sh, so that
# both make the same image.
#
#     image-root.sh ROOT
set -eu
root=$1
agent=/usr/local/sbin/proxylet

# Each at its own path, links followed: the loader finds them without a cache.
copy_libraries() {
	ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | sort -u |
	while read -r lib; do
		install -D -m 755 "$lib" "$root$lib"
	done
}
copy_libraries "$root$agent"

# Both variants, and all extensions: to list rules it has to know those of others as well.
for multi in /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi; do
	[ -x "$multi" ] || { echo "image-root: no $multi (package iptables): no mode iptables in this image" >&2; continue; }
	install -D -m 755 "$multi" "$root$multi"
	variant=${multi#*xtables-} variant=${variant%-multi}
	for program in iptables ip6tables; do
		for what in save restore; do
			ln -sf "${multi##*/}" "$root/usr/sbin/$program-$variant-$what"
		done
	done
	copy_libraries "$multi"
done
for extension in /usr/lib/*/xtables/*.so; do
	[ ! -e "$extension" ] || install -D -m 644 "$extension" "$root$extension"
done

mkdir -p "$root/run/proxylet"

# An existing kube-proxy DaemonSet names this program, with or without the path.
mkdir -p "$root/usr/local/bin"
ln -sf ../sbin/proxylet "$root/usr/local/bin/kube-proxy"

install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
cat >"$root/etc/passwd" <<-END
	root:x:0:0:root:/:/sbin/nologin
	nonroot:x:65532:65532:nonroot:/:/sbin/nologin
END
rm -rf "$root/usr/local/share"
strip "$root$agent"
