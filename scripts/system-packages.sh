#!/bin/sh
# System packages that some tests need. Where CI runs as root and one is missing it is installed from the sources
# the machine is set up with; on a person's machine nothing is touched, and those tests are skipped.
set -eu

# what it is for            command       package
NEEDED='
counts_the_synced_writes    strace        strace
makes_a_disk_of_btrfs       mkfs.btrfs    btrfs-progs
searches_with_both_engines  rg            ripgrep
isolates_by_bubblewrap      bwrap         bubblewrap
isolates_by_containers      crun          crun
isolates_by_containers_too  runc          runc
isolates_by_gvisor          runsc         runsc
shows_the_console           chromium      chromium
'

missing=''
while read -r reason command package; do
    [ -n "$reason" ] || continue
    command -v "$command" >/dev/null 2>&1 || missing="$missing $package"
done <<LIST
$NEEDED
LIST

[ -n "$missing" ] || exit 0
[ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
apt-get -qq install --yes --no-install-recommends $missing
