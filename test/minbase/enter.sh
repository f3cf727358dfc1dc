#!/bin/sh
# First process of the tree's own mount and process namespace: puts the tree together from read-only pieces and a
# tmpfs, makes it the root, says "ready PID", and lives until its standard input ends. Every mount dies with it, also
# when whoever started it crashed, and nothing is written outside the tmpfs.
# Arguments: TREE MOUNTPOINT PROJECT NODE NPM NPM_CACHE
set -eu
tree=$1 at=$2 project=$3 node=$4 npm=$5 cache=$6
# Still the process file system of the outer namespace, so this is the number outside.
read -r pid rest </proc/self/stat

mount -t tmpfs -o mode=755 minbase "$at"
mkdir "$at/upper" "$at/inner" "$at/root" "$at/cache-upper" "$at/cache-inner"
root=$at/root
mount -t overlay -o "lowerdir=$tree,upperdir=$at/upper,workdir=$at/inner" minbase "$root"
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib/node_modules/npm" "$root/root/.npm" "$root/old"
touch "$root/usr/local/bin/node"
mount --bind "$node" "$root/usr/local/bin/node"
mount --bind "$npm" "$root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
if [ -d "$cache" ]; then
  mount -t overlay -o "lowerdir=$cache,upperdir=$at/cache-upper,workdir=$at/cache-inner" npm-cache "$root/root/.npm"
fi
cp -a "$project" "$root/srv/headgate"
mkdir "$root/home/operator"
chown 1000:1000 "$root/home/operator"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
if [ -n "${NODE_EXTRA_CA_CERTS:-}" ] && [ -f "$NODE_EXTRA_CA_CERTS" ]; then
  cp -L "$NODE_EXTRA_CA_CERTS" "$root/etc/extra-ca.pem"
fi
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"

cd "$root"
pivot_root . old
cd /
umount -l /old
rmdir /old
echo "ready $pid"
exec cat >/dev/null
