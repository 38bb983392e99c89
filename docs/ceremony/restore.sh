#!/bin/sh
# Step 7: shows that the export opens with the key of the configuration (that of the second HSM), in a scratch folder.
# Changes nothing but the papers. EXPORT names the exported keyring.
set -eu
SCEAU=${SCEAU:-sceau}
: "${CONFIG:?names sceau.toml}" "${PAPERS:?names an empty folder for the papers}"
say() { printf "%s\n" "$*" | tee -a "$PAPERS/protocol.txt"; }
: "${EXPORT:?names the exported keyring}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$EXPORT" "$scratch/keyring"
chmod 600 "$scratch/keyring"
# The same configuration with a keyring file of its own; paths beside the original stay where they are.
sed "s|^keyring *=.*|keyring = \"$scratch/keyring\"|" "$CONFIG" > "$CONFIG.restore"
trap 'rm -rf "$scratch" "$CONFIG.restore"' EXIT
"$SCEAU" keys canary --config "$CONFIG.restore" > "$PAPERS/restore.txt"
"$SCEAU" keys list --config "$CONFIG.restore" >> "$PAPERS/restore.txt"
say "the export opens with the key of $CONFIG"
