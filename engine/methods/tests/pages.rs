//! The pages in `docs/methods` are what the methods' files say today.
//!
//! `TEMPER_WRITE_PAGES=1 cargo test -p temper-methods --test pages` writes them anew.

use std::collections::BTreeMap;
use std::path::Path;
use temper_methods::{page, registry};

fn wanted() -> BTreeMap<String, String> {
    let pages = registry().iter().map(|method| (page::file_name(method.declared().id), page::page(*method)));
    pages.chain([("README.md".to_owned(), page::index())]).collect()
}

#[test]
fn the_pages_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/methods");
    let wanted = wanted();
    if std::env::var_os("TEMPER_WRITE_PAGES").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let file = |name: &String| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let stale: Vec<&String> = wanted.iter().filter(|(name, text)| file(name) != **text).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "not what the files say: {stale:?}; write them with TEMPER_WRITE_PAGES=1");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(wanted.contains_key(&name) || name.ends_with(".svg"), "{name} is the page of no method");
    }
}
