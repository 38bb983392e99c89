//! What somebody who may write to the files, but lacks the key, could do to a chain; and what is no tampering.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Instant;

use sceau_audit::{AuditKey, Chain, Class, Event, Finding, Names, Report, Rules, Verifier, format_time};
use sceau_keys::SecretKey;

const T0: u64 = 1_700_000_000_000_000_000;
const EVERY: u64 = 10;

fn key() -> AuditKey {
    AuditKey::new(SecretKey::new([7; 32]))
}

fn request(n: u64) -> Event {
    Event {
        request_id: format!("{n:016X}"),
        client: "192.0.2.7:4711".to_owned(),
        principal: "role/reports".to_owned(),
        auth: "header",
        method: "PUT".to_owned(),
        operation: "PutObject",
        bucket: "archive".to_owned(),
        key: format!("year=2026/part-{n}|\\=\"é\n"),
        bytes_in: Some(n),
        bytes_out: Some(0),
        decision: "allowed",
        outcome: "ok",
        status: Some(200),
        duration_us: Some(1500),
        ..Event::new(Class::Request, T0 + n)
    }
}

/// A chain of `count` requests from its start to its stop, a checkpoint every `every`.
fn written(chain: &mut Chain, count: u64, every: u64, ends: bool) -> Vec<u8> {
    let key = key();
    let mut out = Vec::new();
    chain.append(&Event::new(Class::Start, T0), Names::Plain, &key, &mut out);
    for n in 0..count {
        chain.append(&request(n), Names::Plain, &key, &mut out);
        if chain.unsealed() >= every {
            chain.checkpoint(&key, T0 + n, false, &mut out);
        }
    }
    if ends {
        chain.append(&Event::new(Class::Stop, T0 + count), Names::Plain, &key, &mut out);
        chain.checkpoint(&key, T0 + count, true, &mut out);
    }
    out
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let body = bytes.strip_suffix(b"\n").unwrap();
    body.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn verify_with(files: &[Vec<Vec<u8>>], key: Option<&AuditKey>, rules: Rules) -> Report {
    let mut verifier = Verifier::new(key, rules);
    for (n, lines) in files.iter().enumerate() {
        verifier.file(&format!("file-{n}"));
        for line in lines {
            verifier.line(line);
        }
    }
    verifier.finish()
}

fn verify(lines: &[Vec<u8>]) -> Report {
    verify_with(&[lines.to_vec()], Some(&key()), Rules::default())
}

fn good() -> Vec<Vec<u8>> {
    lines(&written(&mut Chain::begin("a".to_owned()), 35, EVERY, true))
}

fn findings(report: &Report) -> Vec<(Option<u64>, Finding)> {
    let each = report.findings.iter();
    each.map(|found| (found.seq, found.finding.clone())).collect()
}

#[test]
fn an_untouched_chain_verifies_also_over_files_and_restarts() {
    let report = verify(&good());
    assert_eq!(report.findings, []);
    let chain = &report.chains["a"];
    assert_eq!((chain.first_seq, chain.last_seq, chain.checkpoints), (1, 41, 4));
    assert_eq!(chain.unsealed_tail, 0);

    let mut one = Chain::begin("a".to_owned());
    let first = lines(&written(&mut one, 5, EVERY, true));
    let mut again = Chain::resume(first.last().unwrap()).unwrap();
    assert_eq!(again, one);
    let second = lines(&written(&mut again, 5, EVERY, true));
    let other = lines(&written(&mut Chain::begin("b".to_owned()), 3, EVERY, true));
    let report = verify_with(&[first, second, other], Some(&key()), Rules::default());
    assert_eq!(report.findings, []);
    assert_eq!(report.chains.len(), 2);
    assert_eq!(report.chains["a"].unclean_starts, 0);
}

#[test]
fn a_removed_record_is_found_wherever_it_was() {
    let good = good();
    for gone in 1..good.len() - 1 {
        let mut bad = good.clone();
        bad.remove(gone);
        let seq = gone as u64 + 1;
        let report = verify(&bad);
        assert_eq!(
            findings(&report),
            [(Some(seq + 1), Finding::Gap { from: seq, to: seq })]
        );
    }
}

#[test]
fn a_changed_record_is_found_also_when_all_hashes_are_computed_again() {
    let good = good();
    for at in 1..good.len() - 1 {
        let mut bad = good.clone();
        let text = String::from_utf8(bad[at].clone()).unwrap();
        let changed = text.replacen("\"time\":\"2023", "\"time\":\"2024", 1);
        assert_ne!(text, changed);
        bad[at] = changed.into_bytes();
        let found = findings(&verify(&bad));
        assert!(
            found.contains(&(Some(at as u64 + 2), Finding::Changed)),
            "{at}: {found:?}"
        );
    }
    // The whole rest of the chain made again, by somebody without the key.
    let thief = AuditKey::new(SecretKey::new([8; 32]));
    let mut chain = Chain::resume(&good[20]).unwrap();
    let mut out = Vec::new();
    for n in 0..3 {
        chain.append(&request(1000 + n), Names::Plain, &thief, &mut out);
    }
    chain.checkpoint(&thief, T0 + 60, true, &mut out);
    let forged: Vec<_> = good[..=20].iter().cloned().chain(lines(&out)).collect();
    assert_eq!(findings(&verify(&forged)), [(Some(25), Finding::OtherKey)]);
    let text = String::from_utf8(forged[24].clone()).unwrap();
    let mut posing = forged.clone();
    posing[24] = text.replace(&thief.id(), &key().id()).into_bytes();
    assert_eq!(findings(&verify(&posing)), [(Some(25), Finding::Forged)]);
    // A checkpoint from elsewhere in the chain, renumbered.
    assert!(
        verify_with(&[forged], None, Rules::default()).findings.is_empty(),
        "hashes alone do not show it"
    );
}

#[test]
fn reordered_and_repeated_records_are_found() {
    let good = good();
    let mut swapped = good.clone();
    swapped.swap(5, 6);
    let found = findings(&verify(&swapped));
    assert_eq!(found[0], (Some(7), Finding::Gap { from: 6, to: 6 }));
    assert_eq!(found[1], (Some(6), Finding::OutOfOrder));
    assert_eq!(found.len(), 2, "the rest of the chain is whole");
    let mut twice = good.clone();
    twice.insert(8, good[7].clone());
    assert_eq!(findings(&verify(&twice)), [(Some(8), Finding::OutOfOrder)]);
}

#[test]
fn a_cut_tail_is_found() {
    let good = good();
    for length in 1..good.len() {
        let kept = &good[..length];
        let ends_sealed = kept.last().unwrap().ends_with(b"\"}")
            && kept.last().unwrap().windows(5).any(|w| w == b"\"mac\"");
        let found = findings(&verify(kept));
        if ends_sealed {
            // Cut exactly at a checkpoint: its age tells, for a chain that should go on.
            let live = |age| Rules {
                live: Some((T0 + 3_600_000_000_000, age)),
                ..Rules::default()
            };
            let report = verify_with(&[kept.to_vec()], Some(&key()), live(60));
            assert!(
                matches!(findings(&report)[..], [(_, Finding::Stale { .. })]),
                "{length}"
            );
            let report = verify_with(&[kept.to_vec()], Some(&key()), live(7200));
            assert_eq!(report.findings, []);
            // And a record noted elsewhere.
            let last = verify(&good).chains["a"].clone();
            let noted = Rules {
                contains: Some((String::new(), last.last_seq, last.last_hash)),
                ..Rules::default()
            };
            assert_eq!(
                findings(&verify_with(&[kept.to_vec()], Some(&key()), noted.clone())),
                [(None, Finding::NotContained)]
            );
            assert_eq!(
                verify_with(std::slice::from_ref(&good), Some(&key()), noted).findings,
                []
            );
        } else {
            assert!(
                matches!(found[..], [(_, Finding::CutTail { .. })]),
                "{length}: {found:?}"
            );
        }
    }
}

#[test]
fn a_kill_is_no_tampering_but_its_extent_is_told() {
    let mut chain = Chain::begin("a".to_owned());
    let mut first = lines(&written(&mut chain, 25, EVERY, false));
    // The last line was not finished: the next process goes on from the one before.
    let whole = first.pop().unwrap();
    assert!(Chain::resume(&whole[..whole.len() / 2]).is_err());
    let mut again = Chain::resume(first.last().unwrap()).unwrap();
    assert!(!again.is_closed());
    let second = lines(&written(&mut again, 2, EVERY, true));
    let key = key();
    let mut verifier = Verifier::new(Some(&key), Rules::default());
    verifier.file("one");
    first.iter().for_each(|line| verifier.line(line));
    verifier.torn();
    verifier.file("two");
    second.iter().for_each(|line| verifier.line(line));
    let report = verifier.finish();
    assert_eq!(report.findings, []);
    let told = &report.chains["a"];
    assert_eq!((told.unclean_starts, told.torn), (1, 1));
    assert_eq!(
        told.unsealed_at_starts, 5,
        "26 records, checkpoints behind 10 and 20, one torn"
    );

    // Torn, and nothing behind it.
    let mut verifier = Verifier::new(Some(&key), Rules::default());
    verifier.file("one");
    first.iter().for_each(|line| verifier.line(line));
    verifier.torn();
    let report = verifier.finish();
    assert_eq!(report.findings[0].finding, Finding::Torn);
}

#[test]
fn foreign_lines_and_missing_checkpoints_are_found() {
    let mut bad = good();
    bad.insert(3, b"{}".to_vec());
    bad.insert(5, b"{\"v\":1}".to_vec());
    let report = verify(&bad);
    assert_eq!(
        findings(&report),
        [(None, Finding::Version), (None, Finding::NotARecord)]
    );
    assert_eq!(
        (report.findings[0].file.as_str(), report.findings[0].line),
        ("file-0", 4)
    );
    let rare = lines(&written(&mut Chain::begin("a".to_owned()), 30, 25, true));
    let rules = Rules {
        unsealed_max: 12,
        ..Rules::default()
    };
    let report = verify_with(&[rare], Some(&key()), rules);
    assert_eq!(
        findings(&report),
        [(Some(13), Finding::CheckpointMissing { records: 13 })]
    );
}

#[test]
fn names_are_written_masked_or_not_at_all() {
    let key = key();
    let line = |names| {
        let mut out = Vec::new();
        Chain::begin("a".to_owned()).append(&request(1), names, &key, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert!(line(Names::Plain).contains("year=2026/part-1"));
    for names in [Names::Hashed, Names::Omitted] {
        assert!(!line(names).contains("part-1"), "{names:?}");
    }
    assert!(line(Names::Hashed).contains(&key.mask("archive", &request(1).key)));
    assert_ne!(key.mask("archive", "x"), key.mask("archiv", "ex"));
    assert_ne!(
        key.mask("a", "x"),
        AuditKey::new(SecretKey::new([8; 32])).mask("a", "x")
    );
}

/// `AUDIT_RECORDS=1000000 cargo test --release -p sceau-audit --test tampering many -- --nocapture`
#[test]
fn many_records_are_written_and_verified() {
    let count: u64 = std::env::var("AUDIT_RECORDS").map_or(5_000, |text| text.parse().unwrap());
    let started = Instant::now();
    let bytes = written(&mut Chain::begin("a".to_owned()), count, 1000, true);
    let wrote = started.elapsed();
    let started = Instant::now();
    let key = key();
    let mut verifier = Verifier::new(Some(&key), Rules::default());
    verifier.file("all");
    bytes[..bytes.len() - 1]
        .split(|byte| *byte == b'\n')
        .for_each(|line| verifier.line(line));
    let report = verifier.finish();
    println!(
        "{} records of {} bytes: written in {wrote:?}, verified in {:?}",
        report.records,
        bytes.len(),
        started.elapsed()
    );
    assert_eq!(report.findings, []);
    assert!(report.records > count);
    assert!(format_time(report.chains["a"].last_time_ns).starts_with("2023-11-14T22:13:20."));
}
