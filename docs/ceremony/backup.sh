#!/bin/sh
# Step 6: exports the keyring. Changes nothing but the papers. The key itself is copied by hand, by the vendor's means.
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
paper "$SCEAU" keys export --config "$CONFIG" "$PAPERS/keyring.backup"
say "export $(sha256sum "$PAPERS/keyring.backup")"
