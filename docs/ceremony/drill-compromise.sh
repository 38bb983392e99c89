#!/bin/sh
# The KEK may be known to others. NEW_CONFIG is a copy of CONFIG whose [keys] names the new key; BUCKETS are the buckets.
# PART=1 makes the key and wraps everything under it. Then gateways are restarted with the new [keys]. PART=2 removes the old
# wraps, begins new epochs and moves headers to them. Changes: keyring, headers of objects. The old key is destroyed by hand after it.
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
: "${NEW_CONFIG:?names the configuration of the new key}" "${PART:?is 1 or 2}"
case $PART in
1)
    paper "$SCEAU" keys rotate-kek --config "$CONFIG" --to "$NEW_CONFIG" --generate
    say "now restart every gateway with the [keys] of $NEW_CONFIG, then PART=2"
    ;;
2)
    : "${BUCKETS:?names the buckets}"
    paper "$SCEAU" keys rotate-kek --config "$CONFIG" --to "$NEW_CONFIG" --finish
    for bucket in $BUCKETS; do
        paper "$SCEAU" keys new-epoch --config "$NEW_CONFIG" --bucket "$bucket"
        paper "$SCEAU" rewrap --config "$NEW_CONFIG" --bucket "$bucket"
    done
    paper "$SCEAU" keys canary --config "$NEW_CONFIG"
    paper "$SCEAU" keys export --config "$NEW_CONFIG" "$PAPERS/keyring.backup"
    say "now destroy the old key in the HSM, and every older copy of the keyring"
    ;;
*)
    echo "PART is 1 or 2" >&2
    exit 2
    ;;
esac
