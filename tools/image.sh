#!/usr/bin/env bash
# Builds the image by buildah: build/image/NAME.tar, an archive that containerd, docker and podman load, and its bill of
# materials beside it. BASE=image takes another base; without it, one is made of this machine's own Debian, as root, and kept
# with the layers in ~/.cache/consilium/images. EPOCH=seconds stands for the time of the build; it is the last commit's.
# FRESH=1 takes no layer from there: that one commit gives one image is seen by building it twice so.
# Usage: tools/image.sh [tag]    the tag is localhost/consilium:dev when none is given
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${1:-localhost/consilium:dev}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/consilium/images
mkdir -p "$cache" build/image
needs=(buildah=buildah)
[ -n "${BASE:-}" ] || needs+=(debootstrap=debootstrap)
tools/packages.sh "the image" "${needs[@]}"
buildah=(buildah --root "$cache/storage" --runroot "$cache/run")

make_base() {
  local codename mirror part
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' | sed -n "s/^main $codename //p" | head -n 1)
  echo "making a base image of $codename with CPython (once)"
  part=$(mktemp -d "$cache/base.XXXXXX")
  trap 'rm -rf "$part"' RETURN
  debootstrap --variant=minbase --include=python3,python3-venv "$codename" "$part/root" "$mirror" >"$part/log" 2>&1 \
    || { tail -n 5 "$part/log" >&2; return 1; }
  tar --directory "$part/root" --sort=name --mtime=@0 --exclude='./var/cache/*' --exclude='./var/lib/apt/lists/*' \
    --exclude='./var/log/*' --create --file "$part/root.tar" .
  printf 'FROM scratch\nADD root.tar /\n' >"$part/Dockerfile"
  rm -rf "$part/root"
  "${buildah[@]}" bud --quiet --isolation chroot --timestamp 0 --tag localhost/consilium-base "$part" >/dev/null
}

base=${BASE:-localhost/consilium-base}
if [ -z "${BASE:-}" ] && [ -z "$("${buildah[@]}" images --quiet "$base" 2>/dev/null)" ]; then
  make_base
fi
# What this machine's own pip trusts and asks, the one in the builder does too; nothing of it stays.
mounts=()
for each in /etc/pip.conf /etc/ssl/certs; do
  [ -e "$each" ] && mounts+=(--volume "$each:$each:ro")
done
[ -n "${FRESH:-}" ] && layers=--no-cache || layers=--layers
epoch=${EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
echo "building $tag"
"${buildah[@]}" bud --quiet --isolation chroot "$layers" --timestamp "$epoch" --build-arg BASE="$base" \
  --build-arg SOURCE_DATE_EPOCH="$epoch" "${mounts[@]}" --tag "$tag" . >build/image/id
name=${tag##*/}
archive=build/image/${name/:/-}.tar
rm -f "$archive"
"${buildah[@]}" push --quiet "$tag" "docker-archive:$archive:$tag"
container=$("${buildah[@]}" from --pull-never "$tag")
cp "$("${buildah[@]}" mount "$container")/opt/consilium/sbom.cdx.json" "${archive%.tar}.cdx.json"
"${buildah[@]}" rm "$container" >/dev/null
echo "$archive ($(cut -c1-12 build/image/id)), and ${archive%.tar}.cdx.json"
