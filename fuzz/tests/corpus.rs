//! Every input of the corpus once more, on every run of `./test`: what a fuzzer has found stays found,
//! and the targets go on compiling.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for input in inputs {
        println!("{}", input.display());
        run(&fs::read(&input).unwrap());
    }
}

// One test, one thread: the targets share the counter of the memory they hold.
#[test]
fn the_corpus_breaks_no_promise() {
    let targets: [(&str, fn(&[u8])); 16] = [
        ("conditions", sceau_fuzz::conditions::run),
        ("head", sceau_fuzz::head::run),
        ("header", sceau_fuzz::header::run),
        ("identity", sceau_fuzz::identity::run),
        ("keyring", sceau_fuzz::keyring::run),
        ("kmip_ttlv", sceau_fuzz::kmip_ttlv::run),
        ("metadata", sceau_fuzz::metadata::run),
        ("payload", sceau_fuzz::payload::run),
        ("post_form", sceau_fuzz::post_form::run),
        ("record", sceau_fuzz::record::run),
        ("router", sceau_fuzz::router::run),
        ("state", sceau_fuzz::state::run),
        ("tags", sceau_fuzz::tags::run),
        ("ticket", sceau_fuzz::ticket::run),
        ("trailer", sceau_fuzz::trailer::run),
        ("xml", sceau_fuzz::xml::run),
    ];
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap().count();
    assert_eq!(folders, targets.len(), "a corpus that is not replayed");
    for (target, run) in targets {
        replay(target, run);
    }
}
