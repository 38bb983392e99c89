#!/bin/sh
# Steps 3 and 4 of the ceremony: makes the key in the HSM, tests it, makes keyring and enrolment record.
# Changes: a new key in the token, the keyring file, control bucket objects `keyring` and `enrolment`.
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
say "program $(sha256sum "$(command -v "$SCEAU")")"
say "begun $(date -u +%Y-%m-%dT%H:%M:%SZ) on $(uname -n)"
"$SCEAU" keys enrol --config "$CONFIG" --generate --output json > "$PAPERS/enrolment.json"
say "attributes, check value and module as the token tells them:"
paper "$SCEAU" keys accept --config "$CONFIG" --dry-run
paper "$SCEAU" keys canary --config "$CONFIG"
say "ended $(date -u +%Y-%m-%dT%H:%M:%SZ)"
