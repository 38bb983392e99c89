#!/bin/sh
# Nobody has the PIN. SET_PIN is the command by which officers set a new one; PIN_FILE and NEW_PIN_FILE name the
# file of the configuration and one with the new PIN. Changes: the PIN in the HSM, PIN_FILE, the memory of a refused PIN.
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
: "${SET_PIN:?is the command that sets the new PIN}" "${PIN_FILE:?}" "${NEW_PIN_FILE:?}" "${KEYRING:?names the keyring file}"
sh -c "$SET_PIN"
install -m 600 "$NEW_PIN_FILE" "$PIN_FILE"
rm -f "$KEYRING".refused-pin*
paper "$SCEAU" keys canary --config "$CONFIG"
say "the key is the enrolled one; close the new envelope"
