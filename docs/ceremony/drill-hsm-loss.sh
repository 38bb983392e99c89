#!/bin/sh
# The first HSM is gone. CONFIG is the configuration of the second one; BUCKET is read to its last byte.
# Changes nothing (the policy must allow the reason `scan`).
set -eu
SCEAU=${SCEAU:-sceau}
: "${CONFIG:?names sceau.toml}" "${PAPERS:?names an empty folder for the papers}"
say() { printf "%s\n" "$*" | tee -a "$PAPERS/protocol.txt"; }
# Shows and keeps what a command says; its failure ends the script, which a pipe would hide.
paper() {
    status=0
    "$@" > "$PAPERS/last.txt" || status=$?
    tee -a "$PAPERS/protocol.txt" < "$PAPERS/last.txt"
    rm "$PAPERS/last.txt"
    return $status
}
: "${BUCKET:?names a bucket}"
begun=$(date +%s)
paper "$SCEAU" keys canary --config "$CONFIG" || say "the canary is of the lost key: go on if the keyring opens"
"$SCEAU" keys list --config "$CONFIG" > "$PAPERS/keyring.txt"
paper "$SCEAU" verify --config "$CONFIG" "s3://$BUCKET/"
say "the second HSM opens everything; $(( $(date +%s) - begun )) s. Start gateways with $CONFIG."
