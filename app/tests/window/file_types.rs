//! The three systems offer Temper for the same kinds of files, and start it in the way that it understands.

use std::collections::BTreeSet;

const DESKTOP: &str = include_str!("../../../packaging/linux/temper.desktop");
const MIME: &str = include_str!("../../../packaging/linux/temper-mime.xml");
const PLIST: &str = include_str!("../../../packaging/macos/Info.plist");
const REGISTRY: &str = include_str!("../../../packaging/windows/file-types.nsh");

/// Endings, and the type under which Linux knows them.
const KINDS: [(&str, &str); 8] = [
    ("gguf", "application/x-gguf"),
    ("jsonl", "application/jsonl"),
    ("ndjson", "application/x-ndjson"),
    ("json", "application/json"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("parquet", "application/vnd.apache.parquet"),
    ("toml", "application/x-temper-project"),
];

/// What stands in quotation marks right after `call` on each line that has it.
fn first_words<'a>(text: &'a str, call: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(call)?.trim().split('"').nth(1)).collect()
}

#[test]
fn windows_macos_and_linux_know_the_same_endings() {
    let endings: BTreeSet<&str> = KINDS.iter().map(|(ending, _)| *ending).collect();
    assert_eq!(first_words(REGISTRY, "!insertmacro TemperExtension"), endings);
    assert_eq!(
        first_words(REGISTRY, "!insertmacro TemperForgetExtension"),
        endings,
        "what is written is removed again"
    );
    let listed = PLIST.split("CFBundleTypeExtensions</key>").skip(1).filter_map(|rest| rest.split("</array>").next());
    let strings = listed.flat_map(|list| list.split("<string>").skip(1)).filter_map(|rest| rest.split('<').next());
    assert_eq!(strings.collect::<BTreeSet<_>>(), endings);
    let types = DESKTOP.lines().find_map(|line| line.strip_prefix("MimeType=")).expect("a list of types");
    let types: BTreeSet<&str> = types.split(';').filter(|name| !name.is_empty()).collect();
    let mut expected: BTreeSet<&str> = KINDS.iter().map(|(_, name)| *name).collect();
    expected.insert("inode/directory");
    assert_eq!(types, expected);
    for own in ["application/x-gguf", "application/x-temper-project"] {
        assert!(MIME.contains(&format!("<mime-type type=\"{own}\">")), "nobody else declares {own}");
    }
}

#[test]
fn each_system_starts_the_program_with_the_files() {
    let starts: Vec<&str> = DESKTOP.lines().filter_map(|line| line.strip_prefix("Exec=")).collect();
    assert_eq!(starts, ["temper %F", "temper --new-window"]);
    assert!(PLIST.contains("<key>CFBundleExecutable</key><string>temper</string>"));
    let commands = REGISTRY.lines().filter(|line| line.contains("\\command\""));
    let commands: Vec<&str> = commands.filter(|line| !line.contains("\\temper.exe\" \"%1\"'")).collect();
    assert!(commands.is_empty(), "{commands:?}");
}
