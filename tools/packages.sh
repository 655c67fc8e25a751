#!/usr/bin/env bash
# Installs the distribution's packages that building images and bringing up a cluster need, when some are missing: as root, by
# apt, after saying so. Elsewhere it names the programs that are missing, and ends with 2.
# Usage: tools/packages.sh what-for program=package...
set -euo pipefail

for_what=$1
shift
programs="" packages=""
for each in "$@"; do
  program=${each%%=*}
  if [ ! -e "$program" ] && ! command -v "$program" >/dev/null; then
    programs="$programs $program" packages="$packages ${each#*=}"
  fi
done
[ -n "$programs" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "$for_what needs$programs, not found here; Debian and Ubuntu have them in the packages$packages." >&2
  exit 2
fi
echo "installing$packages by apt, which $for_what needs"
# RUNLEVEL: no service of theirs is started; a cluster starts its own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# shellcheck disable=SC2086
apt-get install --yes --quiet=2 --no-install-recommends $packages >/dev/null 2>&1 \
  || { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends $packages >/dev/null; }
