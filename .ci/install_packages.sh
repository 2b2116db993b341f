#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building (and, with --tests, testing) needs; only those that are missing.
set -euo pipefail

packages=(g++ cmake ninja-build git libdnnl-dev doctest-dev libstb-dev libcli11-dev nlohmann-json3-dev zlib1g-dev
  libxxhash-dev)
[[ "${1:-}" == --tests ]] && packages+=(python3)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "No apt-get here: on Debian the packages would be ${packages[*]}; continuing with what is installed."
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "All packages are installed: ${packages[*]}"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "These packages are missing and need root to install: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing packages: ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
