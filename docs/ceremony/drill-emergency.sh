#!/bin/sh
# Stops a bucket at once, on every gateway, reversibly. Changes: the states of its epochs; all gateways drop their keys.
# Back: sceau keys enable --bucket BUCKET --all
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
paper "$SCEAU" keys disable --config "$CONFIG" --bucket "$BUCKET" --all
paper "$SCEAU" keys drop-all --config "$CONFIG"
paper "$SCEAU" keys show --config "$CONFIG" --bucket "$BUCKET"
say "stopped $(date -u +%Y-%m-%dT%H:%M:%SZ); back: sceau keys enable --bucket $BUCKET --all"
